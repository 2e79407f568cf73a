//! What changed from one moment to another, as `tracer diff` has it.

use serde::Serialize;

use super::points::MILLISECOND;
use crate::profile::{Incompatible, Profile, ValueKind};
use crate::report::{Cells, Change, CompareOptions, LossRow, Side, compare};

/// Rows of the table.
const ROWS: usize = 200;

/// The sites that changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changes {
    /// When the earlier profile was taken, in milliseconds since the Unix epoch.
    pub before_ms: i64,
    /// When the later one was.
    pub after_ms: i64,
    /// The value that is shown.
    pub kind: ValueKind,
    /// `bytes` or `count`.
    pub unit: &'static str,
    /// What is to be said where one of the two is inconclusive.
    pub warning: Option<String>,
    /// Counters of losses that are not 0 in both.
    pub losses: Vec<LossRow>,
    /// Sum over all stacks.
    pub total: Change,
    /// Sites that changed, shown or not.
    pub sites: usize,
    /// Those shown, the largest change first.
    pub rows: Vec<ChangedSite>,
}

/// How a site changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedSite {
    /// Where memory is asked for, the line, what for, and what is allocated.
    pub cells: Cells,
    /// The value that is shown.
    #[serde(flatten)]
    pub change: Change,
    /// Whether that is more than chance; `None` where both are counted.
    pub is_significant: Option<bool>,
}

/// What changed.
///
/// # Errors
/// When the amounts cannot be compared.
pub fn changes(
    before: &Profile,
    after: &Profile,
    kind: ValueKind,
) -> Result<Changes, Incompatible> {
    let side = |file, profile| Side { file, profile };
    let options = CompareOptions {
        by: kind,
        limit: Some(ROWS),
        ..CompareOptions::default()
    };
    let compared = compare(side("A", before), side("B", after), &options)?;
    let rows = compared.site_rows.iter().zip(compared.site_texts());
    let rows = rows.map(|(row, cells)| ChangedSite {
        cells,
        change: row.change,
        is_significant: row.error.map(|error| error.significant),
    });
    let rows = rows.collect();
    let time = |profile: &Profile| profile.metadata.time_nanos / MILLISECOND;
    Ok(Changes {
        before_ms: time(before),
        after_ms: time(after),
        kind,
        unit: kind.unit(),
        warning: compared.warning,
        losses: compared.losses,
        total: compared.total,
        sites: compared.sites,
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::example::counter_service;

    #[test]
    fn what_grew_has_a_row() -> Result<(), Incompatible> {
        let before = counter_service();
        let mut after = counter_service();
        after.metadata.time_nanos += 5_000_000_000;
        after.samples[0].values.inuse_space += 4096;
        let changed = changes(&before, &after, ValueKind::InuseSpace)?;
        assert_eq!(changed.after_ms - changed.before_ms, 5_000);
        assert_eq!((changed.total.change, changed.sites), (4096, 1));
        let changes: Vec<_> = changed.rows.iter().map(|row| row.change.change).collect();
        assert_eq!(changes, [4096]);
        assert!(!changed.rows[0].cells[0].is_empty());
        let nothing = changes_of_nothing(&before)?;
        assert_eq!(nothing.rows, []);
        Ok(())
    }

    fn changes_of_nothing(profile: &Profile) -> Result<Changes, Incompatible> {
        changes(profile, profile, ValueKind::AllocObjects)
    }
}
