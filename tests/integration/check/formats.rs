//! The forms of the report: each is valid by a validator that is not ours, and would not be otherwise.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tests::{npm, process};

use super::series::{Course, Place, SNAPSHOTS, lossy, snapshot, write};

/// A file beside this one.
pub(super) fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("integration/check")
        .join(name)
}

/// What the validator finds wrong; nothing in a valid file.
pub(super) fn problems(kind: &str, file: &Path, more: &[PathBuf]) -> Result<String> {
    let mut command = npm::node()?;
    command
        .arg(beside("validate.cjs"))
        .arg(kind)
        .arg(file)
        .args(more);
    let ended = process::run(&mut command, b"").context("needs node: apt-get install nodejs")?;
    match ended.status.code() {
        Some(0) => Ok(String::new()),
        Some(9) if !ended.stderr.is_empty() => Ok(ended.stderr),
        _ => anyhow::bail!("the validator failed\n{}", ended.printed()),
    }
}

/// Files of one form about everything there can be in a report.
fn reports(form: &str) -> Result<(Vec<Place>, Vec<PathBuf>)> {
    let mut places = Vec::new();
    let mut files = Vec::new();
    let mut report = |place: Place, code: i32, arguments: &[&str]| -> Result<()> {
        let argument = format!("--report={form}=report");
        place.expect(code, &[&["profiles", &argument], arguments].concat())?;
        files.push(place.at("report"));
        places.push(place);
        Ok(())
    };
    report(
        Place::with(Course::Leak, SNAPSHOTS)?,
        1,
        &["--max-growth=1B/s", "--max-peak=1B"],
    )?;
    report(
        Place::with(Course::Churn, SNAPSHOTS)?,
        0,
        &["--max-growth=1B/s"],
    )?;
    report(Place::with(Course::Leak, 4)?, 3, &[])?;
    let unproven = Place::with(Course::Leak, SNAPSHOTS)?;
    let last = lossy(snapshot(Course::Leak, SNAPSHOTS));
    write(&last, &unproven.at("profiles/last.pb.gz"))?;
    report(unproven, 3, &[])?;
    let known = Place::with(Course::Leak, SNAPSHOTS)?;
    fs::write(known.at("known.supp"), "leak:remember\nleak:nobody\n")?;
    report(known, 0, &["--suppressions=known.supp"])?;
    // Names from outside.
    let hostile = Place::with(Course::Leak, 0)?;
    for second in 0..SNAPSHOTS {
        let mut profile = snapshot(Course::Leak, second);
        profile.functions[2].name = "a<b>&\"']]>\u{1b}[2J\u{0}\u{fffe}%:,".to_owned();
        profile.functions[2].file = "/build/src/ä b\\<c>#?.rs".to_owned();
        write(&profile, &hostile.at(&format!("profiles/{second}.pb.gz")))?;
    }
    report(hostile, 1, &[])?;
    Ok((places, files))
}

pub(super) fn junit_is_valid() -> Result<()> {
    let schema = [beside("junit.xsd")];
    let (places, files) = reports("junit")?;
    for file in &files {
        let problems = problems("junit", file, &schema)?;
        ensure!(
            problems.is_empty(),
            "{problems}\n{}",
            fs::read_to_string(file)?
        );
    }
    let text = fs::read_to_string(&files[0])?;
    for expected in [
        "tests=\"3\" failures=\"3\" errors=\"0\"",
        "classname=\"tracer.leak\" name=\"leak in service::remember (cache.rs)\"",
    ] {
        ensure!(text.contains(expected), "no `{expected}` in\n{text}");
    }
    let text = fs::read_to_string(&files[2])?;
    ensure!(
        text.contains("errors=\"1\"") && text.contains("<error"),
        "{text}"
    );
    // The validator would say so.
    for (from, to) in [
        ("tests=\"3\"", "tests=\"x\""),
        ("failure", "falure"),
        (" name=", " nme="),
    ] {
        let broken = places[0].at("broken");
        fs::write(&broken, fs::read_to_string(&files[0])?.replace(from, to))?;
        ensure!(
            !problems("junit", &broken, &schema)?.is_empty(),
            "{to} is valid"
        );
    }
    Ok(())
}

