//! The virtual machine: starting it, and reading from its console how the tests went.

use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use super::Kernel;
use crate::test::Tally;
use crate::workspace::Workspace;
use crate::workspace::line;

/// Seconds until a machine that does not end is given up.
const PATIENCE: &str = "1800";
/// MiB of memory, which hold the files, too.
const MEMORY: &str = "3072";
/// Begins the last line of `xtask/kernels/init`, before 0 where no test failed.
const END: &str = "tests ended: ";

/// Boots a kernel and has it run the tests of some themes.
pub(super) fn run(
    workspace: &Workspace,
    kernel: &Kernel,
    boot: &Path,
    image: &Path,
    themes: &[&str],
) -> Result<Tally> {
    let root = workspace.root.to_str().context("the path is not UTF-8")?;
    ensure!(
        !root.contains(char::is_whitespace),
        "a path with spaces cannot stand on a kernel's command line: {root}"
    );
    let arguments = format!(
        "console=ttyS0 quiet loglevel=4 panic=-1 repository={root} tests=\"{}\" without=\"{}\"",
        themes.join(" "),
        kernel.without.join(" ")
    );
    let mut command = Command::new("timeout");
    command
        .args([PATIENCE, "qemu-system-x86_64"])
        // QEMU 7.2 emulates cmpxchg16b wrongly as Linux 6.12 uses it, which crashes at random.
        .args(["-accel", "tcg", "-cpu", "max,cx16=off"])
        .args(["-smp", "2", "-m", MEMORY])
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(boot)
        .arg("-initrd")
        .arg(image)
        .args(["-append", &arguments])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut machine = command
        .spawn()
        .with_context(|| format!("cannot start {}", line(&command)))?;
    let console = machine
        .stdout
        .take()
        .context("the machine has no console")?;
    let mut reading = Reading::new()?;
    for line in BufReader::new(console).split(b'\n') {
        let line = line.context("cannot read the console")?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        println!("{line}");
        reading.line(line);
    }
    let status = machine.wait().context("cannot wait for the machine")?;
    ensure!(status.success(), "the machine failed ({status})");
    reading.end()
}

/// What the console has said so far.
struct Reading {
    pattern: regex::Regex,
    tally: Tally,
    end: Option<String>,
}

impl Reading {
    fn new() -> Result<Self> {
        Ok(Self {
            pattern: Tally::pattern()?,
            tally: Tally::default(),
            end: None,
        })
    }

    fn line(&mut self, line: &str) {
        self.tally.add(&self.pattern, line);
        if let Some(end) = line.strip_prefix(END) {
            self.end = Some(end.to_owned());
        }
    }

    /// A machine that ended before the tests, as by a panic, is an error; a test binary that ended
    /// without a result is a failed test.
    fn end(self) -> Result<Tally> {
        let Self { mut tally, end, .. } = self;
        let end = end.context("the machine ended before the tests did")?;
        if end != "0" && tally.failed == 0 {
            tally.failed = 1;
        }
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(console: &str) -> Result<Tally> {
        let mut reading = Reading::new()?;
        console.lines().for_each(|line| reading.line(line));
        reading.end()
    }

    #[test]
    fn the_console_tells_how_it_went() -> Result<()> {
        let passed = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n";
        let tally = read(&format!("{passed}{passed}tests ended: 0"))?;
        assert_eq!((tally.passed, tally.failed), (4, 0));
        let broken = read(&format!("{passed}tests ended: 1"))?;
        assert_eq!((broken.passed, broken.failed), (2, 1));
        Ok(())
    }

    #[test]
    fn a_machine_that_dies_is_an_error() {
        assert!(read("test result: ok. 2 passed; 0 failed; 0 ignored;\nKernel panic").is_err());
    }
}
