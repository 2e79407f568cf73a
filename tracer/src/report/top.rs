//! The functions that hold the most.

use std::cmp::Reverse;
use std::fmt;

use serde::Serialize;

use super::errors::{AmountError, Doubts, column, head, legend};
use super::format::{Unit, name_width, percent, shorten, show_percent};
use super::graph::Graph;
use super::{Header, names, view};
use crate::names::{NameStyle, Names};
use crate::profile::{Filter, Profile, ValueKind};

/// What a table is sorted by; of a difference, by the absolute amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The function's own allocations.
    #[default]
    Flat,
    /// Those of everything it calls, too.
    Cum,
}

/// What to show.
#[derive(Clone, Debug, Default)]
pub struct TopOptions {
    /// The value to show.
    pub by: ValueKind,
    /// What to sort by.
    pub sort: Sort,
    /// Most rows; `None` for all.
    pub limit: Option<usize>,
    /// Show the allocator's own frames.
    pub show_allocator: bool,
    /// Which stacks and frames to look at.
    pub filter: Filter,
    /// How the text shows names.
    pub names: NameStyle,
    /// Columns of the text; longer names lose their middle. `None` for as many as it takes.
    pub max_width: Option<usize>,
}

/// The functions that hold the most. As JSON: `{"report": "top", "header": …, "functions": …,
/// "rows": […]}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "report", rename = "top")]
pub struct Top {
    /// Where the amounts come from.
    pub header: Header,
    /// Functions there are, shown or not.
    pub functions: usize,
    /// Those shown, the largest first.
    pub rows: Vec<TopRow>,
    #[serde(skip)]
    names: Names,
    #[serde(skip)]
    max_width: Option<usize>,
}

/// A function's amounts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopRow {
    /// Its name.
    pub name: String,
    /// What its own allocations hold.
    pub flat: i64,
    /// How wrong that may be, where it is estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flat_error: Option<AmountError>,
    /// That, in percent of the total.
    pub flat_percent: f64,
    /// Flat of this row and all above it, in percent of the total.
    pub sum_percent: f64,
    /// What its allocations and those of everything it calls hold.
    pub cum: i64,
    /// How wrong that may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cum_error: Option<AmountError>,
    /// That, in percent of the total.
    pub cum_percent: f64,
    /// Whether the compiler inlined it into its callers.
    pub inline: Inline,
}

/// Whether a function was inlined into its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Inline {
    /// Nowhere.
    No,
    /// Into some of them.
    Partial,
    /// Everywhere.
    Yes,
}

/// The functions that hold the most.
#[must_use]
pub fn top(profile: &Profile, options: &TopOptions) -> Top {
    let (header, profile) = view(profile, options.by, options.show_allocator, &options.filter);
    let graph = Graph::new(&profile, options.by);
    let doubts = Doubts::new(&profile, options.by);

    let mut inline: Vec<Option<Inline>> = vec![None; graph.nodes.len()];
    for edge in &graph.edges {
        if let Some(inline) = inline.get_mut(edge.callee) {
            *inline = Some(match (*inline, edge.inline) {
                (None | Some(Inline::Yes), true) => Inline::Yes,
                (None | Some(Inline::No), false) => Inline::No,
                _ => Inline::Partial,
            });
        }
    }
    let mut nodes: Vec<_> = graph
        .nodes
        .iter()
        .zip(inline)
        .filter(|(node, _)| node.flat != 0 || node.cum != 0)
        .collect();
    nodes.sort_by_key(|(node, _)| {
        let (flat, cum) = (node.flat.unsigned_abs(), node.cum.unsigned_abs());
        let (first, second) = match options.sort {
            Sort::Flat => (flat, cum),
            Sort::Cum => (cum, flat),
        };
        (Reverse(first), Reverse(second), node.name)
    });

    let mut sum = 0_i64;
    Top {
        functions: nodes.len(),
        rows: nodes
            .into_iter()
            .take(options.limit.unwrap_or(usize::MAX))
            .map(|(node, inline)| {
                sum = sum.saturating_add(node.flat);
                TopRow {
                    name: node.name.to_owned(),
                    flat: node.flat,
                    flat_error: doubts.of(node.flat, node.flat_squares),
                    flat_percent: percent(node.flat, header.total),
                    sum_percent: percent(sum, header.total),
                    cum: node.cum,
                    cum_error: doubts.of(node.cum, node.cum_squares),
                    cum_percent: percent(node.cum, header.total),
                    inline: inline.unwrap_or(Inline::No),
                }
            })
            .collect(),
        header,
        names: names([&*profile], options.names),
        max_width: options.max_width,
    }
}

