//! `tracer run`: the program runs as if nobody watched, and its ending is the tracer's.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::process::{self, Ended};
use tests::tracing::{Tracing, tracer};
use tests::{binaries, profile, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("run::exit_status", exit_status),
        trial::root("run::killed_by_signal", killed_by_signal),
        trial::root("run::signals_are_forwarded", signals_are_forwarded),
        trial::root("run::streams_are_untouched", streams_are_untouched),
        trial::root(
            "run::surroundings_are_untouched",
            surroundings_are_untouched,
        ),
        trial::root("run::profile_is_private", profile_is_private),
        trial::root(
            "run::counts_from_the_first_allocation",
            counts_from_the_first_allocation,
        ),
    ]
}

fn run(traced: &[&str], stdin: &[u8]) -> Result<Ended> {
    let folder = tempfile::tempdir()?;
    let mut command = tracer(["run", "--format", "json", "-o"])?;
    command
        .arg(folder.path().join("profile.json"))
        .arg("--")
        .args(traced);
    let ended = process::run(&mut command, stdin)?;
    profile::read_json(&fs::read(folder.path().join("profile.json"))?)?;
    Ok(ended)
}

fn exit_status() -> Result<()> {
    for code in [0, 1, 2, 3, 7, 255] {
        run(&["sh", "-c", &format!("exit {code}")], b"")?.expect_code(code)?;
    }
    Ok(())
}

fn killed_by_signal() -> Result<()> {
    for signal in [Signal::TERM, Signal::KILL, Signal::USR1, Signal::ABORT] {
        let number = signal.as_raw();
        let ended = run(
            &["sh", "-c", &format!("ulimit -c 0; kill -{number} $$")],
            b"",
        )?;
        ensure!(
            process::ended_by(ended.status) == Some(number),
            "the program died of signal {number}, the tracer ended with {}",
            ended.status
        );
    }
    Ok(())
}

/// The program ends by itself after a while: nobody else would end it if the tracer did not.
fn signals_are_forwarded() -> Result<()> {
    let mut failures = Vec::new();
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
    ] {
        let script = format!(
            "trap 'echo got; exit 5' {name}; echo up; for i in $(seq 2000); do sleep 0.05; done"
        );
        let mut tracing = Tracing::run(["sh", "-c", &script])?;
        let up = |line: &str| line == "up";
        tracing
            .child()
            .wait_line(|child| &child.stdout, "the program", up)?;
        tracing.child().signal(signal)?;
        let ended = tracing.child().wait()?;
        if ended.status.code() != Some(5) || ended.stdout != b"up\ngot\n" {
            failures.push(format!("SIG{name}: {}\n{}", ended.status, ended.printed()));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn streams_are_untouched() -> Result<()> {
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let ended = run(&["cat"], &bytes)?;
    ensure!(
        ended.stdout == bytes,
        "standard output differs from what the program wrote"
    );
    let ended = run(&["sh", "-c", "cat >&2"], b"one line\nand half of another")?;
    ensure!(
        ended.stdout.is_empty(),
        "something was written to standard output"
    );
    ensure!(
        ended.stderr.contains("one line\nand half of another"),
        "standard error was cut up\n{}",
        ended.stderr
    );
    Ok(())
}

/// Environment, working directory, open files and signals are what they are without the tracer.
fn surroundings_are_untouched() -> Result<()> {
    // The shell reads its own status: dash blocks signals around a fork, and its children may show
    // that.
    let script = "pwd; env; for fd in /proc/$$/fd/*; do echo fd ${fd##*/}; done; ulimit -a; umask; \
                  while read -r key value; do case $key in \
                  SigBlk:|SigIgn:|SigCgt:|CapEff:|NoNewPrivs:|Seccomp:) echo \"$key $value\";; \
                  esac; done </proc/self/status; \
                  sed 's/^[0-9]* ([a-z]*) [A-Z] [0-9]* \\([0-9]*\\) \\([0-9]*\\) .*/\\2/' \
                  /proc/$$/stat";
    let watched = run(&["sh", "-c", script], b"")?;
    watched.expect_code(0)?;
    let alone = process::run(Command::new("sh").args(["-c", script]), b"")?;
    let (watched, alone) = (surroundings(&watched)?, surroundings(&alone)?);
    // Only the differences: the environment may hold what is nobody's business.
    let differences: Vec<_> = watched.symmetric_difference(&alone).collect();
    ensure!(differences.is_empty(), "{differences:#?}");
    Ok(())
}

/// The lines that the script printed.
fn surroundings(ended: &Ended) -> Result<BTreeSet<String>> {
    let text = String::from_utf8(ended.stdout.clone())?;
    let lines = text.lines().map(|line| match line.strip_prefix("SigIgn:") {
        // The C library's own two signals come and go with threads.
        Some(mask) => u64::from_str_radix(mask.trim(), 16)
            .map(|mask| format!("ignored signals {:x}", mask & !(3 << 31))),
        None => Ok(line.to_owned()),
    });
    Ok(lines.collect::<Result<_, _>>()?)
}

fn profile_is_private() -> Result<()> {
    let mut tracing = Tracing::run(["true"])?;
    tracing.finish_with(0)?;
    let mode = fs::metadata(tracing.output())?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "mode {mode:o}");
    Ok(())
}

/// The whole life is seen: nothing was allocated before the tracer looked.
fn counts_from_the_first_allocation() -> Result<()> {
    let mut tracing = Tracing::run([binaries::workload("midlife")?])?;
    tracing.child().write(b"\n")?;
    tracing.child().close_stdin();
    let (profile, _) = tracing.finish_with(0)?;
    profile::check_complete(&profile)?;
    let old = profile::through(&profile, "midlife_old");
    // The first of them may come before the news of what is mapped, more than are copied.
    let missing = 10_000 - old.alloc_objects;
    ensure!(
        (0..=profile::cut(&profile).alloc_objects).contains(&missing),
        "{old:?}\n{}",
        profile::summary(&profile)
    );
    ensure!(
        old.inuse_objects == 0,
        "{old:?}\n{}",
        profile::summary(&profile)
    );
    let unknown = profile::counter(&profile, "unknown_frees")?;
    ensure!(
        unknown == 0,
        "{unknown} blocks were there before\n{}",
        profile::summary(&profile)
    );
    Ok(())
}
