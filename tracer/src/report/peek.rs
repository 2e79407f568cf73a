//! One function from close up: who calls it above, what it calls below.

use std::cmp::Reverse;
use std::fmt;

use regex::Regex;
use serde::Serialize;

use super::errors::{AmountError, Doubts, column, head, legend};
use super::format::{Unit, name_width, percent, shorten, show_percent};
use super::graph::{self, Graph};
use super::{Header, names, view};
use crate::names::{NameStyle, Names};
use crate::profile::{Filter, Profile, ValueKind};

/// What to show.
#[derive(Clone, Debug)]
pub struct PeekOptions {
    /// The functions to show: those whose name it matches anywhere, the full one or the one shown.
    pub pattern: Regex,
    /// The value to show.
    pub by: ValueKind,
    /// Show the allocator's own frames.
    pub show_allocator: bool,
    /// Which stacks and frames to look at.
    pub filter: Filter,
    /// How the text shows names.
    pub names: NameStyle,
    /// Columns of the text; longer names lose their middle. `None` for as many as it takes.
    pub max_width: Option<usize>,
}

/// Functions with their callers and callees. As JSON: `{"report": "peek", "header": …, "pattern": …,
/// "entries": […]}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "report", rename = "peek")]
pub struct Peek {
    /// Where the amounts come from.
    pub header: Header,
    /// The pattern asked for.
    pub pattern: String,
    /// Matching functions, the largest flat first; empty where nothing matches.
    pub entries: Vec<PeekEntry>,
    #[serde(skip)]
    names: Names,
    #[serde(skip)]
    max_width: Option<usize>,
}

/// A function with its callers and callees.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeekEntry {
    /// Its name.
    pub name: String,
    /// What its own allocations hold.
    pub flat: i64,
    /// How wrong that may be, where it is estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flat_error: Option<AmountError>,
    /// That, in percent of the total.
    pub flat_percent: f64,
    /// What its allocations and those of everything it calls hold.
    pub cum: i64,
    /// How wrong that may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cum_error: Option<AmountError>,
    /// That, in percent of the total.
    pub cum_percent: f64,
    /// Who calls it, the heaviest first.
    pub callers: Vec<Edge>,
    /// What it calls, the heaviest first. A call of itself is not among them.
    pub callees: Vec<Edge>,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Edge {
    /// The function at the other end.
    pub name: String,
    /// What is held by stacks with this call.
    pub weight: i64,
    /// How wrong that may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_error: Option<AmountError>,
    /// That, in percent of the function's `cum`.
    pub percent: f64,
    /// The call was always inlined.
    pub inline: bool,
}

/// The functions that match a pattern, with their callers and callees.
#[must_use]
pub fn peek(profile: &Profile, options: &PeekOptions) -> Peek {
    let (header, profile) = view(profile, options.by, options.show_allocator, &options.filter);
    let graph = Graph::new(&profile, options.by);
    let names = names([&*profile], options.names);
    let matches =
        |name: &str| options.pattern.is_match(name) || options.pattern.is_match(names.show(name));
    let doubts = Doubts::new(&profile, options.by);

    let mut callers: Vec<Vec<&graph::Edge>> = vec![Vec::new(); graph.nodes.len()];
    let mut callees = callers.clone();
    for edge in &graph.edges {
        if let (Some(to), Some(from)) = (callers.get_mut(edge.callee), callees.get_mut(edge.caller))
        {
            to.push(edge);
            from.push(edge);
        }
    }
    let mut entries: Vec<PeekEntry> = graph
        .nodes
        .iter()
        .zip(callers)
        .zip(callees)
        .filter(|((node, _), _)| (node.flat != 0 || node.cum != 0) && matches(node.name))
        .map(|((node, callers), callees)| PeekEntry {
            name: node.name.to_owned(),
            flat: node.flat,
            flat_error: doubts.of(node.flat, node.flat_squares),
            flat_percent: percent(node.flat, header.total),
            cum: node.cum,
            cum_error: doubts.of(node.cum, node.cum_squares),
            cum_percent: percent(node.cum, header.total),
            callers: edges(&graph, &doubts, node.cum, &callers, |edge| edge.caller),
            callees: edges(&graph, &doubts, node.cum, &callees, |edge| edge.callee),
        })
        .collect();
    entries.sort_by_key(|entry| {
        let (flat, cum) = (entry.flat.unsigned_abs(), entry.cum.unsigned_abs());
        (Reverse(flat), Reverse(cum), entry.name.clone())
    });
    Peek {
        header,
        pattern: options.pattern.as_str().to_owned(),
        entries,
        names,
        max_width: options.max_width,
    }
}

