//! The first lines: which process, how the recording stands, what it holds.

use std::time::Duration;

use indicatif::HumanCount;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::coloured;
use crate::printable::printable;
use crate::profile::{ValueKind, Verdict};
use crate::report::show_error;
use crate::size::Size as Bytes;
use crate::top::state::{Moment, State};

/// So many lines of it, the most important first.
pub(super) fn lines(state: &State, height: u16) -> Vec<Line<'static>> {
    let mut lines = vec![first(state)];
    match &state.shown {
        Some(shown) => {
            lines.push(Line::from(live(state, shown)));
            lines.push(Line::from(allocated(shown)));
            lines.push(reason(state, shown));
        }
        None => lines.push(Line::from("waiting for the first profile")),
    }
    lines.truncate(usize::from(height));
    lines
}

/// Seconds, as people say them.
pub(super) fn time(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds as u64)).to_string()
}

fn first(state: &State) -> Line<'static> {
    let subject = &state.subject;
    let name = format!("{} (pid {})", printable(&subject.name), subject.pid);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut parts = vec![Span::styled(name, bold)];
    let Some(shown) = &state.shown else {
        return Line::from(parts);
    };
    if state.is_frozen {
        let marked = Style::new().add_modifier(Modifier::REVERSED);
        parts.push(Span::styled("FROZEN", marked));
    }
    let elapsed = time(shown.head.elapsed.as_secs_f64());
    parts.push(Span::from(match &state.end {
        Some(_) => format!("ended after {elapsed}"),
        None => elapsed,
    }));
    let verdict = &shown.profile.verdict;
    parts.push(Span::styled(verdict.name(), of_verdict(state, verdict)));
    parts.push(Span::from(shown.head.losses.clone()));
    let mut spaced = Vec::new();
    for part in parts {
        if !spaced.is_empty() {
            spaced.push(Span::from("  "));
        }
        spaced.push(part);
    }
    Line::from(spaced)
}

fn of_verdict(state: &State, verdict: &Verdict) -> Style {
    let colour = match verdict {
        Verdict::Complete => Color::Green,
        Verdict::Degraded { .. } | Verdict::Sampled { .. } => Color::Yellow,
        Verdict::Inconclusive { .. } => Color::Red,
    };
    coloured(state, colour)
}

fn live(state: &State, shown: &Moment) -> String {
    let words = shown.head.words;
    let total = shown.list.total;
    let error = match state.by {
        ValueKind::InuseSpace => shown.list.total_error.as_ref(),
        _ => None,
    };
    let error = error.map_or_else(String::new, |error| show_error(error, total.inuse_space));
    let objects = HumanCount(total.inuse_objects.unsigned_abs());
    let mut text = format!(
        "{} {}{error} in {objects} {}",
        words.inuse,
        Bytes::from(total.inuse_space),
        words.unit
    );
    if let Some(resident) = shown.head.resident {
        text.push_str(&format!("  resident {}", Bytes::from(resident)));
    }
    if !shown.head.cost.is_empty() {
        text.push_str(&format!("  {}", shown.head.cost));
    }
    text
}

fn allocated(shown: &Moment) -> String {
    let words = shown.head.words;
    let total = shown.list.total;
    let (bytes, objects) = shown.rate;
    format!(
        "{} {} in {} {}  {}/s  {} {}/s",
        words.alloc,
        Bytes::from(total.alloc_space),
        HumanCount(total.alloc_objects.unsigned_abs()),
        words.unit,
        Bytes::from(bytes),
        HumanCount(objects.unsigned_abs()),
        words.unit
    )
}

/// What the verdict rests on, as far as it goes into a line.
fn reason(state: &State, shown: &Moment) -> Line<'static> {
    let verdict = &shown.profile.verdict;
    let text = match verdict.reasons() {
        [] => return Line::default(),
        [only] => printable(only).into_owned(),
        [first, more @ ..] => format!("({} more: i) {}", more.len(), printable(first)),
    };
    Line::styled(text, of_verdict(state, verdict))
}
