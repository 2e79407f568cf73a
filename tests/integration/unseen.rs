//! What was not seen is said: allocators that are not probed, and growth that nobody explains. And what was
//! seen is not said to be missing.

mod group;

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::ledger::Ledger;
use tests::process;
use tests::tracing::{Tracing, tracer};
use tests::workload::Workload;
use tests::{binaries, profile, trial};
use tracer::profile::{Profile, Verdict};

/// A script that keeps small objects, 10 MiB of them, or a good half of a MiB more every 20 ms.
const PYTHON: &str = "
import sys, time
kept = [[i] for i in range(60000)]
print('ready', flush=True)
sys.stdin.readline()
for round in range(60):
    if sys.argv[1] == 'leak':
        kept.append([[i] for i in range(6000)])
    text = [str(i) * 300 for i in range(30)]
    time.sleep(0.02)
print('done', flush=True)
sys.stdin.read()
";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial::root("unseen::arena_attach", arena_attach),
        trial::root("unseen::arena_run", arena_run),
        trial::root("unseen::wrapper", wrapper),
        trial::root("unseen::mapped", mapped),
        trial::root("unseen::mapped_in_check", mapped_in_check),
        trial::root("unseen::kept_and_mapped_before", kept_and_mapped_before),
        trial::root("unseen::python_leak", python_leak),
        trial::root("unseen::python_with_malloc", python_with_malloc),
        trial::root("unseen::python_healthy", python_healthy),
    ];
    trials.extend(group::trials());
    trials
}

fn blocks(arguments: [&str; 4]) -> Result<Command> {
    let mut command = Command::new(binaries::workload("blocks")?);
    command.args(arguments);
    Ok(command)
}

/// Attaches to a command until it has done its work; the tracer then ends with a code.
fn attach(command: &mut Command, code: i32) -> Result<(Profile, String)> {
    let mut workload = Workload::start_command(command)?;
    let mut tracing = Tracing::attach(workload.pid())?;
    workload.open_gate()?;
    let worker = workload.child();
    worker.wait_line(|child| &child.stdout, "`done`", |line| line == "done")?;
    tracing.child().signal(Signal::INT)?;
    let (profile, ended) = tracing.finish_with(code)?;
    workload.finish()?;
    Ok((profile, ended.stderr))
}

fn expect(profile: &Profile, verdict: &str, words: &[&str]) -> Result<()> {
    let reasons = profile.verdict.reasons().join("\n");
    ensure!(
        profile.verdict.name() == verdict && words.iter().all(|words| reasons.contains(words)),
        "not {verdict} with {words:?}\n{}",
        profile::summary(profile)
    );
    Ok(())
}

/// An allocator that is preloaded serves nearly all of it, and none of that is in the profile.
fn arena_attach() -> Result<()> {
    let library = binaries::preload("arena")?;
    let mut command = blocks(["16", "0", "100", "0"])?;
    let mut workload = Workload::start_command(command.env("LD_PRELOAD", &library))?;
    let mut tracing = Tracing::begin_attach(workload.pid(), &[])?;
    tracing.wait_attached()?;
    workload.open_gate()?;
    let worker = workload.child();
    worker.wait_line(|child| &child.stdout, "`done`", |line| line == "done")?;
    tracing.child().signal(Signal::INT)?;
    let ended = tracing.child().wait()?;
    workload.finish()?;
    // Never called, so that there is no profile; or a few of the C library's own calls.
    ensure!(
        matches!(ended.status.code(), Some(2 | 3)) && ended.stderr.contains("arena"),
        "{}",
        ended.printed()
    );
    Ok(())
}

/// The same from the beginning on, found out while the program starts.
fn arena_run() -> Result<()> {
    let library = binaries::preload("arena")?;
    let preload = format!("LD_PRELOAD={}", library.display());
    let program = binaries::workload("blocks")?;
    let arguments = ["env", &preload].map(OsStr::new).into_iter();
    let rest = ["0", "0", "10", "0"].map(OsStr::new);
    let command = arguments.chain([program.as_os_str()]).chain(rest);
    let mut tracing = Tracing::run(command)?;
    tracing.child().write(b"\n")?;
    tracing.child().close_stdin();
    let (profile, ended) = tracing.finish_with(0)?;
    expect(
        &profile,
        "inconclusive",
        &["arena", "serves the target's malloc"],
    )?;
    ensure!(profile::counter(&profile, "allocators_not_probed")? == 1);
    ensure!(ended.stderr.contains("arena"), "{}", ended.printed());
    Ok(())
}

