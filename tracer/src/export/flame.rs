//! Flame graphs as SVG: where the memory is, and where it changed.
//!
//! Drawn by inferno, then coloured by whose code a frame is, with a legend. Plumbing is left out unless asked
//! for: what stays is own code, the way into each package, where memory is asked for and what is allocated. The
//! same profile gives the same bytes. Names come from anywhere: what could be taken for something else by
//! inferno's line format or by XML is replaced.

mod colours;
mod dress;
mod stacks;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use inferno::flamegraph::color::{BasicPalette, Palette};
use inferno::flamegraph::{Options, TextTruncateDirection, from_lines};

use crate::printable::printable;
use crate::profile::{Diff, FrameRules, Profile, ValueKind, prune};
use crate::report::Style;
use crate::sites::Kind;
pub(crate) use stacks::Stacks;

/// Largest sum that is drawn: up to here a float, which inferno computes widths with, is exact.
const MAX_TOTAL: i64 = 1 << 53;
/// Narrowest frame, in percent of the width; thousandths of a pixel help nobody and fill megabytes.
const MIN_WIDTH: f64 = 0.01;

/// Draws one value of a profile. Where frames have short names, their tooltips have the full ones.
///
/// A stack that holds less than nothing, as in a profile of differences, has no width; the subtitle
/// says how much that is.
///
/// # Errors
/// Those of the writer.
pub fn write(
    profile: &Profile,
    value: ValueKind,
    style: &Style,
    out: &mut impl Write,
) -> io::Result<()> {
    let profile = prune(profile, FrameRules::allocators());
    let mut stacks = Stacks::new(&profile, style);
    let mut lines = BTreeMap::new();
    let mut negative = 0_i64;
    for sample in &profile.samples {
        match sample.values.get(value) {
            0 => {}
            amount @ ..0 => negative = negative.saturating_add(amount),
            amount => add(&mut lines, stacks.line(sample), [0, amount]),
        }
    }
    let mut subtitle = format!("{}; verdict: {}", source(&profile), profile.verdict.name());
    if negative != 0 {
        let unit = count_name(value);
        subtitle.push_str(&format!("; not drawn: stacks with {negative} {unit}"));
    }
    let lines = Lines {
        lines,
        labels: stacks.into_labels(),
        differential: false,
    };
    lines.draw(title(value), &(subtitle + folding(style)), value, out)
}

/// Draws one value of two profiles: frames are as wide as what they hold in B, orange where the
/// function's own allocations grew since A and blue where they shrank.
///
/// # Errors
/// Those of the writer.
pub fn write_diff(
    diff: &Diff,
    value: ValueKind,
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    // Pruning keeps the samples and their order.
    let profile = prune(&diff.profile, FrameRules::allocators());
    let mut stacks = Stacks::new(&profile, style);
    let mut lines = BTreeMap::new();
    let mut gone = 0_i64;
    for (sample, change) in profile.samples.iter().zip(&diff.stacks) {
        let (before, after) = (change.before.get(value), change.after.get(value));
        if before != 0 || after != 0 {
            add(&mut lines, stacks.line(sample), [before, after]);
        }
    }
    lines.retain(|_, [before, after]| {
        *before = (*before).max(0);
        if *after <= 0 {
            gone = gone.saturating_add(*before);
        }
        *after > 0
    });
    let verdict = diff.profile.verdict.name();
    let mut subtitle =
        format!("from A to B: width is B, orange grew, blue shrank; verdict: {verdict}");
    if gone != 0 {
        let unit = count_name(value);
        subtitle.push_str(&format!(
            "; not drawn: {gone} {unit} of A in stacks that B has not"
        ));
    }
    let title = format!("Change of {}", title(value).to_lowercase());
    let lines = Lines {
        lines,
        labels: stacks.into_labels(),
        differential: true,
    };
    lines.draw(&title, &(subtitle + folding(style)), value, out)
}

/// What a picture does not show, for its subtitle.
const fn folding(style: &Style) -> &'static str {
    match style.is_full {
        true => "",
        false => "; plumbing folded, --full shows all",
    }
}

/// Amounts of each stack in A and in B; A is not drawn where there is only one profile.
struct Lines {
    lines: BTreeMap<String, [i64; 2]>,
    /// Whose code each frame is, and its full name where that is another.
    labels: HashMap<String, (Kind, Option<String>)>,
    differential: bool,
}

