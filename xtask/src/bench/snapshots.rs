//! What the tracer itself takes for the snapshots of a series with 100,000 stacks, all of them new in one
//! window, by `xtask/bench/stacks.c`.

use std::fs;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use super::Bench;
use super::side::Side;
use super::side::Tracing;
use super::subject;
use super::subject::FRAME_POINTERS;
use super::subject::Subject;
use super::table::Table;

const STACKS: &str = "100000";
/// Long enough for all stacks to be made and to arrive within one.
const WINDOW: Duration = Duration::from_secs(5);
/// From the last stack to the end of the window there is nothing to do.
const ARRIVED: Duration = Duration::from_millis(1_500);
/// A window that does not come.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Each round one series of six windows.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Table> {
    const FIRST: &str = "snapshot with 100,000 new stacks, CPU time";
    const NEXT: &str = "each that follows, CPU time";
    const MEMORY: &str = "memory more than before, at most";
    const NAMES: &str = "before: debug information of the program and its libraries, memory";
    let binary = subject::build(bench, "stacks", FRAME_POINTERS)?;
    let mut table = Table::new("Snapshots of 100,000 stacks of 20 frames");
    let column = Side::Tracer.name();
    bench.rounds(|| {
        let mut program = Subject::start(&binary, "0")?;
        let every = format!("{}s", WINDOW.as_secs());
        let tracing = Tracing::series(bench, program.pid(), &every, &[])?;
        let windows = wait_window(bench, 0)?;
        // What one stack needs in order to be named, all need: its size is that of the files that are
        // installed, a C library's for one.
        let without_names = memory(tracing.pid(), "VmRSS")?;
        program.ask("1")?;
        // It may have been late for the next.
        let windows = wait_window(bench, windows)?;
        let windows = wait_window(bench, windows)?;
        let names = memory(tracing.pid(), "VmRSS")? - without_names;
        // The peak from now on.
        let status = format!("/proc/{}/clear_refs", tracing.pid());
        fs::write(&status, "5").with_context(|| format!("cannot write {status}"))?;
        let before = memory(tracing.pid(), "VmRSS")?;
        let mapped_before = memory(tracing.pid(), "RssFile")?;
        program.ask(STACKS)?;
        thread::sleep(ARRIVED);
        let arrived = cpu_time(tracing.pid())?;
        let windows_then = windows_of(bench)?;
        if windows_then != windows {
            bail!("the stacks took longer than a window: the machine is too busy");
        }
        let windows = wait_window(bench, windows)?;
        let first = cpu_time(tracing.pid())?;
        wait_window(bench, windows)?;
        let next = cpu_time(tracing.pid())?;
        // The kernel's tables, which it reads mapped, count as its own from the first reading on.
        let mapped = memory(tracing.pid(), "RssFile")? - mapped_before;
        let most = memory(tracing.pid(), "VmHWM")? - mapped;
        tracing.stop()?;
        drop(program);

        table.record(FIRST, "s", column, first - arrived);
        table.record(NEXT, "s", column, next - first);
        table.record(MEMORY, "MB", column, most - before);
        table.record(NAMES, "MB", column, names);
        Ok(())
    })?;
    table.limit(FIRST, (FIRST, column), 1.0);
    table.limit(MEMORY, (MEMORY, column), 50.0);
    Ok(table)
}

/// Profiles in the folder of the series.
fn windows_of(bench: &Bench<'_>) -> Result<usize> {
    let folder = bench.series();
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut windows = 0;
    for entry in entries {
        windows += usize::from(entry?.file_name().to_string_lossy().ends_with(".pb.gz"));
    }
    Ok(windows)
}

/// Waits for one more, and returns how many there are then.
fn wait_window(bench: &Bench<'_>, known: usize) -> Result<usize> {
    let start = Instant::now();
    loop {
        let windows = windows_of(bench)?;
        if windows > known {
            return Ok(windows);
        }
        if start.elapsed() > TIMEOUT {
            bail!("the next window does not end");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Seconds of a process on the CPU so far.
fn cpu_time(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // Its name, which may be anything, ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(") ").context("no name in it")?;
    let mut ticks = 0.0;
    for field in fields.split(' ').skip(11).take(2) {
        ticks += field.parse::<f64>()?;
    }
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// A line of a process's status, in MB.
fn memory(pid: u32, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| {
        let amount = line.strip_prefix(name)?.strip_prefix(':')?.trim();
        amount.strip_suffix(" kB")
    });
    let kilobytes: f64 = line
        .with_context(|| format!("no {name} in {path}"))?
        .parse()?;
    Ok(kilobytes * 1024.0 / 1e6)
}
