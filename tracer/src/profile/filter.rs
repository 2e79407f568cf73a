//! Parts of a profile, chosen by regular expressions with pprof's meaning.
//!
//! The rules are those of pprof's `profile/filter.go`: a pattern may match anywhere in a frame's
//! function name or source file, or in the path of the file it is mapped from; here also in the
//! [short name](crate::names) that reports show. Apply it to what
//! people see (after [`super::prune`]), as pprof does.

use std::borrow::Cow;
use std::collections::HashMap;

use regex::Regex;

use super::{Function, Line, Location, Profile, TagFilter};
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
    /// Only samples with such labels.
    pub tag_focus: Option<TagFilter>,
    /// No sample with such labels; wins over `tag_focus`.
    pub tag_ignore: Option<TagFilter>,
    /// Keys of labels whose values become the callers of all else, the first one's the outermost.
    pub tag_root: Vec<String>,
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
    /// Some sample matched `tag_focus` (and not `tag_ignore`).
    pub tag_focus: Option<bool>,
    /// Some sample matched `tag_ignore`.
    pub tag_ignore: Option<bool>,
    /// Some sample has a label of `tag_root`.
    pub tag_root: Option<bool>,
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
            tag_focus,
            tag_ignore,
            tag_root,
        } = self;
        focus.is_none()
            && ignore.is_none()
            && hide.is_none()
            && show_from.is_none()
            && tag_focus.is_none()
            && tag_ignore.is_none()
            && tag_root.is_empty()
    }

    /// The part of the profile that is asked for, and whether each pattern matched anything.
    #[must_use]
    pub fn apply<'a>(&self, profile: &'a Profile) -> (Cow<'a, Profile>, FilterMatches) {
        let mut matches = FilterMatches {
            focus: self.focus.as_ref().map(|_| false),
            ignore: self.ignore.as_ref().map(|_| false),
            hide: self.hide.as_ref().map(|_| false),
            show_from: self.show_from.as_ref().map(|_| false),
            tag_focus: self.tag_focus.as_ref().map(|_| false),
            tag_ignore: self.tag_ignore.as_ref().map(|_| false),
            tag_root: (!self.tag_root.is_empty()).then_some(false),
        };
        if self.is_empty() {
            return (Cow::Borrowed(profile), matches);
        }
        let mut filtered = profile.clone();
        self.choose_samples(&mut filtered, &mut matches);
        self.choose_stacks(&mut filtered, &mut matches);
        if let Some(pattern) = &self.hide {
            matches.hide = Some(hide(&mut filtered, pattern));
        }
        if let Some(pattern) = &self.show_from {
            matches.show_from = Some(show_from(&mut filtered, pattern));
        }
        if !self.tag_root.is_empty() {
            matches.tag_root = Some(add_roots(&mut filtered, &self.tag_root));
        }
        (Cow::Owned(filtered), matches)
    }

    fn choose_samples(&self, profile: &mut Profile, matches: &mut FilterMatches) {
        if let Some(ignored) = &self.tag_ignore {
            let before = profile.samples.len();
            profile.samples.retain(|sample| !ignored.matches(sample));
            matches.tag_ignore = Some(profile.samples.len() < before);
        }
        if let Some(wanted) = &self.tag_focus {
            profile.samples.retain(|sample| wanted.matches(sample));
            matches.tag_focus = Some(!profile.samples.is_empty());
        }
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

/// Makes the labels of these keys the outermost frames. Returns whether there are any.
fn add_roots(profile: &mut Profile, keys: &[String]) -> bool {
    let mut places = HashMap::new();
    let mut samples = std::mem::take(&mut profile.samples);
    let mut any = false;
    for sample in &mut samples {
        for key in keys.iter().rev() {
            let value = sample.tags().find(|(name, _)| name == key);
            any |= value.is_some();
            // In brackets, as all that is no function.
            let name = match value {
                Some((key, value)) => format!("[{key}: {value}]"),
                None => format!("[no {key}]"),
            };
            let place = *places.entry(name).or_insert_with_key(|name| {
                profile.functions.push(Function {
                    name: name.clone(),
                    system_name: name.clone(),
                    ..Function::default()
                });
                let function = profile.functions.len() - 1;
                profile.add_location(Location {
                    lines: vec![Line { function, line: 0 }],
                    ..Location::default()
                })
            });
            sample.locations.push(place);
        }
    }
    profile.samples = samples;
    any
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
            ..Filter::default()
        };
        assert_eq!(
            filter.apply(&profile).1,
            FilterMatches {
                focus: Some(true),
                ignore: Some(false),
                hide: Some(true),
                ..FilterMatches::default()
            }
        );
        let none = Filter::default();
        assert!(
            matches!(none.apply(&profile), (Cow::Borrowed(_), m) if m == FilterMatches::default())
        );
    }

    #[test]
    fn labels_choose_samples_and_become_roots() -> Result<(), regex::Error> {
        let mut profile = counter_service();
        for (sample, host) in profile.samples.iter_mut().zip(["a", "b", "a"]) {
            sample.labels = [("host", host)].into_iter().collect();
        }
        let wanted = Filter {
            tag_focus: Some("host=a|b".parse()?),
            tag_ignore: Some("host:b".parse()?),
            tag_root: vec!["host".to_owned(), "region".to_owned()],
            ..Filter::default()
        };
        let (filtered, matches) = wanted.apply(&profile);
        assert_eq!(filtered.validate(), Ok(()));
        let stacks = stacks(&filtered);
        assert_eq!(stacks.len(), 2, "{stacks:?}");
        let is_below = |stack: &String| stack.starts_with("[host: a];[no region];main;");
        assert!(stacks.iter().all(is_below), "{stacks:?}");
        let said = (matches.tag_focus, matches.tag_ignore, matches.tag_root);
        assert_eq!(said, (Some(true), Some(true), Some(true)));

        let of_nobody = Filter {
            tag_root: vec!["region".to_owned()],
            ..Filter::default()
        };
        assert_eq!(of_nobody.apply(&profile).1.tag_root, Some(false));
        Ok(())
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
