//! Text for people: where memory is asked for, and no line wider than what it is shown on.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tests::binaries;
use tests::process;
use tests::tracing::tracer;
use tracer::profile::Verdict;

use super::pair::{Files, two_builds};

/// Columns of text that goes to no terminal.
const PIPED: usize = 160;

/// Two profiles with names, paths and sentences that are too long for anything.
fn too_long() -> Result<Files> {
    let mut profiles = two_builds(50);
    for profile in &mut profiles {
        let long = |text: &str| text.repeat(40);
        for (nth, function) in profile.functions.iter_mut().enumerate() {
            function.name = format!("service::{}::f{nth}", long("module"));
            function.file = format!("/build/{}/src/{}.rs", long("folder/"), long("file"));
        }
        profile.metadata.source = long("a source of many words ");
        profile.metadata.notes.push(long("noted "));
        profile.verdict = Verdict::Degraded {
            reasons: vec![long("some words "), long("oneword")],
        };
        profile.mappings[0].path = format!("/usr/bin/{}", long("program"));
    }
    Files::write(&profiles)
}

/// Arguments of each text view.
fn views(files: &Files) -> Vec<Vec<String>> {
    let [before, after] = [&files.before, &files.after].map(|file| file.display().to_string());
    let folder = files.folder.path().display().to_string();
    let mut views: Vec<Vec<&str>> = [
        &["report"][..],
        &["report", "--by=line"],
        &["report", "--by=file"],
        &["report", "--by=crate"],
        &["report", "--by=module"],
        &["report", "--by=function"],
        &["report", "--names=full"],
        &["report", "--cum"],
        &["report", "--tree"],
        &["report", "--tree", "--full"],
        &["report", "--peek=f1"],
        &["check", "--max-peak=1B"],
    ]
    .into_iter()
    .map(|view| [view, &[&after]].concat())
    .collect();
    views.push(vec!["diff", &before, &after]);
    views.push(vec!["diff", "--by=function", &before, &after]);
    views.push(vec!["series", &folder]);
    let owned = |view: Vec<&str>| view.into_iter().map(str::to_owned).collect();
    views.into_iter().map(owned).collect()
}

pub(super) fn no_line_is_too_wide() -> Result<()> {
    let files = too_long()?;
    for view in views(&files) {
        let mut command = tracer(view.iter().map(String::as_str))?;
        let ended = process::run(&mut command, b"")?;
        fits(&String::from_utf8_lossy(&ended.stdout), PIPED, &view)?;
        // On a terminal of so many columns.
        for columns in [80, 100] {
            let program = binaries::tracer()?;
            let line = format!(
                "stty cols {columns}; '{}' {}",
                program.display(),
                view.join(" ")
            );
            let mut command = Command::new("script");
            command.args(["-qec", &line, "/dev/null"]);
            let ended = process::run(&mut command, b"").context("needs util-linux's script")?;
            fits(&String::from_utf8_lossy(&ended.stdout), columns, &view)?;
        }
    }
    Ok(())
}

fn fits(text: &str, columns: usize, view: &[String]) -> Result<()> {
    ensure!(text.lines().count() > 2, "{view:?} shows nothing: {text}");
    for line in text.lines() {
        let width = line.trim_end_matches('\r').chars().count();
        ensure!(
            width <= columns,
            "{view:?}: {width} of {columns} columns: {line}"
        );
    }
    Ok(())
}

/// Each view of sites, and that they add up.
pub(super) fn sites() -> Result<()> {
    let profiles = two_builds(50);
    let files = Files::write(&profiles)?;
    for by in ["site", "line", "file", "crate", "module"] {
        let by_what = format!("--by={by}");
        let mut command = tracer(["report", "--format=json", "-n0", &by_what])?;
        let ended = process::run(command.arg(&files.after), b"")?;
        ended.expect_code(0)?;
        let report: serde_json::Value = serde_json::from_slice(&ended.stdout)?;
        ensure!(
            report["report"] == "sites" && report["by"] == by,
            "{report}"
        );
        let rows = report["rows"].as_array().context("no rows")?;
        let sum: i64 = rows.iter().filter_map(|row| row["value"].as_i64()).sum();
        ensure!(report["header"]["total"] == sum, "{by}: {sum}");
    }
    let mut command = tracer(["report", "--by=line", "--cum"])?;
    let ended = process::run(command.arg(&files.after), b"")?;
    super::refused(&ended, &["--by function"])?;
    // What a user calls own or a wrapper is so.
    let mut command = tracer([
        "report",
        "--format=json",
        "--wrapper=function",
        "--own=nobody",
    ])?;
    let ended = process::run(command.arg(&files.after), b"")?;
    ended.expect_code(0)?;
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout)?;
    ensure!(report["rows"][0]["where"]["kind"] == "wrapper", "{report}");
    Ok(())
}
