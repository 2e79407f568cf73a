//! Tables over a profile, in the manner of pprof's `top`, `tree` and `peek`.
//!
//! Each report is data first ([`Top`], [`Tree`], [`Peek`]: serde gives the JSON, whose field names
//! are stable) and text by `Display`. Amounts agree with pprof's for the same file: functions are
//! told apart by name, the frames of allocators are hidden, recursion counts once in `cum`.
//! Everything is pure over a [`Profile`].

mod format;
mod graph;
mod header;
mod peek;
mod top;
mod tree;

use std::borrow::Cow;

pub use format::printable;
pub use header::Header;
pub use peek::{Edge, Peek, PeekEntry, PeekOptions, peek};
pub use top::{Inline, Sort, Top, TopOptions, TopRow, top};
pub use tree::{Tree, TreeNode, TreeOptions, tree};

use crate::profile::{FrameRules, Profile, prune};

/// The profile as a report shows it.
fn visible(profile: &Profile, show_allocator: bool) -> Cow<'_, Profile> {
    if show_allocator {
        Cow::Borrowed(profile)
    } else {
        prune(profile, FrameRules::allocators())
    }
}
