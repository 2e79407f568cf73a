//! What somebody tries who has not read the manual.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tests::process;
use tests::tracing::tracer;
use tests::workload::Workload;
use tests::{binaries, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial::root(
        "first_steps::attach_and_report",
        attach_and_report,
    )]
}

/// A pid or a name is enough, a number of seconds is a time, and no file is lost.
fn attach_and_report() -> Result<()> {
    let folder = TempDir::new()?;
    let program = folder.path().join("the-service");
    process::write_program(&program, &fs::read(binaries::workload("steady")?)?)?;
    let target = Workload::start_command(&mut Command::new(&program))?;
    let pid = target.pid().to_string();
    let run = |arguments: &[&str]| -> Result<process::Ended> {
        process::run(tracer(arguments)?.current_dir(folder.path()), b"")
    };

    let first = format!("tracer-the-service-{pid}.pb.gz");
    for (process, file) in [
        (pid.as_str(), first.clone()),
        ("the-service", first.replace(".pb.gz", ".2.pb.gz")),
    ] {
        let ended = run(&["attach", process, "-d", "0.5"])?;
        ended.expect_code(0)?;
        ensure!(
            ended.stderr.contains(&format!("wrote {file}")),
            "not {file}\n{}",
            ended.stderr
        );
        ensure!(folder.path().join(&file).exists(), "there is no {file}");
    }

    // A report goes to a file as well, in every form.
    for (form, word) in [
        ("text", "Showing"),
        ("json", "{"),
        ("folded", ""),
        ("svg", "<svg"),
    ] {
        let value = "--value=alloc_space";
        let ended = run(&["report", &first, value, "--format", form, "-o", "out"])?;
        ended.expect_code(0)?;
        ensure!(ended.stdout.is_empty(), "{}", ended.printed());
        let text = fs::read_to_string(folder.path().join("out"))?;
        ensure!(text.contains(word), "{form}: {text}");
        let shown = run(&["report", &first, value, "--format", form])?;
        ensure!(shown.stdout == text.as_bytes(), "{form}: not the same");
    }
    target.finish()?;
    Ok(())
}
