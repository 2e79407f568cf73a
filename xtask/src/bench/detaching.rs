//! Whether a process runs as before once it is left alone.
//!
//! A machine drifts by more than what is looked for here. So a second process, never traced, is
//! measured in turn with the first: what changes for both is the machine's doing.

use anyhow::Result;

use super::Bench;
use super::pair;
use super::pair::Pairs;
use super::side::Side;
use super::subject::FRAME_POINTERS;
use super::table::Table;

const TRACED: &str = "the process";
const OTHER: &str = "another one, never traced";
const BEFORE: &str = Side::Untraced.name();
const AFTER: &str = "detached";
/// Turns of each process, before and after.
const TURNS: u32 = 5;

/// A process and its companion in every round: before, during and after.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Table> {
    let binary = pair::build(bench, FRAME_POINTERS)?;
    let mut table = Table::new("A malloc+free pair before, during and after tracing, 20 frames");
    bench.rounds(|| {
        let mut traced = Pairs::start(&binary)?;
        let mut other = Pairs::start(&binary)?;
        for pairs in [&mut traced, &mut other] {
            pairs.warm_up()?;
        }
        let mut take_turns = |table: &mut Table, traced: &mut Pairs, column| {
            for _ in 0..TURNS {
                table.record(TRACED, "ns", column, traced.time_briefly()?);
                table.record(OTHER, "ns", column, other.time_briefly()?);
            }
            anyhow::Ok(())
        };
        take_turns(&mut table, &mut traced, BEFORE)?;
        let attached = Side::Tracer.attach(bench, traced.pid())?;
        table.record(TRACED, "ns", Side::Tracer.name(), traced.time_briefly()?);
        attached.detach()?;
        take_turns(&mut table, &mut traced, AFTER)
    })?;
    for row in [TRACED, OTHER] {
        let name = format!("{AFTER} / {BEFORE}, {row}");
        table.ratio(&name, (row, AFTER), (row, BEFORE), None);
    }
    Ok(table)
}