impl fmt::Display for Top {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Columns left of the name.
        const LEFT: usize = 44;
        let has_errors = self.header.total_error.is_some();
        let error = head(has_errors);
        let left = LEFT + 2 * error.len();
        write!(f, "{}", self.header)?;
        let smallest = self
            .rows
            .iter()
            .map(|row| if row.flat == 0 { row.cum } else { row.flat });
        let unit = Unit::choose(&self.header.unit, smallest, self.header.total);
        let shown = self
            .rows
            .iter()
            .fold(0_i64, |sum, row| sum.saturating_add(row.flat));
        writeln!(
            f,
            "Showing {} of {} functions, {} of {} ({})\n",
            self.rows.len(),
            self.functions,
            unit.show(shown),
            unit.show(self.header.total),
            show_percent(percent(shown, self.header.total)).trim_start()
        )?;
        if self.rows.is_empty() {
            return writeln!(
                f,
                "No function holds any {}.",
                self.header.sample_type.name()
            );
        }
        writeln!(
            f,
            "      flat{error}  flat%   sum%        cum{error}   cum%"
        )?;
        for row in &self.rows {
            let inline = match row.inline {
                Inline::No => "",
                Inline::Partial => " (partial-inline)",
                Inline::Yes => " (inline)",
            };
            let width = name_width(self.max_width, left + inline.len());
            writeln!(
                f,
                "{:>10}{} {} {} {:>10}{} {}  {}{inline}",
                unit.show(row.flat),
                column(row.flat_error.as_ref(), row.flat, has_errors),
                show_percent(row.flat_percent),
                show_percent(row.sum_percent),
                unit.show(row.cum),
                column(row.cum_error.as_ref(), row.cum, has_errors),
                show_percent(row.cum_percent),
                shorten(self.names.show(&row.name), width),
            )?;
        }
        let errors = self.rows.iter();
        legend(errors.flat_map(|row| [row.flat_error, row.cum_error]), f)
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::{Sort, TopOptions, top};
    use crate::export::example::{counter_service, estimated};
    use crate::names::NameStyle;
    use crate::profile::{Filter, Profile, ValueKind};

