//! Memory told from page faults: `--source growth`, against the ledger of a workload that counts its pages, and on
//! programs whose allocator nobody can probe.

use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::memory::code_of_the_c_library;
use tests::tracing::{Tracing, tracer};
use tests::workload::Workload;
use tests::{binaries, process, profile, trial};

/// What `pages populate` maps.
const POPULATED: u64 = 64 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("growth::pages", pages),
        trial::root("growth::followed", followed),
        trial::root("growth::populated", populated),
        trial::root("growth::go", go),
        trial::root("growth::nothing_is_placed", nothing_is_placed),
        trial::root("growth::refused", refused),
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
    ensure!(
        refused.status.code() == Some(2) && refused.stderr.contains("--source growth"),
        "{}",
        refused.printed()
    );
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

/// What it can't do is said before anything is done.
fn refused() -> Result<()> {
    let workload = Workload::start("pages", &[])?;
    let pid = workload.pid().to_string();
    let arguments = [
        "attach", "--pid", &pid, "--source", "growth", "--every", "1s",
    ];
    let ended = process::run(&mut tracer(arguments)?, &[])?;
    ensure!(
        ended.status.code() == Some(2) && ended.stderr.contains("--source growth keeps no series"),
        "{}",
        ended.printed()
    );
    Ok(())
}

/// Nothing is done before the target grows.
fn when_growing() -> Result<()> {
    let mut workload = Workload::start("pages", &[])?;
    let arguments = ["--when-growing=8MiB", "--source", "growth"];
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
        ended.status.code() == Some(2) && ended.stderr.contains("it did not grow by 16.00 MiB"),
        "{}",
        ended.printed()
    );
    Ok(())
}
