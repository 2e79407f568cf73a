//! Valgrind's format, of which suppressions of leaks by memcheck are taken.
//!
//! ```text
//! {
//!    a name
//!    Memcheck:Leak
//!    match-leak-kinds: definite
//!    fun:malloc
//!    ...
//!    obj:*/libfoo.so.*
//!    src:foo.c:12
//! }
//! ```
//!
//! Suppressions of other errors and tools are skipped, since the same file serves all. Frames are
//! matched from the leaf on, those further out do not matter, and `...` is any number of frames.
//! Kinds of leaks are checked for spelling and no more: which memory is still reachable is not known
//! here. Stacks here begin above `malloc`, where valgrind's begin with it; so an allocator's name at
//! the head of a suppression may also stand for no frame.

use super::pattern::Pattern;
use super::{Matcher, Suppression, SuppressionError, SuppressionFrame};

/// Most frames of a suppression, as in valgrind.
const MAX_FRAMES: usize = 24;
/// What `match-leak-kinds` takes.
const LEAK_KINDS: [&str; 6] = [
    "definite",
    "indirect",
    "possible",
    "reachable",
    "all",
    "none",
];
/// Allocators as valgrind sees them, C++'s under their mangled names.
const ALLOCATORS: [&str; 16] = [
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "memalign",
    "posix_memalign",
    "aligned_alloc",
    "valloc",
    "pvalloc",
    "_Znwm",
    "_Znam",
    "_ZnwmRKSt9nothrow_t",
    "_ZnamRKSt9nothrow_t",
    "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t",
    "operator new(unsigned long)",
];

/// A line for frames.
#[derive(Clone, Debug)]
pub(super) enum FramePattern {
    /// `...`: any number of frames.
    AnyFrames,
    /// `fun:`, and whether an allocator has such a name.
    Function(Pattern, bool),
    /// `obj:`.
    Object(Pattern),
    /// `src:FILE` or `src:FILE:LINE`.
    Source(Pattern, Option<u32>),
}

/// A line that is neither empty nor a comment, with its number.
type Line<'a> = (usize, &'a str);

pub(super) fn parse(text: &str) -> Result<Vec<Suppression>, SuppressionError> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let mut list = Vec::new();
    while let Some((start, line)) = lines.next() {
        if line != "{" {
            return Err(error(start, format!("expected `{{`, found `{line}`")));
        }
        let mut block = Vec::new();
        loop {
            match lines.next() {
                Some((_, "}")) => break,
                Some((number, "{")) => {
                    let reason = format!("the suppression of line {start} has no `}}`");
                    return Err(error(number, reason));
                }
                Some(line) => block.push(line),
                None => return Err(error(start, "the suppression has no `}`".to_owned())),
            }
        }
        list.extend(suppression(start, &block)?);
    }
    Ok(list)
}

