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
/// At saturation: where windows are held, the recording begins with some 0.1 s of exact tracing.
const SATURATED: Duration = Duration::from_secs(8);
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
    let saturated = saturate(bench, service)?;
    record(SATURATION, "requests/s", saturated.rate);
    record(
        "99th percentile of the latency at saturation",
        "us",
        saturated.p99,
    );
    #[expect(clippy::cast_precision_loss, reason = "megabytes, two digits shown")]
    let megabytes = service::resident_bytes(service.pid())? as f64 / 1e6;
    record("resident after the load", "MB", megabytes);
    Ok(())
}

/// What wrk measured with all connections busy.
#[derive(Debug, PartialEq)]
struct Saturated {
    /// Requests per second that were answered.
    rate: f64,
    /// 99th percentile of the latency, in microseconds.
    p99: f64,
}

fn saturate(bench: &Bench<'_>, service: &Service) -> Result<Saturated> {
    let url = format!("http://{}/count", service.address);
    let seconds = SATURATED.as_secs().to_string();
    let report = output(bench.workspace.command("wrk").args([
        "--threads",
        "2",
        "--connections",
        "32",
        "--latency",
        "--duration",
        &seconds,
        &url,
    ]))?;
    parse(&report).with_context(|| format!("wrk said:\n{report}"))
}

fn parse(report: &str) -> Option<Saturated> {
    let after = |word| {
        let mut lines = report.lines().map(str::trim);
        lines.find_map(|line| Some(line.strip_prefix(word)?.trim()))
    };
    Some(Saturated {
        rate: after("Requests/sec:")?.parse().ok()?,
        p99: time(after("99%")?)?,
    })
}

/// A time as wrk shows it, in microseconds.
fn time(shown: &str) -> Option<f64> {
    let unit = shown.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = shown.split_at(unit);
    let microseconds = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * microseconds)
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
    fn rate_and_latency_are_found_in_wrks_report() {
        let report = "  Latency Distribution\n     50%  324.00us\n     99%    1.50ms\n  3 requests in 3.00s, 12.09MB \
                      read\nRequests/sec:  34363.46\n";
        let expected = Saturated {
            rate: 34_363.46,
            p99: 1_500.0,
        };
        assert_eq!(parse(report), Some(expected));
        assert_eq!(parse("Socket errors"), None);
        assert_eq!(time("12"), None);
    }
}
