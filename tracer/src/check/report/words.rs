//! What the reports say of a judgement and of each finding, in plain sentences.

use super::amounts::{bytes, bytes_apart, count, number, percent, time};
use crate::check::Frame;
use crate::check::evaluate::{Breach, Rule};
use crate::check::finding::{Blame, Finding, Judgement, Outcome, Per, Stack, What};
use crate::check::leaks::{Caveat, Confidence, Lack, Leak};
use crate::profile::{ValueKind, Values};
use crate::report::shorten;

/// Width of a function's name; generic names can be longer than a report.
const WIDTH: usize = 100;

/// `1 leak found`, in the first line of every report.
pub(super) fn outcome(judgement: &Judgement) -> String {
    let leaks = judgement.findings.iter();
    let leaks = leaks.filter(|f| matches!(f.what, What::Leak(_))).count();
    let limits = judgement.findings.len() - leaks;
    let of_pages = |f: &Finding| matches!(&f.what, What::Leak(leak) if leak.is_of_pages());
    let are_pages = judgement.findings.iter().any(of_pages);
    let mut parts = Vec::new();
    if are_pages {
        parts.push(format!("memory grows at {}", count(leaks, "place")));
    } else if leaks > 0 {
        parts.push(count(leaks, "leak"));
    }
    if limits > 0 {
        parts.push(format!("{} exceeded", count(limits, "limit")));
    }
    let found = parts.join(", ");
    match judgement.outcome {
        Outcome::NothingFound => {
            let is_possible = |f: &&Finding| matches!(&f.what, What::Leak(leak) if !leak.caveats.contains(&Caveat::NotAsAWhole));
            match judgement.warnings.iter().filter(is_possible).count() {
                0 => "nothing found".to_owned(),
                allowed => format!(
                    "nothing found, {} passed over",
                    count(allowed, "possible leak")
                ),
            }
        }
        Outcome::Found if limits == 0 && !are_pages => format!("{found} found"),
        Outcome::Found => found,
        Outcome::Inconclusive if found.is_empty() => "inconclusive".to_owned(),
        Outcome::Inconclusive => format!("inconclusive (unproven: {found})"),
    }
}

/// What was looked at.
pub(super) fn evidence(judgement: &Judgement) -> String {
    let mut text = format!(
        "{} over {}, {}",
        count(judgement.snapshots, "snapshot"),
        time(judgement.seconds),
        count(judgement.stacks, "stack"),
    );
    if let Some(warm_up) = judgement.warm_up_seconds {
        text.push_str(&format!(", warm-up {}", time(warm_up)));
    }
    if let Some(peak) = &judgement.peak {
        text.push_str(&format!("; peak {}", bytes(peak.bytes as f64)));
        if let Some(nanos) = peak.after_nanos {
            text.push_str(&format!(" after {}", time(nanos as f64 / 1e9)));
        }
    }
    format!("{text}; profile {}", judgement.verdict.name())
}

/// A finding in half a line, without its place.
pub(super) fn headline(finding: &Finding) -> String {
    match &finding.what {
        What::Leak(leak) if leak.is_of_pages() => {
            let grows = match leak.confidence {
                Confidence::Low if leak.caveats.contains(&Caveat::NotAsAWhole) => {
                    "pages changed hands"
                }
                Confidence::Low => "memory may grow",
                Confidence::Medium | Confidence::High => "memory grows",
            };
            let by = finding
                .place()
                .map_or("an unknown stack", Frame::shown_function);
            format!(
                "{grows} by {}/s, first touched by {}, confidence {}",
                bytes(leak.bytes_per_second),
                shorten(by, WIDTH),
                confidence(leak.confidence)
            )
        }
        What::Leak(leak) => {
            let name = match leak.confidence {
                Confidence::Low => "possible leak",
                Confidence::Medium | Confidence::High => "leak",
            };
            format!(
                "{name} of {}/s, confidence {}",
                bytes(leak.bytes_per_second),
                confidence(leak.confidence)
            )
        }
        What::Undecided(Lack::Events { have, bytes: grown }) => format!(
            "undecided: it grew {}, by {} in all",
            count(*have as usize, "time"),
            bytes(*grown as f64)
        ),
        What::Undecided(Lack::Load { bytes: grown }) => format!(
            "undecided: it grew by {}, and ever more slowly as the load fell, which can't be told from a \
             cache that fills",
            bytes(*grown as f64)
        ),
        What::Undecided(Lack::Windows { have, need }) => {
            format!("undecided: {have} steps of {need}")
        }
        What::Growth {
            bytes: grown,
            limit,
            per,
        } => {
            let per = match per {
                Per::Second => "s",
                Per::Operation => "operation",
            };
            let what = match &finding.stack {
                Some(stack) if stack.of_pages => "resident memory",
                _ => "what is live",
            };
            let [grown, limit] = bytes_apart([*grown, *limit as f64]);
            format!("{what} grows by {grown}/{per}, more than {limit}/{per}")
        }
        What::Breach(breach) => breached(breach),
    }
}

