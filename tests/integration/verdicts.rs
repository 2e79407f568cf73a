//! Never an empty profile that looks like a fact: attached, the heap moves, and nothing was seen.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::process::Child;
use tests::tracing::Tracing;
use tests::workload::Workload;
use tests::{profile, trial};
use tracer::profile::Values;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("verdicts::heap_moves_unseen", heap_moves_unseen),
        trial::root("verdicts::nothing_happened", nothing_happened),
        trial::root("verdicts::allocator_of_its_own", allocator_of_its_own),
    ]
}

/// An error, and no file that somebody could take for a fact.
fn heap_moves_unseen() -> Result<()> {
    let mut workload = Workload::start("idle", &[])?;
    let mut tracing = Tracing::attach(workload.pid())?;
    workload.open_gate()?;
    std::thread::sleep(Duration::from_secs(2));
    tracing.child().signal(Signal::INT)?;
    let ended = tracing.child().wait()?;
    workload.finish()?;
    ended.expect_code(2)?;
    ensure!(
        ended.stderr.contains("never called"),
        "it does not say so\n{}",
        ended.stderr
    );
    ensure!(
        !tracing.output().exists(),
        "an empty profile was written\n{}",
        ended.stderr
    );
    Ok(())
}

/// Neither the heap nor the allocator moved: possible, but not a thing to conclude from.
fn nothing_happened() -> Result<()> {
    let sleep = Child::spawn(Command::new("sleep").arg("1000"))?;
    let mut tracing = Tracing::attach_with(sleep.pid(), &["--duration", "500ms"])?;
    let (profile, _) = tracing.finish_with(3)?;
    ensure!(
        profile.verdict.name() == "inconclusive",
        "{}",
        profile::summary(&profile)
    );
    ensure!(!profile.verdict.reasons().is_empty(), "no reason is given");
    ensure!(
        profile::total(&profile) == Values::default(),
        "{}",
        profile::summary(&profile)
    );
    Ok(())
}

/// Refused at once, or found out at the end: in either case the real allocator is named.
fn allocator_of_its_own() -> Result<()> {
    let mut workload = Workload::start("own_malloc", &[])?;
    let mut tracing = Tracing::begin_attach(workload.pid(), &["--duration", "2s"])?;
    workload.open_gate()?;
    let ended = tracing.child().wait()?;
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
