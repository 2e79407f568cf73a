//! The sides of a comparison: who traces the process while it is measured.

use std::fs;
use std::fs::File;
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
use rustix::process::Signal;

use super::Bench;
use super::bpf_objects;
use super::breakpoints::Breakpoints;
use super::floor::Floor;
use crate::service::interrupt;
use crate::workspace::line;

const ATTACH_TIMEOUT: Duration = Duration::from_secs(20);
/// No new probe for this long: attached.
const SETTLED: Duration = Duration::from_millis(500);

/// Who traces.
#[derive(Clone, Copy)]
pub(super) enum Side {
    /// Nobody.
    Untraced,
    /// Probes on the tracer's instructions with programs that do nothing: no tracer that uses
    /// these probes can cost less.
    Floor,
    /// `tracer attach`, exact.
    Tracer,
    /// The same, with stacks walked by frame pointers alone.
    TracerFramePointers,
    /// The same, with a snapshot every second and generations counted.
    TracerSeries,
    /// `tracer attach --max-overhead 2%`, which places its probes for some milliseconds now and then.
    Governed,
    /// `tracer attach --source growth`, which places no probe.
    Growth,
    /// bpftrace with `xtask/bench/memleak.bt`.
    Peer,
}

impl Side {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Untraced => "untraced",
            Self::Floor => "floor",
            Self::Tracer => "tracer",
            Self::TracerFramePointers => "tracer --unwind fp",
            Self::TracerSeries => "tracer --every 1s",
            Self::Governed => "tracer 2%",
            Self::Growth => "growth",
            Self::Peer => "bpftrace",
        }
    }

    /// Starts tracing and returns when all probes are in place.
    pub(super) fn attach(self, bench: &Bench<'_>, pid: u32) -> Result<Attached> {
        match self {
            Self::Untraced => Ok(Attached::Nothing),
            Self::Floor => Ok(Attached::Floor(Floor::attach(bench, pid)?)),
            // Whose counters can be read then.
            Self::Tracer => {
                Tracing::tracer(bench, pid, &["--format", "json"]).map(Attached::Process)
            }
            Self::TracerFramePointers => {
                Tracing::tracer(bench, pid, &["--unwind", "fp"]).map(Attached::Process)
            }
            Self::Governed => {
                Tracing::unplaced(bench, pid, &["--max-overhead", "2%"]).map(Attached::Process)
            }
            Self::Growth => {
                Tracing::unplaced(bench, pid, &["--source", "growth"]).map(Attached::Process)
            }
            Self::TracerSeries => Tracing::series(bench, pid, "1s", &[]).map(Attached::Process),
            Self::Peer => {
                let library = Breakpoints::library(pid)?;
                let script =
                    fs::read_to_string(bench.workspace.root.join("xtask/bench/memleak.bt"))
                        .context("cannot read the peer's script")?
                        .replace("LIBC", &library.display().to_string());
                let mut bpftrace = Command::new("bpftrace");
                bpftrace
                    .args(["-p", &pid.to_string(), "-e", &script])
                    // The default of 4,096 live blocks is too few even for a small service.
                    .env("BPFTRACE_MAP_KEYS_MAX", "100000");
                let log = bench.folder.join("bpftrace.log");
                Tracing::probes(bpftrace, pid, &log).map(Attached::Process)
            }
        }
    }
}

/// A running tracer of any kind; gone when dropped.
pub(super) enum Attached {
    Nothing,
    Floor(#[expect(dead_code, reason = "held for its probes")] Floor),
    Process(Tracing),
}

impl Attached {
    /// Ends tracing in the orderly way; an error when the tracer ends with one, since then what
    /// was measured was not tracing.
    pub(super) fn detach(self) -> Result<()> {
        match self {
            Self::Nothing | Self::Floor(_) => Ok(()),
            Self::Process(tracing) => tracing.stop().map(drop),
        }
    }

    /// The process that traces, if it is another.
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::Nothing | Self::Floor(_) => None,
            Self::Process(tracing) => Some(tracing.pid()),
        }
    }
}

