//! Wrappers that no list knows: functions near the allocator in each of their stacks, with many callers.
//!
//! What is called from everywhere and does little but allocate is not where memory is asked for; its callers
//! are. That takes more callers where the name does not sound like it. A named function of the program's own
//! must sound like it: one that many call and that keeps what it is given is where a leak is.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use regex::Regex;

use super::{Kind, SiteFrame, Sites};

/// Frames that may be between it and the allocator's callers.
pub(super) const NEAR: usize = 2;
/// Callers of what sounds like a wrapper.
const FEW: usize = 3;
/// Callers of what does not.
const MANY: usize = 8;

/// What is known of the functions near the allocator.
#[derive(Debug, Default)]
pub(super) struct Fan {
    functions: HashMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    callers: HashSet<String>,
    is_near: bool,
    needs: Option<usize>,
}

impl Fan {
    /// Looks at the stacks of a profile.
    pub(super) fn add(&mut self, sites: &Sites<'_>) {
        let name = |function: usize| sites.profile().functions.get(function).map(|f| &*f.name);
        for sample in &sites.profile().samples {
            let mut last: Option<&str> = None;
            let places = sites.frames(sample).filter(|frame| frame.kind.is_place());
            for (position, frame) in places.enumerate() {
                let Some(name) = name(frame.function) else {
                    continue;
                };
                if let Some(callee) = last.filter(|callee| *callee != name)
                    && position <= NEAR + 1
                    && let Some(seen) = self.functions.get_mut(callee)
                    && seen.callers.len() < MANY
                    && !seen.callers.contains(name)
                {
                    seen.callers.insert(name.to_owned());
                }
                if position <= NEAR {
                    if !self.functions.contains_key(name) {
                        let seen = Seen {
                            callers: HashSet::new(),
                            is_near: true,
                            needs: needs(name, &frame, sites.is_in_no_file(&frame)),
                        };
                        self.functions.insert(name.to_owned(), seen);
                    }
                } else if let Some(seen) = self.functions.get_mut(name) {
                    seen.is_near = false;
                }
                last = Some(name);
            }
        }
        // Of stacks before it was first seen near.
        for sample in &sites.profile().samples {
            let places = sites.frames(sample).filter(|frame| frame.kind.is_place());
            for frame in places.skip(NEAR + 1) {
                let seen = name(frame.function).and_then(|name| self.functions.get_mut(name));
                if let Some(seen) = seen {
                    seen.is_near = false;
                }
            }
        }
    }

    /// Whether a function is a wrapper by its callers.
    pub(super) fn is_wrapper(&self, name: &str) -> bool {
        self.functions.get(name).is_some_and(|seen| {
            seen.is_near && seen.needs.is_some_and(|needs| seen.callers.len() >= needs)
        })
    }
}

/// Callers that it takes; `None` where no number is enough.
fn needs(name: &str, frame: &SiteFrame, is_in_no_file: bool) -> Option<usize> {
    match (frame.kind, frame.is_named, sounds_like_it(name)) {
        (Kind::Runtime, false, _) if is_in_no_file => None,
        (_, true, true) => Some(FEW),
        (Kind::Own, true, false) => None,
        _ => Some(MANY),
    }
}

/// Whether a function's last name has a word for making something.
fn sounds_like_it(name: &str) -> bool {
    #[expect(
        clippy::expect_used,
        reason = "a constant pattern; tests of this room compile it"
    )]
    static WORDS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?:^|_|[a-z0-9])(?:[Nn]ew|NEW|[Dd]up|[Cc]reate|[Mm]ake|[Cc]opy|[Cc]lone|[Gg]row|[Rr]esize|[Ee]xpand|[Rr]eserve|[Ss]trcat|[Ss]printf|[Bb]uf)(?:$|[_0-9A-Z])",
        )
        .expect("the pattern is valid")
    });
    let shown = crate::names::short(name, "");
    WORDS.is_match(super::table::last_part(&shown))
}
