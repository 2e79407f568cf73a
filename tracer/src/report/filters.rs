//! The filters a report was made with, said in its head: a table without half the stacks must not
//! look like the whole.

use std::fmt;

use serde::Serialize;

use crate::printable::printable;
use crate::profile::{Filter, FilterMatches, TagFilter};

/// A filter in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActiveFilter {
    /// `focus`, `ignore`, `hide`, `show_from`, `tag_focus`, `tag_ignore` or `tag_root`.
    pub name: String,
    /// Its regular expression; the keys of `tag_root`.
    pub pattern: String,
    /// Whether it matched anything.
    pub matched: bool,
}

pub(super) fn active(filter: &Filter, matches: FilterMatches) -> Vec<ActiveFilter> {
    let regex =
        |pattern: &Option<regex::Regex>| pattern.as_ref().map(|one| one.as_str().to_owned());
    let tags = |filter: &Option<TagFilter>| filter.as_ref().map(|one| one.as_str().to_owned());
    let roots = (!filter.tag_root.is_empty()).then(|| filter.tag_root.join(","));
    let all = [
        ("focus", regex(&filter.focus), matches.focus),
        ("ignore", regex(&filter.ignore), matches.ignore),
        ("hide", regex(&filter.hide), matches.hide),
        ("show_from", regex(&filter.show_from), matches.show_from),
        ("tag_focus", tags(&filter.tag_focus), matches.tag_focus),
        ("tag_ignore", tags(&filter.tag_ignore), matches.tag_ignore),
        ("tag_root", roots, matches.tag_root),
    ];
    let active = all.into_iter().filter_map(|(name, pattern, matched)| {
        Some(ActiveFilter {
            name: name.to_owned(),
            pattern: pattern?,
            matched: matched.unwrap_or(false),
        })
    });
    active.collect()
}

pub(super) fn fmt_filters(filters: &[ActiveFilter], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for filter in filters {
        let nothing = if filter.matched {
            ""
        } else {
            " (matches nothing)"
        };
        let pattern = printable(&filter.pattern);
        writeln!(f, "Filter:  {} = {pattern}{nothing}", filter.name)?;
    }
    Ok(())
}
