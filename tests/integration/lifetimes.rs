//! The target's life: attached to in the middle of it, fork, exec, exit, and threads that leave
//! the allocator sideways.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::ledger::Ledger;
use tests::rung::{self, Rung};
use tests::tracing::Tracing;
use tests::workload::Workload;
use tests::{profile, trial};
use tracer::profile::Values;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial::root("lifetimes::fork", fork),
        trial::root("lifetimes::followed_fork", followed_fork),
        trial::root("lifetimes::exec", exec),
        trial::root("lifetimes::exit", exit),
        trial::root("lifetimes::killed", killed),
    ];
    for rung in rung::ALL {
        let midlife = move || midlife(rung);
        let name = rung.trial("lifetimes::attach_in_midlife");
        trials.push(trial::root(&name, midlife));
        let thread_ends = move || thread_ends(rung);
        trials.push(trial::root(
            &rung.trial("lifetimes::thread_ends"),
            thread_ends,
        ));
        let longjmp = move || longjmp(rung);
        trials.push(trial::root(&rung.trial("lifetimes::longjmp"), longjmp));
    }
    trials
}

/// Frees of memory from before the attach are counted as such and take nothing from what was seen.
fn midlife(rung: Rung) -> Result<()> {
    let workload = Workload::start("midlife", &[])?;
    let tracing = rung.attach(workload.pid())?;
    let (ledger, profile) = tracing.record(workload)?;
    profile::check_complete(&profile)?;
    let from_before = ledger.cases.get("freed_from_before").copied();
    ensure!(
        Some(profile::counter(&profile, "unknown_frees")?) == from_before,
        "{from_before:?} blocks from before were freed\n{}",
        profile::summary(&profile)
    );
    ensure!(
        profile::total(&profile) == ledger.total.values()?,
        "{}",
        profile::summary(&profile)
    );
    ledger.check_parts(&profile)
}

/// What the C library gives back when a thread ends was not the program's, before the attach or after.
fn thread_ends(rung: Rung) -> Result<()> {
    let workload = Workload::start("thread_ends", &[])?;
    let tracing = rung.attach(workload.pid())?;
    let (ledger, profile) = tracing.record(workload)?;
    profile::check_complete(&profile)?;
    ledger.check_parts(&profile)?;
    let [unknown, own] =
        ["unknown_frees", "allocator_frees"].map(|name| profile::counter(&profile, name));
    // A cache of its own, and at least one block in it, for each of the 50 threads.
    ensure!(
        unknown? == 0 && own? >= 100,
        "{}",
        profile::summary(&profile)
    );
    Ok(())
}

/// The child shares the parent's code and its addresses, and none of it counts.
fn fork() -> Result<()> {
    let workload = Workload::start("forker", &[])?;
    let tracing = Tracing::attach(workload.pid())?;
    let (ledger, profile) = tracing.record(workload)?;
    profile::check_complete(&profile)?;
    ledger.check_totals(&profile)?;
    let child = profile::through(&profile, "forker_child");
    ensure!(
        child == Default::default(),
        "the child was counted: {child:?}"
    );
    ledger.check_parts(&profile)
}

/// Asked for, the child is counted from its first call on; what it inherited is not its own.
fn followed_fork() -> Result<()> {
    let workload = Workload::start("forker", &[])?;
    let tracing = Tracing::attach_with(workload.pid(), &["--follow-forks"])?;
    let (ledger, profile) = tracing.record(workload)?;
    profile::check_complete(&profile)?;
    ledger.check_parts(&profile)?;
    // forker.c: 1,000 times a block of 500 bytes and one of 30 + i.
    let (objects, bytes) = (2_000, 1_000 * 500 + (30..1_030).sum::<i64>());
    let expected = Values {
        alloc_objects: objects,
        alloc_space: bytes,
        inuse_objects: objects,
        inuse_space: bytes,
        ..Values::default()
    };
    let child = profile::through(&profile, "forker_child");
    ensure!(child == expected, "the child: {child:?}, not {expected:?}");
    let inherited = profile::counter(&profile, "unknown_frees")?;
    ensure!(
        inherited == 1_000,
        "1,000 inherited blocks were freed, {inherited} noticed"
    );
    Ok(())
}

/// Each life is counted, and the symbols of the first outlive it.
fn exec() -> Result<()> {
    let mut workload = Workload::start("execer", &[])?;
    let tracing = Tracing::attach(workload.pid())?;
    workload.open_gate()?;
    let first = workload.ledger()?;
    let is_second = |line: &str| line.contains("execer_second_life");
    let line = workload
        .child()
        .wait_line(|child| &child.stdout, "the second ledger", is_second)?;
    let second = Ledger::parse(&line)?;
    let profile = tracing.stop()?;
    workload.finish()?;
    profile::check_complete_but_cut(&profile)?;
    second.check_parts_or_cut(&profile)?;
    // What the first life held went with its memory: it was allocated, and is not live.
    let held = first.total.values()?;
    let expected = Values {
        inuse_objects: 0,
        inuse_space: 0,
        ..held
    };
    let found = profile::through(&profile, "execer_first_life");
    let released = profile::counter(&profile, "bytes_released_by_exec")?;
    ensure!(
        i64::try_from(released)? == held.inuse_space,
        "the first life held {} bytes, {released} were released",
        held.inuse_space
    );
    ensure!(
        found == expected,
        "first life: ledger {expected:?}, profile {found:?}\n{}",
        profile::summary(&profile)
    );
    Ok(())
}

/// The target ends the moment it has allocated: nothing is missing, and everything has its name.
fn exit() -> Result<()> {
    let mut workload = Workload::start("exiter", &[])?;
    let mut tracing = Tracing::attach(workload.pid())?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    workload.finish()?;
    let (profile, ended) = tracing.finish_with(0)?;
    profile::check_complete(&profile)?;
    ledger.check_totals(&profile)?;
    ledger.check_parts(&profile)?;
    ensure!(
        ended.stderr.contains("the target ended"),
        "no note that the target is gone
{}",
        ended.stderr
    );
    Ok(())
}

/// A target that dies halfway is no reason to lose what was seen.
fn killed() -> Result<()> {
    let mut workload = Workload::start("steady", &[])?;
    let mut tracing = Tracing::attach(workload.pid())?;
    workload.open_gate()?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    workload.child().signal(Signal::KILL)?;
    workload.child().wait()?;
    let (profile, ended) = tracing.finish_with(0)?;
    let seen = profile::through(&profile, "steady_build");
    ensure!(
        seen.alloc_objects > 0,
        "nothing was seen\n{}",
        profile::summary(&profile)
    );
    ensure!(
        ended.stderr.contains("the target ended"),
        "no note that the target is gone\n{}",
        ended.stderr
    );
    Ok(())
}

/// A call that never returns must not swallow the next one of its thread.
fn longjmp(rung: Rung) -> Result<()> {
    let workload = Workload::start("jumper", &[])?;
    let tracing = rung.attach(workload.pid())?;
    let (ledger, profile) = tracing.record(workload)?;
    ledger.check_cases()?;
    profile::check_complete(&profile)?;
    ledger.check_totals(&profile)?;
    let jumped = ledger.cases.get("jumped").copied().unwrap_or_default();
    let abandoned = profile::counter(&profile, "abandoned_calls")?;
    // The last call of each thread may not have been found out yet.
    ensure!(
        abandoned <= jumped && abandoned + 4 >= jumped,
        "{jumped} calls were left, {abandoned} noticed"
    );
    ledger.check_parts(&profile)
}
