//! Traces programs of Debian's own at work, servers included, and holds their stacks against gdb's: a table
//! of how many are whole. `./x test` does the same with the few of them that come without a server.

use anyhow::Result;
use anyhow::bail;

use crate::test;
use crate::workspace::Workspace;
use crate::workspace::step;

/// Tells the tests that all programs are wanted.
const ALL_VARIABLE: &str = "TRACER_PROGRAMS";

/// What is asked of the programs.
const TRIALS: [(&str, &str); 4] = [
    ("programs::all", "how many stacks are whole, attached"),
    ("programs::run", "the same from the first instruction on"),
    (
        "programs::audited",
        "the same, attached, with every recognised stack walked as well",
    ),
    ("gdb::all", "stacks that gdb and the tracer agree on"),
];

/// Runs all of them, also where one fails.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let binaries = workspace.build_release()?;
    let mut failed = Vec::new();
    for (trial, what) in TRIALS {
        step(what);
        if !test::passes(workspace, &binaries, trial, (ALL_VARIABLE, "1"))? {
            failed.push(trial);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
