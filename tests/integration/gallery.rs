//! The gallery of leaks: first of all, that its programs are what they are said to be.

mod verdicts;

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tests::gallery::{GALLERY, Language, LeakSite, Twin};
use tests::{binaries, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial::plain(
            "gallery::programs_do_what_they_claim",
            programs_do_what_they_claim,
        ),
        trial::plain(
            "gallery::places_are_in_the_source",
            places_are_in_the_source,
        ),
        trial::plain(
            "gallery::runs_until_its_input_ends",
            runs_until_its_input_ends,
        ),
    ];
    trials.extend(verdicts::trials());
    trials
}

/// By their own count, the leaky ones grow and their twins do not.
fn programs_do_what_they_claim() -> Result<()> {
    let mut wrong = Vec::new();
    for pattern in GALLERY {
        for &twin in pattern.twins() {
            let [half, all] = pattern.run_through(twin)?;
            let grown = i64::try_from(all.live_bytes)? - i64::try_from(half.live_bytes)?;
            let least = i64::try_from(pattern.growth())?;
            let right = match twin {
                Twin::Leaky => grown >= least,
                Twin::Healthy => grown < least / 2,
            };
            if !right {
                wrong.push(format!("{pattern} {twin:?} grew by {grown}, not {least}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Each mark stands in the function it names, and each pattern is in the table.
fn places_are_in_the_source() -> Result<()> {
    let mut marked = 0;
    for pattern in GALLERY {
        let places = pattern.places()?;
        ensure!(
            places.is_empty() != pattern.twins().contains(&Twin::Leaky),
            "{pattern} is leaky without a place, or the reverse"
        );
        marked += places.len();
    }
    let mut marks = 0;
    for folder in ["c", "cpp", "rust/src"] {
        for entry in fs::read_dir(binaries::gallery_sources().join(folder))? {
            let text = fs::read_to_string(entry?.path())?;
            // The function's head is the last line before the mark that starts at the margin.
            let mut head = "";
            for line in text.lines() {
                if line.starts_with(|first: char| first.is_alphabetic()) {
                    head = line;
                }
                if let Some((_, mark)) = line.split_once("LEAK: ") {
                    let function = mark.trim_end_matches("*/").trim_end();
                    ensure!(
                        head.contains(&format!("{function}(")),
                        "the mark of {function} is in `{head}`"
                    );
                    marks += 1;
                }
            }
        }
    }
    ensure!(
        marks == marked,
        "{marks} marks in the sources, {marked} in the table"
    );
    let place = LeakSite {
        function: "pool_create".to_owned(),
        file: "pool.cpp".to_owned(),
        line: 22,
    };
    let cpp = "(anonymous namespace)::pool_create()";
    ensure!(place.is(cpp, "/src/cpp/pool.cpp", 22), "C++ names differ");
    ensure!(
        place.is("leaks_rust::pool::pool_create", "pool.cpp", 22),
        "Rust names differ"
    );
    ensure!(!place.is(cpp, "/src/cpp/pool.cpp", 23), "any line matches");
    ensure!(!place.is(cpp, "/src/cpp/pools.cpp", 22), "any file matches");
    let other = "(anonymous namespace)::pool_create_all()";
    ensure!(
        !place.is(other, "/src/cpp/pool.cpp", 22),
        "any name matches"
    );
    Ok(())
}

/// Without a number of ticks a program works at its own pace until nobody is there any more.
fn runs_until_its_input_ends() -> Result<()> {
    for language in [Language::C, Language::Cpp, Language::Rust] {
        let pattern = GALLERY.iter().find(|one| one.language == language);
        let pattern = pattern.context("a language has no pattern")?;
        let mut child = pattern.start(Twin::Leaky)?;
        ensure!(child.is_running()?, "{pattern} ended by itself");
        child.close_stdin();
        let ended = child.wait()?;
        ended.expect_code(0)?;
        let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
        ensure!(
            printed.contains("live_bytes"),
            "{pattern} printed {printed}"
        );
    }
    Ok(())
}
