//! Who may ask: tokens, networks, hosts, encryption, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tests::http::{ask, ask_over, request};
use tests::process;
use tests::serving::Serving;
use tests::tracing::tracer;
use tests::workload::Workload;

use super::go;

const TOKEN: &str = "a-token-that-nobody-guesses";

fn token_file(folder: &Path) -> Result<String> {
    let file = folder.join("token");
    fs::write(&file, format!("{TOKEN}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(file.to_string_lossy().into_owned())
}

/// Without the token there is nothing, not even a list of what there is.
pub(super) fn token() -> Result<()> {
    let folder = TempDir::new()?;
    let file = token_file(folder.path())?;
    let workload = Workload::start("steady", &[])?;
    let serving = Serving::start(workload.pid(), &["--token-file", &file])?;
    let bearer = format!("Bearer {TOKEN}");
    for path in [
        "/",
        "/debug/pprof/",
        "/debug/pprof/heap",
        "/debug/pprof/cmdline",
        "/other",
    ] {
        let headers = [
            vec![],
            vec![("Authorization", "Bearer wrong")],
            vec![("Authorization", TOKEN)],
            vec![("Authorization", "Basic Og==")],
        ];
        for headers in headers {
            let answer = serving.ask(path, &headers)?;
            ensure!(
                answer.status == 401 && answer.header("www-authenticate").is_some(),
                "{path}: {}",
                answer.head
            );
            ensure!(!answer.text().contains(TOKEN));
        }
    }
    let answer = serving.ask("/debug/pprof/heap", &[("Authorization", &bearer)])?;
    ensure!(answer.status == 200, "{}", answer.head);
    let source = format!("http://x:{TOKEN}@{}/debug/pprof/heap", serving.address);
    go(&["-raw"], &source)?.expect_code(0)?;
    let ended = serving.stop()?;
    ensure!(ended.stderr.contains("asks for the token") && !ended.stderr.contains(TOKEN));
    Ok(())
}

/// TLS, and nothing in plain on the same port.
pub(super) fn encrypted() -> Result<()> {
    let folder = TempDir::new()?;
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let mut openssl = Command::new("openssl");
    openssl
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-addext", "basicConstraints=critical,CA:TRUE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert);
    process::run(&mut openssl, b"")?.expect_code(0)?;
    let (cert, key) = (
        cert.to_string_lossy().into_owned(),
        key.to_string_lossy().into_owned(),
    );
    let workload = Workload::start("steady", &[])?;
    let serving = Serving::start(workload.pid(), &["--tls-cert", &cert, "--tls-key", &key])?;
    let source = format!("https://{}/debug/pprof/heap", serving.address);
    go::pprof_trusting(Some(Path::new(&cert)), ["-raw", &source])?.expect_code(0)?;
    let unknown = go(&["-raw"], &source)?;
    ensure!(
        unknown.stderr.contains("certificate"),
        "{}",
        unknown.printed()
    );
    let plain = serving.ask("/debug/pprof/heap", &[]);
    ensure!(plain.is_err(), "an answer in plain");
    serving.stop()?;
    // Not the key of that certificate.
    let mut other = Command::new("openssl");
    other.args(["genrsa", "-out", &key, "2048"]);
    process::run(&mut other, b"")?.expect_code(0)?;
    let pid = workload.pid().to_string();
    let arguments = [
        "serve",
        "--pid",
        &pid,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
    ];
    let refused = process::run(&mut tracer(arguments)?, b"")?;
    refused.expect_code(2)?;
    ensure!(refused.stderr.contains("key.pem"), "{}", refused.printed());
    Ok(())
}

/// What a web page elsewhere has a browser send.
pub(super) fn rebinding() -> Result<()> {
    let workload = Workload::start("steady", &[])?;
    let serving = Serving::start(workload.pid(), &["--host", "profiles.example"])?;
    let by = |headers: &[(&str, &str)]| -> Result<u16> {
        let request = request("GET", "/debug/pprof/heap", headers);
        Ok(ask(serving.address, &request)?.status)
    };
    let port = serving.address.port();
    let localhost = format!("localhost:{port}");
    ensure!(by(&[("Host", &localhost)])? == 200);
    ensure!(by(&[("Host", "profiles.example")])? == 200);
    ensure!(by(&[("Host", "evil.example")])? == 421);
    ensure!(by(&[("Host", &format!("evil.example:{port}"))])? == 421);
    ensure!(by(&[("Host", &localhost), ("Host", "evil.example")])? == 400);
    ensure!(by(&[])? == 400);
    let own = format!("http://{localhost}");
    ensure!(by(&[("Host", &localhost), ("Origin", &own)])? == 200);
    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        ensure!(
            by(&[("Host", &localhost), ("Origin", origin)])? == 403,
            "{origin}"
        );
    }
    let absolute = "GET http://evil.example/debug/pprof/heap HTTP/1.1\r\nConnection: close\r\n\r\n";
    ensure!(ask(serving.address, absolute)?.status != 200);
    serving.stop()?;
    Ok(())
}

