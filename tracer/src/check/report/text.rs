//! The report for people, a screen if it can.

use std::fmt::Write as _;

use super::amounts::count;
use super::words;
use crate::check::finding::{Finding, Judgement, What};
use crate::printable::printable;

/// Uncertain findings that are shown; the others are counted.
const WARNINGS: usize = 5;
/// Undecided ones that are shown, a line each.
const UNDECIDED: usize = 20;

/// The text.
pub(super) fn report(judgement: &Judgement) -> String {
    // Writing to a string cannot fail.
    let mut out = format!("tracer check: {}\n", words::outcome(judgement));
    for reason in &judgement.reasons {
        let _ = writeln!(out, "  {}", printable(reason));
    }
    for finding in &judgement.findings {
        show(finding, &mut out);
    }
    let is_undecided = |finding: &&Finding| matches!(finding.what, What::Undecided(_));
    let (undecided, possible): (Vec<_>, Vec<_>) = judgement.warnings.iter().partition(is_undecided);
    for finding in possible.iter().take(WARNINGS) {
        show(finding, &mut out);
    }
    if let more @ 1.. = possible.len().saturating_sub(WARNINGS) {
        let _ = writeln!(out, "\n{more} more sites that may leak");
    }
    lines(
        "undecided:",
        undecided.iter().take(UNDECIDED).map(|f| undecided_line(f)),
        &mut out,
    );
    if let more @ 1.. = undecided.len().saturating_sub(UNDECIDED) {
        let _ = writeln!(out, "  {more} more");
    }
    let leaks: Vec<Finding> = judgement.findings.iter().chain(possible).cloned().collect();
    lines(
        "to be considered:",
        words::caveats_of(&leaks).into_iter(),
        &mut out,
    );
    out.push('\n');
    if !judgement.suppressed.is_empty() {
        let _ = writeln!(
            out,
            "suppressed: {}",
            count(judgement.suppressed.len(), "finding")
        );
        for (name, findings) in by_suppression(judgement) {
            let _ = writeln!(out, "  {findings} by {}", printable(name));
        }
    }
    for name in &judgement.unused_suppressions {
        let _ = writeln!(out, "unused suppression: {}", printable(name));
    }
    for note in &judgement.notes {
        let _ = writeln!(out, "note: {}", printable(note));
    }
    if !judgement.source.is_empty() {
        let _ = writeln!(out, "source: {}", printable(&judgement.source));
    }
    let _ = writeln!(out, "judged: {}", words::evidence(judgement));
    for reason in judgement.verdict.reasons() {
        let _ = writeln!(out, "  {}", printable(reason));
    }
    out
}

/// How many findings each suppression hides, in the order of their first.
pub(super) fn by_suppression(judgement: &Judgement) -> Vec<(&str, usize)> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for finding in &judgement.suppressed {
        let name = finding.suppression.as_deref().unwrap_or_default();
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    counts
}

/// Lines under a head, if there are any.
fn lines(head: &str, lines: impl Iterator<Item = String>, out: &mut String) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        let _ = writeln!(out, "\n{head}");
    }
    for line in lines {
        let _ = writeln!(out, "  {}", printable(&line));
    }
}

/// What grew where, on one line.
fn undecided_line(finding: &Finding) -> String {
    let site = words::site(finding).unwrap_or_else(|| "[no stack]".to_owned());
    let headline = words::headline(finding);
    let why = headline.strip_prefix("undecided: ").unwrap_or(&headline);
    format!("{site}: {why}")
}

fn show(finding: &Finding, out: &mut String) {
    let _ = writeln!(out, "\n{}", printable(&words::headline(finding)));
    if let Some(site) = words::site(finding) {
        let _ = writeln!(out, "  at {}", printable(&site));
    }
    for line in words::details(finding) {
        let _ = writeln!(out, "  {}", printable(&line));
    }
    let Some(stack) = &finding.stack else {
        return;
    };
    if stack.frames.is_empty() {
        let _ = writeln!(out, "      [no stack]");
    }
    for (index, frame) in words::excerpt(stack) {
        let mark = if Some(index) == stack.place { '>' } else { ' ' };
        let _ = writeln!(out, "    {mark} {}", printable(&words::frame(frame)));
    }
    let shown = words::excerpt(stack).count();
    if let more @ 1.. = stack.frames.len() - shown {
        let _ = writeln!(out, "      … {}", count(more, "more caller"));
    }
}
