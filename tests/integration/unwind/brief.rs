//! Processes that end before the tracer hears of what they have mapped.

use std::process::Command;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tests::profile;
use tests::tracing::Tracing;
use tests::unwind::{BRIEF, STORM_PLUGINS};
use tests::workload::Workload;

/// Allocations in each process.
const CALLS: i64 = 20;

/// Their stacks are walked by the tables of files that nobody else has mapped.
pub(super) fn brief() -> Result<()> {
    let mut command = Command::new(BRIEF.program()?);
    for library in STORM_PLUGINS {
        command.arg(library.program()?);
    }
    let mut workload = Workload::start_command(&mut command)?;
    let mut tracing = Tracing::attach_with(workload.pid(), &["--follow-forks"])?;
    // All news comes at once.
    tracing.child().signal(Signal::STOP)?;
    workload.open_gate()?;
    workload
        .child()
        .wait_line(|child| &child.stdout, "`done`", |line| line == "done")?;
    tracing.child().signal(Signal::CONT)?;
    let profile = tracing.stop()?;
    workload.finish()?;
    for library in ["a", "b"] {
        let [inner, entry] = ["inner", "entry"].map(|what| format!("plugin_{library}_{what}"));
        let whole = [&inner, &entry, "brief_call", "brief"];
        let mut found = 0;
        for sample in &profile.samples {
            let names: Vec<_> = profile::stack(&profile, sample).collect();
            if names.starts_with(&whole) && names.contains(&"main") {
                found += sample.values.alloc_objects;
            }
        }
        ensure!(
            found == CALLS,
            "{found} allocations of library {library}\n{}",
            profile::summary(&profile)
        );
    }
    Ok(())
}
