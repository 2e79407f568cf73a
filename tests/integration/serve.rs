//! `tracer serve`: what Go's pprof, scrapers and those who should get nothing get.

mod metrics;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tests::go;
use tests::http::{ask, ask_over, request};
use tests::process::{self, Ended};
use tests::serving::Serving;
use tests::tracing::tracer;
use tests::unwind::{BUILDS, PLUGIN};
use tests::workload::Workload;
use tests::{profile, trial, wait};
use tracer::profile::Profile;

const TOKEN: &str = "a-token-that-nobody-guesses";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("serve::heap_and_allocs", heap_and_allocs),
        trial::root("serve::go_pprof", go_pprof),
        trial::root("serve::delta", delta),
        trial::root("serve::errors", errors),
        trial::root("serve::token", token),
        trial::root("serve::encrypted", encrypted),
        trial::root("serve::rebinding", rebinding),
        trial::root("serve::networks", networks),
        trial::root("serve::unix_socket", unix_socket),
        trial::root("serve::refusals", refusals),
        trial::root("serve::command_line", command_line),
        trial::root("serve::scrapes_at_once", scrapes_at_once),
        trial::root("serve::silent_connections", silent_connections),
        trial::root("serve::large_requests", large_requests),
        trial::root("serve::privileges", privileges),
        trial::root("serve::as_a_user", as_a_user),
        trial::root("serve::exec_as_a_user", exec_as_a_user),
        trial::root("serve::windows", windows),
        trial::root("serve::target_ends", target_ends),
        trial::root("serve::metrics", metrics::exposition),
        trial::plain("serve::alert_rules", metrics::rules),
        trial::heavy("serve::prometheus", metrics::prometheus),
    ]
}

/// Both profiles agree with the ledger, more than once, and differ in what viewers show first.
fn heap_and_allocs() -> Result<()> {
    let mut workload = Workload::start("midlife", &[])?;
    let serving = Serving::start(workload.pid(), &[])?;
    let early = serving.profile("/debug/pprof/heap")?;
    ensure!(profile::total(&early).alloc_objects == 0);
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    let heap = serving.profile_of("/debug/pprof/heap?gc=1", &ledger)?;
    ledger.check_parts(&heap)?;
    ledger.check_parts(&serving.profile("/debug/pprof/allocs")?)?;
    let first = |path: &str| -> Result<String> {
        let folder = TempDir::new()?;
        let file = folder.path().join("profile");
        let answer = serving.ask(path, &[])?;
        let disposition = answer.header("content-disposition").unwrap_or_default();
        let kind = answer.header("content-type").unwrap_or_default();
        ensure!(
            disposition.starts_with("attachment")
                && kind == "application/octet-stream"
                && answer.header("x-content-type-options") == Some("nosniff"),
            "{}",
            answer.head
        );
        fs::write(&file, &answer.body)?;
        go(&["-top", "-nodecount=1"], &file.to_string_lossy()).map(|ended| text(&ended))
    };
    let (heap, allocs) = (first("/debug/pprof/heap")?, first("/debug/pprof/allocs")?);
    ensure!(
        heap.contains("Type: inuse_space") && allocs.contains("Type: alloc_space"),
        "{heap}{allocs}"
    );
    serving.stop()?;
    workload.finish()?;
    Ok(())
}