fn edges(
    graph: &Graph<'_>,
    doubts: &Doubts,
    cum: i64,
    edges: &[&graph::Edge],
    other_end: fn(&graph::Edge) -> usize,
) -> Vec<Edge> {
    let mut edges: Vec<Edge> = edges
        .iter()
        .filter_map(|edge| {
            Some(Edge {
                name: graph.nodes.get(other_end(edge))?.name.to_owned(),
                weight: edge.weight,
                weight_error: doubts.of(edge.weight, edge.squares),
                percent: percent(edge.weight, cum),
                inline: edge.inline,
            })
        })
        .collect();
    edges.sort_by_key(|edge| (Reverse(edge.weight.unsigned_abs()), edge.name.clone()));
    edges
}

impl fmt::Display for Peek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.header)?;
        if self.entries.is_empty() {
            let pattern = shorten(&self.pattern, usize::MAX);
            return writeln!(f, "\nNo function in the profile matches \"{pattern}\".");
        }
        let amounts = self.entries.iter().flat_map(|entry| {
            let edges = entry.callers.iter().chain(&entry.callees);
            edges.map(|edge| edge.weight).chain([entry.flat, entry.cum])
        });
        let unit = Unit::choose(&self.header.unit, amounts, self.header.total);
        let has_errors = self.header.total_error.is_some();
        let error = head(has_errors);
        let left = 3 * error.len();
        writeln!(
            f,
            "\n      flat{error}  flat%        cum{error}   cum%      calls{error} calls% + context"
        )?;
        for entry in &self.entries {
            writeln!(f, "{}", "-".repeat(62 + left))?;
            self.edges(f, unit, &entry.callers)?;
            writeln!(
                f,
                "{:>10}{} {} {:>10}{} {}                  {error} | {}",
                unit.show(entry.flat),
                column(entry.flat_error.as_ref(), entry.flat, has_errors),
                show_percent(entry.flat_percent),
                unit.show(entry.cum),
                column(entry.cum_error.as_ref(), entry.cum, has_errors),
                show_percent(entry.cum_percent),
                shorten(
                    self.names.show(&entry.name),
                    name_width(self.max_width, 56 + left)
                ),
            )?;
            self.edges(f, unit, &entry.callees)?;
        }
        let errors = self.entries.iter().flat_map(|entry| {
            let edges = entry.callers.iter().chain(&entry.callees);
            let edges = edges.map(|edge| edge.weight_error);
            edges.chain([entry.flat_error, entry.cum_error])
        });
        legend(errors, f)
    }
}

