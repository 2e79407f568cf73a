//! A child of fork that loads a library where its parent has loaded another meanwhile.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tests::process::Child;
use tests::profile;
use tests::tracing::Tracing;
use tests::unwind::{SIBLING, STORM_PLUGINS};
use tests::workload::Workload;

/// Allocations of each of the two.
const CALLS: i64 = 50;

/// Until the child's own mappings are published it is walked by its parent's: what they make of its stacks is not
/// told as whole, nor as anybody's.
pub(super) fn sibling() -> Result<()> {
    let mut command = Command::new(SIBLING.program()?);
    for library in STORM_PLUGINS {
        command.arg(library.program()?);
    }
    let mut workload = Workload::start_command(&mut command)?;
    let mut tracing = Tracing::attach_with(workload.pid(), &["--follow-forks"])?;
    workload.open_gate()?;
    wait_line(workload.child(), "loaded")?;
    // By now the kernel side has the parent's mappings; where not, the child's stacks are cut all the same.
    std::thread::sleep(Duration::from_secs(1));
    tracing.child().signal(Signal::STOP)?;
    workload.open_gate()?;
    wait_line(workload.child(), "done")?;
    tracing.child().signal(Signal::CONT)?;
    let profile = tracing.stop_with_any_verdict()?;
    workload.finish()?;
    let (mut of_parent, mut cut) = (0, 0);
    for sample in &profile.samples {
        let names: Vec<_> = profile::stack(&profile, sample).collect();
        ensure!(
            !names.iter().any(|name| name.starts_with("plugin_b_")),
            "walked by the other's rules: {names:?}"
        );
        if names.first() == Some(&"plugin_a_inner") {
            ensure!(names.contains(&"sibling_call"), "{names:?}");
            of_parent += sample.values.alloc_objects;
        }
        if names == ["[stack cut: code was replaced]"] {
            cut += sample.values.alloc_objects;
        }
    }
    ensure!(
        (of_parent, cut) == (CALLS, CALLS)
            && profile::counter(&profile, "objects_replaced")? == CALLS.unsigned_abs(),
        "{of_parent} of the parent, {cut} cut\n{}",
        profile::summary(&profile)
    );
    Ok(())
}

fn wait_line(child: &mut Child, expected: &str) -> Result<()> {
    child.wait_line(|child| &child.stdout, expected, |line| line == expected)?;
    Ok(())
}
