//! The most that was live at once, between two snapshots, and who held it: against the ledger of a
//! workload that knows.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tests::go;
use tests::ledger::Ledger;
use tests::rung::{self, Rung};
use tests::tracing::{Tracing, tracer};
use tests::workload::Workload;
use tests::{binaries, process, profile, trial};
use tracer::profile::Profile;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial::root("peak::exec", exec),
        trial::root("peak::followed_fork", followed_fork),
        trial::root("peak::check", check),
        trial::root("peak::on_two_cpus", on_two_cpus),
    ];
    for rung in rung::ALL {
        let name = rung.trial("peak::burst");
        trials.push(trial::root(&name, move || burst(rung)));
    }
    trials
}

/// Four threads hold most for a moment, in three ways; a lower hump follows.
fn burst(rung: Rung) -> Result<()> {
    let workload = Workload::start("peak", &[])?;
    let tracing = rung.attach(workload.pid())?;
    let (ledger, profile) = tracing.record(workload)?;
    profile::check_complete(&profile)?;
    ledger.check_parts(&profile)?;
    check_holders(&profile, &ledger)?;
    ensure!(
        held(&profile, Some("peak_later")) == 0,
        "the later hump is no part of the peak"
    );
    Ok(())
}

/// What the first life held at its peak is what it held, and does not count with what the second holds.
fn exec() -> Result<()> {
    let mut workload = Workload::start("peak", &["exec"])?;
    let tracing = Tracing::attach(workload.pid())?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    let again = |line: &str| line == "again";
    workload
        .child()
        .wait_line(|child| &child.stdout, "the second life", again)?;
    let profile = tracing.stop()?;
    workload.finish()?;
    profile::check_complete(&profile)?;
    check_holders(&profile, &ledger)?;
    let second = profile::through(&profile, "peak_later");
    ensure!(second.inuse_space > 0, "{}", profile::summary(&profile));
    ensure!(held(&profile, Some("peak_later")) == 0, "two lives at once");
    Ok(())
}

/// The peak is that of all processes together; what a child held is gone when it exits.
fn followed_fork() -> Result<()> {
    let workload = Workload::start("peak", &["fork"])?;
    let tracing = Tracing::attach_with(workload.pid(), &["--follow-forks"])?;
    let (ledger, profile) = tracing.record(workload)?;
    profile::check_complete(&profile)?;
    check_holders(&profile, &ledger)?;
    ensure!(held(&profile, Some("peak_later")) == 0, "the child is gone");
    Ok(())
}

/// What one CPU has counted and not handed on counts where another one passes the last peak.
fn on_two_cpus() -> Result<()> {
    let workload = Workload::start("apart", &[])?;
    let tracing = Tracing::attach(workload.pid())?;
    let (ledger, profile) = tracing.record(workload)?;
    profile::check_complete(&profile)?;
    ledger.check_parts(&profile)?;
    let expected = i64::try_from(*ledger.cases.get("peak_bytes").context("no peak")?)?;
    let peak = profile.peak.context("no peak")?;
    ensure!(near(peak.bytes, expected), "{peak:?}, not {expected}");
    let kept = held(&profile, Some("apart_kept"));
    ensure!(kept == 6 << 20, "{kept}: {}", profile::summary(&profile));
    Ok(())
}

/// A limit that is exceeded for some milliseconds is exceeded, and who did it is named in every report.
fn check() -> Result<()> {
    let folder = TempDir::new()?;
    let program = binaries::workload("peak")?;
    let checked = |limit: &str, reports: &[&str]| -> Result<process::Ended> {
        let mut command = tracer(["check", "--allow-leaks", "--every", "10s"])?;
        command
            .args(["--max-peak", limit])
            .args(reports.iter().map(|form| format!("--report={form}")))
            .arg("--")
            .arg(&program)
            .current_dir(folder.path());
        // It passes its gate, and ends when there is no more to read.
        process::run(&mut command, b"\n")
    };
    // 12,000,000 + 10 MiB + 12 MiB.
    let kept = checked("33.6MB", &["text"])?;
    kept.expect_code(0)?;
    let text = String::from_utf8_lossy(&kept.stdout).into_owned();
    ensure!(text.contains("; peak 33."), "{}", kept.printed());
    let forms = ["text", "markdown", "github", "junit", "sarif"];
    for form in forms {
        let over = checked("33MB", &[form])?;
        over.expect_code(1)?;
        let text = String::from_utf8_lossy(&over.stdout).into_owned();
        // The program's own ledger has the names, too.
        let lines = text.lines().filter(|line| !line.starts_with("{\"calls\""));
        let text = lines.collect::<String>().replace('\\', "");
        for name in ["peak_small", "peak_large", "peak_grown"] {
            ensure!(
                text.contains(name),
                "{form} without {name}: {}",
                over.printed()
            );
        }
        ensure!(!text.contains("peak_later"), "{form}: {}", over.printed());
    }
    saved(&folder, &program)
}

