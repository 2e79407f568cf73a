//! Never an empty profile that looks like a fact: attached, the heap moves, and nothing was seen.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::ledger::Ledger;
use tests::process::Child;
use tests::tracing::Tracing;
use tests::workload::Workload;
use tests::{profile, trial};
use tracer::profile::{Profile, Values};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("verdicts::heap_moves_unseen", heap_moves_unseen),
        trial::root("verdicts::nothing_happened", nothing_happened),
        trial::root("verdicts::allocator_of_its_own", allocator_of_its_own),
        trial::root("verdicts::live_table_full", live_table_full),
        trial::heavy("verdicts::stack_table_full", stack_table_full),
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

/// Runs a workload to its end under a tracer with a table too small for it.
fn cramped(workload: &str, option: &str, room: u64) -> Result<(Ledger, Profile)> {
    let mut workload = Workload::start(workload, &[])?;
    let mut tracing = Tracing::attach_with(workload.pid(), &[option, &room.to_string()])?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    tracing.child().signal(Signal::INT)?;
    let (profile, _) = tracing.finish_with(3)?;
    workload.finish()?;
    ensure!(
        profile.verdict.name() == "inconclusive"
            && profile
                .verdict
                .reasons()
                .iter()
                .any(|reason| reason.contains(option)),
        "the verdict does not name {option}\n{}",
        profile::summary(&profile)
    );
    Ok((ledger, profile))
}

/// What was allocated is still right; what is live is short by what was counted as not kept.
fn live_table_full() -> Result<()> {
    const ROOM: u64 = 1_000;
    let (ledger, profile) = cramped("midlife", "--max-live", ROOM)?;
    let (expected, found) = (ledger.total.values()?, profile::total(&profile));
    ensure!(
        (found.alloc_objects, found.alloc_space) == (expected.alloc_objects, expected.alloc_space),
        "allocated: {found:?}, not {expected:?}"
    );
    // There is room for what was asked, and for a few times that at most; the program then frees some.
    let room = i64::try_from(ROOM)?;
    ensure!(
        (room / 2..=4 * room).contains(&found.inuse_objects),
        "{} live objects in a table for {ROOM}",
        found.inuse_objects
    );
    let missing = profile::counter(&profile, "live_table_full")?;
    ensure!(missing > 0, "nothing is said to be missing");
    Ok(())
}

/// The amounts stay right; those without a stack are counted and shown as such.
fn stack_table_full() -> Result<()> {
    const ROOM: u64 = 1_000;
    let (ledger, profile) = cramped("stacks", "--max-stacks", ROOM)?;
    ledger.check_totals(&profile)?;
    let homeless = profile::counter(&profile, "stack_table_full")?;
    let unknown = profile::through(&profile, "[stack unknown]");
    ensure!(
        homeless > 0 && u64::try_from(unknown.alloc_objects)? == homeless,
        "{homeless} allocations found no room, {} are shown without a stack",
        unknown.alloc_objects
    );
    Ok(())
}
