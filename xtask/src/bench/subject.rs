//! The C programs of `xtask/bench` that are traced: built, started, and asked line by line.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use super::Bench;
use crate::workspace::run;

/// Every frame can be walked by frame pointers.
pub(super) const FRAME_POINTERS: &str = "-fno-omit-frame-pointer";
/// Like most of what people run.
pub(super) const NO_FRAME_POINTERS: &str = "-fomit-frame-pointer";

/// Builds `xtask/bench/NAME.c`; returns the binary's path.
pub(super) fn build(bench: &Bench<'_>, name: &str, flag: &str) -> Result<PathBuf> {
    let binary = bench.folder.join(format!("{name}{flag}"));
    run(bench
        .workspace
        .command("cc")
        .args(["-O2", "-g", "-pthread", flag])
        .arg(format!("xtask/bench/{name}.c"))
        .arg("-o")
        .arg(&binary))?;
    Ok(binary)
}

/// A running program; killed when dropped.
pub(super) struct Subject {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Subject {
    /// Starts it and asks a first line: an answer proves that it is past its loader, with the C
    /// library mapped.
    pub(super) fn start(binary: &Path, first: &str) -> Result<Self> {
        let mut child = Command::new(binary)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let input = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let mut subject = Self {
            child,
            input,
            output: BufReader::new(output),
        };
        subject.ask(first)?;
        Ok(subject)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The line it answers to a line.
    pub(super) fn ask(&mut self, line: &str) -> Result<String> {
        const ENDED: &str = "the traced program has ended";
        writeln!(self.input, "{line}").context(ENDED)?;
        let mut answer = String::new();
        if self.output.read_line(&mut answer)? == 0 {
            bail!(ENDED);
        }
        Ok(answer.trim().to_owned())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