fn text(ended: &Ended) -> String {
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

fn go(arguments: &[&str], source: &str) -> Result<Ended> {
    go::pprof(arguments.iter().copied().chain([source]))
}

/// As people use it: an address is all that they give.
fn go_pprof() -> Result<()> {
    let mut workload = Workload::start("midlife", &[])?;
    let serving = Serving::start(workload.pid(), &[])?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    serving.profile_of("/debug/pprof/heap", &ledger)?;
    let address = format!("http://{}", serving.address);
    for path in [
        "",
        "/debug/pprof/heap",
        "/debug/pprof/allocs",
        "/debug/pprof/heap?seconds=1",
    ] {
        // Without a path pprof asks for a CPU profile, which nobody can have from outside: it says so.
        let source = format!("{address}{path}");
        let ended = go(&["-raw"], &source)?;
        if path.is_empty() {
            ensure!(
                ended.stderr.contains("Unknown profile"),
                "{}",
                ended.printed()
            );
        } else {
            ended.expect_code(0)?;
            ensure!(
                text(&ended).contains("PeriodType: space bytes"),
                "{}",
                ended.printed()
            );
        }
    }
    // The text is a profile, too.
    let folder = TempDir::new()?;
    let file = folder.path().join("heap.txt");
    let answer = serving.ask("/debug/pprof/heap?debug=1", &[])?;
    fs::write(&file, &answer.body)?;
    let ended = go(&["-raw", "-symbolize=none"], &file.to_string_lossy())?;
    ended.expect_code(0)?;
    let total = profile::total(&serving.profile("/debug/pprof/heap")?);
    let head = format!(
        "heap profile: {}: {} [{}: {}] @ heap/2",
        total.inuse_objects, total.inuse_space, total.alloc_objects, total.alloc_space
    );
    ensure!(
        answer.text().starts_with(&head),
        "{head}\n{}",
        answer.text()
    );
    serving.stop()?;
    workload.finish()?;
    Ok(())
}

/// What happens in a second, and no more; the time is said.
fn delta() -> Result<()> {
    let mut workload = Workload::start("midlife", &[])?;
    let serving = Serving::start(workload.pid(), &[])?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    serving.profile_of("/debug/pprof/heap", &ledger)?;
    let still = serving.profile("/debug/pprof/heap?seconds=1")?;
    let duration = still.metadata.duration_nanos.unwrap_or(0);
    ensure!(
        still.samples.is_empty() && duration >= 1_000_000_000,
        "{duration}\n{}",
        profile::summary(&still)
    );
    serving.stop()?;
    workload.finish()?;
    Ok(())
}

/// Errors as Go says them.
fn errors() -> Result<()> {
    let workload = Workload::start("steady", &[])?;
    let serving = Serving::start(workload.pid(), &[])?;
    for (path, status, said) in [
        ("/debug/pprof/profile", 404, "Unknown profile"),
        ("/debug/pprof/goroutine?debug=1", 404, "Unknown profile"),
        (
            "/debug/pprof/heap?seconds=x",
            400,
            "must be a positive integer",
        ),
        (
            "/debug/pprof/heap?seconds=0",
            400,
            "must be a positive integer",
        ),
        ("/debug/pprof/heap?seconds=1&debug=1", 400, "incompatible"),
        ("/debug/pprof/heap?seconds=99999", 400, "3600 at most"),
        ("/other", 404, "nothing here"),
        ("/debug/pprof/../../etc/passwd", 404, "nothing here"),
        (
            "/debug/pprof/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
            404,
            "Unknown profile",
        ),
        ("//debug/pprof/heap", 404, "nothing here"),
    ] {
        let answer = serving.ask(path, &[])?;
        ensure!(
            answer.status == status
                && answer.text().contains(said)
                && answer.header("x-go-pprof") == Some("1")
                && answer.header("content-type") == Some("text/plain; charset=utf-8"),
            "{path}: {}\n{}",
            answer.head,
            answer.text()
        );
    }
    let host = serving.address.to_string();
    for method in ["POST", "PUT", "DELETE"] {
        let headers = [("Host", host.as_str()), ("Content-Length", "0")];
        let answer = ask(
            serving.address,
            &request(method, "/debug/pprof/heap", &headers),
        )?;
        ensure!(answer.status == 405, "{method}: {}", answer.head);
    }
    let index = serving.ask("/debug/pprof/", &[])?;
    ensure!(
        index.status == 200 && index.text().contains("<a href=heap"),
        "{}",
        index.text()
    );
    ensure!(serving.ask("/debug/pprof", &[])?.header("location") == Some("/debug/pprof/"));
    let symbols = serving.ask("/debug/pprof/symbol?0x1", &[])?;
    ensure!(symbols.text() == "num_symbols: 1\n", "{}", symbols.text());
    serving.stop()?;
    Ok(())
}

fn token_file(folder: &Path) -> Result<String> {
    let file = folder.join("token");
    fs::write(&file, format!("{TOKEN}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(file.to_string_lossy().into_owned())
}

/// Without the token there is nothing, not even a list of what there is.
fn token() -> Result<()> {
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
fn encrypted() -> Result<()> {
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
fn rebinding() -> Result<()> {
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
fn networks() -> Result<()> {
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
fn unix_socket() -> Result<()> {
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
fn refusals() -> Result<()> {
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
fn command_line() -> Result<()> {
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

/// A thousand at once: each gets a profile, or is told to come again.
fn scrapes_at_once() -> Result<()> {
    let mut workload = Workload::start("midlife", &[])?;
    let serving = Serving::start(workload.pid(), &[])?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    serving.profile_of("/debug/pprof/heap", &ledger)?;
    let before = serving.resident()?;
    let answers = std::thread::scope(|threads| {
        let asking: Vec<_> = (0..200)
            .map(|_| {
                threads.spawn(|| {
                    let five = (0..5).map(|_| serving.ask("/debug/pprof/heap", &[]));
                    five.collect::<Vec<_>>()
                })
            })
            .collect();
        let answers = asking.into_iter().map(|one| one.join().unwrap_or_default());
        answers.flatten().collect::<Vec<_>>()
    });
    let mut by_status = BTreeMap::new();
    for answer in answers {
        let status = answer?.status;
        *by_status.entry(status).or_insert(0) += 1;
    }
    ensure!(
        by_status.keys().all(|status| [200, 503].contains(status)),
        "{by_status:?}"
    );
    ensure!(
        by_status.get(&200).is_some_and(|&count| count > 500),
        "{by_status:?}"
    );
    let grown = serving.resident()?.saturating_sub(before);
    ensure!(grown < 32 << 20, "{grown} bytes more");
    ledger.check_parts(&serving.profile("/debug/pprof/heap")?)?;
    serving.stop()?;
    workload.finish()?;
    Ok(())
}

/// Ten thousand that say nothing: others are answered meanwhile, and memory stays bounded.
fn silent_connections() -> Result<()> {
    let workload = Workload::start("steady", &[])?;
    let serving = Serving::start(workload.pid(), &[])?;
    ensure!(serving.ask("/debug/pprof/heap", &[])?.status == 200);
    let before = serving.resident()?;
    let mut silent = std::collections::VecDeque::new();
    for number in 0..10_000 {
        silent.push_back(TcpStream::connect(serving.address)?);
        // This process has no room for all of them.
        if silent.len() > 400 {
            silent.pop_front();
        }
        if number % 1000 == 999 {
            ensure!(serving.ask("/debug/pprof/heap", &[])?.status == 200);
        }
    }
    let grown = serving.resident()?.saturating_sub(before);
    ensure!(grown < 32 << 20, "{grown} bytes more");
    let descriptors = fs::read_dir(format!("/proc/{}/fd", serving.child.pid()))?.count();
    ensure!(descriptors < 500, "{descriptors} descriptors");
    serving.stop()?;
    Ok(())
}

/// Requests that never end.
fn large_requests() -> Result<()> {
    let workload = Workload::start("steady", &[])?;
    let serving = Serving::start(workload.pid(), &[])?;
    ensure!(serving.ask("/debug/pprof/heap", &[])?.status == 200);
    let before = serving.resident()?;
    let host = serving.address.to_string();
    let gigabyte = [("Host", host.as_str()), ("Content-Length", "1073741824")];
    for method in ["GET", "POST"] {
        let answer = ask(
            serving.address,
            &request(method, "/debug/pprof/symbol", &gigabyte),
        )?;
        ensure!(answer.status == 413, "{}", answer.head);
    }
    // Without saying how long it is: pieces of a megabyte, until nobody takes them any more.
    let mut stream = TcpStream::connect(serving.address)?;
    let piece = vec![b'x'; 1 << 20];
    let head = "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    let mut sent = 0;
    while sent < 1024 && write!(stream, "100000\r\n").is_ok() {
        if stream.write_all(&piece).is_err() || stream.write_all(b"\r\n").is_err() {
            break;
        }
        sent += 1;
    }
    ensure!(sent < 1024, "all of it was taken");
    // A head that does not end.
    let mut stream = TcpStream::connect(serving.address)?;
    let _ = write!(stream, "GET /{} HTTP/1.1\r\n", "x".repeat(1 << 20));
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    ensure!(!answer.contains(" 200 "), "{answer}");
    let grown = serving.resident()?.saturating_sub(before);
    ensure!(grown < 16 << 20, "{grown} bytes more");
    ensure!(serving.ask("/debug/pprof/heap", &[])?.status == 200);
    serving.stop()?;
    Ok(())
}

/// No thread has more than a recording needs, and the one that serves has nothing. A new library is still counted.
fn privileges() -> Result<()> {
    keeps_what_it_needs(&[], "0")
}

/// The same as somebody else.
fn as_a_user() -> Result<()> {
    keeps_what_it_needs(&["--user", "65534:65533"], "65534")
}

/// An exec, a library that is loaded later, and a scrape.
fn keeps_what_it_needs(arguments: &[&str], user: &str) -> Result<()> {
    let program = BUILDS[0].program()?;
    let plugin = PLUGIN.program()?;
    let mut command = Command::new(program);
    let mut workload = Workload::start_command(command.args(["plugin", "20"]).arg(plugin))?;
    let serving = Serving::start(workload.pid(), arguments)?;
    for (key, is) in [
        ("Uid:", user),
        ("Gid:", if user == "0" { "0" } else { "65533" }),
    ] {
        for (thread, ids) in serving.status_of_threads(key)? {
            ensure!(
                ids.split_whitespace().all(|id| id == is),
                "{thread}: {key} {ids}"
            );
        }
    }
    for (thread, has) in serving.status_of_threads("CapPrm:")? {
        let has = u64::from_str_radix(&has, 16)?;
        // BPF, PERFMON, SYS_PTRACE, SYS_ADMIN, SYS_NICE, DAC_READ_SEARCH.
        let needed = 1 << 39 | 1 << 38 | 1 << 19 | 1 << 21 | 1 << 23 | 1 << 2;
        let most = if thread == "serve" { 0 } else { needed };
        ensure!(has & !most == 0, "{thread}: {has:x}");
    }
    workload.open_gate()?;
    let profile = wait::until("calls through the library", || {
        let profile = serving.profile("/debug/pprof/heap")?;
        let through = profile::through(&profile, "plugin_inner");
        Ok((through.alloc_objects > 0).then_some(profile))
    })?;
    profile::check_complete(&profile)?;
    serving.stop()?;
    workload.finish()?;
    Ok(())
}

/// What a program does after an exec is seen, by what is kept.
fn exec_as_a_user() -> Result<()> {
    let mut workload = Workload::start("execer", &[])?;
    let serving = Serving::start(workload.pid(), &["--user", "65534:65533"])?;
    workload.open_gate()?;
    wait::until("calls after the exec", || {
        let profile = serving.profile("/debug/pprof/allocs")?;
        let second = profile::through(&profile, "execer_second_life");
        Ok((second.alloc_objects > 0).then_some(()))
    })?;
    serving.stop()?;
    Ok(())
}

/// Windows go on between two scrapes, by what is kept.
fn windows() -> Result<()> {
    let mut workload = Workload::start("steady", &[])?;
    let serving = Serving::start(workload.pid(), &["--max-overhead=2%", "--user", "65534"])?;
    workload.open_gate()?;
    let seen = |profile: &Profile| {
        profile
            .sampled
            .as_ref()
            .map_or(0, |sampled| sampled.windows)
    };
    let first = wait::until("windows", || {
        let profile = serving.profile("/debug/pprof/allocs")?;
        Ok((seen(&profile) > 1).then_some(seen(&profile)))
    })?;
    wait::until("more windows", || {
        let profile = serving.profile("/debug/pprof/allocs")?;
        Ok((seen(&profile) > first + 1).then_some(()))
    })?;
    serving.stop()?;
    Ok(())
}

/// The tracer ends with the process, and says so.
fn target_ends() -> Result<()> {
    let mut workload = Workload::start("midlife", &[])?;
    let mut serving = Serving::start(workload.pid(), &[])?;
    workload.open_gate()?;
    workload.ledger()?;
    workload.finish()?;
    let ended = serving.child.wait()?;
    ended.expect_code(0)?;
    ensure!(
        ended.stderr.contains("the process ended"),
        "{}",
        ended.printed()
    );
    if TcpStream::connect(serving.address).is_ok() {
        bail!("somebody still listens");
    }
    Ok(())
}