/// The suppression of a block; `None` where it is not about leaks.
fn suppression(start: usize, block: &[Line<'_>]) -> Result<Option<Suppression>, SuppressionError> {
    let [(_, name), (number, kind), rest @ ..] = block else {
        let reason = "expected a name and a kind such as `Memcheck:Leak`";
        return Err(error(start, reason.to_owned()));
    };
    let Some((tools, kind)) = kind.split_once(':') else {
        let reason = format!("expected a kind such as `Memcheck:Leak`, found `{kind}`");
        return Err(error(*number, reason));
    };
    if kind.trim() != "Leak" || !tools.split(',').any(|tool| tool.trim() == "Memcheck") {
        return Ok(None);
    }
    let rest = match rest {
        [(number, line), frames @ ..] if line.starts_with("match-leak-kinds:") => {
            check_kinds(*number, line)?;
            frames
        }
        _ => rest,
    };
    let frames = rest
        .iter()
        .map(|&(number, line)| frame(line).map_err(|reason| error(number, reason)))
        .collect::<Result<Vec<_>, _>>()?;
    if frames.len() > MAX_FRAMES {
        return Err(error(start, format!("more than {MAX_FRAMES} frames")));
    }
    if frames
        .iter()
        .all(|frame| matches!(frame, FramePattern::AnyFrames))
    {
        let reason = "without a `fun:`, `obj:` or `src:` it would match every leak";
        return Err(error(start, reason.to_owned()));
    }
    Ok(Some(Suppression {
        name: (*name).to_owned(),
        line: start,
        matcher: Matcher::FromLeaf(frames),
    }))
}

fn check_kinds(number: usize, line: &str) -> Result<(), SuppressionError> {
    let kinds = line.split_once(':').map_or("", |(_, kinds)| kinds);
    for kind in kinds.split(',').map(str::trim) {
        if !LEAK_KINDS.contains(&kind) {
            let known = LEAK_KINDS.join(", ");
            let reason = format!("unknown kind of leak `{kind}`: there are {known}");
            return Err(error(number, reason));
        }
    }
    Ok(())
}

fn frame(line: &str) -> Result<FramePattern, String> {
    if line == "..." {
        return Ok(FramePattern::AnyFrames);
    }
    let unknown = || format!("expected `fun:`, `obj:`, `src:` or `...`, found `{line}`");
    let (kind, text) = line.split_once(':').ok_or_else(unknown)?;
    if text.is_empty() {
        return Err(format!("`{kind}:` names nothing"));
    }
    match kind {
        "fun" => {
            let pattern = Pattern::whole(text)?;
            let allocator = ALLOCATORS.iter().any(|name| pattern.matches(name));
            Ok(FramePattern::Function(pattern, allocator))
        }
        "obj" => Ok(FramePattern::Object(Pattern::whole(text)?)),
        "src" => {
            let (file, line) = match text.rsplit_once(':') {
                Some((file, line)) => match line.parse() {
                    Ok(line) => (file, Some(line)),
                    Err(_) => return Err(format!("`{line}` is not a line number")),
                },
                None => (text, None),
            };
            Ok(FramePattern::Source(Pattern::whole(file)?, line))
        }
        _ => Err(unknown()),
    }
}

fn error(line: usize, reason: String) -> SuppressionError {
    SuppressionError { line, reason }
}

/// Whether the patterns match the frames from the leaf on, with or without the allocator's.
pub(super) fn matches(patterns: &[FramePattern], stack: &[SuppressionFrame<'_>]) -> bool {
    let above = stack.iter().take_while(|frame| frame.allocator).count();
    let above = stack.get(above..).unwrap_or_default();
    let without_allocator = match patterns {
        [FramePattern::Function(_, true), rest @ ..] if !rest.is_empty() => Some(rest),
        _ => None,
    };
    matches_from(patterns, stack)
        || matches_from(patterns, above)
        || without_allocator
            .is_some_and(|patterns| matches_from(patterns, stack) || matches_from(patterns, above))
}

/// As wildcards are matched: on failure back to the last `...`, which then takes a frame more.
fn matches_from(patterns: &[FramePattern], stack: &[SuppressionFrame<'_>]) -> bool {
    let (mut pattern, mut frame) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (patterns.get(pattern), stack.get(frame)) {
            (None, _) => return true,
            (Some(FramePattern::AnyFrames), _) => {
                pattern += 1;
                retry = Some((pattern, frame));
                continue;
            }
            (Some(one), Some(at)) if one.matches(at) => {
                pattern += 1;
                frame += 1;
                continue;
            }
            // Nothing is left that a longer `...` could make room for.
            (Some(_), None) => return false,
            (Some(_), Some(_)) => {}
        }
        match &mut retry {
            Some((after, from)) => {
                *from += 1;
                (pattern, frame) = (*after, *from);
            }
            None => return false,
        }
    }
}

impl FramePattern {
    fn matches(&self, frame: &SuppressionFrame<'_>) -> bool {
        match self {
            Self::AnyFrames => true,
            // Files of valgrind's have C++ names mangled, people write them as they read them.
            Self::Function(pattern, _) => {
                pattern.matches(frame.system_name) || pattern.matches(frame.function)
            }
            Self::Object(pattern) => pattern.matches(frame.module),
            Self::Source(pattern, line) => {
                let name = frame.file.rsplit('/').next().unwrap_or_default();
                (pattern.matches(frame.file) || pattern.matches(name))
                    && line.is_none_or(|line| line == frame.line)
            }
        }
    }
}
