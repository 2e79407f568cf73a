//! Findings in a git checkout: files as they are called there, and who last touched the line.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use tests::process;

use super::series::{Course, Place, SNAPSHOTS};

fn git(place: &Place, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("git");
    let identity = [("NAME", "Ada"), ("EMAIL", "ada@example.org")];
    for (key, value) in identity {
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_{key}"), value);
        }
    }
    command
        .args(arguments)
        .current_dir(place.folder.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_DATE", "2026-01-02T03:04:05Z");
    process::run(&mut command, b"")?.expect_code(0)
}

/// The program was built in `/build`, so only the ends of its paths are those of the checkout.
fn checkout(place: &Place) -> Result<()> {
    fs::create_dir(place.at("src"))?;
    fs::write(place.at("src/main.rs"), "// main\n")?;
    fs::write(place.at("src/cache.rs"), "1\n2\n3\n4\n5\n6\n")?;
    git(place, &["init", "--quiet"])?;
    git(place, &["add", "src"])?;
    git(place, &["commit", "--quiet", "-m", "add a cache"])?;
    fs::write(place.at("src/cache.rs"), "1\n2\n3\n4\nfive\n6\n")?;
    git(place, &["commit", "--quiet", "-am", "keep <all> of it"])
}

pub(super) fn blame() -> Result<()> {
    let place = Place::with(Course::Leak, SNAPSHOTS)?;
    checkout(&place)?;
    let text = place.expect(1, &["profiles", "--blame"])?;
    for expected in [
        "at service::remember  src/cache.rs:5",
        "(Ada, 2026-01-02): keep <all> of it",
    ] {
        ensure!(text.contains(expected), "no `{expected}` in\n{text}");
    }
    // From a folder below, too, and the other way round without being asked.
    fs::create_dir(place.at("sub"))?;
    let mut command = place.command(&["../profiles", "--report=github"])?;
    let ended = process::run(command.current_dir(place.at("sub")), b"")?;
    ended.expect_code(1)?;
    let text = String::from_utf8(ended.stdout)?;
    ensure!(
        text.starts_with("::error file=src/cache.rs,line=5,title="),
        "{text}"
    );
    ensure!(!text.contains("Ada"), "{text}");
    // A line that is not committed is nobody's, and a file that is not known is a note.
    fs::write(place.at("src/cache.rs"), "1\n2\n3\n4\nfive!\n6\n")?;
    let text = place.expect(1, &["profiles", "--blame"])?;
    ensure!(!text.contains("last touched"), "{text}");
    git(&place, &["rm", "--quiet", "--cached", "src/cache.rs"])?;
    git(&place, &["commit", "--quiet", "-m", "forget it"])?;
    let text = place.expect(1, &["profiles", "--blame"])?;
    ensure!(
        text.contains("note: git cannot name anybody for src/cache.rs:5"),
        "{text}"
    );
    Ok(())
}

/// Nobody can be asked: that is a note, and nothing else changes.
pub(super) fn without_git() -> Result<()> {
    let place = Place::with(Course::Leak, SNAPSHOTS)?;
    let text = place.expect(1, &["profiles", "--blame"])?;
    ensure!(text.contains("this is no git checkout"), "{text}");
    checkout(&place)?;
    let mut command = place.command(&["profiles", "--blame"])?;
    let ended = process::run(command.env("PATH", place.at("empty")), b"")?;
    ended.expect_code(1)?;
    let text = String::from_utf8(ended.stdout)?;
    ensure!(text.contains("note: git cannot be run"), "{text}");
    ensure!(text.contains("src/cache.rs:5"), "{text}");
    Ok(())
}
