//! The amounts: more than 10 million allocator calls in C, C++ and Rust, from several threads,
//! each program keeping its own ledger. Exact to the byte, with nothing lost.

use anyhow::Result;
use libtest_mimic::Trial;
use tests::ledger::Ledger;
use tests::tracing::Tracing;
use tests::workload::Workload;
use tests::{binaries, profile, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::heavy("ledger::attach_c", || attach("ledger_c")),
        trial::heavy("ledger::attach_cpp", || attach("ledger_cpp")),
        trial::heavy("ledger::attach_rust", || attach("ledger_rust")),
        trial::heavy("ledger::run_c", || run("ledger_c")),
        trial::heavy("ledger::run_cpp", || run("ledger_cpp")),
        trial::heavy("ledger::run_rust", || run("ledger_rust")),
    ]
}

/// Between the gate and the ledger nothing but the ledger's calls happens: all of it must agree.
fn attach(name: &str) -> Result<()> {
    let mut workload = Workload::start(name, &[])?;
    let tracing = Tracing::attach(workload.pid())?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    let profile = tracing.stop()?;
    workload.finish()?;
    ledger.check_cases()?;
    profile::check_complete(&profile)?;
    ledger.check_totals(&profile)?;
    ledger.check_parts(&profile)
}

/// From the first allocation to the last, those of the C library's own start and end included:
/// what was allocated below the ledger's functions must agree.
fn run(name: &str) -> Result<()> {
    let mut tracing = Tracing::run([binaries::workload(name)?.as_os_str(), "200000".as_ref()])?;
    let child = tracing.child();
    child.wait_line(|child| &child.stdout, "`ready`", |line| line == "ready")?;
    child.write(b"\n")?;
    let line = child.wait_line(
        |child| &child.stdout,
        "the ledger",
        |line| line.starts_with('{'),
    )?;
    child.close_stdin();
    let ledger = Ledger::parse(&line)?;
    let (profile, _) = tracing.finish_with(0)?;
    profile::check_complete(&profile)?;
    ledger.check_parts(&profile)
}