impl Lines {
    fn draw(
        &self,
        title: &str,
        subtitle: &str,
        value: ValueKind,
        mut out: impl Write,
    ) -> io::Result<()> {
        let total = |side: usize| {
            let amounts = self.lines.values().filter_map(|amounts| amounts.get(side));
            amounts.fold(0_i64, |sum, &amount| sum.saturating_add(amount))
        };
        if total(0).max(total(1)) > MAX_TOTAL {
            let why = format!(
                "More than {MAX_TOTAL} {} cannot be drawn.",
                count_name(value)
            );
            return out.write_all(message(&why).as_bytes());
        }
        if total(1) == 0 {
            let why = format!("No stack holds any {}.", value.name());
            return out.write_all(message(&why).as_bytes());
        }
        let lines: Vec<String> = self
            .lines
            .iter()
            .map(|(stack, [before, after])| match self.differential {
                true => format!("{stack} {before} {after}"),
                false => format!("{stack} {after}"),
            })
            .collect();
        let mut options = Options::default();
        options.title = title.to_owned();
        options.subtitle = Some(clean(&printable(subtitle)));
        options.count_name = count_name(value).to_owned();
        options.colors = Palette::Basic(BasicPalette::Mem);
        options.deterministic = true;
        options.min_width = MIN_WIDTH;
        options.text_truncate_direction = TextTruncateDirection::Right;
        // They are, by stack; inferno would sort by line, and then not find them in order.
        options.no_sort = true;
        let mut picture = Vec::new();
        from_lines(&mut options, lines.iter().map(String::as_str), &mut picture)?;
        let picture = String::from_utf8(picture).map_err(io::Error::other)?;
        dress::write(&picture, &self.labels, self.differential, out)
    }
}

fn add(lines: &mut BTreeMap<String, [i64; 2]>, stack: String, amounts: [i64; 2]) {
    let sums = lines.entry(stack).or_default();
    for (sum, amount) in sums.iter_mut().zip(amounts) {
        *sum = sum.saturating_add(amount);
    }
}

/// A name as it can stand in inferno's lines and in XML.
///
/// inferno takes trailing numbers for amounts, a line that begins with `# ` for a comment, and trims;
/// a no-break space is a space for people only. XML has no place for control characters
/// and two of Unicode's non-characters.
fn clean(name: &str) -> String {
    const NO_BREAK_SPACE: char = '\u{a0}';
    let name = name.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
    let name = name.replace(char::is_control, " ");
    let name = name.trim();
    if name.is_empty() {
        return "?".to_owned();
    }
    let number = |word: &str| {
        word.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    let mut name = name.to_owned();
    let last_space = name.rfind(' ');
    if let Some(at) = last_space.filter(|at| number(&name[at + 1..])) {
        name.replace_range(at..=at, NO_BREAK_SPACE.encode_utf8(&mut [0; 4]));
        // Another number may stand before it.
        return clean(&name[..at]) + &name[at..];
    }
    if name.starts_with("# ") {
        name.replace_range(1..2, NO_BREAK_SPACE.encode_utf8(&mut [0; 4]));
    }
    name
}

fn source(profile: &Profile) -> &str {
    match profile.metadata.source.as_str() {
        "" => "a profile without a source",
        source => source,
    }
}

const fn title(value: ValueKind) -> &'static str {
    match value {
        ValueKind::AllocObjects => "Objects allocated (alloc_objects)",
        ValueKind::AllocSpace => "Bytes allocated (alloc_space)",
        ValueKind::InuseObjects => "Objects live (inuse_objects)",
        ValueKind::InuseSpace => "Bytes live (inuse_space)",
        ValueKind::PeakObjects => "Objects live at the peak (peak_objects)",
        ValueKind::PeakSpace => "Bytes live at the peak (peak_space)",
    }
}

const fn count_name(value: ValueKind) -> &'static str {
    match value {
        ValueKind::AllocObjects | ValueKind::InuseObjects | ValueKind::PeakObjects => "objects",
        ValueKind::AllocSpace | ValueKind::InuseSpace | ValueKind::PeakSpace => "bytes",
    }
}

/// A picture of one sentence, where there is nothing to draw; inferno calls that an error.
fn message(sentence: &str) -> String {
    format!(
        "<?xml version=\"1.0\" standalone=\"no\"?>\n\
         <svg version=\"1.1\" width=\"1200\" height=\"60\" xmlns=\"http://www.w3.org/2000/svg\">\
         <text x=\"600\" y=\"36\" text-anchor=\"middle\" font-family=\"monospace\">\
         {sentence}</text></svg>\n"
    )
}

#[cfg(test)]
mod tests;
