//! What is said on standard error while a recording runs and when it ends.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::HumanCount;

use crate::printable::printable;
use crate::profile::Values;
use crate::session::{AmountWords, Ended, Recording, Source, Status};
use crate::size::Size;

/// The live line; nothing where standard error is no terminal.
pub(super) struct StatusLine {
    is_shown: bool,
    last: Option<Status>,
    /// Of the window, when the line was drawn last.
    columns: usize,
}

impl StatusLine {
    /// How often it is refreshed.
    pub(super) const INTERVAL: Duration = Duration::from_millis(500);

    pub(super) fn new(shown: bool) -> Self {
        Self {
            is_shown: shown && io::stderr().is_terminal(),
            last: None,
            columns: 0,
        }
    }

    pub(super) const fn is_shown(&self) -> bool {
        self.is_shown
    }

    pub(super) fn update(&mut self, status: &Status) {
        if !self.is_shown {
            return;
        }
        // Asked each time: the window may have another size now.
        let columns = columns();
        let text = fit(line(status, self.last.as_ref()), columns);
        self.draw(&text, columns);
        self.last = Some(*status);
    }

    pub(super) fn clear(&mut self) {
        if self.is_shown {
            self.draw("", columns());
        }
    }

    /// Replaces the line. The cursor stays at its beginning: where a narrower window breaks the line in two, it
    /// is still above all of it, and all below is cleared.
    fn draw(&mut self, text: &str, columns: usize) {
        let clear = if columns < self.columns { "J" } else { "K" };
        self.columns = columns;
        let mut out = io::stderr().lock();
        let _ = write!(out, "\r\x1b[{clear}{text}\r").and_then(|()| out.flush());
    }
}

impl Drop for StatusLine {
    /// What is said next begins on an empty line, an error above all.
    fn drop(&mut self) {
        self.clear();
    }
}

/// Columns of the terminal; 80 where it does not say.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    size.ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|&columns| columns > 0)
        .unwrap_or(80)
}

/// A part of the line.
struct Part {
    /// What goes first where there is too little room has the largest number; 0 stays.
    rank: u8,
    text: String,
}

fn part(rank: u8, text: impl Into<String>) -> Part {
    let text = text.into();
    Part { rank, text }
}

/// The parts that fit into so many columns, one of which stays free for the cursor.
fn fit(mut parts: Vec<Part>, columns: usize) -> String {
    loop {
        let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
        let text = texts.join("  ");
        let room = columns.saturating_sub(1);
        let last = parts.iter().map(|part| part.rank).max().unwrap_or(0);
        if text.chars().count() <= room {
            return text;
        }
        if last == 0 {
            return text.chars().take(room).collect();
        }
        parts.retain(|part| part.rank < last);
    }
}

fn line(status: &Status, last: Option<&Status>) -> Vec<Part> {
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
    let mut parts = vec![part(0, format!("{:>4}s", status.elapsed.as_secs()))];
    parts.extend(amounts(status, rate));
    parts.push(part(
        4,
        format!("{} stacks", HumanCount(status.stacks as u64)),
    ));
    let is_lossy = (status.losses, status.cut) != (0, 0);
    parts.push(part(if is_lossy { 0 } else { 3 }, status.losses_in_words()));
    parts.extend(status.cost_in_words().map(|cost| part(0, cost)));
    parts
}

fn amounts(status: &Status, rate: u64) -> Vec<Part> {
    match (status.source, status.windows) {
        (Source::Probes, Some(windows)) => vec![
            part(
                1,
                format!(
                    "{} windows of {:.1} ms together",
                    HumanCount(windows.windows),
                    windows.exposure.as_secs_f64() * 1e3,
                ),
            ),
            part(
                5,
                format!(
                    "({:.2}% of the time)",
                    percent(windows.exposure, status.elapsed)
                ),
            ),
            part(
                2,
                format!("{} allocations in them", HumanCount(status.alloc_objects)),
            ),
        ],
        (Source::Probes, None) => vec![
            part(1, format!("{} allocations/s", HumanCount(rate))),
            part(0, format!("live {}", Size::from(status.live_bytes))),
            part(5, format!("in {} objects", HumanCount(status.live_objects))),
            part(
                2,
                format!(
                    "peak {}",
                    Size::from(status.peak_bytes.max(status.live_bytes))
                ),
            ),
        ],
        (Source::Growth, _) => vec![
            part(1, format!("{} pages/s", HumanCount(rate))),
            part(
                0,
                format!("{} more resident", Size::from(status.live_bytes)),
            ),
        ],
    }
}

