//! Brackets in names, and what only looks like one: `operator<`, `operator()`, `->`.

use std::ops::Range;

/// Operators of C++ that hold a character of a bracket, the longest first.
const OPERATORS: [&str; 17] = [
    "<<=",
    ">>=",
    "<=>",
    "->*",
    "()",
    "[]",
    "<<",
    ">>",
    "<=",
    ">=",
    "->",
    "<",
    ">",
    " new[]",
    " delete[]",
    " new",
    " delete",
];
pub(super) const OPERATOR: &str = "operator";

/// A text and its outermost brackets.
pub(super) struct Scan {
    /// For each byte whether it is in no bracket; a bracket is in itself.
    outside: Vec<bool>,
    /// The outermost groups, with their brackets.
    groups: Vec<Range<usize>>,
}

impl Scan {
    /// A bracket without a partner counts as text, and one that is still open at the end as closed there.
    pub(super) fn of(text: &str) -> Self {
        Self::new(text, usize::MAX)
    }

    /// The same of as much as holds the first `most` groups.
    fn new(text: &str, most: usize) -> Self {
        let bytes = text.as_bytes();
        let (mut outside, mut groups) = (Vec::with_capacity(bytes.len()), Vec::new());
        let mut open: Vec<u8> = Vec::new();
        let (mut first, mut operator_end) = (0, 0);
        while let Some(&byte) = bytes.get(outside.len()) {
            let at = outside.len();
            if let Some((own, inside)) = operator(text, at) {
                outside.resize(at + own, open.is_empty());
                // The type of a conversion belongs to the name, and is not taken apart with it.
                outside.resize(at + own + inside, false);
                operator_end = outside.len();
                continue;
            }
            let after_operator = operator_end == at;
            let before = at.checked_sub(1).and_then(|at| bytes.get(at));
            let after = bytes.get(at + 1);
            match byte {
                // As in `enable_if<(2)<(3)>`.
                b'<' if before == Some(&b')') && after == Some(&b'(') && !after_operator => {}
                b'<' | b'(' | b'[' | b'{' => {
                    if open.is_empty() {
                        first = at;
                    }
                    open.push(byte);
                }
                b'>' if matches!(before, Some(b'-' | b'=' | b'.')) => {}
                b'>' | b')' | b']' | b'}' if close(&mut open, byte) => {
                    outside.push(false);
                    if open.is_empty() {
                        groups.push(first..at + 1);
                        if groups.len() == most {
                            return Self { outside, groups };
                        }
                    }
                    continue;
                }
                _ => {}
            }
            outside.push(open.is_empty());
        }
        if !open.is_empty() {
            groups.push(first..bytes.len());
        }
        Self { outside, groups }
    }

    /// Whether a byte is in no bracket.
    pub(super) fn is_outside(&self, at: usize) -> bool {
        self.outside.get(at) == Some(&true)
    }
}

/// Closes the bracket that belongs to this one, if there is one. `<` between others may have been a
/// comparison; `>` never closes another kind.
fn close(open: &mut Vec<u8>, closing: u8) -> bool {
    let opening = match closing {
        b'>' => return open.pop_if(|last| *last == b'<').is_some(),
        b')' => b'(',
        b']' => b'[',
        _ => b'{',
    };
    let comparisons = open.iter().rev().take_while(|one| **one == b'<').count();
    let kept = open.len() - comparisons;
    let partner = kept.checked_sub(1).and_then(|last| open.get(last));
    let found = partner == Some(&opening);
    if found {
        open.truncate(kept - 1);
    }
    found
}

/// An operator's name that begins here: its bytes, and of a conversion those of the type.
fn operator(text: &str, at: usize) -> Option<(usize, usize)> {
    let rest = text.get(at..)?.strip_prefix(OPERATOR)?;
    let before = text.get(..at)?.chars().next_back();
    if before.is_some_and(is_word) || rest.starts_with(is_word) {
        return None;
    }
    if let Some(operator) = OPERATORS
        .iter()
        .find(|operator| rest.starts_with(**operator))
    {
        return Some((OPERATOR.len() + operator.len(), 0));
    }
    if !rest.starts_with([' ', '"']) {
        return Some((OPERATOR.len(), 0));
    }
    let mut angles = 0_usize;
    let end = rest.find(|c| {
        match c {
            '<' => angles += 1,
            '>' => angles = angles.saturating_sub(1),
            _ => {}
        }
        c == '(' && angles == 0
    });
    Some((OPERATOR.len(), end.unwrap_or(rest.len())))
}

/// Whether a character can stand in an identifier.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The parts between `separator`s that are in no bracket.
pub(super) fn split<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let scan = Scan::of(text);
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, found) in text.match_indices(separator) {
        if at >= from && scan.is_outside(at) {
            parts.push(text.get(from..at).unwrap_or_default());
            from = at + found.len();
        }
    }
    parts.push(text.get(from..).unwrap_or_default());
    parts
}

/// Where the group ends that begins here, or the text.
pub(super) fn group_end(text: &str) -> usize {
    let groups = Scan::new(text, 1).groups;
    groups.first().map_or(text.len(), |group| group.end)
}

/// Takes a group in brackets off the end: what is before it, and what is in it. `None` where no group that
/// begins with `opening` ends there.
pub(super) fn last_group(text: &str, opening: char) -> Option<(&str, &str)> {
    let scan = Scan::of(text);
    let group = scan.groups.last().filter(|group| group.end == text.len())?;
    let inside = text.get(group.clone())?.strip_prefix(opening)?;
    let closing = match opening {
        '<' => '>',
        '(' => ')',
        '[' => ']',
        _ => '}',
    };
    let inside = inside.strip_suffix(closing).unwrap_or(inside);
    Some((text.get(..group.start)?, inside))
}
