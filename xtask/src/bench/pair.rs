//! `xtask/bench/pair.c` at work, and the cost of one malloc+free pair by the depth of the stack.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use serde_json::Value;

use super::Bench;
use super::side::Side;
use super::subject;
use super::subject::FRAME_POINTERS;
use super::subject::NO_FRAME_POINTERS;
use super::subject::Subject;
use super::table::Table;

/// The depth that other tables measure at.
pub(super) const USUAL_FRAMES: u32 = 20;
/// Length of a measurement.
const MILLISECONDS: u32 = 500;

const FRAMES: [u32; 3] = [5, USUAL_FRAMES, 60];
const KINDS: [(&str, &str); 2] = [
    ("frame pointers", FRAME_POINTERS),
    ("none", NO_FRAME_POINTERS),
];
const SIDES: [Side; 6] = [
    Side::Untraced,
    Side::Floor,
    Side::Tracer,
    Side::TracerFramePointers,
    Side::TracerSeries,
    Side::Peer,
];

/// Every side in every round, at each depth.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Table> {
    let mut binaries = Vec::new();
    for (kind, flag) in KINDS {
        binaries.push((kind, build(bench, flag)?));
    }
    let mut table = Table::new("A malloc+free pair, by frames above the caller");
    bench.rounds(|| {
        for (kind, binary) in &binaries {
            for side in SIDES {
                let mut pairs = Pairs::start(binary)?;
                let attached = side
                    .attach(bench, pairs.pid())
                    .with_context(|| format!("the side {}", side.name()))?;
                pairs.warm_up()?;
                for frames in FRAMES {
                    let nanoseconds = pairs.time(1, frames)?;
                    table.record(&row(frames, kind), "ns", side.name(), nanoseconds);
                }
                attached.detach()?;
                if matches!(side, Side::Tracer) {
                    let row = format!("{kind}: stacks recognised without a walk");
                    table.record(&row, "%", side.name(), recognised(bench)?);
                }
            }
        }
        Ok(())
    })?;
    for (kind, _) in KINDS {
        for frames in FRAMES {
            compare(&mut table, &row(frames, kind), frames == USUAL_FRAMES);
        }
    }
    Ok(table)
}

/// Both ways of walking against what there is to compare with. Where there are no frame pointers, a
/// walk along them ends early, and is cheap for that.
fn compare(table: &mut Table, row: &str, usual: bool) {
    let has_goal = usual && row.ends_with(KINDS[0].0);
    table.added_ratio(
        &format!(
            "{row}: added by {} / by {}",
            Side::TracerSeries.name(),
            Side::Tracer.name()
        ),
        (row, Side::TracerSeries.name()),
        (row, Side::Tracer.name()),
        None,
    );
    table.added_ratio(
        &format!(
            "{row}: added by {} / by {}",
            Side::Tracer.name(),
            Side::TracerFramePointers.name()
        ),
        (row, Side::Tracer.name()),
        (row, Side::TracerFramePointers.name()),
        has_goal.then_some(1.3),
    );
    for side in [Side::Tracer, Side::TracerFramePointers] {
        for (other, most) in [(Side::Floor, 1.5), (Side::Peer, 0.2)] {
            table.added_ratio(
                &format!("{row}: added by {} / by {}", side.name(), other.name()),
                (row, side.name()),
                (row, other.name()),
                has_goal.then_some(most),
            );
        }
    }
}

/// How many stacks were recognised, of a hundred, by the counters of [`Side::Tracer`]'s profile.
fn recognised(bench: &Bench<'_>) -> Result<f64> {
    let path = bench.profile();
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let profile: Value = serde_json::from_str(&text)?;
    let counters = profile["profile"]["counters"].as_array();
    let counter = |name: &str| {
        let counters = counters.context("no counters in the profile")?;
        let found = counters.iter().find(|counter| counter["name"] == name);
        let value = found.and_then(|counter| counter["value"].as_f64());
        value.with_context(|| format!("no {name} in the profile"))
    };
    let walked = counter("unwound_stacks")? / counter("alloc_objects")?;
    Ok(100.0 * (1.0 - walked))
}

/// Builds the program.
pub(super) fn build(bench: &Bench<'_>, flag: &str) -> Result<PathBuf> {
    subject::build(bench, "pair", flag)
}

fn row(frames: u32, kind: &str) -> String {
    format!("{frames} frames, {kind}")
}

/// The running program.
pub(super) struct Pairs(Subject);

impl Pairs {
    pub(super) fn start(binary: &std::path::Path) -> Result<Self> {
        Subject::start(binary, "1 1 1").map(Self)
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// The first calls under a tracer are slow: memory is touched for the first time.
    pub(super) fn warm_up(&mut self) -> Result<()> {
        self.time_briefly().map(drop)
    }

    /// Nanoseconds a pair in each of so many threads at the same time.
    pub(super) fn time(&mut self, threads: u32, frames: u32) -> Result<f64> {
        self.ask(threads, frames, MILLISECONDS)
    }

    /// Nanoseconds a pair under the usual frames, in a fifth of the time.
    pub(super) fn time_briefly(&mut self) -> Result<f64> {
        self.ask(1, USUAL_FRAMES, MILLISECONDS / 5)
    }

    fn ask(&mut self, threads: u32, frames: u32, milliseconds: u32) -> Result<f64> {
        let answer = self.0.ask(&format!("{threads} {frames} {milliseconds}"))?;
        answer
            .parse()
            .with_context(|| format!("pair answered {answer:?}"))
    }
}
