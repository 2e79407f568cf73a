//! The tracer is killed at any moment, whatever it does: the target works on and ends as it should, and
//! nothing is left of the tracer: no probe, no child, no object in the kernel, no half-written file.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tests::left_behind::{BpfObject, Mark};
use tests::process::Child;
use tests::tracing::tracer;
use tests::{binaries, http, memory, profile, wait};

use super::{Length, Random};

/// Kills of a test run.
const ROUNDS: u32 = 18;
const CLIENTS: usize = 2;

/// What the tracer is at when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Attaching,
    Recording,
    /// Snapshots at the end of short windows.
    Series,
    /// Windows come and go.
    Windows,
    /// The recording was ended: detaching, naming, writing.
    Detaching,
    /// The program is held back, or has just been let go.
    RunStarting,
    RunRecording,
    /// The program has ended.
    RunEnding,
    /// As under `run`, for the leak check.
    Check,
}

const PHASES: [Phase; 9] = [
    Phase::Attaching,
    Phase::Recording,
    Phase::Series,
    Phase::Windows,
    Phase::Detaching,
    Phase::RunStarting,
    Phase::RunRecording,
    Phase::RunEnding,
    Phase::Check,
];

pub(super) fn kills() -> Result<()> {
    let address = free_address()?;
    let mut command = Command::new(binaries::counter_service()?);
    let mut service = Child::spawn(command.args(["--listen", &address.to_string()]))?;
    wait::until("the service to listen", || {
        ensure!(service.is_running()?, "it ended\n{}", service.stderr.text());
        Ok(http::get(address, "/health").ok())
    })?;
    let mut worker = Child::spawn(&mut Command::new(binaries::workload("worker")?))?;
    worker.wait_line(|child| &child.stdout, "`ready`", |line| line == "ready")?;
    for pid in [service.pid(), worker.pid()] {
        let untouched = memory::changed_code_bytes(pid)?;
        ensure!(
            untouched == 0,
            "{untouched} bytes of code differ before anybody attached"
        );
    }

    let stop = AtomicBool::new(false);
    let (killed, counted) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| count_until(&stop, address)))
            .collect();
        let killed = rounds(service.pid(), &mut worker);
        stop.store(true, Relaxed);
        let counted: Result<Vec<u64>> = clients
            .into_iter()
            .map(|client| {
                client
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("a client panicked")))
            })
            .collect();
        (killed, counted)
    });
    let counted = counted.context("the service stopped answering correctly")?;
    killed?;
    // Each request was counted once, whoever made it.
    let last = count(address)?;
    let sum: u64 = counted.iter().sum();
    ensure!(
        last == sum + 1,
        "{sum} requests were answered, and the next had number {last}"
    );
    ensure!(service.is_running()?, "the service ended");
    worker.close_stdin();
    let ended = worker.wait()?;
    ended.expect_code(0)?;
    check_done(&String::from_utf8_lossy(&ended.stdout))
}

fn rounds(service: u32, worker: &mut Child) -> Result<()> {
    let length = Length::new(ROUNDS)?;
    let mut random = Random::new()?;
    let seed = random.seed;
    let mut killed: BTreeMap<Phase, u32> = BTreeMap::new();
    let mut round = 0;
    let mut done_before = 0;
    while length.has(round) {
        // Each phase as often as any other, in a short storm as well.
        let phase = PHASES[round as usize % PHASES.len()];
        let target = [service, worker.pid()][random.below(2) as usize];
        let mut one = Round::new(phase, round)?;
        let played = match phase {
            Phase::Attaching
            | Phase::Recording
            | Phase::Series
            | Phase::Windows
            | Phase::Detaching => one.attached(target, &mut random),
            _ => one.started(&mut random),
        };
        let at = || format!("round {round}, {phase:?}, seed {seed}");
        let was_killed = played.with_context(at)?;
        let done = ask(worker, round).with_context(at)?;
        ensure!(done > done_before, "the worker stands still, {}", at());
        done_before = done;
        *killed.entry(phase).or_default() += u32::from(was_killed);
        round += 1;
    }
    println!("{round} tracers, seed {seed}; killed while they were: {killed:?}");
    for phase in PHASES {
        ensure!(
            killed.contains_key(&phase),
            "no tracer was killed while {phase:?}"
        );
    }
    Ok(())
}

/// One tracer, to its death.
struct Round {
    phase: Phase,
    folder: TempDir,
    command: Command,
    mark: Mark,
}

impl Round {
    fn new(phase: Phase, round: u32) -> Result<Self> {
        let mut command = tracer::<&str>([])?;
        let mark = Mark::put(&mut command, &format!("storm-{round}"));
        Ok(Self {
            phase,
            folder: TempDir::new()?,
            command,
            mark,
        })
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("profile.json")
    }

    /// Of a target that was there before.
    fn attached(&mut self, target: u32, random: &mut Random) -> Result<bool> {
        let pid = target.to_string();
        self.command.args(["attach", "--pid", &pid, "-o"]);
        match self.phase {
            Phase::Series => {
                let series = self.folder.path().join("series");
                self.command.arg(series).arg("--every=100ms");
            }
            _ => {
                let output = self.output();
                self.command.arg(output).arg("--format=json");
            }
        }
        if self.phase != Phase::Windows {
            self.command.arg("--exact");
        }
        if self.phase == Phase::Windows {
            self.command.arg("--max-overhead=50%");
        }
        let mut child = Child::spawn(&mut self.command)?;
        if self.phase != Phase::Attaching {
            let attached = |line: &str| line.starts_with("attached to");
            child.wait_line(|child| &child.stderr, "`attached to`", attached)?;
            // Also proves that the check below can see a probe.
            ensure!(
                self.phase == Phase::Windows || memory::changed_code_bytes(target)? > 0,
                "attached, and no probe in the code"
            );
        }
        let after = match self.phase {
            Phase::Attaching => random.millis(250),
            Phase::Series | Phase::Windows => random.millis(350),
            Phase::Detaching => {
                child.signal(Signal::INT)?;
                random.millis(60)
            }
            _ => random.millis(150),
        };
        std::thread::sleep(after);
        let killed = self.kill(&mut child)?;
        no_probe(target)?;
        self.nothing_left()?;
        Ok(killed)
    }

