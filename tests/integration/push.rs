//! `tracer serve --push`: what arrives is what was allocated, whatever the server does meanwhile.

mod arrived;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use rustix::process::Signal;
use tempfile::TempDir;
use tests::ledger::Ledger;
use tests::process::{self, Child, Ended};
use tests::receiver::{Deed, Receiver};
use tests::serving::Serving;
use tests::tracing::tracer;
use tests::workload::Workload;
use tests::{trial, wait};

use arrived::Arrived;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("push::pyroscope", || to_a_server("pyroscope")),
        trial::root("push::parca", || to_a_server("parca")),
        trial::root("push::otlp", || to_a_server("otlp")),
        trial::root("push::trouble", trouble),
        trial::root("push::bounded", bounded),
        trial::root("push::refused_for_good", refused_for_good),
        trial::root("push::encrypted", encrypted),
        trial::root("push::an_hour", an_hour),
        trial::root("push::bad_input", bad_input),
    ]
}

/// A file of headers that nobody else can read.
fn headers(folder: &Path) -> Result<PathBuf> {
    let file = folder.join("headers");
    fs::write(
        &file,
        "X-Scope-OrgID: shop\nAuthorization: Bearer s3cret-s3cret\n",
    )?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// `midlife` does all that it does while it is traced and pushed.
struct Pushing {
    workload: Workload,
    serving: Serving,
    ledger: Ledger,
}

impl Pushing {
    fn start(url: &str, arguments: &[&str]) -> Result<Self> {
        let mut workload = Workload::start("midlife", &[])?;
        let mut all = vec!["--push", url, "--push-every", "200ms"];
        all.extend(arguments);
        let serving = Serving::start(workload.pid(), &all)?;
        workload.open_gate()?;
        let ledger = workload.ledger()?;
        Ok(Self {
            workload,
            serving,
            ledger,
        })
    }

    /// A figure of the destination's, 0 where there is none.
    fn count(&self, result: &str) -> Result<u64> {
        let text = self.serving.ask("/metrics", &[])?.text();
        let wanted = format!("result=\"{result}\"");
        let mut lines = text.lines();
        let line =
            lines.find(|line| line.starts_with("tracer_pushes_total") && line.contains(&wanted));
        let line = line.with_context(|| text.clone())?;
        Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
    }

    fn stop(self) -> Result<(Ended, Ledger)> {
        let Self {
            workload,
            serving,
            ledger,
        } = self;
        let ended = serving.stop()?;
        workload.finish()?;
        Ok((ended, ledger))
    }
}

/// All that was allocated has arrived once, and what is live is that of the last profile.
fn agrees(receiver: &Receiver, protocol: &str, ledger: &Ledger) -> Result<Vec<Arrived>> {
    let taken = receiver.taken();
    let arrived = taken.iter().map(|one| Arrived::of(protocol, one));
    let arrived = arrived.collect::<Result<Vec<_>>>()?;
    let last = arrived.last().context("nothing arrived")?;
    let wanted = ledger.total.values()?;
    let allocated = [0, 1].map(|at| arrived.iter().map(|one| one.sums[at]).sum::<i64>());
    ensure!(
        allocated == [wanted.alloc_objects, wanted.alloc_space]
            && last.sums[2..] == [wanted.inuse_objects, wanted.inuse_space],
        "{allocated:?} and {:?} instead of {wanted:?}",
        last.sums
    );
    Ok(arrived)
}

fn to_a_server(protocol: &str) -> Result<()> {
    let folder = TempDir::new()?;
    let headers = headers(folder.path())?.to_string_lossy().into_owned();
    let receiver = Receiver::start(&[])?;
    let url = format!("{protocol}+{}/base/", receiver.url());
    let arguments = [
        "--push-headers",
        &headers,
        "--label",
        "team=web",
        "--label",
        "host",
    ];
    let pushing = Pushing::start(&url, &arguments)?;
    receiver.wait_for(3)?;
    let (ended, ledger) = pushing.stop()?;
    ensure!(!ended.printed().contains("s3cret"), "{}", ended.printed());
    let arrived = agrees(&receiver, protocol, &ledger)?;
    for one in &arrived {
        ensure!(
            one.labels.get("team").is_some_and(|team| team == "web")
                && one.labels.values().any(|value| value == "midlife")
                && one.labels.keys().any(|key| key.starts_with("host")),
            "{:?}",
            one.labels
        );
    }
    let path = match protocol {
        "pyroscope" => "/base/push.v1.PusherService/Push",
        "parca" => "/base/profiles/writeraw",
        _ => "/base/v1development/profiles",
    };
    for request in receiver.taken() {
        ensure!(
            request.path() == path
                && request.header("x-scope-orgid") == Some("shop")
                && request.header("authorization") == Some("Bearer s3cret-s3cret"),
            "{}",
            request.head
        );
    }
    Ok(())
}

/// Each kind of failure that passes: nothing is lost, nothing comes twice, and all of it is counted.
fn trouble() -> Result<()> {
    let receiver = Receiver::start(&[
        Deed::Answer("503 Service Unavailable"),
        Deed::Take,
        Deed::Cut,
        Deed::Answer("429 Too Many Requests\r\nRetry-After: 2"),
        Deed::Delay(Duration::from_secs(2)),
    ])?;
    let pushing = Pushing::start(&format!("pyroscope+{}", receiver.url()), &[])?;
    receiver.wait_for(4)?;
    ensure!(pushing.count("retried")? == 3 && pushing.count("ok")? >= 3);
    ensure!(pushing.count("dropped")? == 0 && pushing.count("refused")? == 0);
    let (ended, ledger) = pushing.stop()?;
    agrees(&receiver, "pyroscope", &ledger)?;
    for said in [
        "503 Service Unavailable; trying again",
        "works again, after",
    ] {
        ensure!(ended.stderr.contains(said), "{}", ended.printed());
    }
    Ok(())
}

/// A server that is away: what the buffer does not hold is dropped, counted and said; the rest arrives.
fn bounded() -> Result<()> {
    let receiver = Receiver::start(&[])?;
    receiver.behave(Deed::Answer("503 Service Unavailable"));
    let arguments = ["--push-buffer", "1B"];
    let pushing = Pushing::start(&format!("parca+{}", receiver.url()), &arguments)?;
    let dropped = wait::until("profiles to be dropped", || {
        let dropped = pushing.count("dropped")?;
        Ok((dropped >= 3).then_some(dropped))
    })?;
    receiver.behave(Deed::Take);
    // The one that was being sent, and the newest.
    receiver.wait_for(2)?;
    let (ended, ledger) = pushing.stop()?;
    let said = ended
        .stderr
        .lines()
        .find(|line| line.contains("could not be sent"));
    let said = said.with_context(|| ended.printed())?;
    let count = said
        .split(", ")
        .nth(1)
        .and_then(|part| part.split(' ').next());
    let count: u64 = count.context("no count")?.parse()?;
    ensure!(count >= dropped, "{said}, but {dropped} before");
    let mut arrived = Vec::new();
    for one in receiver.taken() {
        arrived.push(Arrived::of("parca", &one)?);
    }
    let objects: i64 = arrived.iter().map(|one| one.sums[0]).sum();
    let wanted = ledger.total.values()?.alloc_objects;
    ensure!(objects <= wanted, "{objects} of {wanted}");
    Ok(())
}

/// It is not tried again, and said once.
fn refused_for_good() -> Result<()> {
    let receiver = Receiver::start(&[])?;
    receiver.behave(Deed::Answer("401 Unauthorized"));
    let pushing = Pushing::start(&format!("otlp+{}", receiver.url()), &[])?;
    wait::until("refusals", || {
        Ok((pushing.count("refused")? >= 3).then_some(()))
    })?;
    ensure!(pushing.count("retried")? == 0);
    let (ended, _) = pushing.stop()?;
    let said = ended.stderr.matches("refused: 401 Unauthorized").count();
    ensure!(said == 1, "{}", ended.printed());
    ensure!(
        ended.stderr.contains("profiles were refused"),
        "{}",
        ended.printed()
    );
    ensure!(receiver.taken().is_empty() && receiver.turned_away() >= 3);
    Ok(())
}

/// Answers whatever comes, encrypted.
const ENCRYPTED: &str = "
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(len(self.rfile.read(int(self.headers['Content-Length']))), flush=True)
        self.send_response(200)
        self.send_header('Content-Length', '0')
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print('port', server.server_port, flush=True)
server.serve_forever()
";

/// A server is sent nothing unless its certificate is known.
fn encrypted() -> Result<()> {
    let folder = TempDir::new()?;
    let place = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (cert, key) = (place("cert.pem"), place("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
    ]);
    openssl.args(["-subj", "/CN=localhost"]);
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
    // The one that is made by default is a CA's, which no client takes as a server's.
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.args(["-keyout", &key, "-out", &cert]);
    process::run(&mut openssl, b"")
        .context("needs openssl")?
        .expect_code(0)?;
    let mut server = Command::new("python3");
    server.args(["-c", ENCRYPTED, &cert, &key]);
    let mut server = Child::spawn(&mut server)?;
    let line = server.wait_line(
        |child| &child.stdout,
        "the port",
        |line| line.starts_with("port "),
    )?;
    let url = format!(
        "pyroscope+https://127.0.0.1:{}",
        line.trim_start_matches("port ")
    );

    let workload = Workload::start("midlife", &[])?;
    let push = |certificate: &str| -> Result<Child> {
        let mut command = tracer(["serve", "--exact", "--push-every", "200ms", "--push", &url])?;
        command.args(["--pid", &workload.pid().to_string()]);
        Child::spawn(command.env("SSL_CERT_FILE", certificate))
    };
    let mut unknown = push("/dev/null")?;
    let failed = |line: &str| line.contains("trying again");
    let said = unknown.wait_line(|child| &child.stderr, "a failure", failed)?;
    ensure!(said.to_lowercase().contains("certificate"), "{said}");
    unknown.signal(Signal::KILL)?;
    unknown.wait()?;

    let mut known = push(&cert)?;
    let is_length = |line: &str| line.parse::<u64>().is_ok_and(|length| length > 0);
    server.wait_line(|child| &child.stdout, "a profile", is_length)?;
    known.signal(Signal::INT)?;
    known.wait()?.expect_code(0)?;
    server.signal(Signal::KILL)?;
    server.wait()?;
    let mut workload = workload;
    workload.open_gate()?;
    workload.finish()?;
    Ok(())
}

/// As many scrapes and pushes as there are in an hour at one in 15 s: the tracer's memory stays what it is.
fn an_hour() -> Result<()> {
    const IN_AN_HOUR: usize = 240;
    let receiver = Receiver::start(&[])?;
    let url = format!("pyroscope+{}", receiver.url());
    let mut workload = Workload::start("steady", &[])?;
    let arguments = ["--push", &url, "--push-every", "50ms"];
    let serving = Serving::start(workload.pid(), &arguments)?;
    workload.open_gate()?;
    let scrape = |until: usize| -> Result<u64> {
        while receiver.count() < until {
            for path in [
                "/debug/pprof/heap",
                "/debug/pprof/allocs",
                "/metrics",
                "/api/overview",
            ] {
                let answer = serving.ask(path, &[])?;
                ensure!(answer.status == 200, "{path}: {}", answer.head);
            }
        }
        serving.resident()
    };
    let early = scrape(IN_AN_HOUR / 4)?;
    let late = scrape(IN_AN_HOUR)?;
    ensure!(
        late < early + (8 << 20),
        "{early} bytes after a quarter, {late} at the end"
    );
    serving.stop()?;
    workload.child().signal(Signal::KILL)?;
    Ok(())
}

/// It is refused before anything is attached, and no secret is shown.
fn bad_input() -> Result<()> {
    let mut workload = Workload::start("midlife", &[])?;
    let folder = TempDir::new()?;
    let good = headers(folder.path())?.to_string_lossy().into_owned();
    let open = folder.path().join("open").to_string_lossy().into_owned();
    fs::write(&open, "A: s3cret\n")?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644))?;
    let pid = workload.pid().to_string();
    let one = "otlp+http://127.0.0.1:1";
    for (arguments, said) in [
        (&["--push", "http://127.0.0.1:1"][..], "write pyroscope+"),
        (
            &["--push", "parca+http://me:s3cret@127.0.0.1:1"],
            "--push-headers takes",
        ),
        (
            &["--push", one, "--push-headers", &open],
            "others may read it",
        ),
        (
            &["--push", one, "--push-headers", "/nowhere"],
            "No such file",
        ),
        (
            &["--push", one, "--push", one, "--push-headers", &good],
            "for one server",
        ),
        (&["--push", one, "--push-every", "0"], "above zero"),
        (&["--push-every", "5s"], "--push <URL>"),
    ] {
        let mut command = tracer(["serve", "--pid", &pid])?;
        let ended = process::run(command.args(arguments), b"")?;
        ended.expect_code(2)?;
        ensure!(
            ended.stderr.contains(said),
            "{arguments:?}: {}",
            ended.printed()
        );
        // clap repeats what was given.
        let repeats = ended.stderr.contains("invalid value");
        ensure!(
            repeats || !ended.stderr.contains("s3cret"),
            "{}",
            ended.printed()
        );
    }
    workload.open_gate()?;
    workload.finish()?;
    Ok(())
}
