//! The service as its clients see it: the real binary, a real socket.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::thread;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

type TestResult<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A running service on a port of its own; killed when the test is done with it.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn start() -> TestResult<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_counter-service"))
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .ok_or_else(|| format!("unexpected first line {line:?}"))?
            .to_owned();
        Ok(Self { child, address })
    }

    /// The whole answer to one request on a connection of its own.
    fn request(&self, method: &str, path: &str) -> TestResult<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The number that `GET /count` answers with.
    fn count(&self) -> TestResult<u64> {
        let answer = self.request("GET", "/count")?;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer.contains("\r\ncontent-type: application/json\r\n"),
            "{answer}"
        );
        let body: serde_json::Value = serde_json::from_str(body(&answer))?;
        Ok(body["count"].as_u64().ok_or("no count")?)
    }

    fn stop_with(mut self, signal: Signal) -> TestResult<ExitStatus> {
        let pid = Pid::from_raw(self.child.id().try_into()?).ok_or("pid 0")?;
        kill_process(pid, signal)?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn health_is_ok() -> TestResult {
    let service = Service::start()?;
    let answer = service.request("GET", "/health")?;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(body(&answer), "OK");
    Ok(())
}

#[test]
fn counts_from_one() -> TestResult {
    let service = Service::start()?;
    for expected in 1..=3 {
        assert_eq!(service.count()?, expected);
    }
    Ok(())
}

#[test]
fn health_does_not_count() -> TestResult {
    let service = Service::start()?;
    service.request("GET", "/health")?;
    assert_eq!(service.count()?, 1);
    Ok(())
}

#[test]
fn no_count_is_given_twice() -> TestResult {
    let service = Service::start()?;
    let counts = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..25).map(|_| service.count()).collect::<TestResult<_>>()))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().map_err(|_| "a client panicked")?)
            .collect::<TestResult<Vec<Vec<u64>>>>()
    })?;
    let distinct: BTreeSet<u64> = counts.into_iter().flatten().collect();
    assert_eq!(distinct, (1..=200).collect());
    Ok(())
}

#[test]
fn other_requests_are_refused() -> TestResult {
    let service = Service::start()?;
    let answer = service.request("GET", "/nothing")?;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let answer = service.request("POST", "/count")?;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert_eq!(service.count()?, 1);
    Ok(())
}

#[test]
fn stops_cleanly_on_both_signals() -> TestResult {
    for signal in [Signal::INT, Signal::TERM] {
        let service = Service::start()?;
        // An idle connection must not keep it from stopping.
        let _idle = TcpStream::connect(&service.address)?;
        service.count()?;
        let status = service.stop_with(signal)?;
        assert_eq!(status.code(), Some(0), "after {signal:?}: {status}");
    }
    Ok(())
}

#[test]
fn an_unfinished_request_does_not_keep_it_running() -> TestResult {
    let service = Service::start()?;
    let mut unfinished = TcpStream::connect(&service.address)?;
    unfinished.write_all(b"GET /count HTTP/1.1\r\nhost:")?;
    // Its answer proves that the service has gone on to serve others meanwhile.
    service.count()?;
    let status = service.stop_with(Signal::TERM)?;
    assert_eq!(status.code(), Some(0), "{status}");
    Ok(())
}

#[test]
fn a_taken_address_is_an_error() -> TestResult {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_counter-service"))
        .args(["--listen", &address])
        .output()?;
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let message = String::from_utf8(output.stderr)?;
    assert!(
        message.contains(&format!("cannot listen on {address}")),
        "{message}"
    );
    Ok(())
}
