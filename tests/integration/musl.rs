//! Programs whose C library is musl: their amounts are exact and their stacks whole, though nothing
//! describes a single function of it.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tests::binaries::{self, Build};
use tests::process::{self, Ended};
use tests::rung;
use tests::tracing::tracer;
use tests::workload::Workload;
use tests::{profile, trial};
use tracer::profile::Profile;

use crate::ledger;
use crate::unwind::{DEPTHS, check_recursion, check_whole, record, stacks};

/// Allocator calls of a ledger: enough for every case.
const CALLS: &str = "300000";
const STATIC: Build = Build::new("unwind", "musl-static", &["-static"]).with_musl();
const DYNAMIC: Build = Build::new("unwind", "musl-dynamic", &[]).with_musl();
const STRIPPED: Build = Build::new("unwind", "musl-stripped", &["-static", "-s"]).with_musl();

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::heavy("musl::attach_static", || attach("static", &["-static"])),
        trial::heavy("musl::attach_dynamic", || attach("dynamic", &[])),
        trial::heavy("musl::run_static", || {
            let program = binaries::musl_workload("ledger_c", "static", &["-static"])?;
            ledger::run(&program, CALLS)
        }),
        trial::root("musl::depths_static", || depths(&STATIC, true)),
        trial::root("musl::depths_dynamic", || depths(&DYNAMIC, false)),
        trial::root("musl::kinds_static", || kinds(&STATIC, true)),
        trial::root("musl::kinds_dynamic", || kinds(&DYNAMIC, false)),
        trial::root("musl::is_named", is_named),
        trial::root("musl::stripped", stripped),
        trial::root("musl::a_malloc_of_its_own", a_malloc_of_its_own),
    ]
}

fn attach(way: &str, flags: &[&str]) -> Result<()> {
    let program = binaries::musl_workload("ledger_c", way, flags)?;
    let workload = Workload::start_command(Command::new(program).arg(CALLS))?;
    let (_, profile) = ledger::attach(workload, rung::ALL[0])?;
    // `valloc` jumps to `memalign`, and that to `aligned_alloc`: one call, not one that was left.
    ledger::check_never(
        &profile,
        &[
            "abandoned_calls",
            "nesting_exceeded",
            "return_without_entry",
        ],
    )
}

fn depths(build: &Build, has_names: bool) -> Result<()> {
    let program = build.program()?;
    for depth in DEPTHS {
        let profile = record(
            Command::new(&program).args(["plain", &depth.to_string()]),
            &[],
        )?;
        check_whole(&profile)?;
        check_recursion(&profile, depth, "main")?;
        check_root(&profile, "_start")?;
        // The function that calls `main`, which a stripped library has no name for.
        if has_names {
            check_recursion(&profile, depth, "libc_start_main_stage2")?;
        }
    }
    Ok(())
}

fn kinds(build: &Build, has_names: bool) -> Result<()> {
    let program = build.program()?;
    for kind in ["variable", "signal", "altstack", "thread", "library"] {
        let profile = record(Command::new(&program).args([kind, "20"]), &[])?;
        check_whole(&profile).context(kind)?;
        let root = if kind == "thread" {
            "thread_main"
        } else {
            "main"
        };
        check_recursion(&profile, 20, root).context(kind)?;
        match kind {
            "thread" if has_names => check_root(&profile, "__clone").context(kind)?,
            "thread" => {}
            _ => check_root(&profile, "_start").context(kind)?,
        }
        if kind == "library" {
            // Through functions of musl, above and below the program's own.
            for function in ["strdup", "compare"] {
                let through = profile::through(&profile, function);
                ensure!(through.alloc_objects == 100, "{}", stacks(&profile));
            }
        }
    }
    Ok(())
}

/// All stacks end in this function.
fn check_root(profile: &Profile, root: &str) -> Result<()> {
    for sample in &profile.samples {
        let last = profile::stack(profile, sample).last();
        ensure!(last == Some(root), "{last:?}:\n{}", stacks(profile));
    }
    Ok(())
}

fn run(arguments: &[&str]) -> Result<Ended> {
    process::run(&mut tracer(arguments)?, b"")
}

/// By `doctor` and `plan`, for a process as for a file.
fn is_named() -> Result<()> {
    for build in [STATIC, DYNAMIC] {
        let mut workload = Workload::start_command(Command::new(build.program()?).arg("plain"))?;
        let pid = workload.pid().to_string();
        let doctor = run(&["doctor", "--pid", &pid])?;
        doctor.expect_code(0)?;
        let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
        ensure!(said.contains(" musl, "), "{said}");
        let plan = run(&["plan", "--pid", &pid])?;
        plan.expect_code(0)?;
        let said = String::from_utf8_lossy(&plan.stdout).into_owned();
        ensure!(
            said.contains(" (musl)\n") && !said.contains("not probed"),
            "{said}"
        );
        workload.open_gate()?;
        workload.finish()?;
    }
    Ok(())
}

/// A static program without symbols: nothing says where its `malloc` is, and there is no profile.
fn stripped() -> Result<()> {
    let program = STRIPPED.program()?;
    let program = program.to_str().context("path")?;
    let mut workload = Workload::start_command(Command::new(program).arg("plain"))?;
    let pid = workload.pid().to_string();
    let folder = TempDir::new()?;
    let output = folder.path().join("profile.json");
    let output = output.to_str().context("path")?;
    for arguments in [
        &["attach", "--duration", "1s", "-o", output, "--pid", &pid][..],
        &["plan", "--pid", &pid],
        &["run", "-o", output, "--", program],
    ] {
        let ended = run(arguments)?;
        ended.expect_code(2)?;
        ensure!(
            ended.stderr.contains("symbols stripped"),
            "{}",
            ended.printed()
        );
    }
    ensure!(fs::read_dir(folder.path())?.next().is_none(), "a profile");
    workload.open_gate()?;
    workload.finish()?;
    Ok(())
}

/// What replaces musl's allocator in a static program is not taken for it.
fn a_malloc_of_its_own() -> Result<()> {
    const SOURCE: &str = "
        #include <stddef.h>
        static char heap[1 << 20];
        static size_t used;
        void *malloc(size_t size) { used += size; return heap + used - size; }
        void free(void *block) { (void)block; }
        int main(void) { return malloc(1) == 0; }
    ";
    let folder = TempDir::new()?;
    let source = folder.path().join("program.c");
    fs::write(&source, SOURCE)?;
    let program = folder.path().join("program");
    let mut compiler = Command::new("musl-gcc");
    compiler.args(["-static", "-o"]).arg(&program).arg(&source);
    process::run(&mut compiler, b"")?.expect_code(0)?;
    let program = program.to_str().context("path")?;
    let plan = run(&["plan", "--file", program])?;
    plan.expect_code(0)?;
    let said = String::from_utf8_lossy(&plan.stdout).into_owned();
    ensure!(said.contains("not probed"), "{said}");
    let ended = run(&["run", "--", program])?;
    ended.expect_code(2)?;
    ensure!(
        ended.stderr.contains("its allocator is in"),
        "{}",
        ended.printed()
    );
    Ok(())
}
