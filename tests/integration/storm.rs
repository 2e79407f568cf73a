//! The tracer is killed at any moment: the service goes on answering correctly, and no probe is
//! left in its code.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::process::Child;
use tests::tracing::Tracing;
use tests::{binaries, http, memory, trial, wait};

const ROUNDS: u32 = 20;
const CLIENTS: usize = 2;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial::heavy("kill::at_random_moments", at_random_moments)]
}

fn at_random_moments() -> Result<()> {
    let address = free_address()?;
    let mut command = Command::new(binaries::counter_service()?);
    let mut service = Child::spawn(command.args(["--listen", &address.to_string()]))?;
    wait::until("the service to listen", || {
        ensure!(service.is_running()?, "it ended\n{}", service.stderr.text());
        Ok(http::get(address, "/health").ok())
    })?;
    let untouched = memory::changed_code_bytes(service.pid())?;
    ensure!(
        untouched == 0,
        "{untouched} bytes of code differ before anybody attached"
    );

    let stop = AtomicBool::new(false);
    let (killed, counted) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| count_until(&stop, address)))
            .collect();
        let killed = kill_rounds(service.pid());
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
    Ok(())
}

/// Attaches and kills, over and over; half of the kills hit the tracer while it attaches.
fn kill_rounds(pid: u32) -> Result<()> {
    // The seed is in every message, so that a failure can be had again.
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos();
    let mut random = u64::from(seed) | 1;
    for round in 0..ROUNDS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        kill_once(pid, round % 2 == 0, Duration::from_millis(random % 700))
            .with_context(|| format!("round {round}, seed {seed}"))?;
    }
    Ok(())
}

fn kill_once(pid: u32, attached: bool, after: Duration) -> Result<()> {
    let mut tracing = Tracing::begin_attach(pid, &[])?;
    if attached {
        tracing.wait_attached()?;
        // Also proves that the check below can see a probe.
        ensure!(
            memory::changed_code_bytes(pid)? > 0,
            "attached, and no probe in the code"
        );
    }
    std::thread::sleep(after);
    let child = tracing.child();
    ensure!(
        child.is_running()?,
        "the tracer ended by itself\n{}",
        child.stderr.text()
    );
    child.signal(Signal::KILL)?;
    child.wait()?;
    // The kernel takes the probes out as the tracer's last descriptors close, which may be a
    // moment after its death.
    wait::until("the probes to go", || {
        Ok((memory::changed_code_bytes(pid)? == 0).then_some(()))
    })?;
    ensure!(!tracing.output().exists(), "half a profile was left");
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
