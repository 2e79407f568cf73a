//! `/metrics`, and the files in `contrib/` that go by them: judged by Prometheus's own tools.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tests::http::{ask, request};
use tests::process::{self, Child};
use tests::workload::Workload;
use tests::{profile, wait};

use tests::serving::Serving;

const NEEDS: &str = "needs Prometheus: apt-get install prometheus";

/// Keeps 4,000 bytes fifty times a second, or replaces them.
const PROGRAM: &str = "
import sys, time
kept = [bytearray(4000) for _ in range(100)]
number = 0
print('ready', flush=True)
while True:
    if sys.argv[1] == 'leaks':
        kept.append(bytearray(4000))
    else:
        kept[number % 100] = bytearray(4000)
    number += 1
    time.sleep(0.02)
";

fn contrib() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib")
}

fn promtool(arguments: &[&str], stdin: &str) -> Result<String> {
    let mut command = Command::new("promtool");
    command
        .args(arguments)
        .current_dir(contrib().join("prometheus"));
    let ended = process::run(&mut command, stdin.as_bytes()).context(NEEDS)?;
    ended.expect_code(0)?;
    Ok(ended.printed())
}

/// Names and types are as Prometheus has them, and the amounts those of the profile.
pub(super) fn exposition() -> Result<()> {
    let mut workload = Workload::start("midlife", &[])?;
    let serving = Serving::start(workload.pid(), &[])?;
    workload.open_gate()?;
    let ledger = workload.ledger()?;
    let heap = serving.profile_of("/debug/pprof/heap", &ledger)?;
    // The cost is known when a child of the tracer's own has been measured.
    let text = wait::until("the cost", || {
        let text = serving.ask("/metrics", &[])?.text();
        Ok(text.contains("tracer_cost_ratio").then_some(text))
    })?;
    let complaints = promtool(&["check", "metrics"], &text)?;
    ensure!(!complaints.contains("tracer_"), "{complaints}\n{text}");
    let total = profile::total(&heap);
    for (name, value) in [
        ("tracer_allocated_objects_total", total.alloc_objects),
        ("tracer_allocated_bytes_total", total.alloc_space),
        ("tracer_live_objects", total.inuse_objects),
        ("tracer_live_bytes", total.inuse_space),
    ] {
        ensure!(
            amount(&text, name)? == value as f64,
            "{name}: {value}\n{text}"
        );
    }
    let resident = amount(&text, "tracer_process_resident_bytes")?;
    ensure!(
        resident > 0.0 && amount(&text, "tracer_lost_total")? == 0.0,
        "{text}"
    );
    ensure!(text.contains("verdict=\"complete\"} 1"), "{text}");
    // What the files go by is there.
    let known: BTreeSet<&str> = text.lines().filter_map(name_of).collect();
    for file in ["prometheus/tracer.rules.yml", "grafana/tracer.json"] {
        let file = fs::read_to_string(contrib().join(file))?;
        let words = file.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.starts_with("tracer_")) {
            ensure!(known.contains(word), "{word}: {known:?}");
        }
    }
    serving.stop()?;
    workload.finish()?;
    Ok(())
}

fn name_of(line: &str) -> Option<&str> {
    line.split(['{', ' '])
        .next()
        .filter(|name| name.starts_with("tracer_"))
}

/// The sum of a metric's values.
fn amount(text: &str, name: &str) -> Result<f64> {
    let lines = text.lines().filter(|line| name_of(line) == Some(name));
    let values: Vec<f64> = lines
        .map(|line| Ok(line.rsplit(' ').next().context("no value")?.parse()?))
        .collect::<Result<_>>()?;
    ensure!(!values.is_empty(), "no {name}\n{text}");
    Ok(values.into_iter().sum())
}

/// The alerts fire where memory grows and goes on, and not where it goes up and down.
pub(super) fn rules() -> Result<()> {
    promtool(&["check", "rules", "tracer.rules.yml"], "")?;
    promtool(&["check", "config", "--syntax-only", "scrape.yml"], "")?;
    promtool(&["test", "rules", "tracer.rules.test.yml"], "")?;
    let dashboard = fs::read(contrib().join("grafana/tracer.json"))?;
    let dashboard: serde_json::Value = serde_json::from_slice(&dashboard)?;
    ensure!(
        dashboard["panels"]
            .as_array()
            .is_some_and(|panels| panels.len() > 5)
    );
    Ok(())
}

