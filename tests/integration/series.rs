//! `--every`: what a series says of each window, and the files it is written to.

mod lives;

use std::fs;
use std::ops::RangeInclusive;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tests::process::{self, Child};
use tests::rung::{self, Rung};
use tests::series::{Recorded, SeriesTracing, at, sum};
use tests::tracing::tracer;
use tests::workload::Workload;
use tests::{binaries, profile, trial};
use tracer::profile::series::Survivors;
use tracer_common::EXACT_GENERATIONS;

/// As in `workloads/c/steps.c`.
const LEAKED: u64 = 10;
const CACHED: u64 = 100;
const CACHE: u64 = 250;
const LEAK_SIZE: u64 = 32;
const CACHE_SIZE: u64 = 48;

const STEPS: u64 = 8;

/// Allocator calls of the program with threads.
const CALLS: &str = "300000";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial::root("series::files", files),
        trial::root("series::run", run),
        trial::root("series::folders", folders),
        trial::root("series::fork_and_exec", || lives::lives(false)),
        trial::root("series::followed_fork_and_exec", || lives::lives(true)),
    ];
    for rung in rung::ALL {
        trials.push(trial::root(&rung.trial("series::generations"), move || {
            generations(rung)
        }));
        trials.push(trial::heavy(&rung.trial("series::threads"), move || {
            threads(rung)
        }));
    }
    trials
}

/// A step of the workload.
struct Step {
    /// Where its allocations may be: in the window that was under way when it began, up to the one in
    /// which it ended. Those of two steps never overlap.
    generations: RangeInclusive<usize>,
}

/// Every survivor in its generation, in each window at whose end the target rested.
fn generations(rung: Rung) -> Result<()> {
    let mut workload = Workload::start("steps", &[])?;
    let mut tracing = SeriesTracing::attach(workload.pid(), "50ms", &rung.arguments())?;
    let mut steps = Vec::new();
    for number in 0..STEPS {
        let begun = tracing.windows()?;
        workload.child().write(b"s")?;
        let said = format!("step {number}");
        workload
            .child()
            .wait_line(|child| &child.stdout, &said, |line| line == said)?;
        // A profile comes after the end of its window: one more may have ended.
        let ended = tracing.windows()? + 1;
        steps.push(Step {
            generations: begun..=ended,
        });
        tracing.wait_windows(ended + 2)?;
    }
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    // Long enough for all of them to be merged.
    let now = tracing.windows()?;
    tracing.wait_windows(now + 14)?;
    let recorded = tracing.stop()?;
    workload.finish()?;

    profile::check_complete(&recorded.profile)?;
    ledger.check_parts(&recorded.profile)?;
    recorded.check_end()?;
    check_steps(&recorded, &steps)
}

fn check_steps(recorded: &Recorded, steps: &[Step]) -> Result<()> {
    let exact = recorded.series.exact_generations() as usize;
    let windows = recorded.series.marks().len();
    ensure!(windows > 2 * exact, "only {windows} windows");
    let leak = recorded.stack_through("steps_leak")?;
    let cache = recorded.stack_through("steps_cache")?;
    let mut merged = 0;
    for (number, step) in steps.iter().enumerate() {
        let next = steps
            .get(number + 1)
            .map_or(windows, |next| *next.generations.start());
        for window in *step.generations.end()..next {
            let done = number + 1;
            let context = || format!("step {number}, window {window}");
            let (counters, row) = at(leak, window);
            let lives = |step: usize| LEAKED + step as u64;
            ensure!(
                counters.alloc_objects == (0..done).map(lives).sum::<u64>(),
                "{counters:?}"
            );
            check_row(&row, &steps[..done], lives, LEAK_SIZE).with_context(context)?;
            merged += usize::from(row.len() < done);

            let (counters, row) = at(cache, window);
            ensure!(
                counters.alloc_objects == CACHED * done as u64,
                "{counters:?}"
            );
            // The cache holds the last of all that was put into it.
            let lives = |step: usize| {
                let later = CACHED * (done - 1 - step) as u64;
                CACHE.saturating_sub(later).min(CACHED)
            };
            check_row(&row, &steps[..done], lives, CACHE_SIZE).with_context(context)?;
        }
    }
    ensure!(merged > 0, "no generations were merged");
    Ok(())
}

/// What lives is what the steps left, each in its generations: added up, since the oldest are merged.
fn check_row(
    row: &[Survivors],
    steps: &[Step],
    lives: impl Fn(usize) -> u64,
    size: u64,
) -> Result<()> {
    let mut expected = 0;
    let oldest = row.first().map_or(0, |one| one.generation as usize);
    for (number, step) in steps.iter().enumerate() {
        expected += lives(number);
        let end = *step.generations.end();
        if end < oldest {
            continue;
        }
        let until = row.partition_point(|one| one.generation as usize <= end);
        let found = sum(&row[..until]);
        ensure!(
            found == (expected, expected * size),
            "{expected} objects of the first {} steps live, found {found:?} in {row:?}",
            number + 1
        );
    }
    ensure!(
        sum(row) == (expected, expected * size),
        "{expected} objects live, found {row:?}"
    );
    Ok(())
}

