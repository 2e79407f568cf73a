//! What is said on standard error while a recording runs and when it ends.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

use crate::printable::printable;
use crate::profile::Values;
use crate::session::{Recording, Source, Status};

/// The live line; nothing where standard error is no terminal.
pub(super) struct StatusLine {
    bar: Option<ProgressBar>,
    last: Option<Status>,
}

impl StatusLine {
    /// How often it is refreshed.
    pub(super) const INTERVAL: Duration = Duration::from_millis(500);

    pub(super) fn new(shown: bool) -> Self {
        use std::io::IsTerminal as _;
        let bar = (shown && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, last: None }
    }

    pub(super) const fn is_shown(&self) -> bool {
        self.bar.is_some()
    }

    pub(super) fn update(&mut self, status: &Status) {
        let Some(bar) = &self.bar else { return };
        bar.set_message(line(status, self.last.as_ref()));
        bar.tick();
        self.last = Some(*status);
    }

    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(status: &Status, last: Option<&Status>) -> String {
    let (objects, seconds) = last.map_or(
        (status.alloc_objects, status.elapsed.as_secs_f64()),
        |last| {
            (
                status.alloc_objects.saturating_sub(last.alloc_objects),
                status.elapsed.saturating_sub(last.elapsed).as_secs_f64(),
            )
        },
    );
    let rate = if seconds > 0.0 {
        (objects as f64 / seconds).round() as u64
    } else {
        0
    };
    let amounts = match (status.source, status.windows) {
        (Source::Probes, Some(windows)) => format!(
            "{} windows of {:.1} ms together ({:.2}% of the time)  {} allocations in them",
            HumanCount(windows.windows),
            windows.exposure.as_secs_f64() * 1e3,
            part(windows.exposure, status.elapsed),
            HumanCount(status.alloc_objects),
        ),
        (Source::Probes, None) => format!(
            "{} allocations/s  live {} in {} objects  peak {}",
            HumanCount(rate),
            HumanBytes(status.live_bytes),
            HumanCount(status.live_objects),
            HumanBytes(status.peak_bytes.max(status.live_bytes)),
        ),
        (Source::Growth, _) => format!(
            "{} pages/s  {} more resident",
            HumanCount(rate),
            HumanBytes(status.live_bytes),
        ),
    };
    format!(
        "{:>4}s  {amounts}  {} stacks  {}{}",
        status.elapsed.as_secs(),
        HumanCount(status.stacks as u64),
        match (status.losses, status.cut) {
            (0, 0) => "nothing lost".to_owned(),
            (0, cut) => format!("{} with cut stacks", HumanCount(cut)),
            (lost, 0) => format!("{} lost", HumanCount(lost)),
            (lost, cut) => format!(
                "{} lost, {} with cut stacks",
                HumanCount(lost),
                HumanCount(cut)
            ),
        },
        match (status.windows, status.cost) {
            (Some(windows), _) => format!("  takes {:.2}%", windows.share * 100.0),
            (None, Some(share)) => format!("  costs {:.1}% of a CPU", share * 100.0),
            (None, None) => String::new(),
        },
    )
}

/// A part of some time, in percent.
fn part(time: Duration, of: Duration) -> f64 {
    time.as_secs_f64() / of.as_secs_f64().max(1e-9) * 100.0
}

/// What a finished recording amounts to: totals, verdict with its reasons, notes.
pub(super) fn summary(recording: &Recording) -> String {
    let profile = &recording.profile;
    let total = profile
        .samples
        .iter()
        .fold(Values::default(), |sum, sample| sum.plus(sample.values));
    let bytes = |value: i64| HumanBytes(value.unsigned_abs());
    let count = |value: i64| HumanCount(value.unsigned_abs());
    let peak = profile.peak.map_or_else(String::new, |peak| {
        let since = match recording.mode {
            "attach" => " of what was allocated since the attach",
            _ => "",
        };
        format!("peak {peak}{since}\n")
    });
    let (inuse, alloc, unit) = match (recording.source, recording.windows) {
        (Source::Probes, Some(_)) => {
            let alloc = match profile.sampled {
                Some(_) => "allocated",
                None => "allocated in windows",
            };
            ("perhaps live", alloc, "objects")
        }
        (Source::Probes, None) => ("live", "allocated", "objects"),
        (Source::Growth, _) => ("still resident", "became resident", "pages"),
    };
    let estimated = profile.sampled.map_or_else(String::new, |sampled| {
        let time = Duration::from_nanos(sampled.nanos);
        format!(
            "estimated from {} windows, {:.1} ms together ({:.2}% of the time); all amounts share an error of ±{:.1}%\n",
            HumanCount(sampled.windows),
            time.as_secs_f64() * 1e3,
            part(time, recording.elapsed),
            sampled.shared_space * 100.0,
        )
    });
    let mut text = format!(
        "{} {inuse} in {} {unit}; {} {alloc} in {} {unit}, from {} stacks\n{estimated}{peak}verdict: {}",
        bytes(total.inuse_space),
        count(total.inuse_objects),
        bytes(total.alloc_space),
        count(total.alloc_objects),
        HumanCount(profile.samples.len() as u64),
        profile.verdict.name(),
    );
    for reason in profile.verdict.reasons() {
        text.push_str("\n  ");
        text.push_str(&printable(reason));
    }
    for note in &profile.metadata.notes {
        text.push_str("\nnote: ");
        text.push_str(&printable(note));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::WindowsStatus;

    fn status(seconds: u64, alloc_objects: u64, losses: u64) -> Status {
        Status {
            source: Source::Probes,
            elapsed: Duration::from_secs(seconds),
            alloc_objects,
            live_objects: 12_345,
            live_bytes: 3 << 20,
            peak_bytes: 5 << 20,
            stacks: 7,
            losses,
            cut: 0,
            cost: Some(0.0123),
            windows: None,
        }
    }

    #[test]
    fn the_line_shows_the_rate_since_the_last_one() {
        let shown = line(&status(4, 9_000, 0), Some(&status(2, 5_000, 0)));
        assert_eq!(
            shown,
            "   4s  2,000 allocations/s  live 3.00 MiB in 12,345 objects  peak 5.00 MiB  7 stacks  nothing lost  costs 1.2% of a CPU"
        );
    }

    #[test]
    fn growth_has_pages_and_no_peak() {
        let status = Status {
            source: Source::Growth,
            ..status(4, 8_000, 0)
        };
        assert_eq!(
            line(&status, None),
            "   4s  2,000 pages/s  3.00 MiB more resident  7 stacks  nothing lost  costs 1.2% of a CPU"
        );
    }

    #[test]
    fn windows_are_counted() {
        let status = Status {
            windows: Some(WindowsStatus {
                windows: 12,
                exposure: Duration::from_micros(25_300),
                share: 0.0187,
                ..WindowsStatus::default()
            }),
            ..status(4, 8_000, 0)
        };
        assert_eq!(
            line(&status, None),
            "   4s  12 windows of 25.3 ms together (0.63% of the time)  8,000 allocations in them  7 stacks  nothing lost  takes 1.87%"
        );
    }

    #[test]
    fn losses_are_shown() {
        assert!(line(&status(4, 9_000, 3), None).contains("3 lost  costs"));
        let cut = |lost| {
            let status = Status {
                cut: 5,
                ..status(4, 9_000, lost)
            };
            line(&status, None)
        };
        assert!(cut(3).contains("3 lost, 5 with cut stacks"));
        assert!(cut(0).contains("  5 with cut stacks"));
    }
}
