//! `--label`, and what reports and Go's pprof make of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tests::process::{self, Child, Ended};
use tests::tracing::{Tracing, tracer};
use tests::workload::Workload;
use tests::{go, profile, trial};
use tracer::profile::{Sample, Values};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("labels::of_samples", of_samples),
        trial::root("labels::of_threads", of_threads),
        trial::root("labels::refused", refused),
    ]
}

/// A profile of `midlife` with labels, and the objects it allocated.
fn record(folder: &Path, labels: &[&str]) -> Result<(PathBuf, i64)> {
    let file = folder.join("heap.pb.gz");
    let mut workload = Workload::start("midlife", &[])?;
    let mut command = tracer(["attach", "--exact", "--pid"])?;
    command.arg(workload.pid().to_string()).arg("-o").arg(&file);
    command.args(labels.iter().flat_map(|label| ["--label", label]));
    let mut tracer = Child::spawn(&mut command)?;
    let attached = |line: &str| line.starts_with("attached to");
    tracer.wait_line(|child| &child.stderr, "`attached to`", attached)?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    tracer.signal(rustix::process::Signal::INT)?;
    tracer.wait()?.expect_code(0)?;
    workload.finish()?;
    Ok((file, ledger.total.values()?.alloc_objects))
}

/// Objects that a report shows.
fn shown(file: &Path, arguments: &[&str]) -> Result<i64> {
    let report = report(file, arguments)?;
    let rows = report["rows"].as_array().context("no rows")?;
    Ok(rows.iter().filter_map(|row| row["flat"].as_i64()).sum())
}

/// A report of objects as JSON.
fn report(file: &Path, arguments: &[&str]) -> Result<serde_json::Value> {
    let mut command = tracer([
        "report",
        "--by",
        "function",
        "-n0",
        "--value",
        "alloc_objects",
    ])?;
    command.args(["--format", "json"]).args(arguments).arg(file);
    let ended = process::run(&mut command, b"")?;
    ended.expect_code(0)?;
    Ok(serde_json::from_slice(&ended.stdout)?)
}

/// What the report and Go's pprof keep is the same, and so are the roots.
fn of_samples() -> Result<()> {
    let folder = TempDir::new()?;
    let labels = ["team=web", "version=1.2 (a)", "host", "pid", "service"];
    // `version` is taken.
    let refused = record(folder.path(), &labels);
    ensure!(refused.is_err(), "{refused:?}");
    let labels = labels.map(|label| label.replace("version", "build"));
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    let (file, objects) = record(folder.path(), &labels)?;

    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let tags = pprof(&file, &["-tags"])?;
    for tag in [
        "team: ",
        "build: ",
        "host: ",
        "pid: ",
        "service: ",
        &host,
        "1.2 (a)",
        "midlife",
    ] {
        ensure!(tags.contains(tag), "no {tag} in\n{tags}");
    }
    for (focus, is_meant) in [
        ("team=web", true),
        ("team:web,service:midlife", true),
        ("team=db,we", true),
        ("team=db", false),
        ("team=web,", true),
        ("none=web", false),
    ] {
        let expected = if is_meant { objects } else { 0 };
        let kept = shown(&file, &["--tag-focus", focus])?;
        ensure!(kept == expected, "{focus}: kept {kept} of {objects}");
        let left = shown(&file, &["--tag-ignore", focus])?;
        ensure!(
            left == objects - expected,
            "{focus}: left {left} of {objects}"
        );
        let top = pprof(
            &file,
            &[
                "-top",
                "-sample_index=alloc_objects",
                &format!("-tagfocus={focus}"),
            ],
        )?;
        ensure!(top.contains("midlife_new") == is_meant, "{focus}:\n{top}");
    }
    let rooted = report(&file, &["--tag-root", "team,region"])?.to_string();
    ensure!(
        rooted.contains("[team: web]") && rooted.contains("[no region]"),
        "{rooted}"
    );
    Ok(())
}

fn pprof(file: &Path, arguments: &[&str]) -> Result<String> {
    let file = file.to_str().context("no text")?;
    let ended: Ended = go::pprof(arguments.iter().copied().chain([file]))?;
    Ok(ended.printed())
}

/// The same calls by threads of two names are told apart, whichever way stacks are walked and found again, and a free
/// goes to the thread that allocated.
fn of_threads() -> Result<()> {
    for arguments in [
        &["--label", "thread"][..],
        &["--label", "thread", "--unwind", "fp"],
        &["--label", "thread", "--copy-stacks"],
        &["--label", "thread", "--audit-stacks"],
    ] {
        let workload = Workload::start("named_threads", &[])?;
        let tracing = Tracing::attach_with(workload.pid(), arguments)?;
        let (ledger, profile) = tracing.record(workload)?;
        for (name, expected) in &ledger.parts {
            let of_thread = |sample: &&Sample| sample.labels.get("thread") == Some(name.as_str());
            let samples = profile.samples.iter().filter(of_thread);
            let found = samples.fold(Values::default(), |sum, sample| sum.plus(sample.values));
            ensure!(
                found.without_peak() == expected.values()?.without_peak(),
                "{arguments:?}: {name}: ledger {expected:?}, profile {found:?}"
            );
        }
        let mistaken = profile::counter(&profile, "stacks_mistaken").unwrap_or(0);
        ensure!(
            mistaken == 0,
            "{arguments:?}: {mistaken} stacks were mistaken"
        );
    }
    Ok(())
}

/// Nothing is attached, and nothing written.
fn refused() -> Result<()> {
    let mut workload = Workload::start("midlife", &[])?;
    let folder = TempDir::new()?;
    let output = folder.path().join("heap.pb.gz");
    for (labels, said) in [
        (
            &["team"][..],
            "without one there are service, pid, host, container_id and thread",
        ),
        (&["team="], "no value"),
        (&["a-b=x"], "letters, digits and _"),
        (&["bytes=1"], "meaning of its own"),
        (&["team=a", "team=b"], "given twice"),
        (&["container_id"], "in no container"),
    ] {
        let mut command = tracer(["attach", "--pid"])?;
        command
            .arg(workload.pid().to_string())
            .arg("-o")
            .arg(&output);
        command.args(labels.iter().flat_map(|label| ["--label", label]));
        let ended = process::run(&mut command, b"")?;
        ended.expect_code(2)?;
        ensure!(
            ended.stderr.contains(said),
            "{labels:?}: {}",
            ended.printed()
        );
        ensure!(
            fs::read_dir(folder.path())?.next().is_none(),
            "{labels:?} left a file"
        );
    }
    workload.open_gate()?;
    workload.finish()?;
    Ok(())
}
