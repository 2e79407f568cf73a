//! `counter-service` as a child process on a free port, and what /proc says about it.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

/// A running service; stopped when dropped.
pub(crate) struct Service {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
}

impl Service {
    /// Starts it and waits until it listens.
    pub(crate) fn start(binary: &Path) -> Result<Self> {
        let mut child = Command::new(binary)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("the service has no output")?;
        BufReader::new(stdout)
            .read_line(&mut line)
            .context("cannot read the service's output")?;
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .with_context(|| format!("the service did not start; it said {line:?}"))?
            .to_owned();
        Ok(Self { child, address })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        interrupt(&mut self.child, Signal::TERM)?;
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a child and waits for its end. Sends it again after a while: bpftrace now and
/// then loses one that comes early.
pub(crate) fn interrupt(child: &mut Child, signal: Signal) -> Result<std::process::ExitStatus> {
    const PATIENCE: Duration = Duration::from_secs(5);
    const TRIES: u32 = 6;
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("a process id out of range")?;
    for _ in 0..TRIES {
        kill_process(pid, signal).context("cannot send a signal")?;
        let sent = Instant::now();
        while sent.elapsed() < PATIENCE {
            if let Some(status) = child.try_wait().context("cannot wait for a child")? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    bail!("process {} does not end after {TRIES} signals", child.id())
}

/// CPU time that all threads of a process have used so far.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let statistics = fs::read_to_string(task?.path().join("schedstat"))?;
        let nanoseconds = statistics.split(' ').next().unwrap_or_default();
        total += nanoseconds.parse::<u64>().context("schedstat")?;
    }
    Ok(Duration::from_nanos(total))
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().strip_suffix(" kB"))
        .context("no VmRSS in /proc/PID/status")?;
    Ok(kilobytes.trim().parse::<u64>()? * 1024)
}
