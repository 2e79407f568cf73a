//! A process is more than its first thread, and less than a pid: children, daemons, threads that outlive the
//! first one or replace the program, and programs that must not meet a breakpoint.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tempfile::TempDir;
use tests::ledger::Ledger;
use tests::memory::changed_code_bytes;
use tests::process::{self, Child};
use tests::tracing::{Tracing, others_come_and_go, tracer};
use tests::workload::Workload;
use tests::{binaries, profile, trial, wait};
use tracer::profile::{Profile, Values, Verdict};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("family::children", children),
        trial::root("family::vfork", vfork),
        trial::root("family::daemon", daemon),
        trial::root("family::daemon_is_left", daemon_is_left),
        trial::root("family::first_thread_is_gone", first_thread_is_gone),
        trial::root("family::first_thread_ends", first_thread_ends),
        trial::root("family::first_thread_ends_unseen", first_thread_ends_unseen),
        trial::root("family::thread_execs", thread_execs),
        trial::root("family::thread_execs_unseen", thread_execs_unseen),
        trial::root("family::followed_thread_execs", followed_thread_execs),
        trial::root("family::translators_are_refused", translators_are_refused),
        trial::root("family::probes_make_way", probes_make_way),
    ]
}

/// So many that those that have ended are summed up, more than once.
const CHILDREN: &str = "1400";

/// Children are counted from their first instruction to their last, also when there were many, and nobody
/// else has a breakpoint.
fn children() -> Result<()> {
    let before = Workload::start("idle", &[])?;
    let workload = Workload::start("family", &["children", CHILDREN])?;
    let target = workload.pid();
    let tracing = Tracing::attach_with(target, &["--follow-forks"])?;
    let after = Workload::start("idle", &[])?;
    ensure!(
        changed_code_bytes(target)? > 0,
        "the target has no breakpoint"
    );
    for other in [&before, &after] {
        let changed = changed_code_bytes(other.pid())?;
        ensure!(changed == 0, "{changed} bytes of a bystander's code differ");
    }
    let (ledger, profile) = tracing.record(workload)?;
    profile::check_complete_but_cut(&profile)?;
    ledger.check_parts_or_cut(&profile)?;
    ensure!(
        profile.samples.len() < 2_000,
        "{} samples for a handful of stacks",
        profile.samples.len()
    );
    ensure!(
        profile.metadata.pids.len() < 1_100,
        "{} processes are still told apart",
        profile.metadata.pids.len()
    );
    for mut other in [before, after] {
        other.open_gate()?;
        other.finish()?;
    }
    Ok(())
}

/// Until it calls exec, a child of vfork allocates in its parent's heap.
fn vfork() -> Result<()> {
    let workload = Workload::start("family", &["vfork"])?;
    let tracing = Tracing::attach_with(workload.pid(), &["--follow-forks"])?;
    let (ledger, profile) = tracing.record(workload)?;
    profile::check_complete_but_cut(&profile)?;
    ledger.check_parts_or_cut(&profile)
}

/// The recording goes on until the last process has ended.
fn daemon() -> Result<()> {
    let folder = TempDir::new()?;
    let output = folder.path().join("profile.json");
    let program = binaries::workload("family")?;
    let mut command = tracer(["run", "--follow-forks", "--format", "json", "-o"])?;
    command.arg(&output).arg("--").arg(program).arg("daemon");
    let ended = process::run(&mut command, b"")?;
    ended.expect_code(0)?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    let line = text.lines().next().context("the daemon has no ledger")?;
    let ledger = Ledger::parse(line)?;
    let profile = profile::read_json(&fs::read(&output)?)?;
    profile::check_complete(&profile)?;
    ledger.check_parts(&profile)
}

