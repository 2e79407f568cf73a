//! The ledgers themselves, checked without the tracer: a library preloaded into the workload
//! counts the calls that reach the C library. Needs no privileges.

use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tests::ledger::Ledger;
use tests::workload::Workload;
use tests::{binaries, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::plain("oracle::ledger_c", || check("ledger_c")),
        trial::plain("oracle::ledger_cpp", || check("ledger_cpp")),
        trial::plain("oracle::ledger_rust", || check("ledger_rust")),
    ]
}

fn check(name: &str) -> Result<()> {
    let mut command = Command::new(binaries::workload(name)?);
    command
        .arg("300000")
        .env("LD_PRELOAD", binaries::preload("oracle")?);
    let mut workload = Workload::start_command(&mut command)?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    let ended = workload.finish()?;
    let oracle = Ledger::parse(ended.stderr.trim())?;
    ledger.check_cases()?;
    ensure!(
        (ledger.calls, ledger.failed, ledger.null_frees, ledger.total)
            == (oracle.calls, oracle.failed, oracle.null_frees, oracle.total),
        "the program says\n{ledger:#?}\nthe calls that reached the C library say\n{oracle:#?}"
    );
    Ok(())
}
