//! What pprof's format has no field for, as comment lines of a pprof file and back.
//!
//! One fact a line: `tracer: KEY: VALUE`. pprof shows comments above its tables except those that
//! begin with `#`, so what a person should see comes plain (source, verdict and its reasons, losses,
//! notes) and the rest behind a `#`. What is not plain text, and backslashes, are escaped, so that a line
//! stays a line.

use crate::printable::is_plain;
use crate::profile::{CounterClass, CounterValue, Peak, Profile, Sampled, SampledBy, Verdict};

const PREFIX: &str = "tracer: ";
const HIDDEN: &str = "# ";

/// What the comment lines of a file say.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Comments {
    /// `None` where the file was not written by this program.
    pub(super) verdict: Option<Verdict>,
    pub(super) source: String,
    pub(super) pids: Vec<u32>,
    pub(super) counters: Vec<CounterValue>,
    /// The peak of each profile that was merged into the file.
    pub(super) peaks: Vec<Peak>,
    /// The facts behind the estimates of each of them.
    pub(super) sampled: Vec<Sampled>,
    /// Our notes, and every line that is not ours.
    pub(super) notes: Vec<String>,
}

/// The comment lines of a profile. Counters that are 0 are left out.
pub(super) fn write(profile: &Profile) -> Vec<String> {
    let metadata = &profile.metadata;
    let mut lines = Vec::new();
    let mut say = |hidden: bool, key: &str, value: &str| {
        let hidden = if hidden { HIDDEN } else { "" };
        lines.push(format!("{hidden}{PREFIX}{key}: {}", escape(value)));
    };
    if !metadata.source.is_empty() {
        say(false, "source", &metadata.source);
    }
    say(false, "period", &period(metadata.period));
    say(false, "verdict", profile.verdict.name());
    for reason in profile.verdict.reasons() {
        say(false, "reason", reason);
    }
    if let Some(peak) = &profile.peak {
        say(false, "peak", &peak.to_string());
        say(true, "peak-kept", &peak_fields(peak));
    }
    if let Some(sampled) = &profile.sampled {
        say(false, "sampled", &sampled.to_string());
        say(true, "sampled-kept", &sampled_fields(sampled));
    }
    for counter in profile.counters.iter().filter(|c| c.value != 0) {
        let hidden = counter.class == CounterClass::Traffic;
        let (name, value, class) = (&counter.name, counter.value, class_name(counter.class));
        say(
            hidden,
            "counter",
            &format!("{name} = {value} ({class}): {}", counter.help),
        );
    }
    for note in &metadata.notes {
        say(false, "note", note);
    }
    if !metadata.pids.is_empty() {
        let pids: Vec<String> = metadata.pids.iter().map(u32::to_string).collect();
        say(true, "pids", &pids.join(" "));
    }
    lines
}

/// Reads comment lines back. Lines of ours that make no sense become notes: nothing is lost.
///
/// Files that pprof merged carry the lines of each: the worst verdict counts, and counters of one
/// name are added.
pub(super) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Comments {
    let mut comments = Comments::default();
    let mut verdict = None;
    let mut reasons = Vec::new();
    for line in lines {
        let ours = line.strip_prefix(HIDDEN).unwrap_or(line);
        let known = ours
            .strip_prefix(PREFIX)
            .and_then(|fact| fact.split_once(": "))
            .and_then(|(key, value)| {
                comments.take(key, &unescape(value), &mut verdict, &mut reasons)
            });
        if known.is_none() {
            comments.notes.push(line.to_owned());
        }
    }
    comments.verdict = verdict.map(|severity| match severity {
        Severity::Complete => Verdict::Complete,
        Severity::Degraded => Verdict::Degraded { reasons },
        Severity::Sampled => Verdict::Sampled { reasons },
        Severity::Inconclusive => Verdict::Inconclusive { reasons },
    });
    comments
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Complete,
    Degraded,
    Sampled,
    Inconclusive,
}

