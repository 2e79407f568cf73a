//! Annotations: workflow commands that GitHub's runner reads from standard output.
//!
//! `::error file=F,line=N,title=T::MESSAGE`. A percent sign and line ends are escaped everywhere, a
//! colon and a comma in properties as well, so that no name can end the command or begin another.

use std::fmt::Write as _;

use super::words;
use crate::check::finding::{Finding, Judgement, Outcome};
use crate::printable::printable_lines;

/// The commands, a line each.
pub(super) fn report(judgement: &Judgement) -> String {
    let mut out = String::new();
    if judgement.outcome == Outcome::Inconclusive {
        let text = judgement.reasons.join("\n");
        command(
            "error",
            &[("title", "tracer check: inconclusive")],
            &text,
            &mut out,
        );
    }
    for finding in &judgement.findings {
        annotate("error", finding, &mut out);
    }
    for finding in &judgement.warnings {
        annotate("warning", finding, &mut out);
    }
    for name in &judgement.unused_suppressions {
        let text = format!("unused suppression: {name}");
        command("notice", &[("title", "tracer check")], &text, &mut out);
    }
    out
}

fn annotate(level: &str, finding: &Finding, out: &mut String) {
    let title = format!("tracer: {}", words::headline(finding));
    let line = finding.own_place().map(|frame| frame.line.to_string());
    let mut properties = Vec::new();
    // Only files of the checkout can be annotated.
    if let Some(path) = finding.own_place().and_then(|frame| frame.path.as_deref()) {
        properties.push(("file", path));
        properties.extend(
            line.as_deref()
                .filter(|&line| line != "0")
                .map(|line| ("line", line)),
        );
    }
    properties.push(("title", &title));
    let mut text = words::headline(finding);
    if let Some(site) = words::site(finding) {
        text.push_str(&format!("\nat {site}"));
    }
    for line in words::all_details(finding) {
        text.push('\n');
        text.push_str(&line);
    }
    if let Some(stack) = &finding.stack {
        for (_, frame) in words::excerpt(stack) {
            text.push_str(&format!("\n  {}", words::frame(frame)));
        }
    }
    command(level, &properties, &text, out);
}

fn command(name: &str, properties: &[(&str, &str)], text: &str, out: &mut String) {
    let properties = properties.iter();
    let properties: Vec<String> = properties
        .map(|(key, value)| format!("{key}={}", escape_property(value)))
        .collect();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "::{name} {}::{}", properties.join(","), escape(text));
}

fn escape(text: &str) -> String {
    let text = printable_lines(text).replace('%', "%25");
    text.replace('\n', "%0A")
}

fn escape_property(text: &str) -> String {
    escape(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_command_early() {
        let mut out = String::new();
        command(
            "error",
            &[("file", "a,b:c%0A\r.rs"), ("line", "3")],
            "50% of\r\nf::g\n::error::x",
            &mut out,
        );
        assert_eq!(
            out,
            "::error file=a%2Cb%3Ac%250A\\r.rs,line=3::50%25 of\\r%0Af::g%0A::error::x\n"
        );
    }
}
