//! Parts of a profile, chosen by regular expressions with pprof's meaning.
//!
//! The rules are those of pprof's `profile/filter.go`: a pattern may match anywhere in a frame's
//! function name or source file, or in the path of the file it is mapped from; here also in the
//! [short name](crate::names) that reports show. Apply it to what
//! people see (after [`super::prune`]), as pprof does.

use std::borrow::Cow;

use regex::Regex;

use super::{Location, Profile};
use crate::names::short;

/// Which stacks and frames to look at.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only stacks with a frame that matches.
    pub focus: Option<Regex>,
    /// No stack with a frame that matches; wins over `focus`.
    pub ignore: Option<Regex>,
    /// Frames that match are left out, and what they held goes to their callers. A stack of which no
    /// frame is left goes, too.
    pub hide: Option<Regex>,
    /// Callers above the match nearest the root are left out, and so are stacks without a match.
    pub show_from: Option<Regex>,
}

/// Whether each pattern of a filter matched anything; `None` where there is no pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterMatches {
    /// Some frame matched `focus` (and not `ignore`).
    pub focus: Option<bool>,
    /// Some frame matched `ignore`.
    pub ignore: Option<bool>,
    /// Some frame matched `hide`.
    pub hide: Option<bool>,
    /// Some frame matched `show_from`.
    pub show_from: Option<bool>,
}

impl Filter {
    /// Whether it lets everything through.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        let Self {
            focus,
            ignore,
            hide,
            show_from,
        } = self;
        focus.is_none() && ignore.is_none() && hide.is_none() && show_from.is_none()
    }

    /// The part of the profile that is asked for, and whether each pattern matched anything.
    #[must_use]
    pub fn apply<'a>(&self, profile: &'a Profile) -> (Cow<'a, Profile>, FilterMatches) {
        let mut matches = FilterMatches {
            focus: self.focus.as_ref().map(|_| false),
            ignore: self.ignore.as_ref().map(|_| false),
            hide: self.hide.as_ref().map(|_| false),
            show_from: self.show_from.as_ref().map(|_| false),
        };
        if self.is_empty() {
            return (Cow::Borrowed(profile), matches);
        }
        let mut filtered = profile.clone();
        self.choose_stacks(&mut filtered, &mut matches);
        if let Some(pattern) = &self.hide {
            matches.hide = Some(hide(&mut filtered, pattern));
        }
        if let Some(pattern) = &self.show_from {
            matches.show_from = Some(show_from(&mut filtered, pattern));
        }
        (Cow::Owned(filtered), matches)
    }

    fn choose_stacks(&self, profile: &mut Profile, matches: &mut FilterMatches) {
        if self.focus.is_none() && self.ignore.is_none() {
            return;
        }
        let focus = self
            .focus
            .as_ref()
            .map(|regex| Pattern::new(regex, profile));
        let ignore = self
            .ignore
            .as_ref()
            .map(|regex| Pattern::new(regex, profile));
        let matched = |pattern: &Option<Pattern>, location: &Location| {
            pattern
                .as_ref()
                .is_some_and(|pattern| pattern.matches(location))
        };
        // Of each location whether it takes a stack in or out; neither where it does not matter.
        let says: Vec<Option<bool>> = profile
            .locations
            .iter()
            .map(|location| {
                if matched(&ignore, location) {
                    matches.ignore = Some(true);
                    Some(false)
                } else if matched(&focus, location) {
                    matches.focus = Some(true);
                    Some(true)
                } else {
                    focus.is_none().then_some(true)
                }
            })
            .collect();
        profile.samples.retain(|sample| {
            let mut says = sample
                .locations
                .iter()
                .filter_map(|&l| *says.get(l.position())?)
                .peekable();
            says.peek().is_some() && says.all(|wanted| wanted)
        });
    }
}

fn hide(profile: &mut Profile, regex: &Regex) -> bool {
    let pattern = Pattern::new(regex, profile);
    let mut any = false;
    let gone: Vec<bool> = profile
        .locations
        .iter_mut()
        .map(|location| {
            if !pattern.matches(location) {
                return false;
            }
            any = true;
            if !pattern.matches_module(location) {
                let lines = &location.lines;
                if !lines
                    .iter()
                    .all(|line| pattern.matches_function(line.function))
                {
                    location
                        .lines
                        .retain(|line| !pattern.matches_function(line.function));
                    return false;
                }
            }
            true
        })
        .collect();
    for sample in &mut profile.samples {
        sample
            .locations
            .retain(|&location| !gone.get(location.position()).is_some_and(|&gone| gone));
    }
    profile
        .samples
        .retain(|sample| !sample.locations.is_empty());
    any
}

fn show_from(profile: &mut Profile, regex: &Regex) -> bool {
    let pattern = Pattern::new(regex, profile);
    let matched: Vec<bool> = profile
        .locations
        .iter_mut()
        .map(|location| {
            if pattern.matches_module(location) {
                return true;
            }
            let outermost = location
                .lines
                .iter()
                .rposition(|line| pattern.matches_function(line.function));
            if let Some(outermost) = outermost {
                location.lines.truncate(outermost + 1);
            }
            outermost.is_some()
        })
        .collect();
    profile.samples.retain_mut(|sample| {
        let outermost = sample.locations.iter().rposition(|&location| {
            matched
                .get(location.position())
                .is_some_and(|&matched| matched)
        });
        if let Some(outermost) = outermost {
            sample.locations.truncate(outermost + 1);
        }
        outermost.is_some()
    });
    matched.contains(&true)
}

/// What a regular expression matches in a profile.
struct Pattern {
    functions: Vec<bool>,
    modules: Vec<bool>,
}

