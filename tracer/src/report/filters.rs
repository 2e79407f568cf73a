//! The filters a report was made with, said in its head: a table without half the stacks must not
//! look like the whole.

use std::fmt;

use regex::Regex;
use serde::Serialize;

use crate::printable::printable;
use crate::profile::{Filter, FilterMatches};

/// A filter in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActiveFilter {
    /// `focus`, `ignore`, `hide` or `show_from`.
    pub name: String,
    /// Its regular expression.
    pub pattern: String,
    /// Whether it matched anything.
    pub matched: bool,
}

pub(super) fn active(filter: &Filter, matches: FilterMatches) -> Vec<ActiveFilter> {
    let one = |name: &str, pattern: &Option<Regex>, matched: Option<bool>| {
        pattern.as_ref().map(|pattern| ActiveFilter {
            name: name.to_owned(),
            pattern: pattern.as_str().to_owned(),
            matched: matched.unwrap_or(false),
        })
    };
    [
        one("focus", &filter.focus, matches.focus),
        one("ignore", &filter.ignore, matches.ignore),
        one("hide", &filter.hide, matches.hide),
        one("show_from", &filter.show_from, matches.show_from),
    ]
    .into_iter()
    .flatten()
    .collect()
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
