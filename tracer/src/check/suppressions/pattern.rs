//! Wildcards, as a regular expression: it needs no backtracking, whatever the pattern.

use regex::{Regex, RegexBuilder};

/// Most bytes of a pattern. The longest names have some thousand; memory stays bounded.
const MAX_LENGTH: usize = 8192;

/// A compiled pattern with wildcards.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// LeakSanitizer's: `*` is any text; matches anywhere, unless `^` or `$` stand at the ends.
    pub(super) fn anywhere(text: &str) -> Result<Self, String> {
        let (at_start, text) = match text.strip_prefix('^') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (at_end, text) = match text.strip_suffix('$') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let parts: Vec<String> = text.split('*').map(regex::escape).collect();
        Self::new(text, at_start, &parts.join(".*"), at_end)
    }

    /// Valgrind's: `*` is any text and `?` any character, a backslash takes the meaning of the next;
    /// matches the whole.
    pub(super) fn whole(text: &str) -> Result<Self, String> {
        let mut regex = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' => regex.push_str(".*"),
                '?' => regex.push('.'),
                c => {
                    let c = match c {
                        '\\' => chars.next().unwrap_or(c),
                        _ => c,
                    };
                    regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
                }
            }
        }
        Self::new(text, true, &regex, true)
    }

    fn new(text: &str, at_start: bool, regex: &str, at_end: bool) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("the pattern is longer than {MAX_LENGTH} bytes"));
        }
        let start = if at_start { r"\A" } else { "" };
        let end = if at_end { r"\z" } else { "" };
        RegexBuilder::new(&format!("{start}(?:{regex}){end}"))
            .dot_matches_new_line(true)
            .build()
            .map(Self)
            .map_err(|_| "the pattern is too large".to_owned())
    }

    /// Whether it matches; what is not known is matched by nothing.
    pub(super) fn matches(&self, text: &str) -> bool {
        !text.is_empty() && self.0.is_match(text)
    }
}
