//! Tables over a profile: where memory is asked for, and pprof's `top`, `tree` and `peek`.
//!
//! Each report is data first ([`SiteTable`], [`Top`], [`Tree`], [`Peek`]: serde gives the JSON, whose field names
//! are stable) and text by `Display`. Amounts agree with pprof's for the same file: functions are
//! told apart by name, the frames of allocators are hidden, recursion counts once in `cum`.
//! Everything is pure over a [`Profile`]. Text has [short names](crate::names), JSON the full ones.
//!
//! [`compare`] and [`Series`] set two or more profiles against each other.

mod compare;
mod errors;
mod filters;
mod format;
mod graph;
mod header;
mod peek;
mod series;
mod sites;
mod stacks;
mod top;
mod tree;

use std::borrow::Cow;

pub use compare::{
    Change, Compare, CompareOptions, FunctionChange, LossRow, Side, SideHeader, SiteChange,
    StackRow, compare, inconclusive,
};
pub(crate) use errors::show as show_error;
pub use errors::{AmountError, ChangeError};
pub use filters::ActiveFilter;
pub use format::fitted;
pub(crate) use format::{Unit, percent, shorten, shorten_left, show_percent};
pub use header::Header;
pub use peek::{Edge, Peek, PeekEntry, PeekOptions, peek};
pub use series::{GrowingStack, Series, SeriesBuilder, SeriesOptions, SeriesRow};
pub(crate) use sites::Cells;
pub(crate) use sites::fit_columns;
pub use sites::{
    GroupBy, LiveSite, LiveSites, Place, SiteMarks, SiteRow, SiteStack, SiteTable, SitesOptions,
    StackLine, largest_sites, live_sites, sites,
};
pub use stacks::StackFrame;
pub use top::{Inline, Sort, Top, TopOptions, TopRow, top};
pub use tree::{Tree, TreeNode, TreeOptions, tree};

use crate::names::{NameStyle, Names};
use crate::profile::{Filter, FrameRules, Profile, ValueKind, prune};
use crate::sites::Rules;

/// How people are shown a profile.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// How functions are called.
    pub names: NameStyle,
    /// Whose code is what, beyond the built-in table.
    pub rules: Rules,
    /// Columns of text; `None` for as many as it takes.
    pub max_width: Option<usize>,
    /// Show all frames of flame graphs, plumbing included.
    pub is_full: bool,
}

/// The head of a report, and the part of the profile it shows. Percentages are of the whole, as in
/// pprof: a filter does not make its findings larger.
fn view<'a>(
    profile: &'a Profile,
    by: ValueKind,
    show_allocator: bool,
    filter: &Filter,
) -> (Header, Cow<'a, Profile>) {
    let profile = visible(profile, show_allocator);
    let mut header = Header::new(&profile, by);
    if filter.is_empty() {
        return (header, profile);
    }
    let (filtered, matches) = filter.apply(&profile);
    header.filters = filters::active(filter, matches);
    (header, Cow::Owned(filtered.into_owned()))
}

/// How the functions of profiles are shown.
pub(crate) fn names<'a>(
    profiles: impl IntoIterator<Item = &'a Profile>,
    style: NameStyle,
) -> Names {
    let functions = profiles.into_iter().flat_map(|profile| &profile.functions);
    Names::of(functions.map(|f| (f.name.as_str(), f.file.as_str())), style)
}

/// The profile without the frames that no report shows unless asked.
fn visible(profile: &Profile, show_allocator: bool) -> Cow<'_, Profile> {
    if show_allocator {
        Cow::Borrowed(profile)
    } else {
        prune(profile, FrameRules::allocators())
    }
}