pub(super) fn sarif_is_valid() -> Result<()> {
    let (places, files) = reports("sarif")?;
    for file in &files {
        let problems = problems("sarif", file, &[])?;
        ensure!(
            problems.is_empty(),
            "{problems}\n{}",
            fs::read_to_string(file)?
        );
    }
    let log = |index: usize| -> Result<serde_json::Value> {
        let log: serde_json::Value = serde_json::from_slice(&fs::read(&files[index])?)?;
        Ok(log["runs"][0].clone())
    };
    let run = log(0)?;
    let rules: Vec<_> = run["results"]
        .as_array()
        .context("no results")?
        .iter()
        .map(|result| result["ruleId"].clone())
        .collect();
    ensure!(rules == ["leak", "growth", "peak"], "{rules:?}");
    // Nobody may take a run that could not tell for one without results.
    let run = log(2)?;
    ensure!(
        run["invocations"][0]["executionSuccessful"] == false,
        "{run:#}"
    );
    ensure!(run["invocations"][0]["exitCode"] == 3, "{run:#}");
    let text = fs::read_to_string(&files[0])?;
    for (from, to) in [
        ("\"runs\"", "\"rums\""),
        ("\"error\"", "\"terror\""),
        ("\"text\"", "\"txt\""),
    ] {
        let broken = places[0].at("broken");
        fs::write(&broken, text.replace(from, to))?;
        ensure!(
            !problems("sarif", &broken, &[])?.is_empty(),
            "{to} is valid"
        );
    }
    Ok(())
}

/// One recording, every form at once, and the summary of the job.
pub(super) fn together() -> Result<()> {
    let place = Place::with(Course::Leak, SNAPSHOTS)?;
    fs::write(place.at("summary.md"), "from before\n")?;
    let mut command = place.command(&[
        "profiles",
        "--report=text",
        "--report=github",
        "--report=markdown=report.md",
        "--report=junit=report.xml",
        "--report=sarif=report.sarif",
        "--step-summary",
    ])?;
    command.env("GITHUB_STEP_SUMMARY", place.at("summary.md"));
    let ended = process::run(&mut command, b"")?;
    ended.expect_code(1)?;
    let text = String::from_utf8(ended.stdout)?;
    ensure!(text.contains("tracer check: 1 leak found"), "{text}");
    ensure!(text.contains("\n::error title="), "{text}");
    let markdown = place.read("report.md")?;
    ensure!(
        markdown.contains("| leak of 64 B/s, confidence medium |"),
        "{markdown}"
    );
    let summary = place.read("summary.md")?;
    ensure!(summary == format!("from before\n{markdown}"), "{summary}");
    for name in ["report.xml", "report.sarif"] {
        ensure!(place.read(name)?.contains("service::remember"), "{name}");
    }
    Ok(())
}

/// A file is annotated only if it is one of the checkout.
pub(super) fn annotations() -> Result<()> {
    let place = Place::with(Course::Leak, SNAPSHOTS)?;
    let text = place.expect(1, &["profiles", "--report=github"])?;
    ensure!(
        text.starts_with("::error title=tracer%3A leak of"),
        "{text}"
    );
    ensure!(text.lines().count() == 1, "{text}");
    fs::create_dir_all(place.at(".git"))?;
    fs::create_dir_all(place.at("src"))?;
    fs::write(place.at("src/cache.rs"), "")?;
    let text = place.expect(1, &["profiles", "--report=github"])?;
    ensure!(
        text.starts_with("::error file=src/cache.rs,line=5,title="),
        "{text}"
    );
    let short = Place::with(Course::Leak, 3)?;
    let text = short.expect(3, &["profiles", "--report=github"])?;
    ensure!(
        text.starts_with("::error title=tracer check%3A inconclusive::"),
        "{text}"
    );
    Ok(())
}
