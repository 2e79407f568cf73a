//! Whole stacks below a line of a report.

use std::fmt;

use serde::Serialize;

use super::format::{name_width, shorten};
use crate::names::Names;
use crate::printable::printable;
use crate::profile::{Profile, Sample};

/// Frames of a stack that the text shows; the callers further up are counted.
const SHOWN: usize = 12;
/// Columns left of a frame.
const INDENT: usize = 8;

/// A frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StackFrame {
    /// Its function.
    pub function: String,
    /// Its source file, or empty.
    pub file: String,
    /// Line in it, or 0.
    pub line: u32,
    /// It was inlined into the frame after it.
    pub inlined: bool,
}

/// The frames of a sample, leaf first.
pub(super) fn frames(profile: &Profile, sample: &Sample) -> Vec<StackFrame> {
    let mut frames: Vec<StackFrame> = profile
        .frames(sample)
        .filter_map(|frame| {
            let function = profile.functions.get(frame.function)?;
            Some(StackFrame {
                function: function.name.clone(),
                file: function.file.clone(),
                line: frame.line,
                inlined: frame.inlined,
            })
        })
        .collect();
    frames.reverse();
    frames
}

/// Writes the frames, one a line.
pub(super) fn fmt_frames(
    frames: &[StackFrame],
    names: &Names,
    max_width: Option<usize>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if frames.is_empty() {
        writeln!(f, "{:INDENT$}[no stack]", "")?;
    }
    for frame in frames.iter().take(SHOWN) {
        let mut place = String::new();
        if !frame.file.is_empty() {
            place = format!("  {}", printable(&frame.file));
            if frame.line != 0 {
                place.push_str(&format!(":{}", frame.line));
            }
        }
        if frame.inlined {
            place.push_str(" (inline)");
        }
        let width = name_width(max_width, INDENT + place.chars().count());
        let name = shorten(names.show(&frame.function), width);
        writeln!(f, "{:INDENT$}{name}{place}", "")?;
    }
    match frames.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        1 => writeln!(f, "{:INDENT$}… 1 more caller", ""),
        n => writeln!(f, "{:INDENT$}… {n} more callers", ""),
    }
}
