//! The action and the workflows under `.github`, by validators that are not ours.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::{npm, process};

use super::formats::problems;

/// What the schema of GitHub's actions and workflows finds wrong.
fn schema_problems(file: &Path) -> Result<String> {
    let mut command = npm::node()?;
    command.arg(npm::validators()?.join("@action-validator/cli/cli.mjs"));
    let ended = process::run(command.arg(file), b"")?;
    match ended.status.code() {
        Some(0) => Ok(String::new()),
        _ => Ok(ended.printed()),
    }
}

pub(super) fn is_valid() -> Result<()> {
    let github = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github");
    let action = github.join("actions/tracer-check/action.yml");
    let problems_of = schema_problems(&action)?;
    ensure!(problems_of.is_empty(), "{problems_of}");
    let mut workflows = 0;
    for entry in fs::read_dir(github.join("workflows"))? {
        let file = entry?.path();
        let linted = problems("workflow", &file, &[])?;
        ensure!(linted.is_empty(), "{}: {linted}", file.display());
        let by_schema = schema_problems(&file)?;
        ensure!(by_schema.is_empty(), "{}: {by_schema}", file.display());
        workflows += 1;
    }
    ensure!(workflows > 1, "the example is gone");
    // They would say so.
    let folder = TempDir::new()?;
    let text = fs::read_to_string(&action)?;
    let broken = folder.path().join("action.yml");
    fs::write(&broken, text.replace("shell: bash", "shel: bash"))?;
    ensure!(
        !schema_problems(&broken)?.is_empty(),
        "a step without shell"
    );
    let example = fs::read_to_string(github.join("workflows/example.yml"))?;
    let broken = folder.path().join("workflow.yml");
    fs::write(&broken, example.replace("runs-on:", "runs_on:"))?;
    ensure!(!problems("workflow", &broken, &[])?.is_empty(), "runs_on");
    inputs_are_used(&text)
}

/// Every input of the action is there for something, and nothing else is used.
fn inputs_are_used(action: &str) -> Result<()> {
    let (inputs, steps) = action.split_once("\nruns:").context("no steps")?;
    let inputs = inputs.lines().skip_while(|line| *line != "inputs:").skip(1);
    let names: Vec<&str> = inputs
        .take_while(|line| line.starts_with(' '))
        .filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'))
        .filter(|name| !name.starts_with(' '))
        .collect();
    ensure!(names.len() > 3, "{names:?}");
    for name in &names {
        ensure!(
            steps.contains(&format!("inputs.{name} ")),
            "{name} is not used"
        );
    }
    for used in steps.split("inputs.").skip(1) {
        let used = used.split(' ').next().unwrap_or_default();
        ensure!(names.contains(&used), "{used} is no input");
    }
    Ok(())
}
