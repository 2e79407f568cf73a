//! Memory told from page faults: `--source growth`, against the ledger of a workload that counts its pages, and on
//! programs whose allocator nobody can probe.

use std::ops::Range;
use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::ledger::Ledger;
use tests::memory::code_of_the_c_library;
use tests::process::Ended;
use tests::series::{SeriesTracing, at};
use tests::tracing::{Tracing, tracer};
use tests::workload::Workload;
use tests::{binaries, process, profile, trial};

/// What `pages populate` maps.
const POPULATED: u64 = 64 << 20;
/// Pages of a step of `pool steps`.
const STEP: u64 = 64;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("growth::pages", pages),
        trial::root("growth::followed", followed),
        trial::root("growth::populated", populated),
        trial::root("growth::go", go),
        trial::root("growth::nothing_is_placed", nothing_is_placed),
        trial::root("growth::run", run),
        trial::root("growth::series", series),
        trial::root("growth::check_grows", check_grows),
        trial::root("growth::check_steady", check_steady),
        trial::root("growth::check_populated", check_populated),
        trial::root("growth::check_refuses", check_refuses),
        trial::root("growth::when_growing", when_growing),
        trial::root("growth::never_grown", never_grown),
    ]
}

/// Pages that stay, that are given back in part or as a whole, touched again, only read, touched by the kernel, huge,
/// and of other threads: each below the function whose they are.
fn pages() -> Result<()> {
    let workload = Workload::start("pages", &[])?;
    let tracing = Tracing::attach_with(workload.pid(), &["--source", "growth"])?;
    let (ledger, profile) = tracing.record(workload)?;
    profile::check_complete_but_cut(&profile)?;
    ledger.check_parts(&profile)?;
    ensure!(
        profile.peak.is_none(),
        "nobody knows what there was at once"
    );
    Ok(())
}

/// A child's pages are its own, and what it has of its parent's is not counted again.
fn followed() -> Result<()> {
    let workload = Workload::start("pages", &["fork"])?;
    let arguments = ["--source", "growth", "--follow-forks"];
    let tracing = Tracing::attach_with(workload.pid(), &arguments)?;
    let (ledger, profile) = tracing.record(workload)?;
    ledger.check_parts(&profile)
}

/// What the kernel fills in without a fault belongs to nobody, and is said to be missing.
fn populated() -> Result<()> {
    let workload = Workload::start("pages", &["populate"])?;
    let tracing = Tracing::attach_with(workload.pid(), &["--source", "growth"])?;
    let (ledger, profile) = tracing.record(workload)?;
    ledger.check_parts(&profile)?;
    let missing = profile::counter(&profile, "unattributed_bytes")?;
    ensure!(
        profile.verdict.name() == "degraded" && missing.abs_diff(POPULATED) < POPULATED / 20,
        "{missing} bytes\n{}",
        profile::summary(&profile)
    );
    Ok(())
}

/// A Go program has no allocator to probe.
fn go() -> Result<()> {
    let mut child = process::Child::spawn(&mut Command::new(binaries::go("grow")?))?;
    let ready = |line: &str| line == "ready";
    child.wait_line(|child| &child.stdout, "`ready`", ready)?;
    let pid = child.pid().to_string();
    let refused = process::run(&mut tracer(["attach", "--pid", &pid])?, &[])?;
    check_offered(&refused)?;
    check_offered(&process::run(&mut tracer(["check", "--pid", &pid])?, &[])?)?;
    let mut run = tracer(["run", "-o", "-", "--"])?;
    check_offered(&process::run(run.arg(binaries::go("grow")?), &[])?)?;
    let tracing = Tracing::attach_with(child.pid(), &["--source", "growth"])?;
    child.write(b"\n")?;
    let done = |line: &str| line == "done";
    child.wait_line(|child| &child.stdout, "`done`", done)?;
    let profile = tracing.stop()?;
    child.close_stdin();
    child.wait()?;
    let kept = profile::through(&profile, "main.keep").inuse_space;
    let total = profile::total(&profile).inuse_space;
    ensure!(
        kept >= 60 << 20 && kept * 10 >= total * 9,
        "{kept} of {total}\n{}",
        profile::summary(&profile)
    );
    Ok(())
}

