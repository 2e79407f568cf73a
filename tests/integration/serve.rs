//! `tracer serve`: what Go's pprof, scrapers and those who should get nothing get.

mod access;
mod limits;
mod metrics;
mod privileges;

use std::fs;
use std::net::TcpStream;

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tests::go;
use tests::http::{ask, request};
use tests::process::Ended;
use tests::serving::Serving;
use tests::workload::Workload;
use tests::{profile, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("serve::heap_and_allocs", heap_and_allocs),
        trial::root("serve::go_pprof", go_pprof),
        trial::root("serve::delta", delta),
        trial::root("serve::errors", errors),
        trial::root("serve::token", access::token),
        trial::root("serve::encrypted", access::encrypted),
        trial::root("serve::rebinding", access::rebinding),
        trial::root("serve::networks", access::networks),
        trial::root("serve::unix_socket", access::unix_socket),
        trial::root("serve::refusals", access::refusals),
        trial::root("serve::command_line", access::command_line),
        trial::root("serve::scrapes_at_once", limits::scrapes_at_once),
        trial::root("serve::silent_connections", limits::silent_connections),
        trial::root("serve::large_requests", limits::large_requests),
        trial::root("serve::privileges", privileges::privileges),
        trial::root("serve::as_a_user", privileges::as_a_user),
        trial::root("serve::exec_as_a_user", privileges::exec_as_a_user),
        trial::root("serve::windows", privileges::windows),
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
