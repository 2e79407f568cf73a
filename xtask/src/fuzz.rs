//! Runs the fuzz targets of `tests/fuzz`, one after the other.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use clap::Args;

use crate::workspace::Workspace;
use crate::workspace::run;
use crate::workspace::step;

/// Version of cargo-fuzz, which builds with the instrumentation that libFuzzer needs.
const VERSION: &str = "0.13.2";
/// A target in `tests/fuzz/fuzz_targets`, and the longest input that it is given, bytes.
const TARGETS: &[(&str, u32)] = &[
    ("code", 8 << 10),
    ("eh_frame", 8 << 10),
    ("elf", 32 << 10),
    ("names", 1 << 10),
];
/// Memory that a target may take, MiB; more counts as a bug.
const MEMORY_LIMIT: u32 = 1024;
/// Seconds that one input may take; more counts as a bug.
const TIMEOUT: u32 = 5;

/// How long to fuzz, and what.
#[derive(Args)]
pub(crate) struct Options {
    /// Time for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only this target
    #[arg(long, value_parser = TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>())]
    target: Option<String>,
}

/// Builds and runs the targets; an error at the first that fails.
pub(crate) fn fuzz(workspace: &Workspace, options: &Options) -> Result<()> {
    let cargo_fuzz = install(workspace)?;
    let package = workspace.root.join("tests").join("fuzz");
    let build = workspace.target.join("fuzz");
    for (target, longest) in TARGETS {
        if options
            .target
            .as_deref()
            .is_some_and(|only| only != *target)
        {
            continue;
        }
        step(&format!("fuzzing {target} for {} s", options.seconds));
        // What the fuzzer finds goes here; the corpus in the repository is only read.
        let found = build.join("corpus").join(target);
        fs::create_dir_all(&found).with_context(|| format!("cannot create {}", found.display()))?;
        run(workspace
            .command(&cargo_fuzz.display().to_string())
            .args(["fuzz", "run", "--fuzz-dir"])
            .arg(&package)
            // No unsafe code is reached from here, and without a sanitizer all is twice as fast.
            .args(["--sanitizer", "none", "--target-dir"])
            .arg(&build)
            .arg(target)
            .arg(found)
            .arg(package.join("corpus").join(target))
            .arg("--")
            .arg(format!("-max_total_time={}", options.seconds))
            .arg(format!("-max_len={longest}"))
            .arg(format!("-rss_limit_mb={MEMORY_LIMIT}"))
            .arg(format!("-timeout={TIMEOUT}"))
            .arg("-print_final_stats=1")
            // The pinned stable toolchain knows the unstable options, too.
            .env("RUSTC_BOOTSTRAP", "1"))
        .with_context(|| {
            format!("{target} failed; the input is in tests/fuzz/artifacts/{target}")
        })?;
    }
    Ok(())
}

/// Builds cargo-fuzz under `target/`, unless that has been done; returns its path.
fn install(workspace: &Workspace) -> Result<PathBuf> {
    let tools = workspace.target.join("tools");
    let cargo_fuzz = tools.join("bin").join("cargo-fuzz");
    if cargo_fuzz.exists() {
        return Ok(cargo_fuzz);
    }
    step("building cargo-fuzz (once)");
    run(workspace
        .cargo()
        .args(["install", "cargo-fuzz", "--version", VERSION])
        .args(["--locked", "--quiet", "--root"])
        .arg(&tools)
        .env("CARGO_TARGET_DIR", tools.join("build")))
    .context("cannot build cargo-fuzz")?;
    fs::remove_dir_all(tools.join("build")).context("cannot remove cargo-fuzz's build folder")?;
    Ok(cargo_fuzz)
}
