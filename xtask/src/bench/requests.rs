//! The cost on a service: `counter-service` at a fixed rate, and at saturation under wrk.

use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;

use super::Bench;
use super::table::Table;
use super::ways::Running;
use super::ways::WAYS;
use crate::load;
use crate::service;
use crate::service::Service;
use crate::workspace::output;

const RATE: u32 = 2_000;
const LENGTH: Duration = Duration::from_secs(3);
const SATURATION: &str = "saturation";

/// Every way in every round, on a fresh service each time.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Table> {
    let mut table = Table::new("counter-service, GET /count over loopback");
    let mut ways = Vec::new();
    let mut missing = Vec::new();
    for way in WAYS {
        table.compare(way.name, way.baseline);
        match way.missing()? {
            None => ways.push(way),
            Some(why) => missing.push(why),
        }
    }
    // Two ways may need the same.
    missing.dedup();
    for why in &missing {
        table.note(why);
    }
    bench.rounds(|| {
        for way in &ways {
            let running = way
                .start(bench)
                .with_context(|| format!("the column {}", way.name))?;
            measure_service(bench, &running, |quantity, unit, value| {
                table.record(quantity, unit, way.name, value);
            })?;
            running.stop()?;
        }
        Ok(())
    })?;
    for way in ways.iter().filter(|way| way.name != way.baseline) {
        let name = format!(
            "share of the requests per second kept, {} / {}",
            way.name, way.baseline
        );
        let baseline = (SATURATION, way.baseline);
        table.ratio(&name, (SATURATION, way.name), baseline, None);
    }
    Ok(table)
}

fn measure_service(
    bench: &Bench<'_>,
    running: &Running,
    mut record: impl FnMut(&str, &str, f64),
) -> Result<()> {
    let service = &running.service;
    let tracers = running.tracers();
    load::run(&service.address, "/count", RATE, LENGTH / 10).context("warm-up")?;
    let start = Instant::now();
    let before = service::cpu_time(service.pid())?;
    let tracers_before = cpu_time_of(&tracers)?;
    let outcome = load::run(&service.address, "/count", RATE, LENGTH)?;
    let used = service::cpu_time(service.pid())?.saturating_sub(before);
    let tracers_used = cpu_time_of(&tracers)?.saturating_sub(tracers_before);
    let took = start.elapsed();
    let answered = u32::try_from(outcome.answered)?.max(1);
    record(
        "answered where 2,000 a second are asked for",
        "requests/s",
        f64::from(answered) / took.as_secs_f64(),
    );
    record(
        "CPU time of the service at 2,000 a second",
        "% of a CPU",
        percent(used, took),
    );
    if !tracers.is_empty() {
        record(
            "CPU time of who traces at 2,000 a second, beside it",
            "% of a CPU",
            percent(tracers_used, took),
        );
    }
    record(
        "CPU time per request at 2,000 a second",
        "us",
        microseconds(used / answered),
    );
    record(
        "median latency at 2,000 a second",
        "us",
        microseconds(outcome.median_latency),
    );
    record(
        "99th percentile of the latency at 2,000 a second",
        "us",
        microseconds(outcome.p99_latency),
    );
    record(SATURATION, "requests/s", saturate(bench, service)?);
    #[expect(clippy::cast_precision_loss, reason = "megabytes, two digits shown")]
    let megabytes = service::resident_bytes(service.pid())? as f64 / 1e6;
    record("resident after the load", "MB", megabytes);
    Ok(())
}

/// Requests per second that wrk gets answered with all connections busy.
fn saturate(bench: &Bench<'_>, service: &Service) -> Result<f64> {
    let url = format!("http://{}/count", service.address);
    let seconds = LENGTH.as_secs().to_string();
    let report = output(bench.workspace.command("wrk").args([
        "--threads",
        "2",
        "--connections",
        "32",
        "--duration",
        &seconds,
        &url,
    ]))?;
    parse_rate(&report).with_context(|| format!("wrk said:\n{report}"))
}

fn parse_rate(report: &str) -> Option<f64> {
    report
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))?
        .trim()
        .parse()
        .ok()
}

fn cpu_time_of(processes: &[u32]) -> Result<Duration> {
    processes.iter().copied().map(service::cpu_time).sum()
}

fn percent(part: Duration, whole: Duration) -> f64 {
    100.0 * part.as_secs_f64() / whole.as_secs_f64()
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_in_wrks_report() {
        let report = "  3 requests in 3.00s, 12.09MB read\nRequests/sec:  34363.46\n";
        assert_eq!(parse_rate(report), Some(34363.46));
        assert_eq!(parse_rate("Socket errors"), None);
    }
}
