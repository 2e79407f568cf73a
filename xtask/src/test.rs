//! Runs every test of the workspace and sums up what the test binaries report.
//!
//! Which tests may be skipped is decided by the tests: on CI and as root, none that needs BPF.

use std::io::BufRead as _;
use std::io::BufReader;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use regex::Regex;

use crate::docs;
use crate::ebpf;
use crate::workspace::Binaries;
use crate::workspace::Workspace;
use crate::workspace::line;
use crate::workspace::step;

/// Results of any number of test binaries.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// Builds what the tests run, then runs all of them; `arguments` go to every test binary.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let binaries = workspace.build_release()?;

    step("running the tests");
    let mut command = workspace.cargo();
    command
        .args(["test", "--workspace", "--exclude", "tracer-ebpf"])
        .args(["--no-fail-fast", "--"])
        .args(arguments)
        .env(ebpf::OBJECT_VARIABLE, ebpf::object(workspace))
        .env("TRACER_BIN", &binaries.tracer)
        .env("COUNTER_SERVICE_BIN", &binaries.counter_service)
        .env("TRACER_WORKLOADS_DIR", workspace.target.join("workloads"));
    let (tally, success) = count(&mut command)?;

    println!("\n{}", tally.summary());
    if !success || tally.failed > 0 {
        bail!("there were failures");
    }
    if arguments.is_empty() {
        guide(workspace, &binaries)?;
    }
    if arguments.is_empty() && tally.passed == 0 {
        bail!("no test was run");
    }
    Ok(())
}

/// Plays the guide. Only where a user runs the tests without root it is skipped, and that is said.
fn guide(workspace: &Workspace, binaries: &Binaries) -> Result<()> {
    if !rustix::process::geteuid().is_root() && std::env::var_os("CI").is_none() {
        eprintln!("./x: the guide was not checked, since that needs root: sudo ./x docs");
        return Ok(());
    }
    docs::check_all(workspace, binaries)
}

/// Runs one integration test that is too long for every test run, told so by an environment variable
/// and its value.
/// Returns whether it passed; one that is not there, or is skipped, has not.
pub(crate) fn passes(
    workspace: &Workspace,
    binaries: &Binaries,
    trial: &str,
    (variable, value): (&str, &str),
) -> Result<bool> {
    let mut command = workspace.cargo();
    command
        .args(["test", "--quiet", "--package", "tests"])
        .args(["--test", "integration", "--", "--exact", trial])
        .env(ebpf::OBJECT_VARIABLE, ebpf::object(workspace))
        .env("TRACER_BIN", &binaries.tracer)
        .env("COUNTER_SERVICE_BIN", &binaries.counter_service)
        .env("TRACER_WORKLOADS_DIR", workspace.target.join("workloads"))
        .env(variable, value)
        // Fails without root, where it would be skipped.
        .env("CI", "true");
    let (tally, success) = count(&mut command)?;
    Ok(success && tally.passed == 1)
}

/// Runs cargo, passes its output on, and sums up the results in it.
fn count(command: &mut Command) -> Result<(Tally, bool)> {
    let mut cargo = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", line(command)))?;
    let stdout = cargo.stdout.take().context("cargo has no output")?;
    let pattern = Tally::pattern()?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read cargo's output")?;
        // What a test prints need not be UTF-8.
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.add(&pattern, &line);
    }
    let success = cargo.wait().context("cannot wait for cargo")?.success();
    // A binary that does not build, or dies without a result, must show in the summary as well.
    if !success && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok((tally, success))
}

impl Tally {
    /// The last line of a test binary, libtest's and libtest-mimic's alike.
    pub(crate) fn pattern() -> Result<Regex> {
        Regex::new(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;")
            .context("the pattern of a test result")
    }

    pub(crate) fn add(&mut self, pattern: &Regex, line: &str) {
        let Some(groups) = pattern.captures(line) else {
            return;
        };
        // Only digits get here; more of them than fit would be no count.
        let number = |group: usize| groups[group].parse::<u64>().unwrap_or(0);
        self.passed += number(1);
        self.failed += number(2);
        self.skipped += number(3);
    }

    pub(crate) fn summary(self) -> String {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_binaries_are_summed() -> Result<()> {
        let output = "\
running 2 tests
test a ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s
a test that prints test result: ok. 9 passed; 9 failed; 9 ignored;
test result: FAILED. 1 passed; 2 failed; 3 ignored; 0 measured; 0 filtered out; finished in 1.5s
";
        let pattern = Tally::pattern()?;
        let mut tally = Tally::default();
        for line in output.lines() {
            tally.add(&pattern, line);
        }
        assert_eq!(tally.summary(), "3 passed, 2 failed, 4 skipped");
        Ok(())
    }

    #[test]
    fn a_failure_without_results_is_one() -> Result<()> {
        let (tally, success) = count(Command::new("sh").args(["-c", "echo broken; exit 101"]))?;
        assert!(!success);
        assert_eq!(tally.summary(), "0 passed, 1 failed, 0 skipped");
        Ok(())
    }
}
