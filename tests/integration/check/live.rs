//! Processes and commands: a leak is found, its healthy twin is not, and what was not seen is not fine.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tests::gallery::{GALLERY, Language, Pattern, Twin};
use tests::process::{self, Child, Ended};
use tests::tracing::tracer;
use tests::workload::Workload;
use tests::{binaries, http};

/// Function, file and line of what was found.
pub(super) type Found = (String, String, u32);

/// Checks a process, and says what was found.
pub(super) fn check(pid: u32, arguments: &[&str]) -> Result<(Ended, Vec<Found>)> {
    let folder = TempDir::new()?;
    let sarif = folder.path().join("report.sarif");
    let mut command = tracer(["check", "--report=text", "--pid", &pid.to_string()])?;
    command
        .args(arguments)
        .arg(format!("--report=sarif={}", sarif.display()))
        .current_dir(folder.path());
    let ended = process::run(&mut command, b"")?;
    if !sarif.exists() {
        return Ok((ended, Vec::new()));
    }
    let log: serde_json::Value = serde_json::from_slice(&std::fs::read(sarif)?)?;
    let results = log["runs"][0]["results"].as_array().context("no results")?;
    let found = results.iter().filter(|result| result["level"] == "error");
    let found = found.filter_map(|result| {
        let place = &result["locations"][0];
        let physical = &place["physicalLocation"];
        let name = &place["logicalLocations"][0]["fullyQualifiedName"];
        Some((
            name.as_str()?.to_owned(),
            physical["artifactLocation"]["uri"].as_str()?.to_owned(),
            u32::try_from(physical["region"]["startLine"].as_u64()?).ok()?,
        ))
    });
    Ok((ended, found.collect()))
}

fn pattern(language: Language, name: &str) -> Result<&'static Pattern> {
    let mut gallery = GALLERY.iter();
    let found = gallery.find(|pattern| pattern.language == language && pattern.name == name);
    found.with_context(|| format!("no pattern {name}"))
}

/// The leak at the right line, and nothing in the twin. Two that leak at a steady rate, so that it takes
/// no quiet machine; all the others are the gallery's own business.
pub(super) fn gallery() -> Result<()> {
    for (language, name) in [(Language::C, "forgotten"), (Language::Rust, "map")] {
        let pattern = pattern(language, name)?;
        let leaky = pattern.start(Twin::Leaky)?;
        let (ended, found) = check(leaky.pid(), &["--duration=30s"])?;
        drop(leaky);
        ended.expect_code(1)?;
        let places = pattern.places()?;
        let right = |(function, file, line): &Found| {
            places.iter().any(|place| place.is(function, file, *line))
        };
        ensure!(
            !found.is_empty() && found.iter().all(right),
            "{pattern}: {found:?} is not {places:?}\n{}",
            ended.printed()
        );
        let healthy = pattern.start(Twin::Healthy)?;
        let (ended, found) = check(healthy.pid(), &["--duration=30s"])?;
        ended.expect_code(0)?;
        ensure!(found.is_empty(), "{pattern}: {found:?}");
    }
    Ok(())
}

/// A service under load, until it is dropped.
struct Service {
    child: Child,
    stop: Arc<AtomicBool>,
    load: Option<JoinHandle<()>>,
}

