//! `tracer diff` and `tracer series` over files: what they say agrees with Go's pprof, and bad input
//! is refused.

mod flame;
mod pair;
mod series;
mod widths;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tests::process::{self, Ended};
use tests::tracing::tracer;
use tests::{binaries, trial};
use tracer::export::pprof;
use tracer::profile::{Profile, ValueKind, Verdict};

use pair::{Files, Table, amounts, pprof_top, two_builds};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::plain("compare::agrees_with_pprof", || {
            agrees_with_pprof(60, &ValueKind::ALL)
        }),
        trial::plain("compare::agrees_with_pprof_on_100_000_stacks", || {
            agrees_with_pprof(100_000, &[ValueKind::AllocObjects, ValueKind::InuseSpace])
        }),
        trial::plain("compare::focus_agrees_with_pprof", focus_agrees_with_pprof),
        trial::plain("compare::profiles_of_go", profiles_of_go),
        trial::plain("compare::folded", folded),
        trial::plain("compare::text_and_json", text_and_json),
        trial::plain("compare::inconclusive", inconclusive),
        trial::plain("compare::bad_input", bad_input),
        trial::plain("compare::flame_graphs", flame::flame_graphs),
        trial::plain("compare::no_line_is_too_wide", widths::no_line_is_too_wide),
        trial::plain("compare::sites", widths::sites),
        trial::plain("compare::series", series::series),
        trial::plain("compare::series_bad_input", series::series_bad_input),
    ]
}

/// What `tracer diff --format json` shows.
fn tracer_functions(files: &Files, value: ValueKind, arguments: &[&str]) -> Result<Table> {
    let by = ["--format", "json", "--limit", "0", "--value", value.name()];
    let ended = files.diff(&[&by, arguments].concat())?;
    ended.expect_code(0)?;
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout)?;
    let rows = report["function_rows"].as_array().context("no rows")?;
    let number = |value: &serde_json::Value| value["change"].as_i64().context("no number");
    rows.iter()
        .map(|row| {
            let name = row["name"].as_str().context("no name")?.to_owned();
            Ok((name, (number(&row["flat"])?, number(&row["cum"])?)))
        })
        .collect()
}

/// Without the functions that did not change, of which some tables have more than others.
fn changed(mut table: Table) -> Table {
    table.retain(|_, amounts| *amounts != (0, 0));
    table
}

/// Function by function: what pprof makes of the two files, what it makes of
/// the written difference, and what tracer shows.
fn agrees_with_pprof(stacks: usize, values: &[ValueKind]) -> Result<()> {
    let profiles = two_builds(stacks);
    let files = Files::write(&profiles)?;
    let delta = files.delta(&[])?;
    let base = format!("-diff_base={}", files.before.display());
    for &value in values {
        let theirs = changed(pprof_top(value, &[&base], &[&files.after])?);
        let written = changed(pprof_top(value, &[], &[&delta])?);
        let shown = changed(tracer_functions(&files, value, &[])?);
        ensure!(theirs.len() > 30, "only {} functions differ", theirs.len());
        ensure!(
            written == theirs,
            "{}: the written file differs",
            value.name()
        );
        ensure!(shown == theirs, "{}: the report differs", value.name());
        let total = |profile: &Profile| -> i64 {
            profile.samples.iter().map(|s| s.values.get(value)).sum()
        };
        let expected = total(&profiles[1]) - total(&profiles[0]);
        let sum: i64 = theirs.values().map(|(flat, _)| flat).sum();
        ensure!(sum == expected, "{}: {sum}, not {expected}", value.name());
    }
    // A rebuild is not a difference: what is in both and holds the same is gone.
    let written = read(&delta)?;
    let same = (stacks / 10..stacks)
        .filter(|stack| stack % 3 != 0 || amounts(*stack, 0) == amounts(*stack, 1));
    let expected = stacks + stacks / 10 - same.count();
    let found = written.samples.len();
    ensure!(found == expected, "{found} stacks differ, not {expected}");
    Ok(())
}

fn read(path: &Path) -> Result<Profile> {
    tracer::export::read(&fs::read(path)?).with_context(|| path.display().to_string())
}

fn focus_agrees_with_pprof() -> Result<()> {
    let files = Files::write(&two_builds(500))?;
    let base = format!("-diff_base={}", files.before.display());
    let value = ValueKind::InuseSpace;
    let whole = pprof_top(value, &[&base], &[&files.after])?;
    for (theirs, ours) in [
        (
            ["-focus=module7::", "-ignore=function7.$"],
            ["--focus=module7::", "--ignore=function7.$"],
        ),
        (
            ["-focus=src/module1", "-hide=function[12]"],
            ["--focus=src/module1", "--hide=function[12]"],
        ),
        (
            ["-show_from=module5:", "-ignore=nothing"],
            ["--show-from=module5:", "--ignore=nothing"],
        ),
    ] {
        let expected = changed(pprof_top(
            value,
            &[&base, theirs[0], theirs[1]],
            &[&files.after],
        )?);
        ensure!(
            expected != changed(whole.clone()),
            "{theirs:?} changes nothing"
        );
        let shown = changed(tracer_functions(&files, value, &ours)?);
        ensure!(
            shown == expected,
            "{ours:?}: {shown:#?} is not {expected:#?}"
        );
        let written = changed(pprof_top(value, &[], &[&files.delta(&ours)?])?);
        ensure!(written == expected, "{ours:?}: the written file differs");
    }
    Ok(())
}