/// Once the program has ended, a signal is for the tracer: the recording of its daemon ends, the daemon goes on.
fn daemon_is_left() -> Result<()> {
    let folder = TempDir::new()?;
    let output = folder.path().join("profile.json");
    let mut command = tracer(["run", "--follow-forks", "--format", "json", "-o"])?;
    command.arg(&output).args(["--", "sh", "-c"]);
    command.arg("exec 3<&0; cat <&3 >/dev/null 2>&1 & echo $$ $!; exit 3");
    let mut child = Child::spawn(&mut command)?;
    let is_line = |line: &str| line.split(' ').count() == 2;
    let line = child.wait_line(|child| &child.stdout, "two pids", is_line)?;
    let (program, daemon) = line.split_once(' ').context("one pid")?;
    let state = |pid: &str| -> Result<char> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        state.context(stat)
    };
    wait::until("the program to end", || {
        Ok((state(program)? == 'Z').then_some(()))
    })?;
    child.signal(Signal::TERM)?;
    wait::until("the tracer to end", || {
        Ok((!child.is_running()?).then_some(()))
    })?;
    let daemon: u32 = daemon.parse()?;
    ensure!(state(&daemon.to_string())? != 'Z', "the daemon has ended");
    ensure!(
        changed_code_bytes(daemon)? == 0,
        "a probe was left in the daemon"
    );
    child.close_stdin();
    child.wait()?.expect_code(3)?;
    profile::read_json(&fs::read(&output)?)?;
    Ok(())
}

/// A zombie among the threads is no zombie.
fn first_thread_is_gone() -> Result<()> {
    let workload = Workload::start("family", &["first-gone"])?;
    let tracing = Tracing::attach(workload.pid())?;
    let (ledger, profile) = record_alone(workload, tracing, || Ok(()))?;
    ledger.check_parts(&profile)?;
    profile::check_complete(&profile)
}

/// Counting goes on when the first thread ends, also while another tracer changes probes on the same libc.
fn first_thread_ends() -> Result<()> {
    let workload = Workload::start("family", &["first-ends"])?;
    let tracing = Tracing::attach(workload.pid())?;
    let (ledger, profile) = record_alone(workload, tracing, others_come_and_go)?;
    if profile::counter(&profile, "probes_missing")? > 0 {
        // The others were faster, and what is missing is said.
        return ensure_degraded(&profile);
    }
    ledger.check_parts(&profile)?;
    profile::check_complete(&profile)
}

fn ensure_degraded(profile: &Profile) -> Result<()> {
    let is_said = matches!(
        profile.verdict,
        Verdict::Degraded { .. } | Verdict::Inconclusive { .. }
    );
    ensure!(is_said, "{}", profile::summary(profile));
    Ok(())
}

/// Where the tracer hears of it later than the probes are gone, that is said.
fn first_thread_ends_unseen() -> Result<()> {
    let mut workload = Workload::start("family", &["first-ends"])?;
    let mut tracing = Tracing::attach(workload.pid())?;
    tracing.child().signal(Signal::STOP)?;
    be_alone(&mut workload)?;
    others_come_and_go()?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    tracing.child().signal(Signal::CONT)?;
    let profile = tracing.stop_with_any_verdict()?;
    workload.finish()?;
    let is_missed = ledger.check_parts(&profile).is_err();
    let is_said = profile::counter(&profile, "probes_missing")? > 0
        && matches!(
            profile.verdict,
            Verdict::Degraded { .. } | Verdict::Inconclusive { .. }
        );
    ensure!(is_missed && is_said, "{}", profile::summary(&profile));
    Ok(())
}

/// Has the first thread end.
pub(crate) fn be_alone(workload: &mut Workload) -> Result<()> {
    workload.open_gate()?;
    let line = workload
        .child()
        .wait_line(|child| &child.stdout, "`alone`", |line| line == "alone");
    line.map(drop)
}