impl Comments {
    fn take(
        &mut self,
        key: &str,
        value: &str,
        verdict: &mut Option<Severity>,
        reasons: &mut Vec<String>,
    ) -> Option<()> {
        match key {
            // A field of the file, or another line, says the same.
            "period" | "peak" | "sampled" => {}
            "peak-kept" => self.peaks.push(parse_peak(value)?),
            "sampled-kept" => self.sampled.push(parse_sampled(value)?),
            "source" if self.source.is_empty() => value.clone_into(&mut self.source),
            "source" => self.source = format!("{}; {value}", self.source),
            "verdict" => {
                let severity = match value {
                    "complete" => Severity::Complete,
                    "degraded" => Severity::Degraded,
                    "sampled" => Severity::Sampled,
                    "inconclusive" => Severity::Inconclusive,
                    _ => return None,
                };
                *verdict = (*verdict).max(Some(severity));
            }
            "reason" => reasons.push(value.to_owned()),
            "note" => self.notes.push(value.to_owned()),
            "pids" => {
                let pids: Result<Vec<u32>, _> = value.split(' ').map(str::parse).collect();
                self.pids.extend(pids.ok()?);
            }
            "counter" => {
                let counter = parse_counter(value)?;
                match self.counters.iter_mut().find(|c| c.name == counter.name) {
                    Some(known) => known.value = known.value.saturating_add(counter.value),
                    None => self.counters.push(counter),
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// `bytes 210763776 objects 2 after 451000000`
fn peak_fields(peak: &Peak) -> String {
    let after = peak.after_nanos;
    let after = after.map_or_else(String::new, |nanos| format!(" after {nanos}"));
    format!("bytes {} objects {}{after}", peak.bytes, peak.objects)
}

fn parse_peak(text: &str) -> Option<Peak> {
    let mut words = text.split(' ');
    let mut field = |name: &str| (words.next()? == name).then(|| words.next()?.parse().ok())?;
    Some(Peak {
        bytes: field("bytes")?,
        objects: field("objects")?,
        after_nanos: field("after"),
    })
}

/// `by marks windows 45 nanos 200000000 …`
fn sampled_fields(sampled: &Sampled) -> String {
    format!(
        "by {} windows {} nanos {} progress_windows {} progress_nanos {} share_seen {} share_taken {} shared_objects {} \
         shared_space {} degrees {} may_be_low {}",
        sampled.by.name(),
        sampled.windows,
        sampled.nanos,
        sampled.progress_windows,
        sampled.progress_nanos,
        sampled.share_seen,
        sampled.share_taken,
        sampled.shared_objects,
        sampled.shared_space,
        sampled.degrees,
        sampled.may_be_low,
    )
}

fn parse_sampled(text: &str) -> Option<Sampled> {
    let mut words = text.split(' ');
    let mut field = |name: &str| (words.next()? == name).then(|| words.next())?;
    let by = field("by")?;
    let sampled = Sampled {
        by: SampledBy::ALL
            .into_iter()
            .find(|known| known.name() == by)?,
        windows: field("windows")?.parse().ok()?,
        nanos: field("nanos")?.parse().ok()?,
        progress_windows: field("progress_windows")?.parse().ok()?,
        progress_nanos: field("progress_nanos")?.parse().ok()?,
        share_seen: field("share_seen")?.parse().ok()?,
        share_taken: field("share_taken")?.parse().ok()?,
        shared_objects: field("shared_objects")?.parse().ok()?,
        shared_space: field("shared_space")?.parse().ok()?,
        degrees: field("degrees")?.parse().ok()?,
        may_be_low: field("may_be_low")?.parse().ok()?,
    };
    sampled.is_sane().then_some(sampled)
}

fn parse_counter(text: &str) -> Option<CounterValue> {
    let (name, rest) = text.split_once(" = ")?;
    let (value, rest) = rest.split_once(" (")?;
    let (class, help) = rest.split_once("): ")?;
    Some(CounterValue {
        name: name.to_owned(),
        value: value.parse().ok()?,
        class: CLASSES.into_iter().find(|&c| class_name(c) == class)?,
        help: help.to_owned(),
    })
}

const CLASSES: [CounterClass; 4] = [
    CounterClass::Traffic,
    CounterClass::Note,
    CounterClass::AttributionLoss,
    CounterClass::AmountLoss,
];

/// The class as it stands in comments.
const fn class_name(class: CounterClass) -> &'static str {
    match class {
        CounterClass::Traffic => "traffic",
        CounterClass::Note => "note",
        CounterClass::AttributionLoss => "attribution loss",
        CounterClass::AmountLoss => "amount loss",
    }
}

fn period(bytes: i64) -> String {
    match bytes {
        1 => "1 (every allocation was counted)".to_owned(),
        _ => format!("{bytes} (one sample per {bytes} bytes on average)"),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\\' || !is_plain(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Undoes [`escape`]; what it did not write stays as it is.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escaped) = rest.split_at(at);
        plain.push_str(before);
        let (c, length) = unescape_one(escaped).unwrap_or(('\\', 1));
        plain.push(c);
        rest = escaped.get(length..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

/// The character an escape stands for, and the escape's length in bytes.
fn unescape_one(escaped: &str) -> Option<(char, usize)> {
    match escaped.as_bytes().get(1)? {
        b'\\' => Some(('\\', 2)),
        b'n' => Some(('\n', 2)),
        b'r' => Some(('\r', 2)),
        b't' => Some(('\t', 2)),
        b'u' => {
            let (hex, _) = escaped.strip_prefix("\\u{")?.split_once('}')?;
            let c = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
            Some((c, "\\u{}".len() + hex.len()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Comments, escape, parse, unescape, write};
    use crate::export::example::counter_service;
    use crate::profile::Verdict;

    #[test]
    fn people_read_them_and_so_do_we() {
        let profile = counter_service();
        let lines = write(&profile);
        insta::assert_snapshot!(lines.join("\n"), @r"
        tracer: source: attach to counter-service (pid 4711) for 30.0 s
        tracer: period: 1 (every allocation was counted)
        tracer: verdict: degraded
        tracer: reason: 2 of 3048 allocations have no stack.
        # tracer: counter: alloc_objects = 3048 (traffic): Allocations counted.
        tracer: counter: unknown_frees = 12 (note): Frees of memory from before.
        tracer: counter: stack_unreadable = 2 (attribution loss): Stacks not read.
        tracer: note: The target exited before the end.
        # tracer: pids: 4711
        ");
        let comments = parse(lines.iter().map(String::as_str));
        assert_eq!(
            comments,
            Comments {
                verdict: Some(profile.verdict),
                source: profile.metadata.source,
                pids: profile.metadata.pids,
                counters: profile.counters,
                notes: profile.metadata.notes,
                peaks: Vec::new(),
                sampled: Vec::new(),
            }
        );
    }

    #[test]
    fn a_line_stays_a_line() {
        for text in [
            "a\nb",
            "\\",
            "\\n",
            "é\u{7f}\u{85}\r\t",
            "\\u{",
            "\\u{zz}",
            "",
        ] {
            let escaped = escape(text);
            assert!(!escaped.contains(char::is_control));
            assert_eq!(unescape(&escaped), text);
        }
        assert_eq!(unescape("\\u{110000}\\q\\"), "\\u{110000}\\q\\");
    }

    #[test]
    fn strange_lines_become_notes() {
        let comments = parse([
            "built by make",
            "tracer: verdict: fine",
            "tracer: ",
            "# tracer: pids: x",
        ]);
        assert_eq!(comments.verdict, None);
        assert_eq!(
            comments.notes,
            [
                "built by make",
                "tracer: verdict: fine",
                "tracer: ",
                "# tracer: pids: x"
            ]
        );
    }

    #[test]
    fn of_merged_files_the_worst_verdict_counts() {
        let comments = parse([
            "tracer: verdict: degraded",
            "tracer: reason: 3 stacks lost",
            "tracer: counter: lost = 3 (amount loss): Lost.",
            "tracer: verdict: complete",
            "tracer: counter: lost = 4 (amount loss): Lost.",
        ]);
        assert_eq!(
            comments.verdict,
            Some(Verdict::Degraded {
                reasons: vec!["3 stacks lost".to_owned()]
            })
        );
        assert_eq!(comments.counters[0].value, 7);
    }
}