fn check_offered(refused: &Ended) -> Result<()> {
    ensure!(
        refused.status.code() == Some(2) && refused.stderr.contains("--source growth"),
        "{}",
        refused.printed()
    );
    Ok(())
}

/// The target's code is what it was while it is followed.
fn nothing_is_placed() -> Result<()> {
    let workload = Workload::start("pages", &[])?;
    let before = code_of_the_c_library(workload.pid())?;
    let tracing = Tracing::attach_with(workload.pid(), &["--source", "growth"])?;
    let during = code_of_the_c_library(workload.pid())?;
    let (_, profile) = tracing.record(workload)?;
    ensure!(before == during, "the C library's code has changed");
    ensure!(
        profile::total(&profile).alloc_objects > 0,
        "{}",
        profile::summary(&profile)
    );
    Ok(())
}

/// From the program's first page to its end, when nobody can look any more: what was there when it was last looked.
fn run() -> Result<()> {
    let program = binaries::workload("pages")?;
    let mut tracing = SeriesTracing::run("50ms", &["--source", "growth"], [program])?;
    let ready = |line: &str| line == "ready";
    let child = tracing.child();
    child.wait_line(|child| &child.stdout, "`ready`", ready)?;
    child.write(b"\n")?;
    let printed = |line: &str| line.starts_with('{');
    let line = child.wait_line(|child| &child.stdout, "the ledger", printed)?;
    let ledger = Ledger::parse(&line)?;
    // One that had begun before, and one that has not.
    let now = tracing.windows()?;
    tracing.wait_windows(now + 2)?;
    tracing.child().close_stdin();
    let recorded = tracing.finish()?;
    ledger.check_parts(&recorded.profile)?;
    // What the C library made resident before main, too. Counters of 0 are not in the file.
    let main = profile::through(&recorded.profile, "main").alloc_objects;
    ensure!(
        profile::total(&recorded.profile).alloc_objects > main
            && profile::counter(&recorded.profile, "unattributed_bytes").is_err(),
        "{}",
        profile::summary(&recorded.profile)
    );
    Ok(())
}

/// Each window says what is resident at its end, and in which window that came.
fn series() -> Result<()> {
    let mut workload = Workload::start("pool", &["steps"])?;
    let mut tracing = SeriesTracing::attach(workload.pid(), "50ms", &["--source", "growth"])?;
    let mut windows = Vec::new();
    for step in [b"a", b"a", b"d", b"a"] {
        let child = workload.child();
        child.write(step)?;
        let said = format!("step {}", windows.len());
        child.wait_line(|child| &child.stdout, &said, |line| line == said)?;
        // A profile comes after the end of its window: one more may have ended.
        let after = tracing.windows()? + 1;
        tracing.wait_windows(after + 2)?;
        windows.push(after);
    }
    let recorded = tracing.stop()?;
    workload.finish()?;
    recorded.check_end()?;
    // By themselves the profiles say that they count pages, and not how the whole went.
    let mut command = tracer(["check"])?;
    let ended = process::run(command.args(&recorded.files), &[])?;
    ensure!(
        ended.status.code() == Some(3)
            && String::from_utf8_lossy(&ended.stdout).contains("these profiles count pages"),
        "{}",
        ended.printed()
    );
    for (window, steps) in windows.iter().zip([
        &[STEP][..],
        &[STEP, STEP],
        &[STEP / 2, STEP],
        &[STEP / 2, STEP, STEP],
    ]) {
        let (mut pages, mut rows) = (0, Vec::new());
        for history in recorded.stacks_through("pool_grow") {
            let (counters, row) = at(history, *window);
            pages += counters.live_objects();
            rows.extend(row.iter().map(|one| (one.generation as usize, one.objects)));
        }
        // By the step whose they are: between two of them there are windows.
        let of_step = |range: Range<usize>| -> u64 {
            let here = rows
                .iter()
                .filter(|(generation, _)| range.contains(generation));
            here.map(|(_, objects)| objects).sum()
        };
        let starts = std::iter::once(0).chain(windows.iter().map(|end| end + 1));
        let by_step = starts
            .zip(&windows)
            .map(|(start, &end)| of_step(start..end + 1));
        // The one that gives back has none.
        let left: Vec<u64> = by_step.filter(|&pages| pages > 0).collect();
        ensure!(
            pages == steps.iter().sum::<u64>() && left == steps,
            "window {window}: {pages} pages, {left:?} is not {steps:?}"
        );
    }
    Ok(())
}

