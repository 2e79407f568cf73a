//! Allocators in place of the C library's: what they serve is exact, too, or it is said what is missing.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::binaries::Build;
use tests::ledger::JEMALLOC as JEMALLOC_CASES;
use tests::rung::{self, Rung};
use tests::tracing::Tracing;
use tests::workload::Workload;
use tests::{binaries, profile, trial};
use tracer::profile::Verdict;

use crate::ledger;

/// Allocator calls of a ledger: enough for every case.
const CALLS: &str = "300000";
pub(crate) const JEMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";
const TCMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, library) in [("jemalloc", JEMALLOC), ("tcmalloc", TCMALLOC)] {
        for rung in rung::ALL {
            let test = rung.trial(&format!("allocators::{name}_c"));
            trials.push(trial::heavy(&test, move || {
                exact("ledger_c", library, rung)
            }));
            let test = rung.trial(&format!("allocators::{name}_cpp"));
            trials.push(trial::heavy(&test, move || exceptions(library, rung)));
        }
        trials.push(trial::heavy(
            &format!("allocators::{name}_rust"),
            move || exact("ledger_rust", library, rung::ALL[0]),
        ));
    }
    trials.push(trial::root("allocators::late", late));
    trials.push(trial::root("allocators::only_counted", only_counted));
    trials
}

fn start(workload: &str, library: &str) -> Result<Workload> {
    ensure!(
        Path::new(library).is_file(),
        "{library} is missing: ./x setup installs it on Debian"
    );
    let program = binaries::workload(workload)?;
    let workload =
        Workload::start_command(Command::new(program).arg(CALLS).env("LD_PRELOAD", library))?;
    let maps = fs::read_to_string(format!("/proc/{}/maps", workload.pid()))?;
    ensure!(maps.contains(library), "{library} is not loaded");
    Ok(workload)
}

fn exact(name: &str, library: &str, rung: Rung) -> Result<()> {
    let (ledger, profile) = ledger::attach(start(name, library)?, rung)?;
    if name == "ledger_c" && library == JEMALLOC {
        let missing = JEMALLOC_CASES.iter().find(|&&case| ledger.cases[case] == 0);
        ensure!(missing.is_none(), "the workload never came to {missing:?}");
    }
    ledger::check_never(
        &profile,
        &["abandoned_calls", "return_without_entry", "throwing_calls"],
    )
}

/// The program's `operator new` is the allocator's. It throws, the exceptions reach their handlers, and
/// the profile says what it lacks.
fn exceptions(library: &str, rung: Rung) -> Result<()> {
    let mut workload = start("ledger_cpp", library)?;
    let mut tracing = rung.attach(workload.pid())?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    tracing.child().signal(Signal::INT)?;
    let (profile, _) = tracing.finish_with(3)?;
    workload.finish()?;
    ensure!(ledger.cases["bad_alloc_caught"] > 100, "{ledger:?}");
    let throwing = profile::counter(&profile, "throwing_calls")?;
    let followed = profile::counter(&profile, "alloc_objects")?;
    let asked = ledger.total.alloc_objects + ledger.failed;
    ensure!(
        throwing > asked / 2 && throwing + followed == asked,
        "{throwing} counted, {followed} followed, {asked} asked for"
    );
    ensure!(
        matches!(profile.verdict, Verdict::Inconclusive { .. }),
        "{:?}",
        profile.verdict
    );
    Ok(())
}

/// An allocator that nothing foretold is probed when it is there, and what it served before is said to be
/// missing.
fn late() -> Result<()> {
    let program = binaries::workload("ledger_c")?;
    let script = format!("LD_PRELOAD={JEMALLOC} exec \"$0\" 1000");
    let arguments = ["sh", "-c", &script].map(AsRef::<OsStr>::as_ref);
    let mut tracing = Tracing::run(arguments.into_iter().chain([program.as_os_str()]))?;
    let child = tracing.child();
    child.wait_line(|child| &child.stdout, "`ready`", |line| line == "ready")?;
    child.write(b"\n")?;
    child.close_stdin();
    let (profile, ended) = tracing.finish_with(0)?;
    ensure!(profile::counter(&profile, "modules_probed_late")? == 1);
    ensure!(
        matches!(profile.verdict, Verdict::Degraded { .. }),
        "{:?}",
        profile.verdict
    );
    ensure!(
        ended
            .stderr
            .contains("libjemalloc.so.2 was mapped a moment before"),
        "{}",
        ended.printed()
    );
    Ok(())
}

/// A program of which nothing can be followed is not taken for one whose allocator is elsewhere.
fn only_counted() -> Result<()> {
    let program = Build::new("new_only", "plain", &[]).program()?;
    let mut workload = Workload::start_command(Command::new(program).env("LD_PRELOAD", JEMALLOC))?;
    let mut tracing = Tracing::attach(workload.pid())?;
    workload.open_gate()?;
    workload
        .child()
        .wait_line(|child| &child.stdout, "`done`", |line| line == "done")?;
    tracing.child().signal(Signal::INT)?;
    let (profile, ended) = tracing.finish_with(3)?;
    workload.finish()?;
    let counted = profile::counter(&profile, "throwing_calls")?;
    ensure!(counted == 10_000, "{counted}: {}", ended.printed());
    Ok(())
}