/// A program that writes its heap profile, holds more, and writes it again.
const GO_PROGRAM: &str = r#"package main

import (
	"os"
	"runtime"
	"runtime/pprof"
)

var kept [][]byte

//go:noinline
func hold(n int) {
	for i := 0; i < n; i++ {
		kept = append(kept, make([]byte, 4096))
	}
}

func write(name string) {
	runtime.GC()
	file, err := os.Create(name)
	if err != nil {
		panic(err)
	}
	if err := pprof.Lookup("heap").WriteTo(file, 0); err != nil {
		panic(err)
	}
	file.Close()
}

func main() {
	runtime.MemProfileRate = 1
	hold(100)
	write(os.Args[1])
	hold(50)
	write(os.Args[2])
	runtime.KeepAlive(kept)
}
"#;

fn profiles_of_go() -> Result<()> {
    let folder = TempDir::new()?;
    let at = |name: &str| folder.path().join(name);
    fs::write(at("main.go"), GO_PROGRAM)?;
    let files = Files {
        before: at("before.pb.gz"),
        after: at("after.pb.gz"),
        folder,
    };
    let mut command = Command::new("go");
    command
        .args(["run", "main.go"])
        .arg(&files.before)
        .arg(&files.after);
    command
        .current_dir(files.folder.path())
        .env("GOFLAGS", "-mod=mod")
        .env("GOCACHE", binaries::go_cache())
        .env("GO111MODULE", "off");
    let ended = process::run(&mut command, b"").context("needs Go: apt-get install golang-go")?;
    ended.expect_code(0)?;

    let base = format!("-diff_base={}", files.before.display());
    for value in ValueKind::ALL {
        let theirs = changed(pprof_top(value, &[&base], &[&files.after])?);
        let shown = changed(tracer_functions(&files, value, &[])?);
        ensure!(
            shown == theirs,
            "{}: {shown:#?} is not {theirs:#?}",
            value.name()
        );
        let written = changed(pprof_top(value, &[], &[&files.delta(&[])?])?);
        ensure!(
            written == theirs,
            "{}: the written file differs",
            value.name()
        );
    }
    let held = tracer_functions(&files, ValueKind::InuseSpace, &[])?;
    let (flat, _) = held.get("main.hold").context("main.hold did not grow")?;
    ensure!(*flat >= 50 * 4_096, "main.hold grew by {flat} bytes");
    Ok(())
}

/// The two columns of differential flame graphs.
fn folded() -> Result<()> {
    let profiles = two_builds(100);
    let files = Files::write(&profiles)?;
    let ended = files.diff(&["--format", "folded"])?;
    ended.expect_code(0)?;
    let text = String::from_utf8_lossy(&ended.stdout);
    let mut sums = [0, 0];
    for line in text.lines() {
        let mut columns = line.rsplitn(3, ' ');
        let after: i64 = columns.next().context("no column")?.parse()?;
        let before: i64 = columns.next().context("no column")?.parse()?;
        let stack = columns.next().context("no stack")?;
        ensure!(stack.matches(';').count() == 11, "{line}");
        sums = [sums[0] + before, sums[1] + after];
    }
    let expected = profiles.map(|profile| {
        let samples = profile.samples.iter();
        samples.map(|sample| sample.values.inuse_space).sum::<i64>()
    });
    ensure!(sums == expected, "{sums:?} is not {expected:?}");
    Ok(())
}

fn text_and_json() -> Result<()> {
    let [before, mut after] = two_builds(50);
    after.verdict = Verdict::Degraded {
        reasons: vec!["12 stacks were lost.".to_owned()],
    };
    let files = Files::write(&[before, after])?;
    let ended = files.diff(&["--limit", "3"])?;
    ended.expect_code(0)?;
    let text = String::from_utf8_lossy(&ended.stdout);
    for expected in [
        "before.pb.gz",
        "after.pb.gz",
        "verdict: complete",
        "verdict: degraded",
        "12 stacks were lost.",
        "Showing 3 of ",
        "src/module",
        "new",
    ] {
        ensure!(
            text.contains(expected),
            "no `{expected}`\n{}",
            ended.printed()
        );
    }
    // The largest change first, whichever way it goes.
    // Names that users of pprof know.
    let ended = files.diff(&["--format=json", "--top=0", "--sample-index=inuse_space"])?;
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout)?;
    for rows in ["function_rows", "stack_rows"] {
        let rows = report[rows].as_array().context("no rows")?;
        let change = |row: &serde_json::Value| {
            let change = row.get("flat").unwrap_or(row)["change"].as_i64();
            change.map(i64::unsigned_abs)
        };
        let changes: Option<Vec<u64>> = rows.iter().map(change).collect();
        let changes = changes.context("a row without change")?;
        ensure!(
            changes.len() > 3 && changes.is_sorted_by(|one, next| one >= next),
            "{changes:?}"
        );
    }
    let mut same = tracer(["diff"])?;
    same.arg(&files.before).arg(&files.before);
    let ended = process::run(&mut same, b"")?;
    ended.expect_code(0)?;
    let text = String::from_utf8_lossy(&ended.stdout);
    ensure!(text.contains("No site holds more or less"), "{text}");
    Ok(())
}