/// Windows end and generations are merged in the middle of everything that threads do, and no call is
/// lost or counted twice for it.
fn threads(rung: Rung) -> Result<()> {
    let mut workload = Workload::start("ledger_c", &[CALLS])?;
    let arguments = [rung.arguments(), vec!["--format", "json"]].concat();
    let mut tracing = SeriesTracing::attach(workload.pid(), "20ms", &arguments)?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    let now = tracing.windows()?;
    // Until the target has rested for a whole window, and generations have been merged.
    tracing.wait_windows((now + 3).max(2 * EXACT_GENERATIONS as usize + 1))?;
    let recorded = tracing.stop()?;
    workload.finish()?;
    profile::check_complete(&recorded.profile)?;
    ledger.check_totals(&recorded.profile)?;
    ledger.check_parts(&recorded.profile)?;
    recorded.check_end()?;
    let windows = recorded.series.marks().len();
    let exact = recorded.series.exact_generations() as usize;
    ensure!(windows > 2 * exact, "only {windows} windows");
    Ok(())
}

/// Each window's file is a profile for whatever reads profiles, and the last has the ledger's amounts.
fn files() -> Result<()> {
    let mut workload = Workload::start("midlife", &[])?;
    let mut tracing = SeriesTracing::attach(workload.pid(), "100ms", &[])?;
    tracing.wait_windows(2)?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    let now = tracing.windows()?;
    tracing.wait_windows(now + 2)?;
    let recorded = tracing.stop()?;
    workload.finish()?;
    ledger.check_parts(&recorded.profile)?;

    for (number, file) in (1..).zip(&recorded.files) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        ensure!(
            name == format!("{number:04}.pb.gz"),
            "{name} is no {number}"
        );
    }
    let mut command = tracer(["series", "--format=json"])?;
    let ended = process::run(command.arg(recorded.folder()), b"")?;
    ended.expect_code(0)?;
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout)?;
    let rows = report["rows"].as_array().context("no rows")?;
    ensure!(rows.len() == recorded.files.len(), "{report:#}");

    let [first, .., last] = recorded.files.as_slice() else {
        anyhow::bail!("{:?}", recorded.files);
    };
    let live = ledger.total.values()?.inuse_space;
    let mut command = tracer(["diff", "--format=json"])?;
    let ended = process::run(command.arg(first).arg(last), b"")?;
    ended.expect_code(0)?;
    let difference: serde_json::Value = serde_json::from_slice(&ended.stdout)?;
    ensure!(difference["total"]["change"] == live, "{difference:#}");

    let mut command = Command::new("go");
    let home = TempDir::new()?;
    command.env("HOME", home.path());
    command.args([
        "tool",
        "pprof",
        "-top",
        "-sample_index=inuse_space",
        "-unit=B",
    ]);
    command.arg("-diff_base").arg(first).arg(last);
    let ended = process::run(&mut command, b"").context("needs Go: apt-get install golang-go")?;
    ended.expect_code(0)?;
    let text = String::from_utf8_lossy(&ended.stdout);
    let row = text.lines().find(|line| line.ends_with(" midlife_new"));
    let row = row.with_context(|| ended.printed())?;
    ensure!(row.trim_start().starts_with(&format!("{live}B ")), "{row}");
    Ok(())
}

/// A program's exit is its own, and one that is shorter than a window has a series of one.
fn run() -> Result<()> {
    let folder = TempDir::new()?;
    let into = folder.path().join("series");
    let mut command = tracer(["run", "--every", "1h", "-o"])?;
    command.arg(&into).args(["--", "sh", "-c", "exit 7"]);
    let ended = process::run(&mut command, b"")?;
    ended.expect_code(7)?;
    let series = fs::read(into.join(tracer::export::series::FILE_NAME))?;
    let series = tracer::export::series::read(&series)?;
    ensure!(series.marks().len() == 1, "{:?}", series.marks());
    ensure!(into.join("0001.pb.gz").is_file() && !into.join("0002.pb.gz").exists());
    Ok(())
}

/// Nothing is replaced.
fn folders() -> Result<()> {
    let folder = TempDir::new()?;
    let used = folder.path().join("used");
    fs::create_dir(&used)?;
    fs::write(used.join("0001.pb.gz"), "precious")?;
    let idle = Child::spawn(&mut Command::new(binaries::workload("idle")?))?;
    let pid = idle.pid().to_string();
    for (into, words) in [
        (used.as_os_str(), "is not empty"),
        ("-".as_ref(), "name a folder"),
    ] {
        let mut command = tracer(["attach", "--every", "1s", "--pid", &pid, "-o"])?;
        let ended = process::run(command.arg(into), b"")?;
        ended.expect_code(2)?;
        ensure!(ended.stderr.contains(words), "{}", ended.printed());
    }
    ensure!(fs::read_to_string(used.join("0001.pb.gz"))? == "precious");
    Ok(())
}