fn record_alone(
    mut workload: Workload,
    tracing: Tracing,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<(Ledger, Profile)> {
    be_alone(&mut workload)?;
    meanwhile()?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    let profile = tracing.stop_with_any_verdict()?;
    workload.finish()?;
    Ok((ledger, profile))
}

/// The tracer puts the probes back when it hears of the exec: in time, or what is missing is said.
fn thread_execs() -> Result<()> {
    let (ledger, profile) = record_exec(&[], |_, _| Ok(()))?;
    let execs = profile::counter(&profile, "execs_by_other_threads")?;
    if execs == 0 {
        profile::check_complete(&profile)?;
        check_part(&ledger, &profile, "family_program")?;
    } else {
        check_gap_is_said(&profile)?;
    }
    check_part(&ledger, &profile, "family_own")
}

/// Where the tracer hears of it later than the new program ran, nothing of that is counted, which is said.
fn thread_execs_unseen() -> Result<()> {
    let (ledger, profile) = record_exec(&[], Child::signal)?;
    check_gap_is_said(&profile)?;
    let program = profile::through(&profile, "family_program");
    ensure!(
        program == Values::default(),
        "{}",
        profile::summary(&profile)
    );
    check_part(&ledger, &profile, "family_own")
}

fn check_gap_is_said(profile: &Profile) -> Result<()> {
    ensure!(
        profile::counter(profile, "execs_by_other_threads")? == 1
            && matches!(
                profile.verdict,
                Verdict::Degraded { .. } | Verdict::Inconclusive { .. }
            ),
        "{}",
        profile::summary(profile)
    );
    Ok(())
}

fn check_part(ledger: &Ledger, profile: &Profile, function: &str) -> Result<()> {
    let part = ledger.parts.get(function).context("no such part")?;
    let found = profile::through(profile, function);
    ensure!(
        found == part.values()?,
        "{function}: {found:?}, not {part:?}\n{}",
        profile::summary(profile)
    );
    Ok(())
}

/// Probes that belong to the threads are there without a gap.
fn followed_thread_execs() -> Result<()> {
    let (ledger, profile) = record_exec(&["--follow-forks"], |_, _| Ok(()))?;
    profile::check_complete(&profile)?;
    check_part(&ledger, &profile, "family_program")
}

/// Has a thread exec, with the tracer told to stop before and to go on after that by `signal`.
fn record_exec(
    arguments: &[&str],
    signal: impl Fn(&mut Child, Signal) -> Result<()>,
) -> Result<(Ledger, Profile)> {
    let mut workload = Workload::start("family", &["thread-execs"])?;
    let mut tracing = Tracing::attach_with(workload.pid(), arguments)?;
    signal(tracing.child(), Signal::STOP)?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    workload
        .child()
        .wait_line(|child| &child.stdout, "`program`", |line| line == "program")?;
    signal(tracing.child(), Signal::CONT)?;
    let profile = tracing.stop_with_any_verdict()?;
    workload.finish()?;
    // What the first image held is gone.
    let mut ledger = ledger;
    if let Some(part) = ledger.parts.get_mut("family_own") {
        part.free_objects = part.alloc_objects;
        part.free_bytes = part.alloc_bytes;
    }
    Ok((ledger, profile))
}

/// A program by the name of one of valgrind's tools.
fn translator(folder: &TempDir) -> Result<std::path::PathBuf> {
    let path = folder.path().join("memcheck-amd64-linux");
    fs::copy(binaries::workload("family")?, &path)?;
    Ok(path)
}

fn translators_are_refused() -> Result<()> {
    let folder = TempDir::new()?;
    let program = translator(&folder)?;
    let mut command = std::process::Command::new(&program);
    let mut running = Child::spawn(command.args(["becomes", "nothing"]))?;
    running.wait_line(|child| &child.stdout, "`ready`", |line| line == "ready")?;
    let attach = tracer(["attach", "--pid", &running.pid().to_string()])?;
    let mut run = tracer(["run", "--"])?;
    run.arg(&program);
    for mut command in [attach, run] {
        command.current_dir(folder.path());
        let ended = process::run(&mut command, b"")?;
        ended.expect_code(2)?;
        ensure!(
            ended.stderr.contains("valgrind") && ended.stderr.contains("reads code as data"),
            "{}",
            ended.printed()
        );
    }
    ensure!(changed_code_bytes(running.pid())? == 0, "it was probed");
    running.signal(Signal::KILL)?;
    running.wait()?;
    Ok(())
}

/// Where one turns up during the recording, the probes are gone before it can read them.
fn probes_make_way() -> Result<()> {
    for arguments in [&[][..], &["--follow-forks"]] {
        let folder = TempDir::new()?;
        let program = translator(&folder)?;
        let program = program.to_str().context("the folder's name is no text")?;
        let mut workload = Workload::start("family", &["becomes", program])?;
        let mut tracing = Tracing::attach_with(workload.pid(), arguments)?;
        workload.open_gate()?;
        workload
            .child()
            .wait_line(|child| &child.stdout, "`program`", |line| line == "program")?;
        let (profile, ended) = tracing.finish_with(0)?;
        ensure!(
            profile::counter(&profile, "code_translators")? == 1
                && ended.stderr.contains("reads code as data"),
            "{}\n{}",
            profile::summary(&profile),
            ended.printed()
        );
        ensure!(changed_code_bytes(workload.pid())? == 0, "probes are left");
        workload.finish()?;
    }
    Ok(())
}
