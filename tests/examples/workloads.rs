//! Builds the workloads of the tests that run on other kernels (`./x kernels`), where no compiler is.
//!
//! What is missing here shows there: a test fails that does not find its workload.

use anyhow::Result;
use tests::binaries;
use tests::unwind;

const PROGRAMS: [&str; 16] = [
    "execer",
    "exiter",
    "forker",
    "idle",
    "interrupted",
    "jumper",
    "ledger_c",
    "ledger_cpp",
    "ledger_rust",
    "midlife",
    "own_malloc",
    "requests",
    "stacks",
    "steady",
    "named_threads",
    "thread_ends",
];

fn main() -> Result<()> {
    for program in PROGRAMS {
        binaries::workload(program)?;
    }
    let others = [
        unwind::CPP,
        unwind::PLUGIN,
        unwind::GAP,
        unwind::FIBER,
        unwind::BRIEF,
        unwind::SIBLING,
        unwind::STORM_PLUGINS[0],
        unwind::STORM_PLUGINS[1],
        unwind::MOVED,
        unwind::RELOAD,
        unwind::RELOADED[0],
        unwind::RELOADED[1],
        unwind::RETURN_PROBE,
    ];
    for build in unwind::BUILDS.iter().chain(&others) {
        build.program()?;
    }
    binaries::plain_rust("unwind")?;
    binaries::go("cgo")?;
    Ok(())
}
