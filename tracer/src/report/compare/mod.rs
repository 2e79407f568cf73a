//! Two profiles against each other: what grew, what shrank, and by how much.
//!
//! Amounts agree with `pprof -diff_base`: the change of a function is what it holds in B less what
//! it holds in A. Here each is set against what it was before, since "64 kB more" means one thing
//! where there were 100 MB and another where there were none.

mod sites;
mod text;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::{panic, thread};

use serde::Serialize;

pub use sites::SiteChange;

use super::errors::{ChangeError, Doubts};
use super::filters::ActiveFilter;
use super::format::percent;
use super::graph::Graph;
use super::sites::Cells;
use super::stacks::{StackFrame, frames};
use super::{names, view};
use crate::names::{NameStyle, Names};
use crate::profile::{
    CounterClass, Filter, Fingerprint, Incompatible, Profile, ValueKind, Values, Verdict, diff,
};
use crate::sites::Rules;

/// What to show.
#[derive(Clone, Debug, Default)]
pub struct CompareOptions {
    /// The value to show.
    pub by: ValueKind,
    /// Most rows of each table; `None` for all.
    pub limit: Option<usize>,
    /// Which stacks and frames to look at.
    pub filter: Filter,
    /// How the text shows names.
    pub names: NameStyle,
    /// Whose code is what, beyond the built-in table.
    pub rules: Rules,
    /// Show functions with flat and cum in the text, in place of sites.
    pub by_function: bool,
    /// Columns of the text; longer names lose their middle. `None` for as many as it takes.
    pub max_width: Option<usize>,
}

/// One of the two profiles.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its file, for the head of the report.
    pub file: &'a str,
    /// What is in it.
    pub profile: &'a Profile,
}

/// The differences. As JSON: `{"report": "diff", "before": …, "after": …, "warning":
/// …, "losses": …, "total": …,
/// "sites": …, "site_rows": […], "functions": …, "function_rows": […], "stacks": …, "stack_rows": […]}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "report", rename = "diff")]
pub struct Compare {
    /// A.
    pub before: SideHeader,
    /// B.
    pub after: SideHeader,
    /// What is to be said where one of them is inconclusive.
    pub warning: Option<String>,
    /// Counters of losses that are not 0 in both.
    pub losses: Vec<LossRow>,
    /// The value that is shown: `inuse_space` and so on.
    pub sample_type: ValueKind,
    /// Its unit, `bytes` or `count`.
    pub unit: String,
    /// Sum over all stacks, whatever the filters.
    pub total: Change,
    /// Whether that is more than chance, where one of the two is estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_error: Option<ChangeError>,
    /// What the rows are limited to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<ActiveFilter>,
    /// Sites that changed, shown or not.
    pub sites: usize,
    /// Those shown, the largest change first.
    pub site_rows: Vec<SiteChange>,
    /// Functions that changed, shown or not.
    pub functions: usize,
    /// Those shown, the largest change of their own allocations first.
    pub function_rows: Vec<FunctionChange>,
    /// Stacks that changed, shown or not.
    pub stacks: usize,
    /// Those shown, the largest change first.
    pub stack_rows: Vec<StackRow>,
    #[serde(skip)]
    names: Names,
    #[serde(skip)]
    by_function: bool,
    #[serde(skip)]
    max_width: Option<usize>,
}

/// Where one of the two profiles comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SideHeader {
    /// Its file.
    pub file: String,
    /// How it was recorded.
    pub source: String,
    /// `complete`, `degraded` or `inconclusive`.
    pub verdict: String,
    /// What the verdict rests on, one sentence each.
    pub reasons: Vec<String>,
}

/// A counter of losses in both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LossRow {
    /// Its name.
    pub name: String,
    /// Its value in A.
    pub before: u64,
    /// Its value in B.
    pub after: u64,
    /// One sentence for people.
    pub help: String,
}

/// An amount before and after.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Change {
    /// In A.
    pub before: i64,
    /// In B.
    pub after: i64,
    /// B − A.
    pub change: i64,
    /// That, in percent of A; `null` where A has nothing.
    pub percent: Option<f64>,
}

/// How a function changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FunctionChange {
    /// Its name.
    pub name: String,
    /// What its own allocations hold.
    pub flat: Change,
    /// Whether that is more than chance, where one of the two is estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flat_error: Option<ChangeError>,
    /// What its allocations and those of everything it calls hold.
    pub cum: Change,
    /// The same of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cum_error: Option<ChangeError>,
}