/// A part of some time, in percent.
fn percent(time: Duration, of: Duration) -> f64 {
    time.as_secs_f64() / of.as_secs_f64().max(1e-9) * 100.0
}

/// What a finished recording amounts to: totals, verdict with its reasons, notes.
pub(super) fn summary(recording: &Recording) -> String {
    let profile = &recording.profile;
    let total = profile
        .samples
        .iter()
        .fold(Values::default(), |sum, sample| sum.plus(sample.values));
    let bytes = |value: i64| Size::from(value);
    let count = |value: i64| HumanCount(value.unsigned_abs());
    let peak = profile.peak.map_or_else(String::new, |peak| {
        let since = match recording.mode {
            "attach" => " of what was allocated since the attach",
            _ => "",
        };
        format!("peak {peak}{since}\n")
    });
    let AmountWords { inuse, alloc, unit } = AmountWords::of(
        recording.source,
        recording.windows.is_some(),
        profile.sampled.is_some(),
    );
    let estimated = profile.sampled.map_or_else(String::new, |sampled| {
        let time = Duration::from_nanos(sampled.nanos);
        format!(
            "estimated from {} windows, {:.1} ms together ({:.2}% of the time); all amounts share an error of ±{:.1}%\n",
            HumanCount(sampled.windows),
            time.as_secs_f64() * 1e3,
            percent(time, recording.elapsed),
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

/// How a recording ended of which nothing is written.
pub(super) fn farewell(recording: &Recording) -> String {
    let why = match recording.ended {
        Ended::TargetExited => "the process ended",
        Ended::MadeWay => {
            "the probes were taken out: a program that reads code as data has turned up"
        }
        Ended::Elapsed | Ended::Interrupted => "stopped",
    };
    format!(
        "{why} after {:.0} s; nothing is left in it",
        recording.elapsed.as_secs_f64()
    )
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

    fn wide(status: &Status, last: Option<&Status>) -> String {
        fit(line(status, last), 200)
    }

    #[test]
    fn the_line_shows_the_rate_since_the_last_one() {
        let shown = wide(&status(4, 9_000, 0), Some(&status(2, 5_000, 0)));
        assert_eq!(
            shown,
            "   4s  2,000 allocations/s  live 3.00 MB  in 12,345 objects  peak 5.00 MB  7 stacks  nothing lost  costs 1.2% of a CPU"
        );
    }

    #[test]
    fn the_cost_stays_in_80_columns_and_less() {
        let busy = Status {
            live_bytes: 123 << 30,
            peak_bytes: 456 << 30,
            stacks: 123_456,
            cost: Some(0.987),
            ..status(12_345, 987_654_321, 0)
        };
        for (columns, shown) in [
            (
                80,
                " 100s  2,000 allocations/s  live 3.00 MB  peak 5.00 MB  costs 1.2% of a CPU",
            ),
            (60, " 100s  live 3.00 MB  costs 1.2% of a CPU"),
            (20, " 100s  live 3.00 MB"),
        ] {
            let text = fit(line(&status(100, 200_000, 0), None), columns);
            assert_eq!(text, shown, "{columns}");
            assert!(fit(line(&busy, None), columns).chars().count() < columns);
        }
        assert!(fit(line(&busy, None), 80).ends_with("costs 98.7% of a CPU"));
        let lossy = Status {
            cut: 5,
            ..status(100, 200_000, 3)
        };
        let text = fit(line(&lossy, None), 80);
        assert!(
            text.ends_with("3 lost, 5 with cut stacks  costs 1.2% of a CPU"),
            "{text}"
        );
    }

    #[test]
    fn growth_has_pages_and_no_peak() {
        let status = Status {
            source: Source::Growth,
            ..status(4, 8_000, 0)
        };
        assert_eq!(
            wide(&status, None),
            "   4s  2,000 pages/s  3.00 MB more resident  7 stacks  nothing lost  costs 1.2% of a CPU"
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
            wide(&status, None),
            "   4s  12 windows of 25.3 ms together  (0.63% of the time)  8,000 allocations in them  7 stacks  nothing lost  takes 1.87%"
        );
        let narrow = fit(line(&status, None), 80);
        assert!(narrow.ends_with("takes 1.87%"), "{narrow}");
    }

    #[test]
    fn losses_are_shown() {
        assert!(wide(&status(4, 9_000, 3), None).contains("3 lost  costs"));
        let cut = |lost| {
            let status = Status {
                cut: 5,
                ..status(4, 9_000, lost)
            };
            wide(&status, None)
        };
        assert!(cut(3).contains("3 lost, 5 with cut stacks"));
        assert!(cut(0).contains("  5 with cut stacks"));
    }
}