impl Pattern {
    fn new(regex: &Regex, profile: &Profile) -> Self {
        let functions = profile.functions.iter();
        Self {
            functions: functions
                .map(|f| {
                    regex.is_match(&f.name)
                        || regex.is_match(&f.file)
                        || regex.is_match(&short(&f.name, &f.file))
                })
                .collect(),
            modules: profile
                .mappings
                .iter()
                .map(|m| regex.is_match(&m.path))
                .collect(),
        }
    }

    fn matches(&self, location: &Location) -> bool {
        let mut lines = location.lines.iter();
        self.matches_module(location) || lines.any(|line| self.matches_function(line.function))
    }

    fn matches_function(&self, function: usize) -> bool {
        self.functions.get(function).is_some_and(|&matched| matched)
    }

    fn matches_module(&self, location: &Location) -> bool {
        let module = location
            .mapping
            .and_then(|mapping| self.modules.get(mapping));
        module.is_some_and(|&matched| matched)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use regex::Regex;

    use super::{Filter, FilterMatches};
    use crate::export::example::counter_service;
    use crate::profile::{FrameRules, Profile, prune};

    /// The stacks that are left of the example, root first.
    fn left(filter: &Filter) -> Vec<String> {
        let profile = counter_service();
        let profile = prune(&profile, FrameRules::allocators());
        let (filtered, _) = filter.apply(&profile);
        assert_eq!(filtered.validate(), Ok(()));
        stacks(&filtered)
    }

    fn stacks(profile: &Profile) -> Vec<String> {
        let name = |function: usize| profile.functions[function].name.replace("counter::", "");
        let samples = profile.samples.iter();
        samples
            .map(|sample| {
                let frames = profile.frames(sample).map(|frame| name(frame.function));
                frames.collect::<Vec<_>>().join(";")
            })
            .collect()
    }

    fn regex(pattern: &str) -> Option<Regex> {
        Some(Regex::new(pattern).unwrap_or_else(|error| panic!("{error}")))
    }

    #[test]
    fn focus_and_ignore_choose_stacks_by_function_file_or_module() {
        let focus = |pattern| {
            left(&Filter {
                focus: regex(pattern),
                ..Filter::default()
            })
        };
        let insert = "main;handle;Cache::insert";
        let walk = "main;walk;walk;walk";
        let read = "main;handle;libc.so.6+0x8f2c1";
        let direct = "main;libc.so.6+0x8f2c1";
        assert_eq!(focus("handle"), [insert, read]);
        assert_eq!(focus(r"walk\.rs$"), [walk]);
        assert_eq!(focus(r"^/usr/lib/libc"), [read, direct]);
        assert_eq!(focus("nothing"), [""; 0]);

        let ignore = |pattern, focus| {
            left(&Filter {
                focus,
                ignore: regex(pattern),
                ..Filter::default()
            })
        };
        assert_eq!(ignore("handle", None), [walk, direct]);
        assert_eq!(ignore("handle", regex("libc")), [direct]);
        assert_eq!(ignore("main", regex("main")), [""; 0]);
        assert_eq!(ignore("nothing", None), [insert, walk, read, direct]);
    }

    #[test]
    fn hide_gives_what_a_frame_held_to_its_caller() {
        let hide = |pattern| {
            left(&Filter {
                hide: regex(pattern),
                ..Filter::default()
            })
        };
        assert_eq!(
            hide("walk|insert"),
            [
                "main;handle",
                "main",
                "main;handle;libc.so.6+0x8f2c1",
                "main;libc.so.6+0x8f2c1"
            ]
        );
        // Nothing is left of the first two and of the last.
        assert_eq!(hide("counter-service"), ["libc.so.6+0x8f2c1"; 2]);
    }

    #[test]
    fn hide_leaves_the_other_frames_of_a_place() {
        let profile = counter_service();
        let filter = Filter {
            hide: regex("Cache"),
            ..Filter::default()
        };
        let (filtered, _) = filter.apply(&profile);
        assert_eq!(stacks(&filtered)[0], "main;handle;alloc::alloc::alloc");
    }

    #[test]
    fn show_from_takes_the_callers_away() {
        let show_from = |pattern| {
            left(&Filter {
                show_from: regex(pattern),
                ..Filter::default()
            })
        };
        assert_eq!(
            show_from("handle"),
            ["handle;Cache::insert", "handle;libc.so.6+0x8f2c1"]
        );
        assert_eq!(show_from("walk"), ["walk;walk;walk"]);
        // With inlined frames the match nearest the root, too.
        let profile = counter_service();
        let filter = Filter {
            show_from: regex("alloc::alloc"),
            ..Filter::default()
        };
        assert_eq!(stacks(&filter.apply(&profile).0), ["alloc::alloc::alloc"]);
    }

    #[test]
    fn it_tells_what_matched() {
        let profile = counter_service();
        let filter = Filter {
            focus: regex("main"),
            ignore: regex("nothing"),
            hide: regex("walk"),
            show_from: None,
        };
        assert_eq!(
            filter.apply(&profile).1,
            FilterMatches {
                focus: Some(true),
                ignore: Some(false),
                hide: Some(true),
                show_from: None,
            }
        );
        let none = Filter::default();
        assert!(
            matches!(none.apply(&profile), (Cow::Borrowed(_), m) if m == FilterMatches::default())
        );
    }

    #[test]
    fn a_name_matches_as_reports_show_it() {
        let mut profile = counter_service();
        profile.functions[2].name = "<counter::cache::Cache<u8>>::insert".to_owned();
        let filter = Filter {
            focus: regex("^counter::Cache::insert$"),
            ..Filter::default()
        };
        let (filtered, matches) = filter.apply(&profile);
        assert_eq!(matches.focus, Some(true));
        assert_eq!(stacks(&filtered).len(), 1);
    }
}
