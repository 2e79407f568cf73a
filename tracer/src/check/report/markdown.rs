//! The report as Markdown, for pull requests and job summaries.

use std::fmt::Write as _;

use super::amounts::count;
use super::text::by_suppression;
use super::words;
use crate::check::Frame;
use crate::check::finding::{Finding, Judgement, Outcome};
use crate::printable::printable;

/// Findings that are shown; a summary has a limit of one megabyte.
const SHOWN: usize = 100;
/// Uncertain ones that are shown.
const WARNINGS: usize = 10;

/// The text.
pub(super) fn report(judgement: &Judgement) -> String {
    let mark = match judgement.outcome {
        Outcome::NothingFound => "✅",
        Outcome::Found => "❌",
        Outcome::Inconclusive => "⚠️",
    };
    // Writing to a string cannot fail.
    let mut out = format!(
        "## {mark} tracer check: {}\n",
        escape(&words::outcome(judgement))
    );
    if !judgement.reasons.is_empty() {
        out.push('\n');
    }
    for reason in &judgement.reasons {
        let _ = writeln!(out, "- {}", escape(reason));
    }
    table(&judgement.findings, SHOWN, &mut out);
    for finding in judgement.findings.iter().take(SHOWN) {
        details(finding, &mut out);
    }
    let caveats = words::caveats_of(&judgement.findings);
    if !caveats.is_empty() {
        out.push('\n');
    }
    for caveat in caveats {
        let _ = writeln!(out, "- {}", escape(&caveat));
    }
    if !judgement.warnings.is_empty() {
        let _ = writeln!(out, "\n### Worth a look");
        table(&judgement.warnings, WARNINGS, &mut out);
    }
    if !judgement.suppressed.is_empty() {
        let _ = writeln!(
            out,
            "\n### Suppressed: {}\n",
            count(judgement.suppressed.len(), "finding")
        );
        for (name, findings) in by_suppression(judgement) {
            let _ = writeln!(out, "- {findings} by {}", code(name));
        }
    }
    if !judgement.unused_suppressions.is_empty() {
        let _ = writeln!(out, "\n### Unused suppressions\n");
        for name in &judgement.unused_suppressions {
            let _ = writeln!(out, "- {}", code(name));
        }
    }
    let _ = writeln!(out);
    for note in &judgement.notes {
        let _ = writeln!(out, "{}  ", escape(note));
    }
    if !judgement.source.is_empty() {
        let _ = writeln!(out, "{}  ", escape(&judgement.source));
    }
    let _ = writeln!(out, "{}", escape(&words::evidence(judgement)));
    for reason in judgement.verdict.reasons() {
        let _ = writeln!(out, "- {}", escape(reason));
    }
    out
}

fn table(findings: &[Finding], shown: usize, out: &mut String) {
    if findings.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n| what | where | function |\n|---|---|---|");
    for finding in findings.iter().take(shown) {
        let function = finding.place().map_or("", Frame::shown_function);
        let cell = |text: &str| match text {
            "" => String::new(),
            // In a table a bar ends the cell, even inside of code.
            text => code(text).replace('|', "\\|"),
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            escape(&words::headline(finding)),
            cell(&words::place(finding)),
            cell(function)
        );
    }
    if let more @ 1.. = findings.len().saturating_sub(shown) {
        let _ = writeln!(out, "\n{more} more");
    }
}

fn details(finding: &Finding, out: &mut String) {
    let place = match words::place(finding) {
        place if place.is_empty() => String::new(),
        place => format!(" at {place}"),
    };
    let _ = writeln!(
        out,
        "\n<details><summary>{}{}</summary>\n",
        escape(&words::headline(finding)),
        escape(&place)
    );
    for line in words::details(finding) {
        let _ = writeln!(out, "- {}", escape(&line));
    }
    if let Some(stack) = &finding.stack {
        let lines: Vec<String> = words::excerpt(stack)
            .map(|(index, frame)| {
                let mark = if Some(index) == stack.place { '>' } else { ' ' };
                printable(&format!("{mark} {}", words::frame(frame))).into_owned()
            })
            .collect();
        let text = lines.join("\n");
        let fence = fence(&text, 3);
        let _ = writeln!(out, "\n{fence}text\n{text}\n{fence}");
    }
    let _ = writeln!(out, "\n</details>");
}

/// Text that means only itself: no markup, HTML, mentions or links.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in printable(text).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '@' => escaped.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// Text as code on one line.
fn code(text: &str) -> String {
    let text = printable(text);
    let fence = fence(&text, 1);
    let space = if text.contains('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// More backticks than the text has in a row.
fn fence(text: &str, least: usize) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(least.max(longest + 1))
}

#[cfg(test)]
mod tests {
    use super::{code, escape};

    #[test]
    fn names_are_no_markup() {
        assert_eq!(
            escape("<img src=x> [a](b) @team #1 `x` *y*\n|z"),
            "&lt;img src=x&gt; \\[a\\](b) &#64;team \\#1 \\`x\\` \\*y\\*\\\\n\\|z"
        );
        assert_eq!(code("a<b>"), "`a<b>`");
        assert_eq!(code("a`b``c"), "``` a`b``c ```");
    }
}
