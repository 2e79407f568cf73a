//! What fills the place of the table when it is asked for: stacks, the verdict, the keys.

use indicatif::HumanCount;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;

use super::table::selected_text;
use crate::printable::printable;
use crate::profile::{ValueKind, Values};
use crate::report::{SiteStack, fitted, shorten, shorten_left};
use crate::sites::Kind;
use crate::size::Size as Bytes;
use crate::top::state::{KEYS, MOST_STACKS, Moment, Pane, State};

/// What the pane shows.
pub(super) fn title(state: &State) -> String {
    match state.pane {
        Pane::Table | Pane::Filter(_) => String::new(),
        Pane::Detail(_) => match state.selected() {
            Some((_, row)) => {
                let stacks = match row.site.samples.len() {
                    1 => "1 stack".to_owned(),
                    stacks => format!("{stacks} stacks"),
                };
                format!("{stacks} of {}", selected_text(state))
            }
            None => "no site is selected".to_owned(),
        },
        Pane::Verdict(_) => "how sure this is".to_owned(),
        Pane::Help(_) => "keys, and what columns mean".to_owned(),
    }
}

/// All lines of the pane.
pub(super) fn lines(state: &State, width: usize) -> Vec<Line<'static>> {
    match (&state.pane, &state.shown) {
        (Pane::Help(_), _) => help(width),
        (Pane::Detail(_), Some(_)) => stacks(state, width),
        (Pane::Verdict(_), Some(shown)) => verdict(shown, width),
        _ => Vec::new(),
    }
}

fn help(width: usize) -> Vec<Line<'static>> {
    let lines = KEYS
        .iter()
        .map(|(keys, what)| format!("{keys:<12} {what}\n"));
    plain(&lines.collect::<String>(), width)
}

fn verdict(shown: &Moment, width: usize) -> Vec<Line<'static>> {
    let profile = &shown.profile;
    let mut text = format!(
        "{}\nverdict: {}\n",
        printable(&profile.metadata.source),
        profile.verdict.name()
    );
    for reason in profile.verdict.reasons() {
        text.push_str(&format!("  {}\n", printable(reason)));
    }
    if let Some(sampled) = &profile.sampled {
        text.push_str(&format!("sampled: {sampled}\n"));
    }
    if let Some(peak) = &profile.peak {
        text.push_str(&format!("peak: {peak}\n"));
    }
    for note in &profile.metadata.notes {
        text.push_str(&format!("note: {}\n", printable(note)));
    }
    plain(&text, width)
}

fn plain(text: &str, width: usize) -> Vec<Line<'static>> {
    let text = fitted(text, Some(width.max(1)));
    text.lines()
        .map(|line| Line::from(line.to_owned()))
        .collect()
}

fn stacks(state: &State, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for stack in &state.stacks {
        lines.push(Line::from(shorten(&amounts(stack.values, state), width)));
        frames(stack, width, &mut lines);
        lines.push(Line::default());
    }
    let all = state
        .selected()
        .map_or(0, |(_, row)| row.site.samples.len());
    if all > MOST_STACKS {
        let more = all - MOST_STACKS;
        lines.push(Line::from(format!("{more} more hold less")));
    }
    lines
}

fn amounts(values: Values, state: &State) -> String {
    let words = state.shown.as_ref().map(|shown| shown.head.words);
    let Some(words) = words else {
        return String::new();
    };
    let count = |amount: i64| HumanCount(amount.unsigned_abs());
    let live = format!(
        "{} {} in {} {}",
        words.inuse,
        Bytes::from(values.inuse_space),
        count(values.inuse_objects),
        words.unit
    );
    let allocated = format!(
        "{} {} in {}",
        words.alloc,
        Bytes::from(values.alloc_space),
        count(values.alloc_objects)
    );
    match state.by {
        ValueKind::AllocSpace | ValueKind::AllocObjects => format!("{allocated}; {live}"),
        _ => format!("{live}; {allocated}"),
    }
}

/// A line for each frame: its mark, its name, its line, and whose code it is.
fn frames(stack: &SiteStack, width: usize, lines: &mut Vec<Line<'static>>) {
    const LEFT: usize = 8;
    let widest = stack.lines.iter().map(|line| line.line.chars().count());
    // Names come first: lines have a third at most.
    let line_width = widest.max().unwrap_or(0).min(width / 3);
    let kind_width = Kind::ALL.iter().map(|kind| kind.name().len());
    let kind_width = kind_width.max().unwrap_or(0);
    let has_kind = width > LEFT + line_width + kind_width + 30;
    let used = LEFT + line_width + 2 + if has_kind { kind_width + 2 } else { 0 };
    let name_width = width.saturating_sub(used).max(1);
    if stack.lines.is_empty() {
        lines.push(Line::from("  [no stack]"));
    }
    for frame in &stack.lines {
        let name = shorten(&frame.name, name_width);
        let line = shorten_left(&frame.line, line_width);
        let kind = if has_kind { frame.kind.name() } else { "" };
        let text = format!(
            "  {:5} {name:name_width$}  {line:line_width$}  {kind}",
            frame.mark
        );
        let style = match frame.mark {
            "" => Style::new(),
            _ => Style::new().add_modifier(Modifier::BOLD),
        };
        lines.push(Line::styled(text.trim_end().to_owned(), style));
    }
}
