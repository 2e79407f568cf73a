//! The report as JUnit's XML, by the schema that Jenkins, GitLab and others read: a test case for each
//! finding, for each rule without one, and one in error where nothing can be said.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write};

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::words;
use crate::check::finding::{Finding, Judgement, Outcome, RuleId, What};
use crate::printable::printable_lines;

/// Name of the suite.
const SUITE: &str = "tracer check";

/// A test case.
struct Case {
    rule: &'static str,
    name: String,
    result: Option<Result>,
}

/// What is said of a case that did not pass.
struct Result {
    /// `failure`, `error` or `skipped`.
    element: &'static str,
    message: String,
    text: String,
}

/// Writes the document.
pub(super) fn write(judgement: &Judgement, out: &mut dyn Write) -> io::Result<()> {
    let cases = cases(judgement);
    let of = |element: &str| {
        let with = cases.iter().filter_map(|case| case.result.as_ref());
        with.filter(|result| result.element == element)
            .count()
            .to_string()
    };
    let (tests, failures, errors) = (cases.len().to_string(), of("failure"), of("error"));
    let counts = [
        ("name", SUITE),
        ("tests", &tests),
        ("failures", &failures),
        ("errors", &errors),
    ];
    let mut writer = Writer::new_with_indent(&mut *out, b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer
        .create_element("testsuites")
        .with_attributes(counts)
        .write_inner_content(|writer| {
            writer
                .create_element("testsuite")
                .with_attributes(counts)
                .with_attributes([("skipped", of("skipped").as_str())])
                .write_inner_content(|writer| {
                    for case in &cases {
                        write_case(case, writer)?;
                    }
                    let evidence = format!("{}\n{}", judgement.source, words::evidence(judgement));
                    writer
                        .create_element("system-out")
                        .write_text_content(BytesText::new(&clean(&evidence)))?;
                    Ok(())
                })?;
            Ok(())
        })?;
    writeln!(out)
}

fn cases(judgement: &Judgement) -> Vec<Case> {
    let mut cases = Vec::new();
    if judgement.outcome == Outcome::Inconclusive {
        cases.push(Case {
            rule: "evidence",
            name: "there is enough to judge".to_owned(),
            result: Some(Result {
                element: "error",
                message: "inconclusive".to_owned(),
                text: judgement.reasons.join("\n"),
            }),
        });
    }
    for &rule in &judgement.rules {
        let broken = judgement
            .findings
            .iter()
            .any(|finding| finding.rule() == rule);
        if !broken {
            cases.push(Case {
                rule: rule.name(),
                name: rule.sentence().to_owned(),
                // What could not be told has not passed.
                result: (judgement.outcome == Outcome::Inconclusive).then(|| Result {
                    element: "skipped",
                    message: "inconclusive".to_owned(),
                    text: String::new(),
                }),
            });
        }
    }
    let failed = judgement
        .findings
        .iter()
        .map(|finding| (finding, "failure"));
    let suppressed = judgement
        .suppressed
        .iter()
        .map(|finding| (finding, "skipped"));
    cases.extend(failed.chain(suppressed).map(|(finding, element)| {
        let message = match &finding.suppression {
            Some(name) => format!("suppressed by {name}: {}", words::headline(finding)),
            None => words::headline(finding),
        };
        Case {
            rule: finding.rule().name(),
            name: name(finding),
            result: Some(Result {
                element,
                message,
                text: text(finding),
            }),
        }
    }));
    // Viewers follow a case over time by its name, and take two of the same name for one.
    let mut seen: HashMap<String, usize> = HashMap::new();
    for case in &mut cases {
        let times = seen
            .entry(format!("{} {}", case.rule, case.name))
            .or_default();
        *times += 1;
        if *times > 1 {
            case.name = format!("{} ({times})", case.name);
        }
    }
    cases
}

/// The same from run to run: no amounts.
fn name(finding: &Finding) -> String {
    let rule = match (finding.rule(), &finding.what) {
        (RuleId::Budget, What::Breach(breach)) => match &breach.rule {
            crate::check::Rule::Budget(function) => format!("budget of {function}"),
            _ => "budget".to_owned(),
        },
        (rule, _) => rule.name().to_owned(),
    };
    let about_all = finding
        .stack
        .as_ref()
        .is_none_or(|stack| stack.only_largest);
    match finding.place() {
        Some(frame) if !about_all => {
            let file = frame.shown_file();
            let file = file.rsplit('/').next().unwrap_or(file);
            format!("{rule} in {} ({file})", frame.function)
        }
        _ => rule,
    }
}

fn text(finding: &Finding) -> String {
    let mut lines = Vec::new();
    if let Some(site) = words::site(finding) {
        lines.push(format!("at {site}"));
    }
    lines.extend(words::all_details(finding));
    if let Some(stack) = &finding.stack {
        let frames = words::excerpt(stack);
        lines.extend(frames.map(|(_, frame)| format!("    {}", words::frame(frame))));
    }
    lines.join("\n")
}

fn write_case<W: Write>(case: &Case, writer: &mut Writer<W>) -> io::Result<()> {
    let name = clean(&case.name);
    let classname = format!("tracer.{}", case.rule);
    let element = writer
        .create_element("testcase")
        .with_attributes([("classname", classname.as_str()), ("name", &*name)]);
    let Some(result) = &case.result else {
        element.write_empty()?;
        return Ok(());
    };
    element.write_inner_content(|writer| {
        let message = clean(&result.message);
        let element = writer
            .create_element(result.element)
            .with_attribute(("message", &*message));
        let element = match result.element {
            "skipped" => element,
            _ => element.with_attribute(("type", case.rule)),
        };
        let text = clean(&result.text);
        if text.is_empty() {
            element.write_empty()?;
        } else {
            element.write_text_content(BytesText::new(&text))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Text as XML 1.0 can hold it: it has no place for control characters, except line ends, and for
/// two of Unicode's non-characters. What else needs it, the writer escapes.
fn clean(text: &str) -> Cow<'_, str> {
    printable_lines(text)
}