/// Memory of a pool grows: the function that touches it is named, and no objects are said to be lost.
fn check_grows() -> Result<()> {
    let mut command = tracer(["check", "--source=growth", "--duration=12s", "--"])?;
    command.arg(binaries::workload("pool")?).arg("grow");
    let ended = process::Child::spawn(&mut command)?.wait()?;
    let text = String::from_utf8_lossy(&ended.stdout);
    ensure!(
        ended.status.code() == Some(1)
            && text.contains("memory grows by ")
            && text.contains("first touched by pool_grow, confidence medium")
            && !text.contains("leak"),
        "{}",
        ended.printed()
    );
    Ok(())
}

/// What is touched and given back, or not touched at all, is no growth.
fn check_steady() -> Result<()> {
    for mode in ["steady", "steps"] {
        let workload = Workload::start("pool", &[mode])?;
        let pid = workload.pid().to_string();
        let mut command = tracer(["check", "--source=growth", "--duration=6s", "--pid", &pid])?;
        let ended = process::run(&mut command, &[])?;
        workload.finish()?;
        ended.expect_code(0)?;
    }
    Ok(())
}

/// Growth that belongs to nobody can't be judged.
fn check_populated() -> Result<()> {
    let mut workload = Workload::start("pages", &["populate"])?;
    let pid = workload.pid().to_string();
    let mut command = tracer(["check", "--source=growth", "--duration=6s", "--pid", &pid])?;
    let mut child = process::Child::spawn(&mut command)?;
    let attached = |line: &str| line.starts_with("attached to");
    child.wait_line(|child| &child.stderr, "`attached to`", attached)?;
    workload.open_gate()?;
    workload.ledger()?;
    let ended = child.wait()?;
    workload.finish()?;
    ensure!(
        ended.status.code() == Some(3)
            && String::from_utf8_lossy(&ended.stdout).contains("belong to no page fault"),
        "{}",
        ended.printed()
    );
    Ok(())
}

/// What pages do not tell is said before anything is done.
fn check_refuses() -> Result<()> {
    for (rule, name) in [
        ("--max-peak=1GB", "the peak"),
        ("--write-baseline=x", "a baseline"),
    ] {
        let mut command = tracer(["check", "--source=growth", rule, "--", "true"])?;
        let ended = process::run(&mut command, &[])?;
        ensure!(
            ended.status.code() == Some(2)
                && ended
                    .stderr
                    .contains(&format!("{name} can't be judged with --source growth")),
            "{}",
            ended.printed()
        );
    }
    Ok(())
}

/// Nothing is done before the target grows.
fn when_growing() -> Result<()> {
    let mut workload = Workload::start("pages", &[])?;
    let arguments = ["--when-growing=8MB", "--source", "growth"];
    let mut tracing = Tracing::begin_attach(workload.pid(), &arguments)?;
    let waiting = |line: &str| line.starts_with("waiting until pages");
    let child = tracing.child();
    child.wait_line(|child| &child.stderr, "`waiting`", waiting)?;
    ensure!(
        child
            .stderr
            .line(|line| line.starts_with("attached to"))
            .is_none(),
        "attached at once"
    );
    workload.open_gate()?;
    tracing.wait_attached()?;
    tracing.stop()?;
    workload.finish().map(drop)
}

/// A target that ends before is an error that says so.
fn never_grown() -> Result<()> {
    let mut workload = Workload::start("pages", &[])?;
    let mut tracing = Tracing::begin_attach(workload.pid(), &["--when-growing"])?;
    let waiting = |line: &str| line.starts_with("waiting until pages");
    let child = tracing.child();
    child.wait_line(|child| &child.stderr, "`waiting`", waiting)?;
    workload.child().signal(Signal::KILL)?;
    let ended = child.wait()?;
    ensure!(
        ended.status.code() == Some(2) && ended.stderr.contains("it did not grow by 16.00 MB"),
        "{}",
        ended.printed()
    );
    Ok(())
}