/// `high`, `medium` or `low`.
pub(super) const fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Low => "low",
        Confidence::Medium => "medium",
        Confidence::High => "high",
    }
}

fn breached(breach: &Breach) -> String {
    let amounts = [
        breach.amount,
        breach.limit,
        breach.before.unwrap_or(breach.limit),
    ];
    let [found, limit, before] = match breach.value {
        ValueKind::AllocObjects | ValueKind::InuseObjects | ValueKind::PeakObjects => {
            amounts.map(count_of)
        }
        ValueKind::AllocSpace | ValueKind::InuseSpace | ValueKind::PeakSpace => {
            bytes_apart(amounts.map(|amount| amount as f64))
        }
    };
    let verb = match breach.value {
        ValueKind::AllocObjects | ValueKind::AllocSpace => "allocated",
        ValueKind::InuseObjects
        | ValueKind::InuseSpace
        | ValueKind::PeakObjects
        | ValueKind::PeakSpace => "live",
    };
    let before = match breach.before {
        Some(_) => format!(" (baseline {before})"),
        None => String::new(),
    };
    match &breach.rule {
        Rule::Peak => format!("{found} {verb} at once, more than {limit}"),
        Rule::Budget(function) => {
            format!("{found} {verb} through functions matching {function}, more than {limit}")
        }
        Rule::BaselineTotal => format!("{found} {verb} in all, more than {limit}{before}"),
        Rule::BaselineStack(_) => {
            format!("{found} {verb} from one stack, more than {limit}{before}")
        }
    }
}

fn count_of(objects: i64) -> String {
    match objects {
        1 => "1 object".to_owned(),
        _ => format!("{objects} objects"),
    }
}

/// What else there is to say of a finding, a sentence each; neither its stack nor its caveats, which reports with
/// several findings say once.
pub(super) fn details(finding: &Finding) -> Vec<String> {
    let mut lines = facts(finding);
    lines.extend(finding.blame.as_ref().map(last_touched));
    lines
}

fn facts(finding: &Finding) -> Vec<String> {
    let mut lines = Vec::new();
    if let What::Leak(leak) = &finding.what {
        lines.push(pace(leak));
    }
    match (&finding.what, &finding.stack) {
        (What::Breach(breach), Some(stack)) if breach.value.is_peak() => {
            lines.push(format!("largest part: held {}", at_peak(stack)));
            let others = finding.others.iter();
            lines.extend(others.map(|stack| {
                let frames = stack.frames.iter().skip(stack.place.unwrap_or(0));
                let frames: Vec<String> = frames.take(2).map(frame).collect();
                format!(
                    "then held {}: {}",
                    at_peak(stack),
                    frames.join(", called by ")
                )
            }));
            if breach.value == ValueKind::PeakObjects {
                lines.push(
                    "That is what was held when most bytes were live; who held most objects is not kept."
                        .to_owned(),
                );
            }
        }
        (_, Some(stack)) => lines.push(amounts(stack)),
        (_, None) => {}
    }
    if let What::Breach(Breach {
        rule: Rule::Peak,
        value: ValueKind::InuseSpace | ValueKind::InuseObjects,
        ..
    }) = &finding.what
    {
        lines.push("Only snapshots were seen: the peak may have been higher.".to_owned());
    }
    lines
}

/// What may make a finding look worse or better than it is, a sentence each.
pub(super) fn caveats(finding: &Finding) -> Vec<String> {
    let What::Leak(leak) = &finding.what else {
        return Vec::new();
    };
    let caveats = leak.caveats.iter();
    caveats.map(|caveat| caveat.sentence().to_owned()).collect()
}

/// All that there is to say of a finding that stands by itself.
pub(super) fn all_details(finding: &Finding) -> Vec<String> {
    let mut lines = facts(finding);
    lines.extend(caveats(finding));
    lines.extend(finding.blame.as_ref().map(last_touched));
    lines
}

