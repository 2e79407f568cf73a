//! Many stacks: each is kept apart from every other, and has its own amount.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::tracing::Tracing;
use tests::workload::Workload;
use tests::{profile, trial};
use tracer::profile::Values;

/// As in `workloads/c/stacks.c`.
const LEVELS: usize = 17;
const STACKS: u64 = 100_000;
const SMALLEST: u64 = 16;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial::heavy("stacks::hundred_thousand", hundred_thousand)]
}

fn hundred_thousand() -> Result<()> {
    let workload = Workload::start("stacks", &[])?;
    let tracing = Tracing::attach(workload.pid())?;
    let (ledger, profile) = tracing.record(workload)?;
    profile::check_complete(&profile)?;
    ledger.check_totals(&profile)?;

    let mut seen = BTreeMap::new();
    for sample in &profile.samples {
        let names: Vec<_> = profile::stack(&profile, sample).collect();
        let number = number_of(&names).with_context(|| names.join(" < "))?;
        ensure!(
            seen.insert(number, without_peak(sample.values)).is_none(),
            "stack {number} is there twice: {}",
            names.join(" < ")
        );
    }
    for number in 0..STACKS {
        let size = i64::try_from(SMALLEST + number)?;
        let kept = i64::from(number % 10 == 0);
        let expected = Values {
            alloc_objects: 1,
            alloc_space: size,
            inuse_objects: kept,
            inuse_space: kept * size,
            ..Values::default()
        };
        let found = seen.remove(&number);
        ensure!(
            found == Some(expected),
            "stack {number}: expected {expected:?}, found {found:?}"
        );
    }
    ensure!(
        seen.is_empty(),
        "{} stacks that were never made",
        seen.len()
    );
    Ok(())
}

/// Reads the stack's number back from the turns it took, leaf first: the leaf's is the highest bit.
fn number_of(names: &[&str]) -> Result<u64> {
    let turns: Vec<_> = names
        .iter()
        .filter_map(|&name| match name {
            "stacks_left" => Some(0),
            "stacks_right" => Some(1),
            _ => None,
        })
        .collect();
    ensure!(turns.len() == LEVELS, "{} of {LEVELS} turns", turns.len());
    Ok(turns.iter().fold(0, |number, turn| number << 1 | turn))
}

/// Which of them was live at the peak is not the question here.
fn without_peak(values: Values) -> Values {
    Values {
        peak_objects: 0,
        peak_space: 0,
        ..values
    }
}