    #[test]
    fn by_flat_with_the_allocator_hidden() {
        let top = top(&counter_service(), &TopOptions::default());
        insta::assert_snapshot!(top, @"
        Source:  attach to counter-service (pid 4711) for 30.0 s
        Verdict: degraded
                 2 of 3048 allocations have no stack.
        Type:    inuse_space, total 2.95MB
        Showing 5 of 5 functions, 3024.98kB of 3024.98kB (100%)

              flat  flat%   sum%        cum   cum%
            2000kB 66.12% 66.12%     2000kB 66.12%  counter::Cache::insert
            1024kB 33.85%   100%     1024kB 33.85%  libc.so.6+0x8f2c1
            0.98kB 0.032%   100%     0.98kB 0.032%  counter::walk
                 0     0%   100%  3024.98kB   100%  main
                 0     0%   100%     2000kB 66.12%  counter::handle
        ");
    }

    #[test]
    fn by_cum_with_all_frames_and_a_limit() {
        let options = TopOptions {
            by: ValueKind::AllocObjects,
            sort: Sort::Cum,
            limit: Some(4),
            show_allocator: true,
            max_width: Some(60),
            ..TopOptions::default()
        };
        let top = top(&counter_service(), &options);
        insta::assert_snapshot!(top, @r"
        Source:  attach to counter-service (pid 4711) for 30.0 s
        Verdict: degraded
                 2 of 3048 allocations have no stack.
        Type:    alloc_objects, total 3048
        Showing 4 of 6 functions, 3000 of 3048 (98.43%)

              flat  flat%   sum%        cum   cum%
                 0     0%     0%       3048   100%  main
                 0     0%     0%       3007 98.65%  counter::handle
              3000 98.43% 98.43%       3000 98.43%  alloc::alloc::alloc (inline)
                 0     0% 98.43%       3000 98.43%  counter::…he::insert
        ");
    }

    #[test]
    fn a_filter_is_said_and_percentages_stay_of_the_whole() -> Result<(), regex::Error> {
        let options = TopOptions {
            filter: Filter {
                focus: Some(Regex::new("walk")?),
                ignore: Some(Regex::new("nobody")?),
                ..Filter::default()
            },
            ..TopOptions::default()
        };
        let top = top(&counter_service(), &options);
        insta::assert_snapshot!(top, @"
        Source:  attach to counter-service (pid 4711) for 30.0 s
        Verdict: degraded
                 2 of 3048 allocations have no stack.
        Type:    inuse_space, total 2.95MB
        Filter:  focus = walk
        Filter:  ignore = nobody (matches nothing)
        Showing 2 of 2 functions, 0.98kB of 3024.98kB (0.032%)

              flat  flat%   sum%        cum   cum%
            0.98kB 0.032% 0.032%     0.98kB 0.032%  counter::walk
                 0     0% 0.032%     0.98kB 0.032%  main
        ");
        Ok(())
    }

    #[test]
    fn people_get_short_names_and_machines_full_ones() -> serde_json::Result<()> {
        const FULL: &str = "<counter::cache::Cache<u8> as counter::Store>::insert";
        let mut profile = counter_service();
        profile.functions[2].name = FULL.to_owned();
        let text = |names: NameStyle| {
            let options = TopOptions {
                names,
                ..TopOptions::default()
            };
            top(&profile, &options).to_string()
        };
        assert!(text(NameStyle::Short).contains("66.12%  counter::Cache::insert\n"));
        assert!(text(NameStyle::Full).contains(FULL));
        let json = serde_json::to_string(&top(&profile, &TopOptions::default()))?;
        assert!(json.contains(FULL), "{json}");
        Ok(())
    }

    #[test]
    fn estimates_have_errors_and_rough_ones_a_mark() {
        let options = TopOptions {
            by: ValueKind::AllocSpace,
            ..TopOptions::default()
        };
        insta::assert_snapshot!(top(&estimated(), &options), @"
        Source:  attach to counter-service (pid 4711) for 30.0 s
        Verdict: sampled
                 Only windows were seen.
        Type:    alloc_space, total 3.93MB ±4%
        Sampled: by rare calls, 45 windows of 200.0 ms together: 0.67% of what was done; all alike ±3.0%
        Showing 5 of 5 functions, 4028.59kB of 4028.59kB (100%)

              flat         flat%   sum%        cum          cum%
            3000kB    ±4% 74.47% 74.47%     3000kB    ±4% 74.47%  counter::Cache::insert
         1024.68kB   ±10% 25.44% 99.90%  1024.68kB   ±10% 25.44%  libc.so.6+0x8f2c1
            3.91kB  ~±70% 0.097%   100%     3.91kB  ~±70% 0.097%  counter::walk
                 0            0%   100%  4028.59kB    ±4%   100%  main
                 0            0%   100%  3000.68kB    ±4% 74.48%  counter::handle

        ±: standard error of what is estimated
        ~: half of the amount or more may be error
        ");
    }

    #[test]
    fn live_amounts_of_windows_are_candidates() {
        let text = top(&estimated(), &TopOptions::default()).to_string();
        assert!(text.contains("Live:    candidates seen in windows, at most"));
        assert!(!text.contains('~'), "{text}");
    }

    #[test]
    fn recursion_counts_once() {
        let top = top(&counter_service(), &TopOptions::default());
        let walk = top.rows.iter().find(|row| row.name == "counter::walk");
        assert_eq!(walk.map(|row| (row.flat, row.cum)), Some((1_000, 1_000)));
    }

    #[test]
    fn an_empty_profile_has_an_empty_table() {
        let top = top(&Profile::default(), &TopOptions::default());
        insta::assert_snapshot!(top, @r"
        Verdict: complete
        Type:    inuse_space, total 0
        Showing 0 of 0 functions, 0 of 0 (0%)

        No function holds any inuse_space.
        ");
    }

    #[test]
    fn machines_get_stable_names() -> serde_json::Result<()> {
        let options = TopOptions {
            limit: Some(1),
            ..TopOptions::default()
        };
        let top = top(&counter_service(), &options);
        insta::assert_snapshot!(serde_json::to_string_pretty(&top)?, @r#"
        {
          "report": "top",
          "header": {
            "source": "attach to counter-service (pid 4711) for 30.0 s",
            "verdict": "degraded",
            "reasons": [
              "2 of 3048 allocations have no stack."
            ],
            "sample_type": "inuse_space",
            "unit": "bytes",
            "total": 3097576
          },
          "functions": 5,
          "rows": [
            {
              "name": "counter::Cache::insert",
              "flat": 2048000,
              "flat_percent": 66.11621474339935,
              "sum_percent": 66.11621474339935,
              "cum": 2048000,
              "cum_percent": 66.11621474339935,
              "inline": "no"
            }
          ]
        }
        "#);
        Ok(())
    }

    #[test]
    fn extreme_amounts_do_not_overflow() {
        let mut profile = counter_service();
        for sample in &mut profile.samples {
            sample.values.inuse_space = i64::MIN;
        }
        let top = top(&profile, &TopOptions::default());
        assert_eq!(top.header.total, i64::MAX);
        assert!(top.to_string().contains("main"));
    }
}
