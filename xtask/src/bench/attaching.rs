//! How long the tracer takes to attach to a small service, and to take its probes out.

use anyhow::Context as _;
use anyhow::Result;

use super::Bench;
use super::side::Side;
use super::side::Tracing;
use super::table::Table;
use crate::service::Service;

/// As the tracer says them.
pub(super) struct Times {
    /// Milliseconds from its start to the first event it could count.
    pub(super) attach: f64,
    /// Milliseconds until the last probe was out.
    pub(super) detach: f64,
}

impl Times {
    /// Finds them in what the tracer wrote to standard error.
    pub(super) fn parse(log: &str) -> Result<Self> {
        find(log).with_context(|| format!("the tracer told no times; it said:\n{log}"))
    }
}

fn find(log: &str) -> Option<Times> {
    let line = log
        .lines()
        .find_map(|line| line.strip_prefix("attached in "))?;
    let (attach, detach) = line.split_once(", detached in ")?;
    let milliseconds = |text: &str| text.strip_suffix(" ms")?.parse().ok();
    Some(Times {
        attach: milliseconds(attach)?,
        detach: milliseconds(detach)?,
    })
}

/// Each round one attach, to a fresh service.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Table> {
    const ATTACH: &str = "attach: from the start to the first event";
    let mut table = Table::new("Attaching to counter-service");
    let tracer = Side::Tracer.name();
    bench.rounds(|| {
        let service = Service::start(&bench.binaries.counter_service)?;
        let log = Tracing::tracer(bench, service.pid(), &[])?.stop()?;
        let times = Times::parse(&log)?;
        table.record(ATTACH, "ms", tracer, times.attach);
        table.record(
            "detach: until the last probe is out",
            "ms",
            tracer,
            times.detach,
        );
        service.stop()
    })?;
    table.limit(ATTACH, (ATTACH, tracer), 100.0);
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_among_other_lines() -> Result<()> {
        let times = Times::parse("verdict: complete\nattached in 63 ms, detached in 75 ms\n")?;
        assert_eq!((times.attach, times.detach), (63.0, 75.0));
        assert!(Times::parse("attached to pair (pid 7): malloc").is_err());
        Ok(())
    }
}
