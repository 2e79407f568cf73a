//! `check --max-overhead`: the gallery seen in windows. No healthy program is accused, and no leak passes.

use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use tests::gallery::{GALLERY, Language, Pattern, Twin};

use super::live::{Found, check};

/// Programs at a time.
const AT_A_TIME: usize = 8;

/// How a program was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judged {
    Found,
    Undecided,
    Passed,
}

/// One leak, which is fast, and its twin: found or undecided, and never accused.
pub(super) fn twins() -> Result<()> {
    let pattern = GALLERY
        .iter()
        .find(|pattern| pattern.language == Language::C && pattern.name == "forgotten");
    let pattern = pattern.context("the pattern is gone")?;
    for &twin in pattern.twins() {
        judge(
            pattern,
            twin,
            &["--max-overhead=20%", "--never-exact", "--duration=20s"],
        )?;
    }
    Ok(())
}

/// All programs, with a table of what was said of them.
pub(super) fn gallery() -> Result<()> {
    let mut programs = Vec::new();
    for pattern in GALLERY {
        pattern.program()?;
        programs.extend(pattern.twins().iter().map(|&twin| (pattern, twin)));
    }
    let queue = Mutex::new(programs.into_iter());
    let said = Mutex::new(Vec::new());
    let next = || queue.lock().ok()?.next();
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((pattern, twin)) = next() {
                    let judged = judge(pattern, twin, &["--max-overhead=2%", "--duration=60s"]);
                    if let Ok(mut said) = said.lock() {
                        said.push((format!("{pattern} {twin:?}"), judged));
                    }
                }
            });
        }
    });
    let mut said = said.into_inner().unwrap_or_default();
    said.sort_by(|a, b| a.0.cmp(&b.0));
    let mut wrong = Vec::new();
    for (program, judged) in said {
        match judged {
            Ok(judged) => println!("{program}: {judged:?}"),
            Err(error) => wrong.push(format!("{program}: {error:#}")),
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} programs are misjudged:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

/// Checks a program.
///
/// # Errors
/// It is healthy and accused, or leaks and passes, or another place is accused.
fn judge(pattern: &Pattern, twin: Twin, arguments: &[&str]) -> Result<Judged> {
    let program = pattern.start(twin)?;
    let (ended, found) = check(program.pid(), arguments)?;
    drop(program);
    let judged = match ended.status.code() {
        Some(0) => Judged::Passed,
        Some(1) => Judged::Found,
        Some(3) => Judged::Undecided,
        code => anyhow::bail!("{code:?}\n{}", ended.printed()),
    };
    let is_right = match twin {
        Twin::Leaky => judged != Judged::Passed,
        Twin::Healthy => judged != Judged::Found,
    };
    ensure!(is_right, "{judged:?}\n{}", ended.printed());
    if judged == Judged::Found {
        let places = pattern.places()?;
        let right = |(function, file, line): &Found| {
            places.iter().any(|place| place.is(function, file, *line))
        };
        ensure!(
            found.iter().any(right),
            "{found:?} is not {places:?}\n{}",
            ended.printed()
        );
    }
    Ok(judged)
}
