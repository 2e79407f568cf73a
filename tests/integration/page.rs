//! The page of `tracer serve` and `tracer view`, in a browser that is driven as people use it.

mod saved;

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tests::gallery::{GALLERY, Twin};
use tests::http::{self, Answer, ask, request};
use tests::process::{self, Child};
use tests::{binaries, npm, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial::heavy("page::under_load", under_load),
        trial::heavy("page::leak", leak),
        trial::root("page::headers", headers),
    ];
    trials.extend(saved::trials());
    trials
}

/// A tracer that serves the page.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn start(command: &mut Command, says: &'static str) -> Result<Self> {
        let mut child = Child::spawn(command)?;
        let is_it = |line: &str| line.starts_with(says);
        let line = child.wait_line(|child| &child.stderr, says, is_it)?;
        let place = line.split("://").nth(1).unwrap_or_default();
        let place = place.split('/').next().unwrap_or_default();
        Ok(Self {
            child,
            address: place.parse().with_context(|| line.clone())?,
        })
    }

    fn of_process(pid: u32) -> Result<Self> {
        let mut command = Command::new(binaries::tracer()?);
        command.args(["serve", "--exact", "--listen", "127.0.0.1:0"]);
        command.args(["--pid", &pid.to_string()]);
        Self::start(&mut command, "the page: ")
    }

    fn of_files(path: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(binaries::tracer()?);
        command.arg("view").arg(path).args(arguments);
        Self::start(&mut command, "showing ")
    }

    fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let host = self.address.to_string();
        let mut all = vec![("Host", host.as_str())];
        all.extend(headers);
        ask(self.address, &request("GET", path, &all))
    }

    /// Plays a scenario of `drive.cjs`.
    fn drive(&self, scenario: &str, name: &str) -> Result<()> {
        self.drive_as(scenario, "", name)
    }

    /// The same with a user and a password, as they stand in an address.
    fn drive_as(&self, scenario: &str, user: &str, name: &str) -> Result<()> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/page/drive.cjs");
        let url = format!("http://{user}{}/", self.address);
        let mut command = npm::node()?;
        command
            .arg(script)
            .arg(browser()?)
            .args([scenario, &url, name]);
        let ended = process::run(&mut command, b"").context("needs node: apt-get install npm")?;
        ended.expect_code(0)
    }

    fn stop(mut self) -> Result<()> {
        self.child.signal(Signal::INT)?;
        self.child.wait()?.expect_code(0)
    }
}

/// The browser itself: what is in the path is a script with options of its own.
fn browser() -> Result<PathBuf> {
    let found = ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .map(|name| Path::new("/usr/bin").join(name))
        .find(|path| path.exists());
    found.context("needs a browser: apt-get install chromium")
}

/// Requests, one after the other, until this is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread =
            thread::spawn(
                move || {
                    while !stopped.load(Relaxed) && http::get(address, "/count").is_ok() {}
                },
            );
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

/// The page moves with the service, and shows all there is to it.
fn under_load() -> Result<()> {
    let mut command = Command::new(binaries::counter_service()?);
    let mut service = Child::spawn(command.args(["--listen", "127.0.0.1:0"]))?;
    let says = "listening on ";
    let line = service.wait_line(|child| &child.stdout, says, |line| line.starts_with(says))?;
    let address = line.trim_start_matches(says).trim().parse()?;
    let served = Served::of_process(service.pid())?;
    let load = Load::on(address);
    // A connection that stays open, so that something is live all the time.
    let mut open = TcpStream::connect(address)?;
    open.write_all(b"GET /count HTTP/1.1\r\nHost: service\r\n\r\n")?;
    served.drive("load", "hyper")?;
    drop((load, open));
    served.stop()?;
    service.signal(Signal::TERM)?;
    service.wait()?.expect_code(0)
}

/// What a program of the gallery loses is a suspect, at the function that loses it.
fn leak() -> Result<()> {
    let mut patterns = GALLERY.iter();
    let pattern = patterns.find(|one| one.to_string() == "c/forgotten");
    let pattern = pattern.context("the gallery has no such program")?;
    let places = pattern.places()?;
    let place = places.first().context("it has no place")?;
    let mut leaky = pattern.start(Twin::Leaky)?;
    let served = Served::of_process(leaky.pid())?;
    served.drive("leak", &place.function)?;
    served.stop()?;
    leaky.close_stdin();
    leaky.wait()?.expect_code(0)
}

/// Nobody else's page gets at this one, and nothing but its own files runs in it.
fn headers() -> Result<()> {
    let mut pattern = GALLERY.iter();
    let pattern = pattern.next().context("the gallery is empty")?;
    let mut program = pattern.start(Twin::Healthy)?;
    let served = Served::of_process(program.pid())?;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page/main.js", "text/javascript; charset=utf-8"),
        ("/page/page.css", "text/css; charset=utf-8"),
        ("/api/overview", "application/json"),
        ("/api/moment", "application/json"),
        ("/api/suspects", "application/json"),
        ("/api/changes?from=0&to=now", "application/json"),
    ] {
        let answer = served.ask(path, &[])?;
        let policy = answer.header("content-security-policy").unwrap_or_default();
        ensure!(
            answer.status == 200
                && answer.header("content-type") == Some(kind)
                && answer.header("x-content-type-options") == Some("nosniff")
                && answer.header("referrer-policy") == Some("no-referrer")
                && policy.starts_with("default-src 'none';")
                && policy.contains("frame-ancestors 'none'")
                && !policy.contains("unsafe"),
            "{path}: {}",
            answer.head
        );
        let elsewhere = [("Origin", "http://evil.example")];
        ensure!(served.ask(path, &elsewhere)?.status == 403, "{path}");
        let rebound = request("GET", path, &[("Host", "evil.example")]);
        ensure!(ask(served.address, &rebound)?.status == 421, "{path}");
    }
    for (path, status, said) in [
        ("/page/", 404, "nothing here"),
        ("/page/none.js", 404, "no such file"),
        ("/page/..%2fmain.rs", 404, "no such file"),
        ("/api/moment?at=x", 400, "at: the number of a moment"),
        ("/api/changes?from=0&value=peak_space", 400, "value: one of"),
    ] {
        let answer = served.ask(path, &[])?;
        ensure!(
            answer.status == status && answer.text().contains(said),
            "{path}: {}\n{}",
            answer.head,
            answer.text()
        );
    }
    served.stop()?;
    program.close_stdin();
    program.wait()?.expect_code(0)
}