impl Peek {
    fn edges(&self, f: &mut fmt::Formatter<'_>, unit: Unit, edges: &[Edge]) -> fmt::Result {
        let has_errors = self.header.total_error.is_some();
        let left = head(has_errors).len();
        for edge in edges {
            let inline = if edge.inline { " (inline)" } else { "" };
            let name = name_width(self.max_width, 58 + 3 * left + inline.len());
            writeln!(
                f,
                "{:>width$}{} {} |   {}{inline}",
                unit.show(edge.weight),
                column(edge.weight_error.as_ref(), edge.weight, has_errors),
                show_percent(edge.percent),
                shorten(self.names.show(&edge.name), name),
                width = 46 + 2 * left,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::{PeekOptions, peek};
    use crate::export::example::{counter_service, estimated};
    use crate::names::NameStyle;
    use crate::profile::{Filter, ValueKind};

    fn options(pattern: &str) -> Result<PeekOptions, regex::Error> {
        Ok(PeekOptions {
            pattern: Regex::new(pattern)?,
            by: ValueKind::InuseSpace,
            show_allocator: false,
            filter: Filter::default(),
            names: NameStyle::default(),
            max_width: None,
        })
    }

    #[test]
    fn callers_above_and_callees_below() -> Result<(), regex::Error> {
        let peek = peek(&counter_service(), &options("main|insert")?);
        insta::assert_snapshot!(peek, @"
        Source:  attach to counter-service (pid 4711) for 30.0 s
        Verdict: degraded
                 2 of 3048 allocations have no stack.
        Type:    inuse_space, total 2.95MB

              flat  flat%        cum   cum%      calls calls% + context
        --------------------------------------------------------------
                                                2000kB   100% |   counter::handle
            2000kB 66.12%     2000kB 66.12%                   | counter::Cache::insert
        --------------------------------------------------------------
                 0     0%  3024.98kB   100%                   | main
                                                2000kB 66.12% |   counter::handle
                                                1024kB 33.85% |   libc.so.6+0x8f2c1
                                                0.98kB 0.032% |   counter::walk
        ");
        Ok(())
    }

    #[test]
    fn estimates_have_errors() -> Result<(), regex::Error> {
        let options = PeekOptions {
            by: ValueKind::AllocSpace,
            ..options("handle")?
        };
        insta::assert_snapshot!(peek(&estimated(), &options), @"
        Source:  attach to counter-service (pid 4711) for 30.0 s
        Verdict: sampled
                 Only windows were seen.
        Type:    alloc_space, total 3.93MB ±4%
        Sampled: by rare calls, 45 windows of 200.0 ms together: 0.67% of what was done; all alike ±3.0%

              flat         flat%        cum          cum%      calls        calls% + context
        -----------------------------------------------------------------------------------
                                                           3000.68kB    ±4%   100% |   main
                 0            0%  3000.68kB    ±4% 74.48%                          | counter::handle
                                                              3000kB    ±4%   100% |   counter::Cache::insert
                                                              0.68kB   ±20% 0.023% |   libc.so.6+0x8f2c1

        ±: standard error of what is estimated
        ");
        Ok(())
    }

    #[test]
    fn a_function_that_calls_itself_is_not_its_own_caller() -> Result<(), regex::Error> {
        let peek = peek(&counter_service(), &options("walk")?);
        assert_eq!(peek.entries.len(), 1);
        assert_eq!(peek.entries[0].callers.len(), 1);
        assert!(peek.entries[0].callees.is_empty());
        Ok(())
    }

    #[test]
    fn inlined_calls_are_marked() -> Result<(), regex::Error> {
        let options = PeekOptions {
            show_allocator: true,
            ..options("insert")?
        };
        let peek = peek(&counter_service(), &options);
        let callee = &peek.entries[0].callees[0];
        assert_eq!(callee.name, "alloc::alloc::alloc");
        assert!(callee.inline);
        assert!(!peek.entries[0].callers[0].inline);
        Ok(())
    }

    #[test]
    fn no_match_says_so() -> Result<(), regex::Error> {
        let peek = peek(&counter_service(), &options("^nothing$")?);
        insta::assert_snapshot!(peek, @r#"
        Source:  attach to counter-service (pid 4711) for 30.0 s
        Verdict: degraded
                 2 of 3048 allocations have no stack.
        Type:    inuse_space, total 2.95MB

        No function in the profile matches "^nothing$".
        "#);
        Ok(())
    }

    #[test]
    fn a_name_is_found_as_it_is_shown() -> Result<(), regex::Error> {
        let mut profile = counter_service();
        profile.functions[2].name = "<counter::cache::Cache<u8>>::insert".to_owned();
        for pattern in ["^counter::Cache::insert$", "cache::Cache<u8>"] {
            let peek = peek(&profile, &options(pattern)?);
            assert_eq!(peek.entries.len(), 1, "{pattern}");
        }
        Ok(())
    }
}
