//! `/metrics`, for Prometheus: the amounts of the recording, what was missed, what it costs, and the process's memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Gauge, GaugeVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};

use super::Subject;
use crate::printable::printable;
use crate::profile::{CounterClass, Verdict};
use crate::push::Counts;
use crate::session::Snapshot;

/// Of the text form that every Prometheus reads.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is kept from one answer to the next.
#[derive(Debug, Default)]
pub(super) struct Scrapes {
    /// Profiles that were asked for.
    answered: AtomicU64,
    failed: AtomicU64,
    /// The most that was told so far.
    objects: AtomicU64,
    bytes: AtomicU64,
}

/// A counter never falls, or Prometheus takes it for one that began anew. Estimates from windows may.
fn rising(highest: &AtomicU64, value: i64) -> u64 {
    let value = u64::try_from(value).unwrap_or(0);
    highest.fetch_max(value, Ordering::Relaxed).max(value)
}

impl Scrapes {
    pub(super) fn count(&self, is_answered: bool) {
        let which = if is_answered {
            &self.answered
        } else {
            &self.failed
        };
        which.fetch_add(1, Ordering::Relaxed);
    }
}

/// The metrics that are made for one answer.
struct Metrics {
    registry: Registry,
    /// Of every metric.
    labels: HashMap<String, String>,
}

impl Metrics {
    fn of(subject: &Subject) -> Self {
        let text = |text: &str| printable(text).into_owned();
        let mut labels = HashMap::from([
            ("service".to_owned(), text(&subject.name)),
            ("pid".to_owned(), subject.pid.to_string()),
        ]);
        let asked_for = subject.labels.iter();
        labels.extend(asked_for.map(|(key, value)| (key.to_owned(), text(value))));
        Self {
            registry: Registry::new(),
            labels,
        }
    }

    /// The registry would put labels in any order.
    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help).const_labels(self.labels.clone())
    }

    fn add(&self, metric: impl Collector + 'static) -> prometheus::Result<()> {
        self.registry.register(Box::new(metric))
    }

    fn counter(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let counter = IntCounter::with_opts(self.opts(name, help))?;
        counter.inc_by(value);
        self.add(counter)
    }

    fn gauge(&self, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
        let gauge = Gauge::with_opts(self.opts(name, help))?;
        gauge.set(value);
        self.add(gauge)
    }
}

