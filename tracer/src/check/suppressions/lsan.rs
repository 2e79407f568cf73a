//! LeakSanitizer's format: `leak:pattern`, a line each.
//!
//! A pattern is looked for in the function, the source file and the module of every frame. Comments
//! begin with `#`. Where LeakSanitizer takes a `$` anywhere for the end, here only the last character
//! is: names have dollars in them.

use std::fmt::Write as _;

use super::pattern::Pattern;
use super::{Matcher, Suppression, SuppressionError, SuppressionFrame};

/// What stands before a pattern.
const KIND: &str = "leak";
/// Frames that are named in a comment above a suppression that is written.
const NAMED: usize = 8;

pub(super) fn parse(text: &str) -> Result<Vec<Suppression>, SuppressionError> {
    let mut list = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let error = |reason: String| SuppressionError {
            line: number,
            reason,
        };
        let pattern = match line.split_once(':') {
            Some((KIND, pattern)) => pattern,
            Some((other, _)) => {
                return Err(error(format!(
                    "unknown kind `{other}`: suppressions of leaks begin with `{KIND}:`"
                )));
            }
            None => return Err(error(format!("expected `{KIND}:PATTERN`"))),
        };
        list.push(suppression(pattern, number).map_err(error)?);
    }
    Ok(list)
}

/// A suppression by a pattern without its `leak:`.
pub(super) fn suppression(pattern: &str, line: usize) -> Result<Suppression, String> {
    let pattern = pattern.trim();
    if pattern.trim_matches(['^', '$', '*']).is_empty() {
        return Err(match pattern {
            "" => "the pattern is empty".to_owned(),
            _ => format!("`{pattern}` would match every leak"),
        });
    }
    Ok(Suppression {
        name: pattern.to_owned(),
        line,
        matcher: Matcher::AnyFrame(Pattern::anywhere(pattern)?),
    })
}

pub(super) fn matches(pattern: &Pattern, stack: &[SuppressionFrame<'_>]) -> bool {
    stack.iter().any(|frame| {
        [frame.function, frame.file, frame.module]
            .iter()
            .any(|text| pattern.matches(text))
    })
}

/// A suppression of a stack, leaf first, with a comment that names its frames; `None` where the
/// stack has no names.
///
/// The format can name one frame only. It is the innermost one that is neither an allocator's nor a
/// standard library's: `Vec::push` would suppress half of a program.
#[must_use]
pub fn write(stack: &[SuppressionFrame<'_>]) -> Option<String> {
    let named = || {
        let frames = stack.iter().filter(|frame| !frame.allocator);
        frames
            .map(|frame| frame.function)
            .filter(|name| is_usable(name))
    };
    let frame = named()
        .find(|name| !is_standard_library(name))
        .or_else(|| named().next())?;
    let mut text = String::from("#");
    for name in named().take(NAMED) {
        // Writing to a string cannot fail.
        let _ = write!(text, " < {}", one_line(name));
    }
    let text = text.replacen(" < ", " ", 1);
    Some(format!("{text}\n{KIND}:^{}$\n", one_line(frame)))
}

/// A name that makes a pattern which matches it and not everything.
fn is_usable(name: &str) -> bool {
    !one_line(name).trim_matches(['^', '$', '*']).is_empty()
}

/// A name without what would end the line; `*` matches it.
fn one_line(name: &str) -> String {
    name.replace(char::is_control, "*")
}

fn is_standard_library(name: &str) -> bool {
    // `<alloc::vec::Vec<T>>::push`, `<T as core::clone::Clone>::clone`.
    let name = name.trim_start_matches('<');
    [
        "alloc::",
        "core::",
        "std::",
        "hashbrown::",
        "__gnu_cxx::",
        "void std::",
    ]
    .iter()
    .any(|library| name.starts_with(library))
}
