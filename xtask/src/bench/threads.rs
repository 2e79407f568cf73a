//! Whether threads that allocate at the same time wait for each other in the tracer.

use anyhow::Context as _;
use anyhow::Result;

use super::Bench;
use super::pair;
use super::pair::Pairs;
use super::pair::USUAL_FRAMES;
use super::side::Side;
use super::subject::FRAME_POINTERS;
use super::table::Table;

const ONE: &str = "1 thread";
const TWO: &str = "2 threads";
const SIDES: [Side; 3] = [Side::Untraced, Side::Floor, Side::Tracer];

/// Every side in every round, with one thread and with two.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Table> {
    let binary = pair::build(bench, FRAME_POINTERS)?;
    let mut table = Table::new("A malloc+free pair in each of the threads, 20 frames");
    bench.rounds(|| {
        for side in SIDES {
            let mut pairs = Pairs::start(&binary)?;
            let attached = side
                .attach(bench, pairs.pid())
                .with_context(|| format!("the side {}", side.name()))?;
            pairs.warm_up()?;
            for (row, threads) in [(ONE, 1), (TWO, 2)] {
                let nanoseconds = pairs.time(threads, USUAL_FRAMES)?;
                table.record(row, "ns", side.name(), nanoseconds);
            }
            attached.detach()?;
        }
        Ok(())
    })?;
    // Where this is not close to 1, others used the CPUs, and the next two say nothing.
    let untraced = Side::Untraced.name();
    table.ratio(
        &format!("{untraced}: {TWO} / {ONE}"),
        (TWO, untraced),
        (ONE, untraced),
        None,
    );
    for (side, most) in [(Side::Floor, None), (Side::Tracer, Some(1.3))] {
        table.added_ratio(
            &format!("added by {}: {TWO} / {ONE}", side.name()),
            (TWO, side.name()),
            (ONE, side.name()),
            most,
        );
    }
    Ok(table)
}
