//! Runs integration tests on other kernels, each in a virtual machine: the tracer as it was built here,
//! the same tests, and ledgers and stacks checked there.
//!
//! The machine's processor is emulated (TCG), so that it needs no privilege and is the same
//! everywhere. How long anything takes in it says nothing.

mod image;
mod machine;
mod package;

use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use clap::Args;

use crate::ebpf;
use crate::test::Tally;
use crate::workspace::Workspace;
use crate::workspace::output;
use crate::workspace::run as run_command;
use crate::workspace::step;

/// A kernel to test on.
struct Kernel {
    /// How it is called here.
    name: &'static str,
    /// Debian's suite that has it.
    suite: &'static str,
    /// Debian's package that stands for the newest of its kind there.
    package: &'static str,
    /// Parts of the names of tests that need more than it has.
    without: &'static [&'static str],
}

/// All of them; one more is one more line.
const KERNELS: &[Kernel] = &[
    // No uprobe_multi (6.6, and 6.10 with a right filter by process), no sessions.
    Kernel {
        name: "6.1",
        suite: "bookworm",
        package: "linux-image-cloud-amd64",
        without: &["_multi"],
    },
    // uprobe_multi, no sessions (6.13).
    Kernel {
        name: "6.12",
        suite: "bookworm-backports",
        package: "linux-image-cloud-amd64",
        without: &[],
    },
];

/// The themes that are tested: what the kernel has a part in, and no program beside the workloads.
const THEMES: [&str; 9] = [
    "ledger",
    "growth",
    "lifetimes",
    "files",
    "unwind",
    "stacks",
    "verdicts",
    "run",
    "log",
];

/// Which kernels, and which tests.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this kernel
    #[arg(long, value_parser = KERNELS.iter().map(|kernel| kernel.name).collect::<Vec<_>>())]
    kernel: Option<String>,
    /// Only tests of this theme
    #[arg(long, value_parser = THEMES)]
    theme: Option<String>,
}

/// Runs the tests on each kernel, also where they fail on the one before.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let binaries = workspace.build_release()?;
    let tests = build_tests(workspace)?;
    step("building the workloads");
    let workloads = workspace.target.join("workloads");
    run_command(
        workspace
            .cargo()
            .args(["run", "--quiet", "--package", "tests"])
            .args(["--example", "workloads"])
            .env(ebpf::OBJECT_VARIABLE, ebpf::object(workspace))
            .env("TRACER_WORKLOADS_DIR", &workloads),
    )?;
    let folder = workspace.target.join("kernels");
    let image = image::build(&image::Contents {
        workspace,
        tracer: &binaries.tracer,
        tests: &tests,
        workloads: &workloads,
        folder: &folder,
    })?;

    let themes: Vec<&str> = THEMES
        .into_iter()
        .filter(|theme| options.theme.as_deref().is_none_or(|only| only == *theme))
        .collect();
    let mut failures = Vec::new();
    let wanted = |kernel: &&Kernel| {
        let only = options.kernel.as_deref();
        only.is_none_or(|only| only == kernel.name)
    };
    for kernel in KERNELS.iter().filter(wanted) {
        let boot = package::fetch(&folder, kernel)?;
        step(&format!("testing on {}", kernel.name));
        let tally = machine::run(workspace, kernel, &boot, &image, &themes)?;
        println!("\n{}: {}", kernel.name, tally.summary());
        if !is_good(tally, themes.len()) {
            failures.push(kernel.name);
        }
    }
    if !failures.is_empty() {
        bail!("there were failures on {}", failures.join(", "));
    }
    Ok(())
}

/// Every theme has at least one test.
const fn is_good(tally: Tally, themes: usize) -> bool {
    tally.failed == 0 && tally.passed >= themes as u64
}

/// Builds the integration tests and returns their binary.
fn build_tests(workspace: &Workspace) -> Result<PathBuf> {
    step("building the tests");
    let messages = output(
        workspace
            .cargo()
            .args(["test", "--quiet", "--package", "tests"])
            .args(["--test", "integration", "--no-run"])
            .arg("--message-format=json-render-diagnostics")
            .env(ebpf::OBJECT_VARIABLE, ebpf::object(workspace)),
    )?;
    executable(&messages).context("cargo does not say where the tests are")
}

/// The program in cargo's messages, one JSON value a line.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","executable":null}
no JSON
{"reason":"compiler-artifact","executable":"/t/debug/deps/integration-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            executable(messages),
            Some(PathBuf::from("/t/debug/deps/integration-1"))
        );
        assert_eq!(executable(""), None);
    }

    #[test]
    fn a_theme_without_tests_is_a_failure() {
        let tally = |passed, failed| Tally {
            passed,
            failed,
            skipped: 0,
        };
        assert!(is_good(tally(7, 0), 7));
        assert!(!is_good(tally(6, 0), 7));
        assert!(!is_good(tally(20, 1), 7));
    }
}
