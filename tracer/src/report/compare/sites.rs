//! The sites that changed: stacks put together by where they ask for memory and what for.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use super::Change;
use crate::profile::{Diff, ValueKind};
use crate::report::errors::{ChangeError, Doubts};
use crate::report::sites::SiteMarks;
use crate::sites::{Rules, Sites};

/// How a site changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SiteChange {
    /// Which one; lines are those of one of its stacks.
    #[serde(flatten)]
    pub marks: SiteMarks,
    /// The value that is shown.
    #[serde(flatten)]
    pub change: Change,
    /// Whether that is more than chance, where one of the two is estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ChangeError>,
}

#[derive(Default)]
struct Sums {
    marks: SiteMarks,
    before: i64,
    after: i64,
    squares: [f64; 2],
}

/// The sites that changed, the largest change first.
pub(super) fn sites(
    diff: &Diff,
    by: ValueKind,
    rules: &Rules,
    [doubts_before, doubts_after]: &[Doubts; 2],
) -> Vec<SiteChange> {
    let sites = Sites::new(&diff.profile, rules);
    let mut sums: HashMap<_, Sums> = HashMap::new();
    for (stack, sample) in diff.stacks.iter().zip(&diff.profile.samples) {
        let (before, after) = (stack.before.get(by), stack.after.get(by));
        if before == 0 && after == 0 {
            continue;
        }
        let marks = SiteMarks::of(&sites, &sites.marks(sample));
        let sum = sums.entry(marks.key()).or_insert_with(|| Sums {
            marks,
            ..Sums::default()
        });
        sum.before = sum.before.saturating_add(before);
        sum.after = sum.after.saturating_add(after);
        for (sum, errors) in sum
            .squares
            .iter_mut()
            .zip([&stack.errors_before, &stack.errors_after])
        {
            *sum += errors.get(by).unwrap_or(0.0).powi(2);
        }
    }
    let mut changes: Vec<_> = sums
        .into_iter()
        .filter(|(_, sums)| sums.before != sums.after)
        .collect();
    changes.sort_by_cached_key(|(key, sums)| {
        let change = sums.after.saturating_sub(sums.before);
        (Reverse(change.unsigned_abs()), key.clone())
    });
    changes
        .into_iter()
        .map(|(_, sums)| SiteChange {
            marks: sums.marks,
            change: Change::new(sums.before, sums.after),
            error: Doubts::between(
                (doubts_before, sums.before, sums.squares[0]),
                (doubts_after, sums.after, sums.squares[1]),
            ),
        })
        .collect()
}