/// How a stack changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StackRow {
    /// What it was matched by.
    pub fingerprint: Fingerprint,
    /// The value that is shown.
    #[serde(flatten)]
    pub change: Change,
    /// Whether that is more than chance, where one of the two is estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ChangeError>,
    /// All four values in A.
    pub values_before: Values,
    /// All four values in B.
    pub values_after: Values,
    /// Its frames, leaf first.
    pub frames: Vec<StackFrame>,
}

impl Compare {
    /// The texts of the sites that changed, in their order.
    pub(crate) fn site_texts(&self) -> impl Iterator<Item = Cells> {
        let rows = self.site_rows.iter();
        rows.map(|row| row.marks.cells(&self.names, false))
    }
}

impl Change {
    pub(in crate::report) fn new(before: i64, after: i64) -> Self {
        let change = after.saturating_sub(before);
        Self {
            before,
            after,
            change,
            percent: (before != 0)
                .then(|| percent(change, before).copysign(change.signum() as f64)),
        }
    }
}

/// What changed from one profile to another.
///
/// # Errors
/// When their amounts cannot be compared.
pub fn compare(
    before: Side<'_>,
    after: Side<'_>,
    options: &CompareOptions,
) -> Result<Compare, Incompatible> {
    let limit = options.limit.unwrap_or(usize::MAX);
    let total = |profile: &Profile| {
        let amounts = profile.samples.iter().map(|s| s.values.get(options.by));
        amounts.fold(0, i64::saturating_add)
    };
    let squares = |profile: &Profile| {
        let own = profile
            .samples
            .iter()
            .filter_map(|s| s.errors.get(options.by));
        own.map(|own| own * own).sum::<f64>()
    };
    let doubts = [before, after].map(|side| Doubts::new(side.profile, options.by));
    let [doubts_before, doubts_after] = &doubts;
    let (seen_before, one) = view(before.profile, options.by, false, &options.filter);
    let (seen_after, other) = view(after.profile, options.by, false, &options.filter);

    // Neither needs the other, and they take about as long.
    let (functions, diff) = thread::scope(|scope| {
        let functions = scope.spawn(|| functions(&one, &other, options.by, &doubts));
        let diff = diff(&one, &other);
        let functions = functions.join();
        (
            functions.unwrap_or_else(|panicked| panic::resume_unwind(panicked)),
            diff,
        )
    });
    let diff = diff?;
    let sites = sites::sites(&diff, options.by, &options.rules, &doubts);
    let mut stacks: Vec<_> = diff
        .stacks
        .iter()
        .zip(&diff.profile.samples)
        .filter(|(_, sample)| sample.values.get(options.by) != 0)
        .collect();
    stacks.sort_by_key(|(stack, sample)| {
        let change = sample.values.get(options.by).unsigned_abs();
        (Reverse(change), stack.fingerprint)
    });
    Ok(Compare {
        before: SideHeader::new(before),
        after: SideHeader::new(after),
        warning: warning(before.profile, after.profile, options.by),
        losses: losses(before.profile, after.profile),
        sample_type: options.by,
        unit: options.by.unit().to_owned(),
        total: Change::new(total(before.profile), total(after.profile)),
        total_error: Doubts::between(
            (
                doubts_before,
                total(before.profile),
                squares(before.profile),
            ),
            (doubts_after, total(after.profile), squares(after.profile)),
        ),
        filters: seen_before
            .filters
            .into_iter()
            .zip(seen_after.filters)
            .map(|(one, other)| ActiveFilter {
                matched: one.matched || other.matched,
                ..one
            })
            .collect(),
        sites: sites.len(),
        site_rows: sites.into_iter().take(limit).collect(),
        functions: functions.len(),
        function_rows: functions.into_iter().take(limit).collect(),
        stacks: stacks.len(),
        stack_rows: stacks
            .into_iter()
            .take(limit)
            .map(|(stack, sample)| StackRow {
                fingerprint: stack.fingerprint,
                change: Change::new(stack.before.get(options.by), stack.after.get(options.by)),
                error: Doubts::between(
                    (
                        doubts_before,
                        stack.before.get(options.by),
                        stack.errors_before.get(options.by).unwrap_or(0.0).powi(2),
                    ),
                    (
                        doubts_after,
                        stack.after.get(options.by),
                        stack.errors_after.get(options.by).unwrap_or(0.0).powi(2),
                    ),
                ),
                values_before: stack.before,
                values_after: stack.after,
                frames: frames(&diff.profile, sample),
            })
            .collect(),
        names: names([&*one, &*other], options.names),
        by_function: options.by_function,
        max_width: options.max_width,
    })
}

/// A function's amounts, each with the sum of the squares of its stacks' own errors.
#[derive(Clone, Copy, Debug, Default)]
struct Amounts {
    flat: (i64, f64),
    cum: (i64, f64),
}

