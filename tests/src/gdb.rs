//! What gdb says of a process's allocations: an independent witness of what their stacks are.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::process::{Child, Ended};

/// Runs inside gdb.
const SCRIPT: &str = include_str!("gdb/allocations.py");

/// gdb at an allocation: the process stands at the first instruction of the function.
#[derive(Clone, Debug, Deserialize)]
pub struct Stop {
    /// The function.
    pub function: String,
    /// gdb's backtrace, leaf first: where the process stands, and return addresses.
    pub frames: Vec<u64>,
    /// Why gdb found no more.
    pub end: String,
    /// Instruction pointer.
    pub rip: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Frame pointer's register.
    pub rbp: u64,
    /// What is on the stack from `rsp` on, up to a little beyond the outermost frame, in hexadecimal.
    stack: String,
}

/// A piece of mapped code.
#[derive(Clone, Debug, Deserialize)]
pub struct Code {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// What lies at `start`, as an offset in the file.
    pub offset: u64,
    /// The file, or what else /proc calls it.
    pub path: String,
}

/// All allocations of a process from the attach to its end.
#[derive(Clone, Debug)]
pub struct Allocations {
    /// In order.
    pub stops: Vec<Stop>,
    /// What was mapped meanwhile.
    pub code: Vec<Code>,
}

#[derive(Deserialize)]
struct CodeLine {
    code: Vec<Code>,
}

/// gdb, attached to a process and noting its allocations.
#[derive(Debug)]
pub struct Gdb {
    child: Child,
    folder: TempDir,
}

impl Stop {
    /// A word of the stack.
    #[must_use]
    pub fn read(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.rsp)?).ok()?;
        let digits = self.stack.get(2 * at..2 * at + 16)?;
        u64::from_str_radix(digits, 16).ok().map(u64::swap_bytes)
    }
}

impl Allocations {
    /// The code at an address.
    #[must_use]
    pub fn code_at(&self, address: u64) -> Option<&Code> {
        let mut code = self.code.iter();
        code.find(|code| (code.start..code.end).contains(&address))
    }
}

impl Gdb {
    /// Attaches, and waits until every allocation is seen.
    ///
    /// # Errors
    /// gdb is not there, or can't attach.
    pub fn attach(pid: u32) -> Result<Self> {
        let folder = TempDir::new()?;
        let script = folder.path().join("allocations.py");
        fs::write(&script, SCRIPT)?;
        let mut command = Command::new("gdb");
        command
            .args(["-nx", "-batch", "-p", &pid.to_string(), "-x"])
            .arg(script)
            .env("ALLOCATIONS", folder.path().join("allocations"))
            .env_remove("DEBUGINFOD_URLS");
        let mut child = Child::spawn(&mut command).context("needs gdb: apt-get install gdb")?;
        child.wait_line(
            |child| &child.stdout,
            "gdb's `ready`",
            |line| line == "ready",
        )?;
        Ok(Self { child, folder })
    }

    /// Waits for the process's end, and returns what gdb has seen.
    ///
    /// # Errors
    /// gdb failed before.
    pub fn finish(mut self) -> Result<Allocations> {
        let ended: Ended = self.child.wait()?;
        ended.expect_code(0)?;
        let text = fs::read_to_string(self.folder.path().join("allocations"))?;
        let mut lines: Vec<_> = text.lines().collect();
        let code = lines.pop().with_context(|| ended.printed())?;
        let code: CodeLine = serde_json::from_str(code).with_context(|| ended.printed())?;
        let stops: Result<Vec<Stop>, _> = lines.into_iter().map(serde_json::from_str).collect();
        let stops = stops.with_context(|| ended.printed())?;
        ensure!(!stops.is_empty(), "gdb saw nothing\n{}", ended.printed());
        Ok(Allocations {
            stops,
            code: code.code,
        })
    }
}
