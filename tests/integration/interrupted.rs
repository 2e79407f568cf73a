//! Calls inside calls: signal handlers and an allocator's own threads that allocate while the thread is
//! inside the allocator. All of them count, on every rung; where they can't, the profile says so.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tempfile::TempDir;
use tests::ledger::Ledger;
use tests::rung::{self, Rung};
use tests::tracing::Tracing;
use tests::workload::Workload;
use tests::{binaries, profile, trial};
use tracer::profile::Profile;

use crate::allocators::JEMALLOC;
use crate::ledger;

const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";

/// Counters of what was missed, or taken for something else than it was.
const NEVER: [&str; 6] = [
    "return_without_entry",
    "return_unmatched",
    "call_not_kept",
    "alternate_stack_calls",
    "missed_frees",
    "unknown_frees",
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    // Where there are sessions.
    if !trial::emulated() {
        trials.push(trial::root("interrupted::above", above));
    }
    for rung in rung::ALL {
        let mut add = |name: &str, test: fn(Rung) -> Result<()>| {
            trials.push(trial::root(&rung.trial(name), move || test(rung)));
        };
        add("interrupted::handlers", handlers);
        add("interrupted::deep", deep);
        add("interrupted::too_deep", too_deep);
        add("interrupted::below", below);
        add("interrupted::background_thread", background_thread);
    }
    trials
}

fn record(arguments: &[&str], rung: Rung) -> Result<(Ledger, Profile)> {
    let workload = Workload::start("interrupted", arguments)?;
    rung.attach(workload.pid())?.record(workload)
}

fn exact(arguments: &[&str], rung: Rung) -> Result<()> {
    let (ledger, profile) = record(arguments, rung)?;
    // A signal in the last instructions of the page `[uprobes]` leaves nothing to go on by, nor do copies, which are
    // taken until that page is known.
    let cut = profile::check_complete_but_cut(&profile)?;
    ensure!(
        cut < ledger.total.alloc_objects / 2,
        "{cut} stacks are cut\n{}",
        profile::summary(&profile)
    );
    ledger.check_totals(&profile)?;
    // The others' stacks may have a handler's calls on them as well.
    for function in ["interrupted_inner", "interrupted_in_tick"] {
        let expected = ledger.parts[function].values()?;
        let found = profile::through(&profile, function);
        ensure!(
            expected == found,
            "{function}: ledger {expected:?}, profile {found:?}"
        );
    }
    ledger::check_never(&profile, &NEVER)?;
    let [interrupted, left] = ["interrupted", "left"].map(|name| ledger.cases[name]);
    ensure!(interrupted > 0 && left > 0, "the workload did nothing");
    let abandoned = profile::counter(&profile, "abandoned_calls")?;
    ensure!(
        abandoned == left,
        "{left} calls were left, {abandoned} noticed"
    );
    Ok(())
}

/// One handler at a time, of faults and of a timer.
fn handlers(rung: Rung) -> Result<()> {
    let ticks = if rung.is_default() { "20000" } else { "2000" };
    exact(&["1", ticks], rung)
}

/// Handlers that interrupt each other, as deep as is kept: a call in the last one is left by longjmp.
fn deep(rung: Rung) -> Result<()> {
    exact(&["7", "0"], rung)
}

/// Deeper than is kept: how many calls are missing is said.
fn too_deep(rung: Rung) -> Result<()> {
    let mut workload = Workload::start("interrupted", &["12", "0"])?;
    let (ledger, profile) = inconclusive(rung.attach(workload.pid())?, &mut workload)?;
    workload.finish()?;
    let [unmatched, not_kept, counted] = ["return_unmatched", "call_not_kept", "alloc_objects"]
        .map(|name| profile::counter(&profile, name));
    let missing = ledger.total.alloc_objects - counted?;
    ensure!(
        missing > 0 && unmatched? == missing && not_kept? >= missing,
        "{missing} calls are missing\n{}",
        profile::summary(&profile)
    );
    Ok(())
}

/// On an alternate stack below the thread's.
fn below(rung: Rung) -> Result<()> {
    exact(&["3", "500", "below"], rung)
}

/// On an alternate stack above the thread's the kernel would take the calls below for left by longjmp, and
/// end the process when they return. A session places no return probe there. The other rungs have to:
/// `docs/design/0002-pending-calls.md`. So does a session where another one probes the same file, so that
/// the program has a C library of its own.
fn above() -> Result<()> {
    let folder = TempDir::new()?;
    fs::copy(LIBC, folder.path().join("libc.so.6"))?;
    let mut command = Command::new(binaries::workload("interrupted")?);
    command
        .args(["2", "0", "above"])
        .env("LD_LIBRARY_PATH", folder.path());
    let mut workload = Workload::start_command(&mut command)?;
    let (ledger, profile) = inconclusive(Tracing::attach(workload.pid())?, &mut workload)?;
    workload.finish()?;
    let calls = profile::counter(&profile, "alternate_stack_calls")?;
    let counted = profile::counter(&profile, "alloc_objects")?;
    let missing = ledger.total.alloc_objects - counted;
    ensure!(
        missing > 0 && calls >= missing,
        "{missing} calls are missing\n{}",
        profile::summary(&profile)
    );
    Ok(())
}

/// A recording that misses much, and says so by its exit code.
fn inconclusive(mut tracing: Tracing, workload: &mut Workload) -> Result<(Ledger, Profile)> {
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    tracing.child().signal(Signal::INT)?;
    let (profile, _) = tracing.finish_with(3)?;
    Ok((ledger, profile))
}

/// jemalloc starts its thread inside of the first call that finds it is due, and the dynamic linker
/// allocates for it.
fn background_thread(rung: Rung) -> Result<()> {
    let mut command = Command::new(binaries::workload("background_thread")?);
    command
        .env("LD_PRELOAD", JEMALLOC)
        .env("MALLOC_CONF", "background_thread:true");
    let workload = Workload::start_command(&mut command)?;
    let (ledger, profile) = rung.attach(workload.pid())?.record(workload)?;
    profile::check_complete(&profile)?;
    ledger.check_parts(&profile)?;
    ledger::check_never(&profile, &NEVER)?;
    ledger::check_never(&profile, &["abandoned_calls"])
}
