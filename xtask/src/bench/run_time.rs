//! The run time of the eBPF programs themselves, apart from the way into them and back, by the
//! kernel's statistics. Those take time, too, so that this is a measurement of its own; what they
//! take is seen at the floor's programs, which do nothing.

use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use aya::sys::Stats;
use aya::sys::enable_stats;

use super::Bench;
use super::bpf_objects;
use super::bpf_objects::RunTime;
use super::pair;
use super::pair::Pairs;
use super::pair::USUAL_FRAMES;
use super::side::Side;
use super::subject::FRAME_POINTERS;
use super::table::Table;

/// Runs once a pair.
const FREE: &str = "free_entry";
const SIDES: [Side; 3] = [Side::Floor, Side::Tracer, Side::TracerFramePointers];

/// Every side in every round.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Table> {
    let binary = pair::build(bench, FRAME_POINTERS)?;
    let mut table = Table::new("Run time of the eBPF programs, 20 frames");
    bench.rounds(|| {
        for side in SIDES {
            let mut pairs = Pairs::start(&binary)?;
            let attached = side.attach(bench, pairs.pid())?;
            pairs.warm_up()?;
            let owner = attached.pid().unwrap_or_else(std::process::id);
            let statistics = enable_stats(Stats::RunTime).context("the kernel's statistics")?;
            let before = bpf_objects::run_times(owner)?;
            pairs.time(1, USUAL_FRAMES)?;
            let after = bpf_objects::run_times(owner)?;
            drop(statistics);
            record(&mut table, side, &before, &after);
            attached.detach()?;
        }
        Ok(())
    })?;
    table.note("alloc_session runs twice a pair, at entry and return: this is the mean of both");
    table.note("the floor's programs are empty: what they take, the statistics take");
    Ok(table)
}

fn record(table: &mut Table, side: Side, before: &[RunTime], after: &[RunTime]) {
    let mut all = Duration::ZERO;
    let mut pairs = 0;
    for program in after {
        let Some(earlier) = before.iter().find(|earlier| earlier.id == program.id) else {
            continue;
        };
        let runs = program.runs - earlier.runs;
        // Those at exec and exit run for other processes' sake, too.
        if runs == 0 || program.name.starts_with("process_") {
            continue;
        }
        let time = program.time.saturating_sub(earlier.time);
        table.record(&program.name, "ns a run", side.name(), per(time, runs));
        all += time;
        if program.name == FREE {
            pairs = runs;
        }
    }
    if pairs > 0 {
        table.record("all of them", "ns a pair", side.name(), per(all, pairs));
    }
}

/// Nanoseconds a run.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn per(time: Duration, runs: u64) -> f64 {
    time.as_nanos() as f64 / runs as f64
}