/// A Prometheus that scrapes two processes, by the rules with seconds for minutes: one leaks.
pub(super) fn prometheus() -> Result<()> {
    let start = |how: &str| -> Result<(Child, Serving)> {
        let mut command = Command::new("/usr/bin/python3");
        let mut child = Child::spawn(command.args(["-c", PROGRAM, how]))?;
        child.wait_line(|child| &child.stdout, "`ready`", |line| line == "ready")?;
        let serving = Serving::start(child.pid(), &[])?;
        Ok((child, serving))
    };
    let (mut leaking, by_leaking) = start("leaks")?;
    let (mut healthy, by_healthy) = start("replaces")?;
    let folder = TempDir::new()?;
    let rules = fs::read_to_string(contrib().join("prometheus/tracer.rules.yml"))?;
    let quick = rules
        .replace("10m", "10s")
        .replace("9m", "9s")
        .replace("15m", "5s");
    fs::write(folder.path().join("rules.yml"), quick)?;
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: [rules.yml]\n\
         scrape_configs:\n  - job_name: tracer\n    static_configs:\n      - targets: [\"{}\", \"{}\"]\n",
        by_leaking.address, by_healthy.address
    );
    fs::write(folder.path().join("prometheus.yml"), config)?;
    // Another may take it until Prometheus has it: then it says so, and ends.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = Command::new("prometheus");
    command
        .arg("--config.file=prometheus.yml")
        .arg("--storage.tsdb.path=data")
        .arg(format!("--web.listen-address={address}"))
        .current_dir(folder.path());
    let mut prometheus = Child::spawn(&mut command).context(NEEDS)?;
    let asked = wait::until("the alert", || {
        ensure!(prometheus.is_running()?, "{}", prometheus.stderr.text());
        let Ok(alerts) = get(address, "/api/v1/alerts") else {
            return Ok(None);
        };
        let alerts = alerts["data"]["alerts"].as_array().cloned();
        let firing = alerts.unwrap_or_default().into_iter().find(|alert| {
            alert["state"] == "firing" && alert["labels"]["alertname"] == "ProcessMemoryGrows"
        });
        Ok(firing)
    })?;
    ensure!(
        asked["labels"]["pid"].as_str() == Some(&leaking.pid().to_string()),
        "{asked}"
    );
    // As long again, for the other.
    wait::until("a minute of scrapes", || {
        let scraped = get(
            address,
            "/api/v1/query?query=min(count_over_time(up%5B5m%5D))",
        )?;
        let count = scraped["data"]["result"][0]["value"][1].as_str();
        Ok(count
            .is_some_and(|count| count.parse().is_ok_and(|count: u32| count >= 60))
            .then_some(()))
    })?;
    let alerts = get(address, "/api/v1/alerts")?.to_string();
    ensure!(
        !alerts.contains(&format!("\"pid\":\"{}\"", healthy.pid())),
        "{alerts}"
    );
    let up = get(
        address,
        "/api/v1/query?query=min(min_over_time(up%5B30s%5D))",
    )?;
    ensure!(up["data"]["result"][0]["value"][1] == "1", "{up}");
    prometheus.signal(Signal::TERM)?;
    prometheus.wait()?.expect_code(0)?;
    for serving in [by_leaking, by_healthy] {
        serving.stop()?;
    }
    for child in [&mut leaking, &mut healthy] {
        child.signal(Signal::KILL)?;
        child.wait()?;
    }
    Ok(())
}

fn get(address: SocketAddr, path: &str) -> Result<serde_json::Value> {
    let answer = ask(
        address,
        &request("GET", path, &[("Host", &address.to_string())]),
    )?;
    ensure!(answer.status == 200, "{path}: {}", answer.head);
    let text = answer.text();
    // In pieces or whole.
    let (start, end) = (text.find('{'), text.rfind('}'));
    let (start, end) = start.zip(end).context("no JSON")?;
    Ok(serde_json::from_str(&text[start..=end])?)
}
