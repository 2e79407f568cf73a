//! Whether a process runs as before once it is left alone.

use anyhow::Result;

use super::Bench;
use super::pair;
use super::pair::Pairs;
use super::pair::USUAL_FRAMES;
use super::side::Side;
use super::subject::FRAME_POINTERS;
use super::table::Table;

const ROW: &str = "one pair";
const AGAIN: &str = "untraced, once more";
const DETACHED: &str = "detached";

/// One process in every round: before, during and after.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Table> {
    let binary = pair::build(bench, FRAME_POINTERS)?;
    let mut table = Table::new("A malloc+free pair before, during and after tracing, same process");
    bench.rounds(|| {
        let mut pairs = Pairs::start(&binary)?;
        pairs.warm_up()?;
        let mut time = |pairs: &mut Pairs, column| {
            let nanoseconds = pairs.time(1, USUAL_FRAMES)?;
            table.record(ROW, "ns", column, nanoseconds);
            anyhow::Ok(())
        };
        time(&mut pairs, Side::Untraced.name())?;
        // How far two measurements of the same are apart.
        time(&mut pairs, AGAIN)?;
        let attached = Side::Tracer.attach(bench, pairs.pid())?;
        time(&mut pairs, Side::Tracer.name())?;
        attached.detach()?;
        time(&mut pairs, DETACHED)?;
        Ok(())
    })?;
    for column in [AGAIN, DETACHED] {
        let untraced = (ROW, Side::Untraced.name());
        table.ratio(
            &format!("{column} / untraced"),
            (ROW, column),
            untraced,
            None,
        );
    }
    Ok(table)
}
