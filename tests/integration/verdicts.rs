//! Never an empty profile that looks like a fact: attached, the heap moves, and nothing was seen.

use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::process::Ended;
use tests::tracing::Tracing;
use tests::workload::Workload;
use tests::{profile, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("verdicts::heap_moves_unseen", heap_moves_unseen),
        trial::root("verdicts::allocator_of_its_own", allocator_of_its_own),
    ]
}

fn heap_moves_unseen() -> Result<()> {
    let mut workload = Workload::start("idle", &[])?;
    let mut tracing = Tracing::attach(workload.pid())?;
    workload.open_gate()?;
    std::thread::sleep(Duration::from_secs(2));
    tracing.child().signal(Signal::INT)?;
    let (profile, ended) = tracing.finish_with(3)?;
    workload.finish()?;
    ensure!(
        profile.verdict.name() == "inconclusive",
        "{}",
        profile::summary(&profile)
    );
    ensure!(!profile.verdict.reasons().is_empty(), "no reason is given");
    ensure!(
        ended.stderr.contains("never fired"),
        "the tracer does not say so\n{}",
        ended.stderr
    );
    Ok(())
}

/// Refused at once, or found out at the end: in either case the real allocator is named.
fn allocator_of_its_own() -> Result<()> {
    let mut workload = Workload::start("own_malloc", &[])?;
    let mut tracing = Tracing::begin_attach(workload.pid(), &["--duration", "2s"])?;
    workload.open_gate()?;
    let ended: Ended = tracing.child().wait()?;
    workload.finish()?;
    ensure!(
        matches!(ended.status.code(), Some(2 | 3)),
        "{}\n{}",
        ended.status,
        ended.stderr
    );
    ensure!(
        ended.stderr.contains("own_malloc"),
        "the allocator is not named\n{}",
        ended.stderr
    );
    Ok(())
}
