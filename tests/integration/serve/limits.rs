//! Too many, too large, too slow: the rest is answered meanwhile, and memory stays bounded.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Result, ensure};
use tests::http::{ask, request};
use tests::serving::Serving;
use tests::workload::Workload;

/// A thousand at once: each gets a profile, or is told to come again.
pub(super) fn scrapes_at_once() -> Result<()> {
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
pub(super) fn silent_connections() -> Result<()> {
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
pub(super) fn large_requests() -> Result<()> {
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
