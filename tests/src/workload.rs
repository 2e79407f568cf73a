//! A running workload: see `workloads/c/gate.h` for what it does when.

use std::process::Command;

use anyhow::Result;

use crate::binaries;
use crate::ledger::Ledger;
use crate::process::{Child, Ended};

/// A workload, from its start to its end.
#[derive(Debug)]
pub struct Workload {
    child: Child,
}

impl Workload {
    /// Builds and starts a workload and waits until it stands at its gate.
    ///
    /// # Errors
    /// It does not build or does not start.
    pub fn start(name: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_command(Command::new(binaries::workload(name)?).args(arguments))
    }

    /// Starts a workload by a command of the test's own.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_command(command: &mut Command) -> Result<Self> {
        let mut child = Child::spawn(command)?;
        child.wait_line(|child| &child.stdout, "`ready`", |line| line == "ready")?;
        Ok(Self { child })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The process itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Lets it do its work.
    ///
    /// # Errors
    /// It is gone.
    pub fn open_gate(&mut self) -> Result<()> {
        self.child.write(b"\n")
    }

    /// Waits for the ledger it prints when its work is done.
    ///
    /// # Errors
    /// It ended without one, or took too long.
    pub fn ledger(&mut self) -> Result<Ledger> {
        let line = self.child.wait_line(
            |child| &child.stdout,
            "the ledger",
            |line| line.starts_with('{'),
        )?;
        Ledger::parse(&line)
    }

    /// Lets it exit, and checks that it exits as it should: alive until now, and content.
    ///
    /// # Errors
    /// It died or failed.
    pub fn finish(mut self) -> Result<Ended> {
        self.child.close_stdin();
        let ended = self.child.wait()?;
        ended.expect_code(0)?;
        Ok(ended)
    }
}
