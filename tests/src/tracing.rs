//! Running the tracer.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use tempfile::TempDir;
use tracer::profile::{Profile, Verdict};

use crate::ledger::Ledger;
use crate::process::{Child, Ended};
use crate::workload::Workload;
use crate::{binaries, profile};

/// A command that runs the tracer.
///
/// # Errors
/// There is no tracer.
pub fn tracer<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<Command> {
    let mut command = Command::new(binaries::tracer()?);
    command.args(arguments);
    Ok(command)
}

/// Starts a command under `tracer run`.
pub(crate) fn spawn_run<S: AsRef<OsStr>>(
    arguments: &[&str],
    output: &Path,
    traced: impl IntoIterator<Item = S>,
) -> Result<Child> {
    let mut command = tracer(["run"])?;
    command.args(arguments).arg("-o").arg(output).arg("--");
    Child::spawn(command.args(traced))
}

/// Two tracers attach to other processes, one after the other, and leave: each puts probes into the same libc and takes
/// them out.
///
/// # Errors
/// One of them failed.
pub fn others_come_and_go() -> Result<()> {
    for _ in 0..2 {
        let mut other = Workload::start("steady", &[])?;
        let tracing = Tracing::attach(other.pid())?;
        other.open_gate()?;
        // Whether it saw an allocation is not what matters.
        let _ = tracing.stop_with_any_verdict()?;
        other.child().signal(Signal::KILL)?;
        other.child().wait()?;
    }
    Ok(())
}

/// What has `attach` see every call, unless the arguments say how far it may go: workloads do nothing but allocate,
/// and would be seen in windows.
pub(crate) fn exactly(arguments: &[&str]) -> Option<&'static str> {
    let is_limited = |argument: &&str| argument.starts_with("--max-overhead");
    (!arguments.iter().any(is_limited)).then_some("--exact")
}

/// A running `tracer attach`, or `tracer run`, that writes JSON to a file of its own.
#[derive(Debug)]
pub struct Tracing {
    child: Child,
    folder: TempDir,
}

impl Tracing {
    /// Attaches and waits until every call counts.
    ///
    /// # Errors
    /// The tracer ended instead; the error carries what it said.
    pub fn attach(pid: u32) -> Result<Self> {
        Self::attach_with(pid, &[])
    }

    /// Attaches with further arguments.
    ///
    /// # Errors
    /// As for [`Tracing::attach`].
    pub fn attach_with(pid: u32, arguments: &[&str]) -> Result<Self> {
        let mut tracing = Self::begin_attach(pid, arguments)?;
        tracing.wait_attached()?;
        Ok(tracing)
    }

    /// Starts to attach, without waiting.
    ///
    /// # Errors
    /// The tracer cannot be started.
    pub fn begin_attach(pid: u32, arguments: &[&str]) -> Result<Self> {
        let folder = TempDir::new()?;
        let mut command = tracer(["attach", "--format", "json", "--pid", &pid.to_string()])?;
        command
            .arg("-o")
            .arg(folder.path().join("profile.json"))
            .args(arguments)
            .args(exactly(arguments));
        Ok(Self {
            child: Child::spawn(&mut command)?,
            folder,
        })
    }

    /// Waits until every call counts, and returns the line that says so.
    ///
    /// # Errors
    /// The tracer ended instead.
    pub fn wait_attached(&mut self) -> Result<String> {
        let attached = |line: &str| line.starts_with("attached to");
        self.child
            .wait_line(|child| &child.stderr, "`attached to`", attached)
    }

    /// Starts a command under `tracer run`.
    ///
    /// # Errors
    /// The tracer cannot be started.
    pub fn run<S: AsRef<OsStr>>(traced: impl IntoIterator<Item = S>) -> Result<Self> {
        let folder = TempDir::new()?;
        let output = folder.path().join("profile.json");
        let child = spawn_run(&["--format", "json"], &output, traced)?;
        Ok(Self { child, folder })
    }

    /// The tracer's process; under `run`, its standard streams are the traced program's.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Where the profile goes.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.folder.path().join("profile.json")
    }

    /// Ends the tracing as Ctrl-C does and reads the profile.
    ///
    /// # Errors
    /// The tracer failed, or what it wrote is no profile.
    pub fn stop(mut self) -> Result<Profile> {
        self.child.signal(Signal::INT)?;
        self.finish_with(0).map(|(profile, _)| profile)
    }

    /// The same where the verdict may be any: the exit code is the one that belongs to it.
    ///
    /// # Errors
    /// As for [`Tracing::stop`].
    pub fn stop_with_any_verdict(mut self) -> Result<Profile> {
        self.child.signal(Signal::INT)?;
        let ended = self.child.wait()?;
        let profile = self.written(&ended)?;
        let is_inconclusive = matches!(profile.verdict, Verdict::Inconclusive { .. });
        ended.expect_code(if is_inconclusive { 3 } else { 0 })?;
        Ok(profile)
    }

    /// Lets a workload at its gate do its work, and ends when it has.
    ///
    /// # Errors
    /// The workload or the tracer failed.
    pub fn record(self, mut workload: Workload) -> Result<(Ledger, Profile)> {
        workload.open_gate()?;
        let ledger = workload.ledger()?;
        let profile = self.stop()?;
        workload.finish()?;
        Ok((ledger, profile))
    }

    /// Waits for the tracer to end by itself and reads the profile.
    ///
    /// # Errors
    /// It ended with another code, or what it wrote is no profile.
    pub fn finish_with(&mut self, code: i32) -> Result<(Profile, Ended)> {
        let ended = self.child.wait()?;
        ended.expect_code(code)?;
        Ok((self.written(&ended)?, ended))
    }

    fn written(&self, ended: &Ended) -> Result<Profile> {
        let bytes = fs::read(self.output())
            .with_context(|| format!("no profile was written\n{}", ended.printed()))?;
        let profile = profile::read_json(&bytes).with_context(|| ended.printed())?;
        profile::check_sane(&profile)?;
        Ok(profile)
    }
}
