//! A child process whose output is captured and that never outlives the test.

use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal};

use crate::wait;

/// A child process. Dropping it kills and reaps this one process, by its pid.
#[derive(Debug)]
pub struct Child {
    inner: std::process::Child,
    name: String,
    /// What it has printed on standard output.
    pub stdout: Stream,
    /// What it has printed on standard error.
    pub stderr: Stream,
}

/// Output that a thread collects while the process runs.
#[derive(Clone, Debug, Default)]
pub struct Stream(Arc<Mutex<Collected>>);

#[derive(Debug, Default)]
struct Collected {
    bytes: Vec<u8>,
    closed: bool,
}

impl Stream {
    fn collect(source: impl Read + Send + 'static) -> Self {
        let stream = Self::default();
        let writer = stream.clone();
        std::thread::spawn(move || {
            let mut source = source;
            let mut buffer = [0; 16384];
            loop {
                let n = source.read(&mut buffer).unwrap_or(0);
                writer.with(|collected| {
                    collected.bytes.extend_from_slice(&buffer[..n]);
                    collected.closed = n == 0;
                });
                if n == 0 {
                    return;
                }
            }
        });
        stream
    }

    fn with<T>(&self, f: impl FnOnce(&mut Collected) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everything so far.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.with(|collected| collected.bytes.clone())
    }

    /// Everything so far as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Whether the other end is closed: nothing more comes.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.with(|collected| collected.closed)
    }

    /// The first whole line that `wanted` accepts, if it has come.
    #[must_use]
    pub fn line(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let text = self.text();
        let (whole, _) = text.rsplit_once('\n')?;
        whole.lines().find(|line| wanted(line)).map(str::to_owned)
    }
}

/// How a process ended and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// Status.
    pub status: ExitStatus,
    /// Everything on standard output.
    pub stdout: Vec<u8>,
    /// Everything on standard error, as text.
    pub stderr: String,
}

impl Ended {
    /// Checks the exit code.
    ///
    /// # Errors
    /// The code is another; the error carries what the process printed.
    pub fn expect_code(&self, code: i32) -> Result<()> {
        if self.status.code() != Some(code) {
            bail!(
                "expected exit code {code}, got {}\n{}",
                self.status,
                self.printed()
            );
        }
        Ok(())
    }

    /// What the process printed, for an error message.
    #[must_use]
    pub fn printed(&self) -> String {
        let stdout = String::from_utf8_lossy(&self.stdout);
        format!("--- stdout\n{stdout}\n--- stderr\n{}", self.stderr)
    }
}

impl Child {
    /// Starts a process with all three standard streams piped.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        // Whoever starts the tests may have left some signals ignored, and so they would be in all their
        // children: a shell in the background does it with two, nohup with another.
        // SAFETY: signal(2) is async-signal-safe and allocates nothing.
        unsafe {
            command.pre_exec(|| {
                for signal in [
                    libc::SIGHUP,
                    libc::SIGINT,
                    libc::SIGQUIT,
                    libc::SIGTERM,
                    libc::SIGUSR1,
                    libc::SIGUSR2,
                ] {
                    libc::signal(signal, libc::SIG_DFL);
                }
                Ok(())
            });
        }
        let mut inner = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdout = inner.stdout.take().map(Stream::collect).unwrap_or_default();
        let stderr = inner.stderr.take().map(Stream::collect).unwrap_or_default();
        Ok(Self {
            inner,
            name,
            stdout,
            stderr,
        })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.inner.id()
    }

    /// Writes to the process's standard input.
    ///
    /// # Errors
    /// Standard input is closed.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let stdin = self
            .inner
            .stdin
            .as_mut()
            .context("standard input is closed")?;
        stdin.write_all(bytes)?;
        stdin.flush()?;
        Ok(())
    }

    /// Closes the process's standard input.
    pub fn close_stdin(&mut self) {
        self.inner.stdin = None;
    }

    /// Whether it has not ended yet.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.inner.try_wait()?.is_none())
    }

    /// Sends a signal; a process that has ended already is not an error.
    ///
    /// # Errors
    /// The process cannot be waited for, or the signal is refused.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.is_running()? {
            let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
            let pid = pid.context("a child has a pid")?;
            rustix::process::kill_process(pid, signal)?;
        }
        Ok(())
    }

    /// Waits for a whole line of standard output or error.
    ///
    /// # Errors
    /// The process ended without such a line, or took too long.
    pub fn wait_line(
        &mut self,
        stream: fn(&Self) -> &Stream,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let line = wait::until(what, || {
            // Asked first, so that nothing can come after the last look.
            let over = stream(self).is_closed();
            match stream(self).line(&wanted) {
                Some(line) => Ok(Some(line)),
                None if over => Err(anyhow!("its output ended before {what}")),
                None => Ok(None),
            }
        });
        line.with_context(|| {
            let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
            format!("{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", self.name)
        })
    }

    /// Waits for the process to end and for all of its output.
    ///
    /// # Errors
    /// It took too long.
    pub fn wait(&mut self) -> Result<Ended> {
        let what = format!("the end of {}", self.name);
        let status = wait::until(&what, || Ok(self.inner.try_wait()?))?;
        wait::until("the end of its output", || {
            Ok((self.stdout.is_closed() && self.stderr.is_closed()).then_some(()))
        })?;
        Ok(Ended {
            status,
            stdout: self.stdout.bytes(),
            stderr: self.stderr.text(),
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only where the process is gone already, which is what is wanted.
        drop(self.inner.kill());
        drop(self.inner.wait());
    }
}

/// Runs a command to its end with the given standard input.
///
/// # Errors
/// It cannot be started or took too long.
pub fn run(command: &mut Command, stdin: &[u8]) -> Result<Ended> {
    let mut child = Child::spawn(command)?;
    child.write(stdin)?;
    child.close_stdin();
    child.wait()
}

/// Writes a program that is to be executed.
///
/// By a process of its own: a child that another test forks meanwhile has all open that this process has,
/// until it executes something, and a file that is open for writing cannot be executed (`ETXTBSY`).
///
/// # Errors
/// It cannot be written there.
pub fn write_program(path: &Path, contents: &[u8]) -> Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]);
    run(shell.arg(path), contents)?.expect_code(0)
}

/// The signal that ended a process, if one did.
#[must_use]
pub fn ended_by(status: ExitStatus) -> Option<i32> {
    status.signal()
}