/// All of them as text.
pub(super) fn text(
    subject: &Subject,
    snapshot: &Snapshot,
    scrapes: &Scrapes,
) -> prometheus::Result<String> {
    let metrics = Metrics::of(subject);
    amounts(&metrics, snapshot, scrapes)?;
    memory(&metrics, snapshot)?;
    state(&metrics, snapshot)?;
    let answers = IntCounterVec::new(
        metrics.opts(
            "tracer_profiles_served_total",
            "Profiles that were asked for over HTTP.",
        ),
        &["result"],
    )?;
    for (result, count) in [("ok", &scrapes.answered), ("error", &scrapes.failed)] {
        let count = count.load(Ordering::Relaxed);
        answers.with_label_values(&[result]).inc_by(count);
    }
    metrics.add(answers)?;
    if let Some(counts) = &subject.pushes {
        pushes(&metrics, counts)?;
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&metrics.registry.gather(), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What is sent elsewhere.
fn pushes(metrics: &Metrics, counts: &Counts) -> prometheus::Result<()> {
    let results = IntCounterVec::new(
        metrics.opts(
            "tracer_pushes_total",
            "Profiles that were pushed, by what became of them; retried counts tries that failed.",
        ),
        &["destination", "result"],
    )?;
    let waiting = GaugeVec::new(
        metrics.opts(
            "tracer_push_waiting_bytes",
            "Profiles that wait to be pushed.",
        ),
        &["destination"],
    )?;
    for pushes in counts.all() {
        for (result, count) in pushes.results() {
            let value = results.with_label_values(&[pushes.destination(), result]);
            value.inc_by(count);
        }
        let value = waiting.with_label_values(&[pushes.destination()]);
        value.set(pushes.waiting() as f64);
    }
    metrics.add(results)?;
    metrics.add(waiting)
}

/// What was allocated and what is live: with windows, estimates, and at most.
fn amounts(metrics: &Metrics, snapshot: &Snapshot, scrapes: &Scrapes) -> prometheus::Result<()> {
    let (mut objects, mut bytes, mut live_objects, mut live_bytes) = (0, 0, 0_i64, 0_i64);
    for sample in &snapshot.profile.samples {
        objects += sample.values.alloc_objects;
        bytes += sample.values.alloc_space;
        live_objects += sample.values.inuse_objects;
        live_bytes += sample.values.inuse_space;
    }
    metrics.counter(
        "tracer_allocated_objects_total",
        "Objects allocated since the recording began.",
        rising(&scrapes.objects, objects),
    )?;
    metrics.counter(
        "tracer_allocated_bytes_total",
        "Bytes allocated since the recording began.",
        rising(&scrapes.bytes, bytes),
    )?;
    metrics.gauge(
        "tracer_live_objects",
        "Objects allocated since the recording began and not freed; in windows, candidates.",
        live_objects as f64,
    )?;
    metrics.gauge(
        "tracer_live_bytes",
        "Bytes allocated since the recording began and not freed; in windows, those of candidates.",
        live_bytes as f64,
    )?;
    if let Some(peak) = &snapshot.profile.peak {
        metrics.gauge(
            "tracer_peak_live_bytes",
            "Most bytes that were live at once since the recording began.",
            peak.bytes as f64,
        )?;
    }
    Ok(())
}

/// What the kernel says of the process, and what of it nobody accounts for.
fn memory(metrics: &Metrics, snapshot: &Snapshot) -> prometheus::Result<()> {
    let Some(memory) = snapshot.memory else {
        return Ok(());
    };
    metrics.gauge(
        "tracer_process_resident_bytes",
        "Resident memory of the process.",
        memory.all_resident as f64,
    )?;
    metrics.gauge(
        "tracer_process_anonymous_bytes",
        "Anonymous memory of the process, resident or swapped out.",
        memory.anonymous() as f64,
    )?;
    metrics.gauge(
        "tracer_process_other_bytes",
        "Anonymous memory that is not live in the profile: from before the recording, freed and kept by the \
         allocator, lost to fragmentation, or from elsewhere than the allocator.",
        (memory.anonymous() as f64 - snapshot.status.live_bytes as f64).max(0.0),
    )
}

/// What was missed, what it costs, and what to think of it.
fn state(metrics: &Metrics, snapshot: &Snapshot) -> prometheus::Result<()> {
    let profile = &snapshot.profile;
    let lost = IntCounterVec::new(
        metrics.opts(
            "tracer_lost_total",
            "Events whose amounts or whose callers are missing.",
        ),
        &["reason", "missing"],
    )?;
    for counter in &profile.counters {
        let missing = match counter.class {
            CounterClass::AmountLoss => "amount",
            CounterClass::AttributionLoss => "callers",
            CounterClass::Traffic | CounterClass::Note => continue,
        };
        // Bytes are no events.
        if !counter.name.ends_with("_bytes") {
            let value = lost.with_label_values(&[counter.name.as_str(), missing]);
            value.inc_by(counter.value);
        }
    }
    metrics.add(lost)?;
    let verdict = GaugeVec::new(
        metrics.opts(
            "tracer_verdict",
            "1 for the verdict over the profile, 0 for the others.",
        ),
        &["verdict"],
    )?;
    for name in Verdict::NAMES {
        let is_it = name == profile.verdict.name();
        let value = verdict.with_label_values(&[name]);
        value.set(f64::from(u8::from(is_it)));
    }
    metrics.add(verdict)?;
    let windows = snapshot.status.windows;
    let cost = windows
        .map(|windows| windows.share)
        .or(snapshot.status.cost);
    if let Some(cost) = cost {
        metrics.gauge(
            "tracer_cost_ratio",
            "What tracing takes from the process: of one CPU, or in windows of its CPU time.",
            cost,
        )?;
    }
    metrics.gauge(
        "tracer_recording_seconds",
        "Since the recording began.",
        snapshot.status.elapsed.as_secs_f64(),
    )?;
    metrics.gauge(
        "tracer_stacks",
        "Distinct call stacks in the profile.",
        profile.samples.len() as f64,
    )?;
    let build = GaugeVec::new(
        metrics.opts("tracer_build_info", "The version of tracer."),
        &["version"],
    )?;
    build
        .with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1.0);
    metrics.add(build)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::export::example::counter_service;
    use crate::process::HeapUse;
    use crate::session::{Source, Status};

    fn snapshot() -> Snapshot {
        Snapshot {
            profile: Arc::new(counter_service()),
            status: Status {
                source: Source::Probes,
                elapsed: Duration::from_secs(3),
                alloc_objects: 3_048,
                live_objects: 2_011,
                live_bytes: 3_097_576,
                peak_bytes: 0,
                stacks: 4,
                losses: 2,
                cut: 0,
                cost: Some(0.25),
                windows: None,
            },
            memory: Some(HeapUse {
                resident: 4_000_000,
                all_resident: 5_000_000,
                ..HeapUse::default()
            }),
        }
    }

    #[test]
    fn what_is_counted_never_falls() {
        let highest = AtomicU64::default();
        let told = [5, 7, 6, -1, 8].map(|value| rising(&highest, value));
        assert_eq!(told, [5, 7, 7, 7, 8]);
    }

    #[test]
    fn every_figure_has_a_line() -> prometheus::Result<()> {
        let subject = Subject {
            name: "shop \"a\"\n".to_owned(),
            pid: 42,
            labels: [("team", "web")].into_iter().collect(),
            command_line: Vec::new(),
            pushes: None,
        };
        let scrapes = Scrapes::default();
        scrapes.count(true);
        let text = text(&subject, &snapshot(), &scrapes)?;
        let by = r#"pid="42",service="shop \"a\"\\n",team="web""#;
        for (name, more, value) in [
            ("tracer_allocated_bytes_total", "", "4125276"),
            ("tracer_live_objects", "", "2011"),
            ("tracer_process_resident_bytes", "", "5000000"),
            ("tracer_process_other_bytes", "", "902424"),
            ("tracer_cost_ratio", "", "0.25"),
            ("tracer_recording_seconds", "", "3"),
        ] {
            let line = format!("{name}{{{by}{more}}} {value}");
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        let has = |part: &str| text.lines().any(|line| line.contains(part));
        assert!(
            has(r#"reason="stack_unreadable""#) && has(r#"verdict="degraded"} 1"#),
            "{text}"
        );
        assert!(
            has(r#"verdict="complete"} 0"#) && has(r#"result="ok",service="#),
            "{text}"
        );
        Ok(())
    }
}