/// Saved profiles have kept it, in both formats; a report of it is about those who held it.
fn saved(folder: &TempDir, program: &std::path::Path) -> Result<()> {
    for (format, file) in [("pprof", "peak.pb.gz"), ("json", "peak.json")] {
        let file = folder.path().join(file);
        let mut command = tracer(["run", "--format", format, "-o"])?;
        command.arg(&file).arg("--").arg(program);
        let ended = process::run(&mut command, b"\n")?;
        ended.expect_code(0)?;
        ensure!(ended.stderr.contains("\npeak 33."), "{}", ended.printed());

        let mut command = tracer(["report", "--value", "peak_space", "--cum"])?;
        let ended = process::run(command.arg(&file), b"")?;
        ended.expect_code(0)?;
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        ensure!(
            text.contains("peak_grown") && text.contains("Peak:    33."),
            "{}",
            ended.printed()
        );
        for (limit, code) in [("33MB", 1), ("34MB", 0)] {
            let mut command = tracer(["check", "--max-peak", limit])?;
            let ended = process::run(command.arg(&file), b"")?;
            ended.expect_code(code)?;
        }
    }
    pprof(&folder.path().join("peak.pb.gz"))
}

/// Go's pprof shows what each stack held at the peak, and keeps it when it writes the profile again.
fn pprof(file: &std::path::Path) -> Result<()> {
    let folder = TempDir::new()?;
    let path = file.to_string_lossy();
    let go = |arguments: &[&str]| -> Result<process::Ended> {
        let ended = go::pprof(arguments.iter().copied().chain([&*path]))?;
        ended.expect_code(0)?;
        Ok(ended)
    };
    let tags = go(&["-tags"])?;
    let text = String::from_utf8_lossy(&tags.stdout).into_owned();
    ensure!(text.contains("peak_space:"), "{}", tags.printed());
    let again = folder.path().join("again.pb.gz");
    go(&["-proto", "-output", &again.to_string_lossy()])?;
    let mut command = tracer(["report", "--value", "peak_space", "--format", "json"])?;
    let ended = process::run(command.arg(&again), b"")?;
    ended.expect_code(0)?;
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout)?;
    let head = &report["header"];
    let total = head["total"].as_i64().context("no total")?;
    let mark = head["peak"]["bytes"].as_i64().context("no peak")?;
    ensure!(near(total, mark), "{mark} at the peak, {total} in stacks");
    Ok(())
}

/// The mark and the amounts of its holders, each within 1%.
fn check_holders(profile: &Profile, ledger: &Ledger) -> Result<()> {
    let case = |name: &str| -> Result<i64> {
        let value = ledger.cases.get(name).copied();
        Ok(i64::try_from(
            value.with_context(|| format!("no case {name}"))?,
        )?)
    };
    let peak = profile.peak.context("no peak")?;
    let summary = || profile::summary(profile);
    let bytes = case("peak_bytes")?;
    ensure!(
        near(peak.bytes, bytes),
        "{peak:?}, not {bytes}\n{}",
        summary()
    );
    let objects = case("peak_objects")?;
    ensure!(
        near(peak.objects, objects),
        "{peak:?}, not {objects}\n{}",
        summary()
    );
    ensure!(peak.after_nanos > Some(0), "{peak:?}");
    let all = held(profile, None);
    ensure!(
        near(all, peak.bytes),
        "{all} in stacks, {peak:?}\n{}",
        summary()
    );
    for name in ["peak_small", "peak_large", "peak_grown", "peak_child"] {
        let (held, expected) = (held(profile, Some(name)), case(name)?);
        // A part is as wrong as the whole, at most.
        ensure!(
            (held - expected).abs() <= bytes / 100,
            "{name} held {held}, not {expected}\n{}",
            summary()
        );
    }
    Ok(())
}

/// What stacks through a function held at the peak, or all of them.
fn held(profile: &Profile, function: Option<&str>) -> i64 {
    let samples = profile.samples.iter();
    let through = samples.filter(|sample| {
        function.is_none_or(|function| profile::stack(profile, sample).any(|name| name == function))
    });
    through.map(|sample| sample.values.peak_space).sum()
}

fn near(one: i64, other: i64) -> bool {
    (one - other).abs() <= other / 100
}
