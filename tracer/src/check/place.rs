//! Where a finding is: of a stack the frames that a report names.
//!
//! Whose code a frame is, is said by [`crate::sites`], as in every report. Here its marks become positions in the
//! frames that a finding keeps.

use serde::Serialize;

use crate::profile::{FrameRules, Sample};
use crate::sites::{Kind, Purpose, SiteFrame, Sites};

/// Frames of a stack that a finding keeps.
const KEPT: usize = 64;

/// A frame of a finding's stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// Function.
    pub function: String,
    /// Its name as people say it, where that is another; whoever shows it says it.
    pub short: Option<String>,
    /// Source file as the profile has it, or empty.
    pub file: String,
    /// Line in it, or 0.
    pub line: u32,
    /// The file in the checkout, relative to its root with `/`; whoever knows the checkout says it.
    pub path: Option<String>,
}

impl Frame {
    /// The function's name for people.
    #[must_use]
    pub fn shown_function(&self) -> &str {
        self.short.as_deref().unwrap_or(&self.function)
    }

    /// The file as it is best shown: in the checkout, where it is.
    #[must_use]
    pub fn shown_file(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.file)
    }
}

/// The frames of a sample that a finding keeps, and the marks among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Located {
    /// Without those of the allocator, leaf first.
    pub(super) frames: Vec<Frame>,
    /// Where memory is asked for; of a function without a name the one of its library that calls it.
    pub(super) place: Option<usize>,
    /// The innermost frame of the program's own code, with a line where there is one.
    pub(super) own: Option<usize>,
    /// What it is for, where that is not the place itself: the full name of a function.
    pub(super) purpose: Option<String>,
    /// What is allocated.
    pub(super) what: Option<String>,
}

/// A sample's frames without those of the allocator, leaf first, and the marks among them.
pub(super) fn stack<'a>(sites: &Sites<'a>, sample: &'a Sample) -> Located {
    let profile = sites.profile();
    let function = |frame: &SiteFrame| profile.functions.get(frame.function);
    let all: Vec<SiteFrame> = sites.frames(sample).collect();
    let marks = sites.marks(sample);
    // As in every report: from the outermost frame of the allocator down to the leaf.
    let rules = FrameRules::allocators();
    let is_hidden = |frame: &SiteFrame| function(frame).is_some_and(|f| rules.hides(f));
    let inside = all.iter().rposition(is_hidden);
    let seen = match all.get(inside.map_or(0, |at| at + 1)..) {
        Some([]) | None => &all[..],
        Some(seen) => seen,
    };
    let seen = &seen[..seen.len().min(KEPT)];
    // An address says nothing, and another one in the next build.
    let asks = marks.caller.or(marks.place);
    let place = asks.and_then(|place| seen.iter().position(|frame| *frame == place));
    let owns = seen.iter().enumerate().rev();
    // A frame without a line is no place to go to in an editor, if there is another.
    let own = owns
        .filter(|(_, frame)| frame.kind == Kind::Own)
        .max_by_key(|(_, frame)| has_line(frame, sites))
        .map(|(index, _)| index);
    let of_place = asks.map(|place| place.function);
    let purpose = match &marks.purpose {
        Some(Purpose::Frame(frame)) if Some(frame.function) == of_place => None,
        Some(Purpose::Frame(frame)) => function(frame).map(|f| f.name.clone()),
        Some(Purpose::Mention(path)) => Some(path.clone()),
        None => None,
    };
    let kept = seen.iter().map(|frame| Frame {
        function: function(frame).map_or_else(String::new, |f| f.name.clone()),
        short: None,
        file: function(frame).map_or_else(String::new, |f| f.file.clone()),
        line: frame.line,
        path: None,
    });
    Located {
        frames: kept.collect(),
        place: place.or_else(|| (!seen.is_empty()).then_some(0)),
        own,
        purpose,
        what: marks
            .what
            .map(|what| sites.what_name(&what))
            .filter(|what| !what.is_empty()),
    }
}

fn has_line(frame: &SiteFrame, sites: &Sites<'_>) -> bool {
    let function = sites.profile().functions.get(frame.function);
    frame.line > 0 && function.is_some_and(|function| !function.file.is_empty())
}

#[cfg(test)]
mod tests {
    use super::stack;
    use crate::export::example::counter_service;
    use crate::profile::Profile;
    use crate::sites::tests::service;
    use crate::sites::{Rules, Sites};

    /// Of a sample's stack where memory is asked for, and the own frame, each with its line.
    fn marks(profile: &Profile, sample: usize) -> [Option<(String, u32)>; 2] {
        let sites = Sites::new(profile, &Rules::default());
        let located = stack(&sites, &profile.samples[sample]);
        [located.place, located.own].map(|index| {
            let frame = located.frames.get(index?)?;
            Some((frame.function.clone(), frame.line))
        })
    }

    #[test]
    fn the_place_asks_for_memory_and_the_own_frame_is_the_users() {
        let mut profile = counter_service();
        let insert = Some(("counter::Cache::insert".to_owned(), 9));
        let handle = Some(("counter::handle".to_owned(), 44));
        // The allocator's frame is gone.
        assert_eq!(marks(&profile, 0), [insert.clone(), insert.clone()]);
        // libc.so.6 allocates for its caller.
        assert_eq!(marks(&profile, 2), [handle.clone(), handle.clone()]);
        // A library that asks for memory on its own.
        profile.functions[2].file = "/home/me/.cargo/registry/src/cache-1.0/src/lib.rs".to_owned();
        assert_eq!(marks(&profile, 0), [insert, handle]);
        profile.samples[0].locations.clear();
        assert_eq!(marks(&profile, 0), [None, None]);
    }

    #[test]
    fn a_nameless_place_is_the_function_that_calls_it() {
        const LIB: &str = "/usr/lib/libsqlite3.so.0";
        let profile = crate::sites::tests::profile(
            "/usr/bin/p",
            &[&[
                ("libsqlite3.so.0+0x10", "", LIB),
                ("sqlite3BtreeInsert", "", LIB),
                ("p+0x20", "", ""),
            ]],
        );
        let [place, _] = marks(&profile, 0);
        assert_eq!(place, Some(("sqlite3BtreeInsert".to_owned(), 0)));
    }

    #[test]
    fn what_it_is_for_is_said_where_it_is_not_the_place() {
        let profile = service();
        let sites = Sites::new(&profile, &Rules::default());
        let located = profile.samples.iter().map(|sample| stack(&sites, sample));
        let said: Vec<_> = located.map(|one| (one.what, one.purpose)).collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            said,
            [
                (
                    text("bytes::BytesMut"),
                    text("axum::serve::handle_connection::<L, M, S>")
                ),
                (text("String"), None),
            ]
        );
    }
}
