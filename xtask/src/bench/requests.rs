//! The cost on a service: `counter-service` at a fixed rate, and at saturation under wrk.

use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;

use super::Bench;
use super::side::Side;
use super::table::Table;
use crate::load;
use crate::service;
use crate::service::Service;
use crate::workspace::output;

const RATE: u32 = 2_000;
const LENGTH: Duration = Duration::from_secs(3);
const SATURATION: &str = "saturation";
const SIDES: [Side; 3] = [Side::Untraced, Side::Tracer, Side::Peer];

/// Every side in every round, on a fresh service each time.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Table> {
    let mut table = Table::new("counter-service, GET /count over loopback");
    bench.rounds(|| {
        for side in SIDES {
            let service = Service::start(&bench.binaries.counter_service)?;
            let attached = side
                .attach(bench, service.pid())
                .with_context(|| format!("the side {}", side.name()))?;
            measure_service(bench, &service, |quantity, unit, value| {
                table.record(quantity, unit, side.name(), value);
            })?;
            attached.detach()?;
            service.stop()?;
        }
        Ok(())
    })?;
    for side in [Side::Tracer, Side::Peer] {
        let untraced = (SATURATION, Side::Untraced.name());
        let name = format!("share of the requests per second kept, {}", side.name());
        table.ratio(&name, (SATURATION, side.name()), untraced, None);
    }
    Ok(table)
}

fn measure_service(
    bench: &Bench<'_>,
    service: &Service,
    mut record: impl FnMut(&str, &str, f64),
) -> Result<()> {
    load::run(&service.address, "/count", RATE, LENGTH / 10).context("warm-up")?;
    let before = service::cpu_time(service.pid())?;
    let outcome = load::run(&service.address, "/count", RATE, LENGTH)?;
    let used = service::cpu_time(service.pid())?.saturating_sub(before);
    let answered = u32::try_from(outcome.answered)?.max(1);
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