impl Service {
    fn start(program: &std::path::Path) -> Result<Self> {
        let mut command = Command::new(program);
        let mut child = Child::spawn(command.args(["--listen", "127.0.0.1:0"]))?;
        let listening = |line: &str| line.starts_with("listening on ");
        let line = child.wait_line(|child| &child.stdout, "`listening on`", listening)?;
        let address: SocketAddr = line.trim_start_matches("listening on ").parse()?;
        http::get(address, "/count")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let load = thread::spawn(move || {
            // It ends with the service, too.
            while !stopped.load(Relaxed) && http::get(address, "/count").is_ok() {
                thread::sleep(Duration::from_millis(2));
            }
        });
        Ok(Self {
            child,
            stop,
            load: Some(load),
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(load) = self.load.take() {
            // It has nothing to say.
            drop(load.join());
        }
    }
}

/// A commit that makes the service keep 64 bytes for each request fails with the line, a clean one
/// passes.
pub(super) fn patched_service() -> Result<()> {
    let clean = Service::start(&binaries::counter_service()?)?;
    let (ended, found) = check(clean.child.pid(), &["--duration=20s"])?;
    drop(clean);
    ended.expect_code(0)?;
    ensure!(found.is_empty(), "{found:?}");

    let patch = super::formats::beside("leak.patch");
    let (program, source) = binaries::patched_service(&patch)?;
    let line = source.lines().position(|line| line.contains("Box::leak"));
    let line = u32::try_from(line.context("the patch is another one")? + 1)?;
    let leaky = Service::start(&program)?;
    let (ended, found) = check(leaky.child.pid(), &["--duration=30s"])?;
    ended.expect_code(1)?;
    let [(function, file, at)] = &found[..] else {
        anyhow::bail!("{found:?}\n{}", ended.printed());
    };
    ensure!(
        *at == line && file.ends_with("/src/main.rs") && function.contains("count"),
        "{found:?} is not line {line}"
    );
    Ok(())
}

/// What could not be seen is not fine.
pub(super) fn inconclusive() -> Result<()> {
    // Forced losses.
    let leaky = pattern(Language::C, "forgotten")?.start(Twin::Leaky)?;
    let (ended, _) = check(leaky.pid(), &["--duration=5s", "--max-live=1"])?;
    ended.expect_code(3)?;
    let text = String::from_utf8_lossy(&ended.stdout);
    ensure!(text.contains("too much was missed"), "{text}");
    // Too short.
    let (ended, _) = check(leaky.pid(), &["--duration=1s"])?;
    ended.expect_code(3)?;
    // Nobody allocates.
    let mut idle = Workload::start("steady", &[])?;
    idle.child().signal(Signal::STOP)?;
    let (ended, _) = check(idle.pid(), &["--duration=3s"])?;
    idle.child().signal(Signal::CONT)?;
    let code = ended.status.code();
    ensure!(matches!(code, Some(2 | 3)), "{code:?}\n{}", ended.printed());
    // With a limit that nothing can exceed, too.
    let idle = Child::spawn(Command::new("sleep").arg("1000"))?;
    let (ended, _) = check(idle.pid(), &["--duration=3s", "--max-peak=1GB"])?;
    let code = ended.status.code();
    ensure!(matches!(code, Some(2 | 3)), "{code:?}\n{}", ended.printed());
    Ok(())
}

/// A command is ended when the time is up, and its own failure is not success.
pub(super) fn commands() -> Result<()> {
    let pattern = pattern(Language::C, "forgotten")?;
    let run = |arguments: &[&str], program: Command| -> Result<Child> {
        let mut command = tracer(["check"])?;
        command.args(arguments).arg("--");
        command.arg(program.get_program()).args(program.get_args());
        Child::spawn(&mut command)
    };
    let mut check = run(&["--duration=15s"], pattern.command(Twin::Leaky)?)?;
    // Its standard input stays open, so that nothing else ends it.
    let ended = check.wait()?;
    ended.expect_code(1)?;
    let text = String::from_utf8_lossy(&ended.stdout);
    ensure!(text.contains("at forgotten_describe"), "{text}");
    let mut shell = Command::new("sh");
    shell.args(["-c", "exit 7"]);
    let mut check = run(&["--allow-leaks", "--max-peak=1GB"], shell)?;
    let ended = check.wait()?;
    ended.expect_code(2)?;
    ensure!(
        ended.stderr.contains("exit status: 7"),
        "{}",
        ended.printed()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", "exit 0"]);
    run(&["--allow-leaks", "--max-peak=1GB"], shell)?
        .wait()?
        .expect_code(0)?;
    // It allocates nothing: no probe fires.
    let mut check = run(&["--allow-leaks", "--max-peak=1GB"], Command::new("true"))?;
    check.wait()?.expect_code(3)?;
    let mut check = run(&[], Command::new("/no/such/program"))?;
    check.wait()?.expect_code(2)
}

/// What `--every` wrote is judged as the recording itself would have been: with generations.
pub(super) fn folder() -> Result<()> {
    let leaky = pattern(Language::C, "forgotten")?.start(Twin::Leaky)?;
    let folder = TempDir::new()?;
    let series = folder.path().join("series");
    let mut record = tracer([
        "attach",
        "--exact",
        "--duration=15s",
        "--every=250ms",
        "--pid",
    ])?;
    record.arg(leaky.pid().to_string()).arg("-o").arg(&series);
    process::run(&mut record, b"")?.expect_code(0)?;
    let judge = || -> Result<Ended> {
        let mut command = tracer(["check"])?;
        process::run(command.arg(&series).current_dir(folder.path()), b"")
    };
    let ended = judge()?;
    ended.expect_code(1)?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    ensure!(text.contains("at forgotten_describe"), "{text}");
    ensure!(
        !text.contains("Which generations survive is not known"),
        "{text}"
    );
    // Without the file it is a series of profiles like any other.
    std::fs::remove_file(series.join("series.json.gz"))?;
    let ended = judge()?;
    ended.expect_code(1)?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    ensure!(
        text.contains("Which generations survive is not known"),
        "{text}"
    );
    Ok(())
}
