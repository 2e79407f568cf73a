//! The ways in which a service is run and traced: the columns of a comparison. Another column is one more line
//! in [`WAYS`].

use std::fs::File;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;

use super::Bench;
use super::side::Attached;
use super::side::Side;
use crate::service::Service;
use crate::setup;
use crate::setup::JEMALLOC;

const HEAPTRACK: &str = "heaptrack";

/// In the order of the columns.
pub(super) const WAYS: &[Way] = &[
    Way::attached(Side::Untraced),
    Way::attached(Side::Tracer),
    Way::attached(Side::Governed),
    Way::attached(Side::Growth),
    Way::attached(Side::Peer),
    Way::started(Start::Heaptrack, Side::Untraced.name()),
    Way::started(Start::Jemalloc, Side::Untraced.name()),
    // Its price alone: another allocator has its own speed.
    Way::started(Start::JemallocProfiler, Start::Jemalloc.name()),
];

/// A column.
pub(super) struct Way {
    pub(super) name: &'static str,
    /// The column that it is compared with.
    pub(super) baseline: &'static str,
    start: Start,
    side: Side,
}

/// How the service is started. All but the first mean a restart of one that runs.
#[derive(Clone, Copy)]
enum Start {
    /// As it is.
    Plain,
    /// By heaptrack, which counts every allocation.
    Heaptrack,
    /// With jemalloc for its allocator.
    Jemalloc,
    /// The same with jemalloc's own profiler, which samples, by default one in 512 KiB.
    JemallocProfiler,
}

impl Start {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Heaptrack => HEAPTRACK,
            Self::Jemalloc => "jemalloc",
            Self::JemallocProfiler => "jemalloc prof:true",
        }
    }

    /// Takes the service's arguments.
    fn command(self, bench: &Bench<'_>) -> Result<Command> {
        let service = &bench.binaries.counter_service;
        let mut command = Command::new(service);
        match self {
            Self::Plain => {}
            Self::Heaptrack => {
                let log = bench.folder.join("heaptrack.log");
                let log = File::create(&log)
                    .with_context(|| format!("cannot create {}", log.display()))?;
                command = Command::new(HEAPTRACK);
                command
                    .arg("--output")
                    .arg(bench.folder.join(HEAPTRACK))
                    .arg(service)
                    .stderr(log)
                    // Where it finds a screen, it opens a window at the end.
                    .env_remove("DISPLAY")
                    .env_remove("WAYLAND_DISPLAY");
            }
            Self::Jemalloc => {
                command.env("LD_PRELOAD", JEMALLOC);
            }
            Self::JemallocProfiler => profiled_by_jemalloc(&mut command),
        }
        Ok(command)
    }

    /// Why the service can't be started so here.
    fn missing(self) -> Result<Option<String>> {
        Ok(match self {
            Self::Plain => None,
            Self::Heaptrack => setup::not_installed(HEAPTRACK),
            Self::Jemalloc => setup::not_installed(JEMALLOC),
            Self::JemallocProfiler => match setup::not_installed(JEMALLOC) {
                None => {
                    let mut command = Command::new("true");
                    profiled_by_jemalloc(&mut command);
                    let said = command.output().context("cannot try jemalloc")?.stderr;
                    (!has_profiler(&String::from_utf8_lossy(&said)))
                        .then(|| format!("built without its profiler: {JEMALLOC}"))
                }
                missing => missing,
            },
        })
    }
}

fn profiled_by_jemalloc(command: &mut Command) {
    command
        .env("LD_PRELOAD", JEMALLOC)
        .env("MALLOC_CONF", "prof:true");
}

/// By what jemalloc says at its start with the profiler asked for: it knows no such option without.
fn has_profiler(said: &str) -> bool {
    !said.contains("Invalid conf pair")
}

impl Way {
    /// Tracing that needs no restart.
    const fn attached(side: Side) -> Self {
        Self {
            name: side.name(),
            baseline: Side::Untraced.name(),
            start: Start::Plain,
            side,
        }
    }

    const fn started(start: Start, baseline: &'static str) -> Self {
        Self {
            name: start.name(),
            baseline,
            start,
            side: Side::Untraced,
        }
    }

    /// What to say of a way that can't be gone here.
    pub(super) fn missing(&self) -> Result<Option<String>> {
        self.start.missing()
    }

    /// Starts a service, traced.
    pub(super) fn start(&self, bench: &Bench<'_>) -> Result<Running> {
        let command = self.start.command(bench)?;
        let service = Service::start_by(command, &bench.binaries.counter_service)?;
        let attached = self.side.attach(bench, service.pid())?;
        Ok(Running { service, attached })
    }
}

/// A service on its way.
pub(super) struct Running {
    pub(super) service: Service,
    attached: Attached,
}

impl Running {
    /// The processes that trace it, if others do.
    pub(super) fn tracers(&self) -> Vec<u32> {
        let mut tracers = self.service.helpers();
        tracers.extend(self.attached.pid());
        tracers
    }

    /// Ends both in the orderly way.
    pub(super) fn stop(self) -> Result<()> {
        self.attached.detach()?;
        self.service.stop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_compared_with_one_before_it() {
        for (index, way) in WAYS.iter().enumerate() {
            let mut earlier = WAYS.iter().take(index.max(1));
            assert!(
                earlier.any(|other| other.name == way.baseline),
                "{}",
                way.name
            );
            let others = WAYS.iter().filter(|other| other.name == way.name);
            assert_eq!(others.count(), 1, "{}", way.name);
        }
    }

    #[test]
    fn jemalloc_without_its_profiler_knows_no_such_option() {
        assert!(has_profiler(""));
        assert!(!has_profiler("<jemalloc>: Invalid conf pair: prof:true\n"));
    }
}