/// The functions that changed, the largest change first.
fn functions(
    before: &Profile,
    after: &Profile,
    by: ValueKind,
    [doubts_before, doubts_after]: &[Doubts; 2],
) -> Vec<FunctionChange> {
    let before = Graph::without_edges(before, by);
    let after = Graph::without_edges(after, by);
    let mut amounts: HashMap<&str, [Amounts; 2]> = HashMap::new();
    for (side, graph) in [&before, &after].into_iter().enumerate() {
        for node in &graph.nodes {
            let of_function = amounts.entry(node.name).or_default();
            if let Some(amounts) = of_function.get_mut(side) {
                *amounts = Amounts {
                    flat: (node.flat, node.flat_squares),
                    cum: (node.cum, node.cum_squares),
                };
            }
        }
    }
    let between = |before: (i64, f64), after: (i64, f64)| {
        Doubts::between(
            (doubts_before, before.0, before.1),
            (doubts_after, after.0, after.1),
        )
    };
    let mut functions: Vec<FunctionChange> = amounts
        .into_iter()
        .filter(|(_, [before, after])| before.flat.0 != after.flat.0 || before.cum.0 != after.cum.0)
        .map(|(name, [before, after])| FunctionChange {
            name: name.to_owned(),
            flat: Change::new(before.flat.0, after.flat.0),
            flat_error: between(before.flat, after.flat),
            cum: Change::new(before.cum.0, after.cum.0),
            cum_error: between(before.cum, after.cum),
        })
        .collect();
    functions.sort_by(|one, other| {
        let key = |function: &FunctionChange| {
            let (flat, cum) = (function.flat.change, function.cum.change);
            (Reverse(flat.unsigned_abs()), Reverse(cum.unsigned_abs()))
        };
        let by_change = key(one).cmp(&key(other));
        by_change.then_with(|| one.name.cmp(&other.name))
    });
    functions
}

fn losses(before: &Profile, after: &Profile) -> Vec<LossRow> {
    let mut rows: Vec<LossRow> = Vec::new();
    for (profile, is_after) in [(before, false), (after, true)] {
        for counter in &profile.counters {
            let loss = matches!(
                counter.class,
                CounterClass::AttributionLoss | CounterClass::AmountLoss
            );
            if !loss || counter.value == 0 {
                continue;
            }
            let index = rows.iter().position(|row| row.name == counter.name);
            let index = index.unwrap_or_else(|| {
                rows.push(LossRow {
                    name: counter.name.clone(),
                    before: 0,
                    after: 0,
                    help: counter.help.clone(),
                });
                rows.len() - 1
            });
            if let Some(row) = rows.get_mut(index) {
                if is_after {
                    row.after = counter.value;
                } else {
                    row.before = counter.value;
                }
            }
        }
    }
    rows
}

impl SideHeader {
    fn new(side: Side<'_>) -> Self {
        Self {
            file: side.file.to_owned(),
            source: side.profile.metadata.source.clone(),
            verdict: side.profile.verdict.name().to_owned(),
            reasons: side.profile.verdict.reasons().to_vec(),
        }
    }
}

/// One sentence where a difference proves nothing: not where its errors are known.
fn warning(before: &Profile, after: &Profile, by: ValueKind) -> Option<String> {
    let is_estimated = |profile: &Profile| {
        let is_sampled = matches!(profile.verdict, Verdict::Sampled { .. });
        let shared = profile.sampled.and_then(|sampled| sampled.shared(by));
        is_sampled && shared.is_some()
    };
    let verdict = |profile: &Profile| match is_estimated(profile) {
        true => Verdict::Complete,
        false => profile.verdict.clone(),
    };
    inconclusive(&verdict(before), &verdict(after))
}

/// One sentence where a difference of these two profiles proves nothing.
#[must_use]
pub fn inconclusive(before: &Verdict, after: &Verdict) -> Option<String> {
    let which = |is: fn(&Verdict) -> bool| match (is(before), is(after)) {
        (false, false) => None,
        (true, false) => Some("A is"),
        (false, true) => Some("B is"),
        (true, true) => Some("A and B are"),
    };
    let inconclusive = which(|verdict| matches!(verdict, Verdict::Inconclusive { .. }));
    let inconclusive = inconclusive.map(|which| format!("{which} inconclusive"));
    let sampled = || which(|verdict| matches!(verdict, Verdict::Sampled { .. }));
    let doubt = inconclusive.or_else(|| sampled().map(|which| format!("{which} sampled")))?;
    Some(format!(
        "{doubt}: what differs may be what was missed, so this difference proves nothing."
    ))
}

#[cfg(test)]
mod tests;