/// A wrapper hands on what it is asked for: all of it is counted, and nothing is said to be missing.
fn wrapper() -> Result<()> {
    let library = binaries::preload("wrapper")?;
    let mut command = Command::new(binaries::workload("midlife")?);
    let workload = Workload::start_command(command.env("LD_PRELOAD", library))?;
    let tracing = Tracing::attach(workload.pid())?;
    let (ledger, profile): (Ledger, _) = tracing.record(workload)?;
    let expected = ledger.total.values()?;
    ensure!(
        profile::total(&profile) == expected,
        "{expected:?}\n{}",
        profile::summary(&profile)
    );
    ensure!(
        matches!(profile.verdict, Verdict::Complete)
            && profile::counter(&profile, "allocators_not_probed")? == 0,
        "{}",
        profile::summary(&profile)
    );
    Ok(())
}

/// Memory that the program maps for itself.
fn mapped() -> Result<()> {
    let (profile, said) = attach(&mut blocks(["0", "512", "100", "0"])?, 3)?;
    expect(&profile, "inconclusive", &["MB by which", "mmap"])?;
    let unseen = profile::counter(&profile, "unseen_growth_bytes")?;
    ensure!((45 << 20..=52 << 20).contains(&unseen), "{unseen}");
    ensure!(said.contains("MB by which"), "{said}");
    Ok(())
}

/// `check` does not pass it.
fn mapped_in_check() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut workload = Workload::start_command(&mut blocks(["0", "512", "150", "0"])?)?;
    workload.open_gate()?;
    let mut command = tracer(["check", "--report=text", "--duration=1s", "--pid"])?;
    command
        .arg(workload.pid().to_string())
        .current_dir(folder.path());
    let ended = process::run(&mut command, b"")?;
    workload.finish()?;
    ended.expect_code(3)?;
    ensure!(
        ended.printed().contains("MB by which"),
        "{}",
        ended.printed()
    );
    Ok(())
}

/// What malloc handed out explains as much growth, and what was mapped before is none.
fn kept_and_mapped_before() -> Result<()> {
    let (profile, _) = attach(&mut blocks(["512", "0", "100", "64"])?, 0)?;
    expect(&profile, "complete", &[])?;
    ensure!(profile::counter(&profile, "unseen_growth_bytes")? == 0);
    Ok(())
}

fn python(way: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", PYTHON, way]);
    command
}

/// `CPython` takes small objects from arenas that it maps itself.
fn python_leak() -> Result<()> {
    let (profile, _) = attach(&mut python("leak"), 3)?;
    expect(
        &profile,
        "inconclusive",
        &["MB by which", "PYTHONMALLOC=malloc"],
    )?;
    ensure!(profile::counter(&profile, "unseen_growth_bytes")? > 10 << 20);
    Ok(())
}

/// And as it is advised, all of it is seen.
fn python_with_malloc() -> Result<()> {
    let (profile, _) = attach(python("leak").env("PYTHONMALLOC", "malloc"), 0)?;
    expect(&profile, "complete", &[])
}

/// From its start on, with a cache that does not grow any more.
fn python_healthy() -> Result<()> {
    let mut tracing = Tracing::run(["/usr/bin/python3", "-c", PYTHON, "healthy"])?;
    let child = tracing.child();
    child.wait_line(|child| &child.stdout, "`ready`", |line| line == "ready")?;
    child.write(b"\n")?;
    child.close_stdin();
    let (profile, _) = tracing.finish_with(0)?;
    ensure!(
        profile::counter(&profile, "unseen_growth_bytes")? == 0
            && !matches!(profile.verdict, Verdict::Inconclusive { .. }),
        "{}",
        profile::summary(&profile)
    );
    Ok(())
}