/// Who connects from elsewhere gets no answer at all.
pub(super) fn networks() -> Result<()> {
    let workload = Workload::start("steady", &[])?;
    let serving = Serving::start(workload.pid(), &["--allow", "10.0.0.0/8"])?;
    ensure!(serving.ask("/debug/pprof/", &[]).is_err());
    serving.stop()?;
    let serving = Serving::start(
        workload.pid(),
        &["--allow", "10.0.0.0/8", "--allow", "127.0.0.0/8"],
    )?;
    ensure!(serving.ask("/debug/pprof/", &[])?.status == 200);
    serving.stop()?;
    Ok(())
}

/// A socket that the file system protects, and that is gone afterwards.
pub(super) fn unix_socket() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("socket");
    let listen = format!("unix:{}", path.display());
    let workload = Workload::start("steady", &[])?;
    let serving = Serving::start(workload.pid(), &["--listen", &listen])?;
    ensure!(fs::metadata(&path)?.permissions().mode() & 0o777 == 0o600);
    let stream = UnixStream::connect(&path)?;
    let answer = ask_over(
        stream,
        &request("GET", "/debug/pprof/heap", &[("Host", "x")]),
    )?;
    ensure!(answer.status == 200, "{}", answer.head);
    serving.stop()?;
    ensure!(!path.exists(), "the socket is left");
    Ok(())
}

/// What would be open to everybody, or can't be, is refused before anything is touched.
pub(super) fn refusals() -> Result<()> {
    let folder = TempDir::new()?;
    let weak = folder.path().join("weak");
    fs::write(&weak, TOKEN)?;
    fs::set_permissions(&weak, fs::Permissions::from_mode(0o644))?;
    let weak = weak.to_string_lossy().into_owned();
    let held = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = held.local_addr()?.to_string();
    let workload = Workload::start("steady", &[])?;
    let pid = workload.pid().to_string();
    for (arguments, said) in [
        (vec!["--listen", "0.0.0.0:0"], "--token-file"),
        (vec!["--listen", "[::]:0"], "--token-file"),
        (vec!["--listen", "somewhere"], "ADDRESS:PORT"),
        (vec!["--listen", &taken], "cannot listen on"),
        (vec!["--token-file", "/nowhere"], "token file"),
        (vec!["--token-file", &weak], "others may read it"),
        (vec!["--tls-cert", &weak], "--tls-key"),
        (vec!["--tls-cert", &weak, "--tls-key", &weak], "certificate"),
        (vec!["--allow", "10.0.0.0/40"], "--allow"),
    ] {
        let mut command = tracer(["serve", "--pid", &pid])?;
        let refused = process::run(command.args(&arguments), b"")?;
        refused.expect_code(2)?;
        ensure!(
            refused.stderr.contains(said),
            "{arguments:?}: {}",
            refused.printed()
        );
        ensure!(!refused.stderr.contains(TOKEN));
    }
    drop(held);
    Ok(())
}

/// Arguments may hold secrets: they are shown where somebody asked for it only.
pub(super) fn command_line() -> Result<()> {
    let workload = Workload::start("steady", &[])?;
    let expected = fs::read(format!("/proc/{}/cmdline", workload.pid()))?;
    let expected = expected.strip_suffix(b"\0").unwrap_or(&expected);
    let program = expected.split(|&byte| byte == 0).next().unwrap_or_default();
    for (arguments, wanted) in [(&[][..], program), (&["--show-cmdline"], expected)] {
        let serving = Serving::start(workload.pid(), arguments)?;
        let answer = serving.ask("/debug/pprof/cmdline", &[])?;
        ensure!(answer.body == wanted, "{}", answer.text());
        serving.stop()?;
    }
    Ok(())
}
