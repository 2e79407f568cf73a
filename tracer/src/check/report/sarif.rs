//! The report as SARIF 2.1.0 (OASIS), for code scanning: the few types of the standard that are used.
//!
//! Paths are relative to `%SRCROOT%`, the root of the checkout, where they are in it. What nobody can
//! tell is an invocation that failed, never a run without results.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::words;
use crate::check::finding::{Finding, Judgement, Outcome, RuleId, What};
use crate::check::place::Frame;
use crate::printable::JsonEscapes;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
const ROOT: &str = "%SRCROOT%";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Value,
    invocations: [Invocation; 1],
    results: Vec<ResultObject>,
    column_kind: &'static str,
    properties: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    exit_code: i32,
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Serialize)]
struct Notification {
    level: &'static str,
    message: Message,
}

#[derive(Serialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultObject {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stacks: Vec<Stack>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partial_fingerprints: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suppressions: Option<Value>,
    properties: Value,
}

#[derive(Serialize)]
struct Stack {
    frames: Vec<StackFrame>,
}

#[derive(Serialize)]
struct StackFrame {
    location: Location,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<PhysicalLocation>,
    logical_locations: Vec<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLocation {
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri_base_id: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
}

/// Writes the log.
pub(super) fn write(judgement: &Judgement, out: &mut dyn Write) -> io::Result<()> {
    let rules: Vec<Value> = RuleId::ALL
        .iter()
        .map(|rule| {
            json!({
                "id": rule.name(),
                "shortDescription": { "text": rule.sentence() },
                "defaultConfiguration": { "level": "error" },
            })
        })
        .collect();
    let found = judgement.findings.iter().map(|f| (f, "error"));
    let uncertain = judgement.warnings.iter().map(|f| (f, "warning"));
    let suppressed = judgement.suppressed.iter().map(|f| (f, "error"));
    let results = found.chain(uncertain).chain(suppressed);
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: json!({
                "driver": {
                    "name": "tracer",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                }
            }),
            invocations: [invocation(judgement)],
            results: results
                .map(|(finding, level)| result(finding, level))
                .collect(),
            column_kind: "unicodeCodePoints",
            properties: json!({
                "source": judgement.source,
                "evidence": words::evidence(judgement),
                "outcome": judgement.outcome,
            }),
        }],
    };
    serde_json::to_writer_pretty(JsonEscapes(&mut *out), &log)?;
    writeln!(out)
}

fn invocation(judgement: &Judgement) -> Invocation {
    let notes = judgement.notes.iter().cloned().map(|text| ("note", text));
    let losses = judgement.verdict.reasons().iter().cloned();
    let unused = judgement.unused_suppressions.iter();
    let unused = unused.map(|name| ("note", format!("unused suppression: {name}")));
    let reasons = judgement
        .reasons
        .iter()
        .cloned()
        .map(|text| ("error", text));
    let exit_code = match judgement.outcome {
        Outcome::NothingFound => 0,
        Outcome::Found => 1,
        Outcome::Inconclusive => 3,
    };
    Invocation {
        execution_successful: judgement.outcome != Outcome::Inconclusive,
        exit_code,
        tool_execution_notifications: reasons
            .chain(losses.map(|text| ("warning", text)))
            .chain(notes)
            .chain(unused)
            .map(|(level, text)| Notification {
                level,
                message: Message { text },
            })
            .collect(),
    }
}

fn result(finding: &Finding, level: &'static str) -> ResultObject {
    let rule = finding.rule();
    let mut text = vec![words::headline(finding)];
    text.extend(words::all_details(finding));
    let stack = finding.stack.as_ref();
    ResultObject {
        rule_id: rule.name(),
        rule_index: RuleId::ALL.iter().position(|&one| one == rule).unwrap_or(0),
        level,
        message: Message {
            text: text.join("\n"),
        },
        locations: finding.own_place().map(location).into_iter().collect(),
        stacks: stack
            .filter(|stack| !stack.frames.is_empty())
            .map(|stack| Stack {
                frames: stack
                    .frames
                    .iter()
                    .map(|frame| StackFrame {
                        location: location(frame),
                    })
                    .collect(),
            })
            .into_iter()
            .collect(),
        partial_fingerprints: stack
            .filter(|stack| !stack.only_largest)
            .and_then(|stack| stack.fingerprint)
            .map(|fingerprint| json!({ "tracerStack/v1": fingerprint.to_string() })),
        suppressions: finding
            .suppression
            .as_ref()
            .map(|name| json!([{ "kind": "external", "justification": name }])),
        properties: properties(finding),
    }
}

fn properties(finding: &Finding) -> Value {
    let mut properties = json!({});
    if let What::Leak(leak) = &finding.what {
        properties["leak"] = json!(leak);
    }
    if let Some(stack) = &finding.stack {
        properties["values"] = json!(stack.values);
    }
    if let Some(blame) = &finding.blame {
        properties["lastTouchedBy"] = json!({
            "commit": blame.commit,
            "author": blame.author,
            "date": blame.date,
            "summary": blame.summary,
        });
    }
    properties
}

fn location(frame: &Frame) -> Location {
    let (uri, uri_base_id) = match &frame.path {
        Some(path) => (relative_uri(path), Some(ROOT)),
        None if frame.file.starts_with('/') => {
            (format!("file://{}", percent_encode(&frame.file)), None)
        }
        None => (relative_uri(&frame.file), None),
    };
    Location {
        physical_location: (!uri.is_empty()).then(|| PhysicalLocation {
            artifact_location: ArtifactLocation { uri, uri_base_id },
            region: (frame.line > 0).then_some(Region {
                start_line: frame.line,
            }),
        }),
        logical_locations: vec![json!({
            "fullyQualifiedName": frame.function,
            "kind": "function",
        })],
    }
}

/// A relative path as a reference: what looks like a scheme at its beginning is none.
fn relative_uri(path: &str) -> String {
    percent_encode(path.trim_start_matches("./"))
}

/// All but what RFC 3986 leaves unreserved, and slashes.
fn percent_encode(path: &str) -> String {
    let mut encoded = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