/// A tracer that is a process of its own.
pub(super) struct Tracing {
    child: Child,
    name: String,
    log: std::path::PathBuf,
}

impl Tracing {
    /// `tracer attach --exact` with these arguments, its probes in place and its own measurements done.
    pub(super) fn tracer(bench: &Bench<'_>, pid: u32, arguments: &[&str]) -> Result<Self> {
        let mut tracer = Self::attach(bench, pid);
        tracer
            .args(["--exact", "--output"])
            .arg(bench.profile())
            .args(arguments);
        Self::probes_of_tracer(bench, tracer, pid)
    }

    /// `tracer attach` with these arguments, by which there are no probes to wait for.
    fn unplaced(bench: &Bench<'_>, pid: u32, arguments: &[&str]) -> Result<Self> {
        let mut tracer = Self::attach(bench, pid);
        tracer.arg("--output").arg(bench.profile()).args(arguments);
        let mut tracing = Self::start(tracer, &bench.folder.join("tracer.log"))?;
        tracing.wait_for_word("attached to ")?;
        Ok(tracing)
    }

    /// The same with a snapshot at the end of each window, to [`Bench::series`].
    pub(super) fn series(
        bench: &Bench<'_>,
        pid: u32,
        every: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let folder = bench.series();
        // A series replaces nothing.
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        let mut tracer = Self::attach(bench, pid);
        tracer
            .args(["--exact", "--every", every, "--output"])
            .arg(folder)
            .args(arguments);
        Self::probes_of_tracer(bench, tracer, pid)
    }

    fn attach(bench: &Bench<'_>, pid: u32) -> Command {
        let mut tracer = Command::new(&bench.binaries.tracer);
        tracer.args(["attach", "--pid", &pid.to_string()]);
        tracer
    }

    fn probes_of_tracer(bench: &Bench<'_>, tracer: Command, pid: u32) -> Result<Self> {
        let tracing = Self::probes(tracer, pid, &bench.folder.join("tracer.log"))?;
        bpf_objects::wait_for_one_set(tracing.pid())?;
        Ok(tracing)
    }

    /// A tracer, its probes in place.
    fn probes(command: Command, pid: u32, log: &Path) -> Result<Self> {
        let mut tracing = Self::start(command, log)?;
        tracing.wait_for_probes(pid)?;
        Ok(tracing)
    }

    fn start(mut command: Command, log: &Path) -> Result<Self> {
        let output =
            File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", line(&command)))?;
        Ok(Self {
            child,
            name: command.get_program().to_string_lossy().into(),
            log: log.to_owned(),
        })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Probes are seen where they are: in the traced process's memory. No tracer's output is
    /// needed for that.
    fn wait_for_probes(&mut self, pid: u32) -> Result<()> {
        let start = Instant::now();
        let mut last = (start, 0);
        while last.1 == 0 || last.0.elapsed() < SETTLED {
            self.check_attaching(start)?;
            let count = Breakpoints::read(pid)?.offsets.len();
            if count != last.1 {
                last = (Instant::now(), count);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Where nothing is placed, only the tracer can tell.
    fn wait_for_word(&mut self, word: &str) -> Result<()> {
        let start = Instant::now();
        while !self.output().lines().any(|line| line.starts_with(word)) {
            self.check_attaching(start)?;
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// An error once it does not attach any more.
    fn check_attaching(&mut self, start: Instant) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended early ({status}):\n{}", self.name, self.output());
        }
        if start.elapsed() > ATTACH_TIMEOUT {
            bail!("{} has not attached:\n{}", self.name, self.output());
        }
        Ok(())
    }

    /// Ends it, and returns what it said.
    pub(super) fn stop(mut self) -> Result<String> {
        let status = interrupt(&mut self.child, Signal::INT)?;
        // 3: the tracer itself judged its profile inconclusive, which is no fault of measuring.
        if !matches!(status.code(), Some(0 | 3)) {
            bail!("{} failed ({status}):\n{}", self.name, self.output());
        }
        Ok(self.output())
    }

    fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
