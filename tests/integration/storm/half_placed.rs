//! A tracer that is killed between a link's first breakpoint and its last, while they are written or taken out. The
//! target has thousands of places for each, so that there is a between.

use anyhow::{Result, bail, ensure};
use rustix::process::Signal;
use tests::memory::{changed_code_bytes, code_of_the_c_library};
use tests::tracing::Tracing;
use tests::wait;
use tests::workload::Workload;

/// How often to try to come between the first and the last.
const TRIES: u32 = 20;

/// While they are written.
pub(super) fn half_placed(arguments: &[&str]) -> Result<()> {
    for _ in 0..TRIES {
        let workload = Workload::start("copies", &[])?;
        let pid = workload.pid();
        ensure!(
            changed_code_bytes(pid)? == 0,
            "code differs before anybody attached"
        );
        let code = code_of_the_c_library(pid)?;
        let mut tracing = Tracing::begin_attach(pid, arguments)?;
        wait::until("the first breakpoint", || {
            Ok((code_of_the_c_library(pid)? != code).then_some(()))
        })?;
        let attached = |line: &str| line.starts_with("attached to");
        let is_too_late = tracing.child().stderr.line(attached).is_some();
        // It is to work in either case.
        killed(tracing, workload)?;
        if !is_too_late {
            return Ok(());
        }
    }
    bail!("{TRIES} times all were placed before the tracer was killed")
}

/// While they are taken out.
pub(super) fn half_removed(arguments: &[&str]) -> Result<()> {
    let workload = Workload::start("copies", &[])?;
    let pid = workload.pid();
    let mut tracing = Tracing::attach_with(pid, arguments)?;
    let code = code_of_the_c_library(pid)?;
    tracing.child().signal(Signal::INT)?;
    wait::until("the first breakpoint to go", || {
        Ok((code_of_the_c_library(pid)? != code).then_some(()))
    })?;
    killed(tracing, workload)
}

/// No breakpoint stays, and the target works.
fn killed(mut tracing: Tracing, mut workload: Workload) -> Result<()> {
    let pid = workload.pid();
    tracing.child().signal(Signal::KILL)?;
    tracing.child().wait()?;
    wait::until("the breakpoints to go", || {
        Ok((changed_code_bytes(pid)? == 0).then_some(()))
    })?;
    workload.open_gate()?;
    let alive = |line: &str| line == "alive";
    let child = workload.child();
    child.wait_line(|child| &child.stdout, "`alive`", alive)?;
    workload.finish().map(drop)
}