    /// Of a program that the tracer has started.
    fn started(&mut self, random: &mut Random) -> Result<bool> {
        let worker = binaries::workload("worker")?;
        if self.phase == Phase::Check {
            self.command.args(["check", "-d1s", "--every=200ms", "--"]);
        } else {
            let output = self.output();
            self.command.args(["run", "--format=json", "-o"]);
            self.command.arg(output).arg("--");
        }
        let mut child = Child::spawn(self.command.arg(worker))?;
        let up = matches!(self.phase, Phase::RunRecording | Phase::RunEnding);
        if up {
            child.wait_line(|child| &child.stdout, "`ready`", |line| line == "ready")?;
        }
        let after = match self.phase {
            Phase::RunStarting => random.millis(250),
            Phase::Check => random.millis(1_200),
            Phase::RunEnding => {
                child.close_stdin();
                random.millis(60)
            }
            _ => random.millis(150),
        };
        std::thread::sleep(after);
        let killed = self.kill(&mut child)?;
        // A program that was let go has no tracer any more, and works on; one that was held is gone.
        let programs = self.mark.processes()?;
        for program in &programs {
            wait::until("the probes to go", || {
                let untouched = memory::changed_code_bytes(*program).is_ok_and(|bytes| bytes == 0);
                let ended = !self.mark.processes()?.contains(program);
                Ok((untouched || ended).then_some(()))
            })?;
        }
        if up && self.phase == Phase::RunRecording {
            let alive = |line: &str| line.starts_with("alive");
            child.write(b"\n")?;
            wait::until("the program to answer", || Ok(child.stdout.line(alive)))?;
        }
        child.close_stdin();
        wait::until("whoever holds the output to end", || {
            Ok((child.stdout.is_closed() && child.stderr.is_closed()).then_some(()))
        })?;
        self.nothing_left()?;
        let said = child.stdout.text();
        // `check` ends the program when the time is up.
        if said.contains("ready") && self.phase != Phase::Check {
            check_done(&said).with_context(|| child.stderr.text())?;
        }
        Ok(killed)
    }

    /// Kills the tracer, if it has not ended.
    fn kill(&self, child: &mut Child) -> Result<bool> {
        let objects = BpfObject::of(child.pid());
        let killed = child.is_running()?;
        child.signal(Signal::KILL)?;
        wait::until("the tracer's death", || {
            Ok((!child.is_running()?).then_some(()))
        })?;
        // The kernel takes them out as the tracer's last descriptors close, which may be a moment after
        // its death.
        for object in objects {
            wait::until("the objects in the kernel to go", || {
                Ok((!object.is_there()?).then_some(()))
            })
            .with_context(|| format!("{object:?}"))?;
        }
        Ok(killed)
    }

    fn nothing_left(&self) -> Result<()> {
        wait::until("all processes to go", || {
            Ok(self.mark.processes()?.is_empty().then_some(()))
        })?;
        if let Ok(bytes) = fs::read(self.output()) {
            profile::read_json(&bytes).context("half a profile was left")?;
        }
        Ok(())
    }
}

fn no_probe(pid: u32) -> Result<()> {
    wait::until("the probes to go", || {
        Ok((memory::changed_code_bytes(pid)? == 0).then_some(()))
    })
}

/// How much the worker has done so far.
fn ask(worker: &mut Child, asked_before: u32) -> Result<u64> {
    worker.write(b"\n")?;
    let answer = wait::until("the worker to answer", || {
        ensure!(worker.is_running()?, "it ended\n{}", worker.stderr.text());
        let text = worker.stdout.text();
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        let mut answers = whole.lines().filter(|line| line.starts_with("alive "));
        Ok(answers.nth(asked_before as usize).map(str::to_owned))
    })?;
    let number = answer.rsplit(' ').next().unwrap_or_default();
    number.parse().context(answer.clone())
}

/// A worker that found its memory as it should be says so last.
fn check_done(said: &str) -> Result<()> {
    let last = said.lines().next_back().unwrap_or_default();
    ensure!(last.starts_with("done "), "it did not end well: {last}");
    Ok(())
}

/// Counts until told to stop: each number is higher than the one before. Returns how many answers
/// there were.
fn count_until(stop: &AtomicBool, address: SocketAddr) -> Result<u64> {
    let (mut answers, mut last) = (0, 0);
    while !stop.load(Relaxed) {
        let number = count(address)?;
        ensure!(number > last, "{number} came after {last}");
        last = number;
        answers += 1;
    }
    Ok(answers)
}

fn count(address: SocketAddr) -> Result<u64> {
    let body = http::get(address, "/count")?;
    let json: serde_json::Value = serde_json::from_str(&body).context(body)?;
    json["count"].as_u64().context("no count")
}

/// An address nobody listens on. Another process could take it first; then the service says so.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
