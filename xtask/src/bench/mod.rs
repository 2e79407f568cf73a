//! `./x bench`: what tracing costs. Ratios between sides of one run, never absolute times: machines
//! are shared and noisy, so the sides take turns within each round, and medians are compared.
//!
//! Never fails on a time, only when something could not be measured.

mod breakpoints;
mod floor;
mod pair;
mod requests;
mod side;
mod table;

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use serde::Serialize;

use self::table::Table;
use crate::workspace::Binaries;
use crate::workspace::Workspace;
use crate::workspace::step;

/// How much to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds per table; each measures every side once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// What the measurements share.
struct Bench<'a> {
    workspace: &'a Workspace,
    binaries: Binaries,
    /// `target/bench`: results, logs, and what the sides write.
    folder: PathBuf,
    rounds: u32,
}

/// All of `target/bench/results.json`.
#[derive(Serialize)]
struct Results<'a> {
    kernel: String,
    processor: String,
    processors: usize,
    rounds: u32,
    tables: &'a [Table],
}

/// Measures everything, prints the tables and writes them as JSON.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the bench traces processes, and that needs root");
    }
    let folder = workspace.target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let bench = Bench {
        workspace,
        binaries: workspace.build_release()?,
        folder,
        rounds: options.rounds,
    };

    step("measuring malloc+free pairs");
    let pairs = pair::measure(&bench)?;
    println!("{}", pairs.render());
    step("measuring counter-service under load");
    let requests = requests::measure(&bench)?;
    println!("{}", requests.render());

    let results = Results {
        kernel: rustix::system::uname().release().to_string_lossy().into(),
        processor: processor(),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        rounds: bench.rounds,
        tables: &[pairs, requests],
    };
    let path = bench.folder.join("results.json");
    fs::write(&path, serde_json::to_string_pretty(&results)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
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
