//! Flame graphs of a profile and of a difference.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tests::process;
use tests::tracing::tracer;
use tracer::profile::{Profile, ValueKind};

use super::pair::{Files, two_builds};
use super::refused;

pub(super) fn flame_graphs() -> Result<()> {
    let profiles = two_builds(50);
    let files = Files::write(&profiles)?;
    let [_, after] = &profiles;

    let mut command = tracer(["report", "--format=svg", "--value=alloc_space"])?;
    let drawn = run(command.arg(&files.after))?;
    check(&drawn, total(after, ValueKind::AllocSpace))?;
    ensure!(drawn.contains("<title>all ("), "no root");

    // Some of the stacks.
    let mut command = tracer(["report", "--format=svg", "--focus=function1.$"])?;
    let part = run(command.arg(&files.after))?;
    ensure!(
        number(&part)? < total(after, ValueKind::InuseSpace),
        "the filter changes nothing"
    );

    let path = files.folder.path().join("diff.svg");
    let ended = files.diff(&["--format=svg", "-o", &path.to_string_lossy()])?;
    ended.expect_code(0)?;
    let drawn = fs::read_to_string(&path)?;
    check(&drawn, total(after, ValueKind::InuseSpace))?;
    ensure!(
        drawn.contains("orange grew, blue shrank"),
        "it does not say what it shows"
    );

    let mut command = tracer(["report", "--format=svg", "--tree"])?;
    let ended = process::run(command.arg(&files.after), b"")?;
    refused(&ended, &["leave --tree"])
}

fn run(command: &mut Command) -> Result<String> {
    let ended = process::run(command, b"")?;
    ended.expect_code(0)?;
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

fn total(profile: &Profile, value: ValueKind) -> i64 {
    profile
        .samples
        .iter()
        .map(|sample| sample.values.get(value))
        .sum()
}

/// A whole picture, as wide as the amount.
fn check(drawn: &str, expected: i64) -> Result<()> {
    ensure!(drawn.starts_with("<?xml"), "not XML");
    ensure!(drawn.trim_end().ends_with("</svg>"), "cut short");
    let found = number(drawn)?;
    ensure!(found == expected, "{found} drawn, not {expected}");
    Ok(())
}

fn number(drawn: &str) -> Result<i64> {
    let (_, rest) = drawn.split_once("total_samples=\"").context("no frames")?;
    let (number, _) = rest.split_once('"').context("cut short")?;
    Ok(number.parse()?)
}
