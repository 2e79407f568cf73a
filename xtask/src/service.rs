//! `counter-service` as a child process on a free port, and what /proc says about it.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

use crate::workspace::line;

/// A running service; stopped when dropped.
pub(crate) struct Service {
    /// The service, or a command that runs it.
    child: Child,
    pid: u32,
    /// Kept, lest what else is said meets a closed pipe.
    output: BufReader<ChildStdout>,
    /// Where it listens.
    pub(crate) address: String,
}

impl Service {
    /// Starts it and waits until it listens.
    pub(crate) fn start(binary: &Path) -> Result<Self> {
        Self::start_by(Command::new(binary), binary)
    }

    /// The same by a command that takes the service's arguments, and runs `binary` itself or as a child.
    pub(crate) fn start_by(mut command: Command, binary: &Path) -> Result<Self> {
        let mut child = command
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", line(&command)))?;
        let output = child.stdout.take().context("the service has no output")?;
        let mut service = Self {
            pid: child.id(),
            child,
            output: BufReader::new(output),
            address: String::new(),
        };
        service.address = listening(&mut service.output)?;
        service.pid = family(service.child.id())
            .into_iter()
            .find(|pid| runs(*pid, binary))
            .with_context(|| format!("no process of {} is the service", line(&command)))?;
        Ok(service)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The other processes of the command that it was started by.
    pub(crate) fn helpers(&self) -> Vec<u32> {
        let mut helpers = family(self.child.id());
        helpers.retain(|pid| *pid != self.pid);
        helpers
    }

    /// Asks it to stop and waits until it has, and the command with it.
    pub(crate) fn stop(mut self) -> Result<()> {
        end(&mut self.child, self.pid, Signal::TERM)?;
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A command that runs it cleans up then, and ends.
        if let Ok(None) = self.child.try_wait() {
            let _ = send(self.pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// The address that the service says, among other lines.
fn listening(output: &mut impl BufRead) -> Result<String> {
    let mut said = String::new();
    loop {
        let start = said.len();
        let length = output
            .read_line(&mut said)
            .context("cannot read the service's output")?;
        if length == 0 {
            bail!("the service did not start; it said {said:?}");
        }
        if let Some(address) = said[start..].trim().strip_prefix("listening on ") {
            return Ok(address.to_owned());
        }
    }
}

/// A process and its descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        // It may be gone.
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let children = children.unwrap_or_default();
        found.extend(children.split_whitespace().flat_map(str::parse::<u32>));
        next += 1;
    }
    found
}

fn runs(pid: u32, binary: &Path) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
    program.is_some() && program == binary.canonicalize().ok()
}

/// Sends a signal to a child and waits for its end. Sends it again after a while: bpftrace now and
/// then loses one that comes early.
pub(crate) fn interrupt(child: &mut Child, signal: Signal) -> Result<ExitStatus> {
    let pid = child.id();
    end(child, pid, signal)
}

/// The same with a child that ends when process `pid` does.
fn end(child: &mut Child, pid: u32, signal: Signal) -> Result<ExitStatus> {
    const PATIENCE: Duration = Duration::from_secs(5);
    const TRIES: u32 = 6;
    for _ in 0..TRIES {
        send(pid, signal)?;
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

/// Sends a signal to a process unless it is gone.
fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("a process id out of range")?;
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error).context("cannot send a signal"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_among_other_lines() -> Result<()> {
        let mut output = "starting application\nlistening on 127.0.0.1:7\n".as_bytes();
        assert_eq!(listening(&mut output)?, "127.0.0.1:7");
        let error = listening(&mut "no such file\n".as_bytes()).err();
        assert!(error.is_some_and(|error| error.to_string().contains("no such file")));
        Ok(())
    }

    #[test]
    fn a_family_is_a_process_and_its_descendants() -> Result<()> {
        let mut shell = Command::new("sh")
            .arg("-c")
            .arg("sh -c 'sleep 60 & echo started; read line; kill $!'; true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(shell.stdout.take().context("no output")?).read_line(&mut line)?;
        let found = family(shell.id());
        drop(shell.stdin.take());
        shell.wait()?;
        assert_eq!(found.first(), Some(&shell.id()));
        assert_eq!(
            found.len(),
            3,
            "two shells and what the second one waits for"
        );
        Ok(())
    }
}
