//! `./x bench`: what tracing costs. Ratios between sides of one run, never absolute times: machines
//! are shared and noisy, so the sides take turns within each round, and medians are compared.
//!
//! Never fails on a time, only when something could not be measured.

mod attaching;
mod bpf_objects;
mod breakpoints;
mod detaching;
mod floor;
mod live_table;
mod pair;
mod requests;
mod run_time;
mod side;
mod snapshots;
mod subject;
mod table;
mod threads;
mod ways;

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use clap::ValueEnum as _;
use serde::Serialize;

use self::table::Table;
use crate::workspace::Binaries;
use crate::workspace::Workspace;
use crate::workspace::step;

/// How much to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds per table; each measures every side once [default: 5, requests 7]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Measure this alone; may be given several times
    #[arg(long, value_enum)]
    part: Vec<Part>,
}

/// A table of the bench.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// A malloc+free pair, by frames above the caller
    Pairs,
    /// A pair in two threads at the same time
    Threads,
    /// Run time of the eBPF programs themselves
    RunTime,
    /// A pair before, during and after tracing
    Detaching,
    /// counter-service under load
    Requests,
    /// Attaching to counter-service
    Attaching,
    /// Kernel memory with 10 million live allocations
    LiveTable,
    /// Snapshots of 100,000 stacks
    Snapshots,
}

impl Part {
    /// Unless told: columns that cost little are told apart by more of them.
    const fn rounds(self) -> u32 {
        match self {
            Self::Requests => 7,
            _ => 5,
        }
    }

    fn measure(self, bench: &Bench<'_>) -> Result<Table> {
        match self {
            Self::Pairs => pair::measure(bench),
            Self::Threads => threads::measure(bench),
            Self::RunTime => run_time::measure(bench),
            Self::Detaching => detaching::measure(bench),
            Self::Requests => requests::measure(bench),
            Self::Attaching => attaching::measure(bench),
            Self::LiveTable => live_table::measure(bench),
            Self::Snapshots => snapshots::measure(bench),
        }
    }
}

/// What the measurements share.
struct Bench<'a> {
    workspace: &'a Workspace,
    binaries: Binaries,
    /// `target/bench`: results, logs, and what the sides write.
    folder: PathBuf,
    rounds: u32,
}

impl Bench<'_> {
    /// Where the tracer writes, each time.
    fn profile(&self) -> PathBuf {
        self.folder.join("tracer.profile")
    }

    /// The folder that it writes a series to, each time.
    fn series(&self) -> PathBuf {
        self.folder.join("tracer.series")
    }

    /// Does it once a round.
    fn rounds(&self, mut once: impl FnMut() -> Result<()>) -> Result<()> {
        for round in 1..=self.rounds {
            eprintln!("    round {round} of {}", self.rounds);
            once()?;
        }
        Ok(())
    }
}

/// All of `target/bench/results.json`.
#[derive(Serialize)]
struct Results {
    kernel: String,
    processor: String,
    processors: usize,
    tables: Vec<Table>,
}

/// Measures everything, prints the tables and writes them as JSON.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the bench traces processes, and that needs root");
    }
    let folder = workspace.target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut bench = Bench {
        workspace,
        binaries: workspace.build_release()?,
        folder,
        rounds: 0,
    };

    let mut results = Results {
        kernel: rustix::system::uname().release().to_string_lossy().into(),
        processor: processor(),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        tables: Vec::new(),
    };
    let path = bench.folder.join("results.json");
    for part in Part::value_variants() {
        if !options.part.is_empty() && !options.part.contains(part) {
            continue;
        }
        let name = part.to_possible_value().unwrap_or_default();
        step(&format!("measuring {}", name.get_name()));
        bench.rounds = options.rounds.unwrap_or_else(|| part.rounds());
        let table = part.measure(&bench)?;
        println!("{}", table.render());
        // After each, so that a failure costs no more than its own table.
        results.tables.push(table);
        fs::write(&path, serde_json::to_string_pretty(&results)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("{}", path.display());
    Ok(())
}

/// The processor's name, or nothing where the kernel does not tell.
fn processor() -> String {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    information
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "))
        .map(|(_, name)| name.to_owned())
        .unwrap_or_default()
}