/// Losses too large to say anything are exit code 3, in every form.
fn inconclusive() -> Result<()> {
    let [mut before, after] = two_builds(50);
    before.verdict = Verdict::Inconclusive {
        reasons: vec!["No probe fired.".to_owned()],
    };
    let files = Files::write(&[before, after])?;
    let ended = files.diff(&[])?;
    ended.expect_code(3)?;
    let text = String::from_utf8_lossy(&ended.stdout);
    for expected in ["WARNING: A is inconclusive", "No probe fired."] {
        ensure!(text.contains(expected), "{}", ended.printed());
    }
    let written = files.folder.path().join("diff.pb.gz");
    let ended = files.diff(&["--format=pprof", "-o", &written.to_string_lossy()])?;
    ended.expect_code(3)?;
    ensure!(
        ended.stderr.contains("A is inconclusive"),
        "{}",
        ended.printed()
    );
    let delta = read(&written)?;
    ensure!(
        delta.verdict.reasons() == ["A: No probe fired."],
        "{:?}",
        delta.verdict
    );
    Ok(())
}

/// Each is refused with exit code 2 and a message that says why; no file is written.
fn bad_input() -> Result<()> {
    let files = Files::write(&two_builds(10))?;
    let good = files.after.clone();
    let at = |name: &str| files.folder.path().join(name);
    let whole = fs::read(&good)?;
    fs::write(at("cut.pb.gz"), &whole[..whole.len() / 2])?;
    fs::write(at("text.pb.gz"), "not a profile\n")?;
    let [mut sampled, _] = two_builds(10);
    sampled.metadata.period = 524_288;
    pprof::write(&sampled, &mut fs::File::create(at("sampled.pb.gz"))?)?;
    let only_live = only_live(&pprof::encode(&sampled))?;
    fs::write(at("live.pb"), only_live)?;

    let table: HashMap<&str, &[&str]> = [
        (
            "missing.pb.gz",
            ["missing.pb.gz", "No such file"].as_slice(),
        ),
        (".", &["is a folder", "tracer series"]),
        ("cut.pb.gz", &["cut.pb.gz", "cut short"]),
        ("text.pb.gz", &["text.pb.gz", "not a heap profile"]),
        (
            "sampled.pb.gz",
            &[
                "cannot be compared",
                "once per 524288 bytes",
                "every allocation",
            ],
        ),
        (
            "live.pb",
            &[
                "cannot be compared",
                "A has inuse_objects, inuse_space,",
                "B has alloc_objects",
            ],
        ),
    ]
    .into();
    for (name, expected) in table {
        let written = at("written.pb.gz");
        let mut command = tracer(["diff", "--format=pprof", "-o"])?;
        command.arg(&written).arg(at(name)).arg(&good);
        refused(&process::run(&mut command, b"")?, expected)?;
        ensure!(!written.exists(), "{name}: something was written");
    }
    let mut command = tracer(["diff"])?;
    command.arg(at("live.pb")).arg(at("live.pb"));
    let ended = process::run(command.arg("--value=alloc_space"), b"")?;
    refused(&ended, &["no alloc_space", "--value"])?;
    let ended = process::run(&mut tracer(["diff", "-", "-"])?, b"")?;
    refused(&ended, &["only one", "standard input"])?;
    let ended = files.diff(&["--focus=("])?;
    refused(&ended, &["regex", "unclosed"])?;
    Ok(())
}

fn refused(ended: &Ended, expected: &[&str]) -> Result<()> {
    ended.expect_code(2)?;
    for expected in expected {
        ensure!(
            ended.stderr.contains(expected),
            "no `{expected}`\n{}",
            ended.printed()
        );
    }
    Ok(())
}

/// The same message with another name for the two kinds of allocated memory, as tools write that
/// only know what is live.
fn only_live(message: &[u8]) -> Result<Vec<u8>> {
    let mut renamed = message.to_vec();
    for (name, other) in [
        ("alloc_objects", "other_objects"),
        ("alloc_space", "other_space"),
    ] {
        let at = renamed
            .windows(name.len())
            .position(|window| window == name.as_bytes());
        let at = at.with_context(|| format!("no {name}"))?;
        renamed[at..at + name.len()].copy_from_slice(other.as_bytes());
    }
    Ok(renamed)
}
