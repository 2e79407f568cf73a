//! `tracer run`: the program runs as if nobody watched, and its ending is the tracer's.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::left_behind::Mark;
use tests::process::{self, Child, Ended};
use tests::tracing::{Tracing, tracer};
use tests::workload::Workload;
use tests::{binaries, profile, trial, wait};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("run::exit_status", exit_status),
        trial::root("run::killed_by_signal", killed_by_signal),
        trial::root("run::signals_are_forwarded", signals_are_forwarded),
        trial::root(
            "run::ignored_hangup_stays_ignored",
            ignored_hangup_stays_ignored,
        ),
        trial::root("run::a_signal_ends_the_writing", a_signal_ends_the_writing),
        trial::root("run::failure_leaves_no_child", failure_leaves_no_child),
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

/// As under nohup: neither the tracer nor the program ends; a program that answers it gets it.
fn ignored_hangup_stays_ignored() -> Result<()> {
    let nohup = |arguments: &str| -> Result<Command> {
        let mut command = Command::new("sh");
        let script = format!("trap '' HUP; exec \"$0\" {arguments}");
        command.args(["-c", &script]).arg(binaries::tracer()?);
        Ok(command)
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("profile.json");
    let mut command =
        nohup("run --format=json -o \"$1\" -- sh -c 'echo up; read line; echo $line'")?;
    let mut program = Child::spawn(command.arg(&path))?;
    program.wait_line(|child| &child.stdout, "the program", |line| line == "up")?;
    program.signal(Signal::HUP)?;
    program.write(b"still here\n")?;
    let ended = program.wait()?;
    ended.expect_code(0)?;
    ensure!(ended.stdout == b"up\nstill here\n", "{}", ended.printed());
    profile::read_json(&fs::read(&path)?)?;

    // What was ignored before is a default that a program may change.
    let answers = "run -q --format=json -o \"$1\" -- python3 -c 'import signal
signal.signal(signal.SIGHUP, lambda *_: print(\"got\", flush=True))
print(\"up\", flush=True)
signal.pause()'";
    let mut program = Child::spawn(nohup(answers)?.arg(&path))?;
    program.wait_line(|child| &child.stdout, "the program", |line| line == "up")?;
    program.signal(Signal::HUP)?;
    let ended = program.wait()?;
    ensure!(ended.stdout == b"up\ngot\n", "{}", ended.printed());

    let mut target = Workload::start("midlife", &[])?;
    let attach = format!("attach --format=json -o \"$1\" --pid {}", target.pid());
    let mut tracer = Child::spawn(nohup(&attach)?.arg(&path))?;
    let attached = |line: &str| line.starts_with("attached to");
    tracer.wait_line(|child| &child.stderr, "`attached to`", attached)?;
    tracer.signal(Signal::HUP)?;
    // All of it comes after the signal.
    target.open_gate()?;
    let ledger = target.ledger()?;
    tracer.signal(Signal::INT)?;
    tracer.wait()?.expect_code(0)?;
    target.finish()?;
    ledger.check_parts(&profile::read_json(&fs::read(&path)?)?)
}

/// The program has ended, and the profile goes into a pipe that nobody reads: a signal is now the
/// tracer's, and ends it. Nobody else has the program's pid by then, or is hit by it.
fn a_signal_ends_the_writing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pipe = folder.path().join("pipe");
    process::run(Command::new("mkfifo").arg(&pipe), b"")?.expect_code(0)?;
    let sleep = Child::spawn(Command::new("sleep").arg("1000"))?;
    let pid = sleep.pid().to_string();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut command = tracer(["run", "-q", "-o"])?;
        command.arg(&pipe).args(["--", "sh", "-c"]);
        // Whatever hits the program does nothing.
        let mut run = Child::spawn(command.arg("trap '' TERM INT HUP; echo up"))?;
        run.wait_line(|child| &child.stdout, "the program", |line| line == "up")?;
        let mut command = tracer(["attach", "-q", "-d100ms", "-p", &pid, "-o"])?;
        let attach = Child::spawn(command.arg(&pipe))?;
        for mut child in [run, attach] {
            // Until it writes, it means the program, or the end of the recording.
            wait::until("the tracer to end", || {
                child.signal(signal)?;
                Ok((!child.is_running()?).then_some(()))
            })?;
            let ended = child.wait()?;
            ensure!(
                process::ended_by(ended.status) == Some(signal.as_raw()),
                "{signal:?}: {}\n{}",
                ended.status,
                ended.printed()
            );
        }
    }
    let left: Vec<_> = fs::read_dir(folder.path())?.collect();
    ensure!(left.len() == 1, "something was left: {left:?}");
    Ok(())
}

/// The child that waits for its program ends with a tracer that fails; as long as it lived, it would hold
/// the output, which the harness waits for.
fn failure_leaves_no_child() -> Result<()> {
    for command in ["run", "check"] {
        // Enough to start with, and too few for all that attaching takes.
        let script = format!("ulimit -n 30; exec \"$0\" {command} -- sleep 1000");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).arg(binaries::tracer()?);
        let mark = Mark::put(&mut shell, &format!("failing-{command}"));
        process::run(shell.current_dir("/"), b"")?.expect_code(2)?;
        ensure!(mark.processes()?.is_empty(), "{command}: a child was left");
    }
    let mut nowhere = tracer(["run", "-o", "/nonexistent/x", "--", "sleep", "1000"])?;
    let mark = Mark::put(&mut nowhere, "nowhere");
    process::run(&mut nowhere, b"")?.expect_code(2)?;
    ensure!(mark.processes()?.is_empty(), "a child was left");
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