/// The caveats of several findings, each once, with the number of those it is about where it is not about all.
pub(super) fn caveats_of(findings: &[Finding]) -> Vec<String> {
    let leaks = findings
        .iter()
        .filter(|finding| matches!(finding.what, What::Leak(_)));
    let leaks: Vec<&Finding> = leaks.collect();
    let mut counts: Vec<(String, usize)> = Vec::new();
    for caveat in leaks.iter().flat_map(|finding| caveats(finding)) {
        match counts.iter_mut().find(|(known, _)| *known == caveat) {
            Some((_, count)) => *count += 1,
            None => counts.push((caveat, 1)),
        }
    }
    counts
        .into_iter()
        .map(|(caveat, count)| match leaks.len() {
            all if all == count => caveat,
            all => format!("Of {count} of the {all} leaks: {caveat}"),
        })
        .collect()
}

/// Where, what for and what is allocated, on one line.
pub(super) fn site(finding: &Finding) -> Option<String> {
    let mut text = frame(finding.place()?);
    let stack = finding.stack.as_ref()?;
    let purpose = stack.purpose.as_ref();
    let purpose = purpose.map(|name| format!("for {}", shorten(name, WIDTH)));
    let more: Vec<String> = purpose.into_iter().chain(stack.what.clone()).collect();
    if !more.is_empty() {
        text.push_str(&format!("  ({})", more.join(", ")));
    }
    Some(text)
}

/// `64 B/s, 1 objects/s, 64 B per operation, since 3 s into the recording`.
fn pace(leak: &Leak) -> String {
    let mut text = format!(
        "{}/s, {} {}/s",
        bytes(leak.bytes_per_second),
        number(leak.objects_per_second),
        if leak.is_of_pages() {
            "pages"
        } else {
            "objects"
        }
    );
    if let Some(per_operation) = leak.bytes_per_operation {
        text.push_str(&format!(", {} per operation", bytes(per_operation)));
    }
    text.push_str(&format!(
        ", since {} into the recording",
        time(leak.since_seconds)
    ));
    if let Some(seconds) = leak.seconds_to_limit {
        text.push_str(&format!("; memory limit reached in {}", time(seconds)));
    }
    text
}

/// The picture of alloc against inuse: much allocated and little kept, or the reverse.
fn amounts(stack: &Stack) -> String {
    let values = &stack.values;
    let (came, stays) = if stack.of_pages {
        ("became resident", "still there")
    } else {
        ("allocated", "live")
    };
    let whose = match stack.stacks {
        _ if stack.only_largest => "largest part: ".to_owned(),
        0 | 1 => String::new(),
        stacks => format!("by {stacks} stacks: "),
    };
    let count_of = |objects: i64| match (stack.of_pages, objects) {
        (false, _) => count_of(objects),
        (true, 1) => "1 page".to_owned(),
        (true, _) => format!("{objects} pages"),
    };
    format!(
        "{whose}{came} {} in {}, {stays} {} in {} ({})",
        bytes(values.alloc_space as f64),
        count_of(values.alloc_objects),
        bytes(values.inuse_space as f64),
        count_of(values.inuse_objects),
        percent(values.inuse_space, values.alloc_space),
    )
}

/// `200 MB in 1 object at the peak`
fn at_peak(stack: &Stack) -> String {
    let Values {
        peak_space,
        peak_objects,
        ..
    } = stack.values;
    let stacks = match stack.stacks {
        0 | 1 => String::new(),
        stacks => format!(" by {stacks} stacks"),
    };
    let (space, objects) = (bytes(peak_space as f64), count_of(peak_objects));
    format!("{space} in {objects}{stacks} at the peak")
}

fn last_touched(blame: &Blame) -> String {
    let Blame {
        commit,
        author,
        date,
        summary,
    } = blame;
    let short = commit.get(..12).unwrap_or(commit);
    format!("last touched by {short} ({author}, {date}): {summary}")
}

/// `src/cache.rs:9`, or nothing.
pub(super) fn place(finding: &Finding) -> String {
    let Some(frame) = finding.place() else {
        return String::new();
    };
    match (frame.shown_file(), frame.line) {
        ("", _) => String::new(),
        (file, 0) => file.to_owned(),
        (file, line) => format!("{file}:{line}"),
    }
}

/// A frame as `function  file:line`.
pub(super) fn frame(frame: &Frame) -> String {
    let function = shorten(frame.shown_function(), WIDTH);
    match (frame.shown_file(), frame.line) {
        ("", _) => function,
        (file, 0) => format!("{function}  {file}"),
        (file, line) => format!("{function}  {file}:{line}"),
    }
}

/// The frames that a report shows, with their numbers: from the leaf to a little beyond the place.
pub(super) fn excerpt(stack: &Stack) -> impl Iterator<Item = (usize, &Frame)> {
    const LEAST: usize = 8;
    const BEYOND: usize = 4;
    let shown = LEAST.max(stack.place.unwrap_or(0) + BEYOND);
    stack.frames.iter().enumerate().take(shown)
}
