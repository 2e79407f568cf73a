//! Traces programs of Debian's own at work, servers included, and holds their stacks against gdb's: a table
//! of how many are whole. `./x test` does the same with the few of them that come without a server.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use crate::ebpf;
use crate::workspace::Workspace;
use crate::workspace::step;

/// Tells the tests that all programs are wanted.
const ALL_VARIABLE: &str = "TRACER_PROGRAMS";

/// What is asked of the programs.
const TRIALS: [(&str, &str); 4] = [
    ("programs::all", "how many stacks are whole, attached"),
    ("programs::run", "the same from the first instruction on"),
    ("programs::redis", "an allocator that is not traced"),
    ("gdb::all", "stacks that gdb and the tracer agree on"),
];

/// Runs all of them, also where one fails.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let binaries = workspace.build_release()?;
    let mut failed = Vec::new();
    for (trial, what) in TRIALS {
        step(what);
        let status = workspace
            .cargo()
            .args(["test", "--quiet", "--package", "tests"])
            .args(["--test", "integration", "--", "--exact", trial])
            .env(ebpf::OBJECT_VARIABLE, ebpf::object(workspace))
            .env("TRACER_BIN", &binaries.tracer)
            .env("TRACER_WORKLOADS_DIR", workspace.target.join("workloads"))
            .env(ALL_VARIABLE, "1")
            // Fails without root, where it would be skipped.
            .env("CI", "true")
            .status()
            .context("cannot start cargo")?;
        if !status.success() {
            failed.push(trial);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
