//! Text from outside made fit for a terminal, a log or a report.
//!
//! A traced program chooses its name, its paths and its symbols, and whoever reads them is often root
//! at a terminal. So what could move a cursor, hide or reorder text is shown as an escape: `\u{1b}`,
//! `\n`, or `\xff` for a byte that is no UTF-8. A backslash stays as it is, so that text which went
//! through here twice reads the same.
//!
//! JSON and pprof carry the text itself; JSON with its own escapes, see [`JsonEscapes`].

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;

/// Text on one line.
#[must_use]
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// Text that may have several lines of our own.
#[must_use]
pub(crate) fn printable_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c == '\n')
}

/// Whether a character shows as itself and does nothing else.
#[must_use]
pub(crate) fn is_plain(c: char) -> bool {
    match c {
        ' '..='~' => true,
        // Marks and letters that show nothing. The standard library does not count them among what
        // cannot be printed.
        '\u{34f}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{e0100}'..='\u{e01ef}' => false,
        _ if c.is_ascii() => false,
        // Controls, format characters (bidi among them), separators, and what is not assigned. Behind a
        // letter, since a mark that belongs to one is escaped where it stands alone.
        _ => {
            let mut text = [b'a', 0, 0, 0, 0];
            let (_, rest) = text.split_at_mut(1);
            let length = 1 + c.encode_utf8(rest).len();
            let text = text.get(..length).unwrap_or_default();
            std::str::from_utf8(text).is_ok_and(|text| text.escape_debug().count() == 2)
        }
    }
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let stays = |c| is_plain(c) || keep(c);
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if stays(c) => escaped.push(c),
            '\n' | '\r' | '\t' => escaped.extend(c.escape_default()),
            c => escaped.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(escaped)
}

/// Paths and other names of the system, which are bytes.
pub(crate) trait Shown {
    /// Shows it on one line, whatever its bytes are.
    fn shown(&self) -> impl fmt::Display;
}

impl Shown for Path {
    fn shown(&self) -> impl fmt::Display {
        from_bytes(self.as_os_str())
    }
}

impl Shown for OsStr {
    fn shown(&self) -> impl fmt::Display {
        from_bytes(self)
    }
}

fn from_bytes(text: &OsStr) -> String {
    let mut shown = String::with_capacity(text.len());
    for chunk in text.as_encoded_bytes().utf8_chunks() {
        shown.push_str(&printable(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// Passes JSON on and escapes what is not plain, by JSON's own rules: the same text to every reader,
/// and nothing that a terminal would obey.
///
/// Only strings hold such characters: JSON's other parts are ASCII, and below U+0020 the writer escapes.
#[derive(Debug)]
pub(crate) struct JsonEscapes<W>(pub W);

impl<W: io::Write> io::Write for JsonEscapes<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        // serde_json never cuts a character in two.
        let text = match std::str::from_utf8(bytes) {
            Ok(text) if !bytes.is_ascii() || bytes.contains(&0x7f) => text,
            _ => return self.0.write_all(bytes),
        };
        let mut rest = text;
        while let Some(at) =
            rest.find(|c: char| !c.is_ascii_control() && !is_plain(c) || c == '\x7f')
        {
            let (before, after) = rest.split_at(at);
            self.0.write_all(before.as_bytes())?;
            let mut characters = after.chars();
            if let Some(c) = characters.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(self.0, "\\u{unit:04x}")?;
                }
            }
            rest = characters.as_str();
        }
        self.0.write_all(rest.as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_of_a_name_reaches_the_terminal_but_its_letters() {
        for (text, shown) in [
            (
                "ok\x1b]0;x\x07\x1b[2J\n",
                "ok\\u{1b}]0;x\\u{7}\\u{1b}[2J\\n",
            ),
            ("a\tb\rc\0d\x7f", "a\\tb\\rc\\u{0}d\\u{7f}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            (
                "a\u{202e}b\u{2066}c\u{61c}",
                "a\\u{202e}b\\u{2066}c\\u{61c}",
            ),
            ("a\u{200b}b\u{feff}c\u{ad}", "a\\u{200b}b\\u{feff}c\\u{ad}"),
            (
                "a\u{e0041}\u{2028}\u{fe0f}",
                "a\\u{e0041}\\u{2028}\\u{fe0f}",
            ),
            ("\u{3164}\u{a0}x", "\\u{3164}\\u{a0}x"),
            ("it's \"C:\\n\"", "it's \"C:\\n\""),
            (
                "größe::名前::हिन्दी::e\u{301}",
                "größe::名前::हिन्दी::e\u{301}",
            ),
            ("…\u{fffd}", "…\u{fffd}"),
        ] {
            assert_eq!(printable(text), shown);
            assert_eq!(printable(&printable(text)), shown, "twice is as once");
        }
    }

    #[test]
    fn lines_of_our_own_stay_lines() {
        assert_eq!(printable_lines("a\nb\x1b\r\n"), "a\nb\\u{1b}\\r\n");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown() {
        let path = Path::new(OsStr::from_bytes(b"/l\xff\x1bib\xc3.so\xc3\xa4"));
        assert_eq!(path.shown().to_string(), "/l\\xff\\u{1b}ib\\xc3.soä");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_plain(text in any::<String>()) {
            prop_assert!(printable(&text).chars().all(is_plain));
            prop_assert!(printable_lines(&text).chars().all(|c| c == '\n' || is_plain(c)));
        }

        #[test]
        fn bytes_are_shown_plain(bytes in any::<Vec<u8>>()) {
            let shown = OsStr::from_bytes(&bytes).shown().to_string();
            prop_assert!(shown.chars().all(is_plain));
        }

        #[test]
        fn json_stays_the_same_and_is_plain(text in "\\PC*|[\\x00-\\x{a0}\\u{200b}-\\u{202e}\\u{e0041}]*") {
            let mut out = Vec::new();
            serde_json::to_writer(JsonEscapes(&mut out), &text).unwrap();
            let json = String::from_utf8(out).unwrap();
            prop_assert!(json.chars().all(is_plain), "{json:?}");
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
