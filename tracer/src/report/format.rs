//! Numbers and names as text, the way pprof prints them.

use std::borrow::Cow;

use crate::printable::printable;
use crate::size::UNITS;

/// The unit one report prints its amounts in, so that they can be compared down a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    Count,
    Bytes(ByteUnit),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ByteUnit {
    name: &'static str,
    bytes: f64,
}

const BYTE_UNITS: [ByteUnit; 6] = {
    const fn unit(power: usize) -> ByteUnit {
        ByteUnit {
            name: UNITS[power],
            bytes: (1_u64 << (10 * power)) as f64,
        }
    }
    [unit(0), unit(1), unit(2), unit(3), unit(4), unit(5)]
};

impl Unit {
    /// The unit for amounts whose sum is `total`: that of the smallest one, unless it would make
    /// the others unwieldy; then the smallest may go down to hundredths.
    pub(super) fn choose(unit: &str, amounts: impl Iterator<Item = i64>, total: i64) -> Self {
        if unit != "bytes" {
            return Self::Count;
        }
        let total = total.unsigned_abs();
        let smallest = amounts
            .map(i64::unsigned_abs)
            .filter(|&amount| amount != 0)
            .min()
            .unwrap_or(total);
        let of_smallest = byte_unit(smallest);
        let hundredfold = smallest.saturating_mul(100);
        Self::Bytes(if of_smallest != byte_unit(total) && hundredfold < total {
            byte_unit(hundredfold)
        } else {
            of_smallest
        })
    }

    /// The unit for a table of amounts of which more or fewer may be shown: one in which the largest is ten or more.
    /// So it is the same however many are shown, and amounts down to a thousandth of the largest have a number.
    pub(crate) fn of_largest(unit: &str, amounts: impl Iterator<Item = i64>) -> Self {
        const LEAST: u64 = 10;
        let largest = amounts.map(i64::unsigned_abs).max().unwrap_or(0);
        match unit {
            "bytes" => Self::Bytes(byte_unit(largest / LEAST)),
            _ => Self::Count,
        }
    }

    /// The amount with its unit; at most two decimals. What would round to 0 is said to be less than what would not.
    pub(crate) fn show(self, amount: i64) -> String {
        match self {
            Self::Count => amount.to_string(),
            Self::Bytes(unit) => {
                let scaled = format!("{:.2}", amount as f64 / unit.bytes);
                match scaled.strip_suffix(".00").unwrap_or(&scaled) {
                    "0" | "-0" if amount == 0 => "0".to_owned(),
                    "0" => format!("<0.01{}", unit.name),
                    "-0" => format!(">-0.01{}", unit.name),
                    scaled => format!("{scaled}{}", unit.name),
                }
            }
        }
    }
}

/// The amount alone, in the unit that suits it.
pub(super) fn show_alone(amount: i64, unit: &str) -> String {
    Unit::choose(unit, std::iter::once(amount), amount).show(amount)
}

fn byte_unit(amount: u64) -> ByteUnit {
    let [bytes, larger @ ..] = BYTE_UNITS;
    larger
        .into_iter()
        .take_while(|unit| amount as f64 >= unit.bytes)
        .last()
        .unwrap_or(bytes)
}

/// `part` of `total` in percent, never negative; 0 of nothing.
pub(crate) fn percent(part: i64, total: i64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    (part as f64 / total as f64).abs() * 100.0
}

/// A percentage in six columns: two decimals, or two digits where it is below one, down to 0.01.
pub(crate) fn show_percent(percent: f64) -> String {
    let number = if (99.95..=100.05).contains(&percent) {
        "100".to_owned()
    } else if percent >= 1.0 {
        format!("{percent:.2}")
    } else if percent == 0.0 {
        "0".to_owned()
    } else if percent < 0.01 {
        "<0.01".to_owned()
    } else {
        // Two significant digits: one more decimal for each zero after the point.
        let zeros = (-percent.log10()).ceil().max(0.0) as usize;
        let number = format!("{percent:.*}", zeros + 1);
        number
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    };
    format!("{number:>5}%")
}

/// A printable name of at most `width` characters: the middle of a longer one goes, since both the
/// crate at its beginning and the function at its end are wanted.
pub(crate) fn shorten(name: &str, width: usize) -> String {
    let name = printable(name);
    let length = name.chars().count();
    if length <= width {
        return name.into_owned();
    }
    let kept = width.saturating_sub(1);
    let head = kept / 2;
    let tail = kept - head;
    name.chars()
        .take(head)
        .chain(std::iter::once('…'))
        .chain(name.chars().skip(length - tail))
        .collect()
}

/// Text no line of which is wider than `max_width` columns: longer ones go on below, a little to the right. A word that
/// is too long by itself loses its middle.
#[must_use]
pub fn fitted(text: &str, max_width: Option<usize>) -> Cow<'_, str> {
    const FURTHER: usize = 2;
    let Some(width) = max_width else {
        return Cow::Borrowed(text);
    };
    if text.lines().all(|line| line.chars().count() <= width) {
        return Cow::Borrowed(text);
    }
    let mut fitted = String::with_capacity(text.len() + text.len() / 16);
    for line in text.lines() {
        let indent = line.chars().take_while(|c| *c == ' ').count();
        let indent = (indent + FURTHER).min(width / 2);
        let (mut rest, mut room) = (line, width);
        while rest.chars().count() > room {
            let end = rest
                .char_indices()
                .nth(room)
                .map_or(rest.len(), |(at, _)| at);
            let head = rest.get(..=end).unwrap_or(rest);
            let lead = rest.len() - rest.trim_start().len();
            match head.rfind(' ').filter(|at| *at > lead) {
                Some(at) => {
                    fitted.push_str(rest.get(..at).unwrap_or_default().trim_end());
                    rest = rest.get(at..).unwrap_or_default().trim_start();
                }
                None => {
                    let word = rest.get(lead..).and_then(|r| r.find(' '));
                    let end = word.map_or(rest.len(), |at| lead + at);
                    let (long, after) = rest.split_at(end);
                    fitted.push_str(&shorten(long, room));
                    rest = after.trim_start();
                }
            }
            if rest.is_empty() {
                break;
            }
            fitted.push('\n');
            fitted.extend(std::iter::repeat_n(' ', indent));
            room = width.saturating_sub(indent).max(1);
        }
        fitted.push_str(rest);
        fitted.push('\n');
    }
    Cow::Owned(fitted)
}

/// The same without its beginning: the end of a path says more.
pub(crate) fn shorten_left(path: &str, width: usize) -> String {
    let path = printable(path);
    let length = path.chars().count();
    if length <= width {
        return path.into_owned();
    }
    let kept = path
        .chars()
        .skip(length - width.saturating_sub(1).min(length));
    std::iter::once('…').chain(kept).collect()
}

/// A source file as people tell it from others: in its package or below the folder that `src` is in,
/// otherwise the last two folders.
pub(crate) fn short_file(file: &str) -> String {
    const LAST: usize = 3;
    for library in ["/lib/rustlib/src/rust/", "/rust/deps/"] {
        if let Some((_, rest)) = file.split_once(library) {
            return rest.to_owned();
        }
    }
    if let Some(rest) = file.strip_prefix("/rustc/") {
        return rest
            .split_once('/')
            .map_or(rest, |(_, rest)| rest)
            .to_owned();
    }
    let parts: Vec<&str> = file
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let source = parts.iter().rposition(|part| *part == "src");
    let from = match source {
        Some(source) if parts.len() - source <= 2 * LAST => source.saturating_sub(1),
        _ => parts.len().saturating_sub(LAST),
    };
    parts.get(from..).unwrap_or_default().join("/")
}

/// What is left of `max_width` columns after `used`, but enough to recognise a name by.
pub(super) fn name_width(max_width: Option<usize>, used: usize) -> usize {
    const LEAST: usize = 20;
    max_width.map_or(usize::MAX, |width| width.saturating_sub(used).max(LEAST))
}

#[cfg(test)]
mod tests {
    use super::{
        Unit, fitted, percent, short_file, shorten, shorten_left, show_alone, show_percent,
    };

    #[test]
    fn sizes_have_the_units_of_policies() {
        assert_eq!(show_alone(0, "bytes"), "0");
        assert_eq!(show_alone(1023, "bytes"), "1023B");
        assert_eq!(show_alone(1024, "bytes"), "1kB");
        assert_eq!(show_alone(1536, "bytes"), "1.50kB");
        assert_eq!(show_alone(-3 << 20, "bytes"), "-3MB");
        assert_eq!(show_alone(i64::MAX, "bytes"), "8192PB");
        assert_eq!(show_alone(i64::MIN, "bytes"), "-8192PB");
        assert_eq!(show_alone(5_000, "count"), "5000");
    }

    #[test]
    fn one_unit_a_report() {
        let show = |amounts: &[i64]| {
            let total = amounts.iter().sum();
            let unit = Unit::choose("bytes", amounts.iter().copied(), total);
            amounts.iter().map(|&a| unit.show(a)).collect::<Vec<_>>()
        };
        assert_eq!(show(&[2048, 1024]), ["2kB", "1kB"]);
        // The small one decides while the large one is not a hundred times as much.
        assert_eq!(show(&[3000, 1000]), ["3000B", "1000B"]);
        assert_eq!(show(&[2 << 20, 100]), ["2048kB", "0.10kB"]);
        assert_eq!(show(&[0, 0]), ["0", "0"]);
    }

    #[test]
    fn the_unit_does_not_change_with_how_much_is_shown() {
        let show = |amounts: &[i64]| {
            let unit = Unit::of_largest("bytes", amounts.iter().copied());
            amounts.iter().map(|&a| unit.show(a)).collect::<Vec<_>>()
        };
        assert_eq!(show(&[112 << 20, 12 << 20]), ["112MB", "12MB"]);
        assert_eq!(
            show(&[112 << 20, 12 << 20, 5000, -1, 0]),
            ["112MB", "12MB", "<0.01MB", ">-0.01MB", "0"]
        );
        assert_eq!(show(&[3 << 30]), ["3072MB"]);
        assert_eq!(show(&[2_354_670, 900]), ["2299.48kB", "0.88kB"]);
        assert_eq!(show(&[1000, 1]), ["1000B", "1B"]);
        assert_eq!(show(&[i64::MIN]), ["-8192PB"]);
        assert_eq!(Unit::of_largest("count", [7].into_iter()).show(7), "7");
    }

    #[test]
    fn percentages_look_like_pprofs() {
        for (part, total, text) in [
            (0, 0, "    0%"),
            (0, 9, "    0%"),
            (1, 1, "  100%"),
            (9996, 10_000, "  100%"),
            (-1, 3, "33.33%"),
            (300, 100, "300.00%"),
            (5, 1000, "  0.5%"),
            (123, 100_000, " 0.12%"),
            (999, 100_000, "    1%"),
            (3, 10_000, " 0.03%"),
            (1, 8_000, "0.013%"),
            (1, 10_001, "<0.01%"),
        ] {
            assert_eq!(show_percent(percent(part, total)), text, "{part}/{total}");
        }
    }

    #[test]
    fn no_line_is_too_wide() {
        let long = "x".repeat(50);
        let text =
            format!("short\n    a line that is too long for it\n{long} and {long}\n  {long}\n");
        let fitted = fitted(&text, Some(20));
        assert!(
            fitted.lines().all(|line| line.chars().count() <= 20),
            "{fitted}"
        );
        assert!(
            fitted.starts_with("short\n    a line that is\n      too long for\n      it\n"),
            "{fitted}"
        );
        // No word is lost.
        assert!(fitted.contains("and"));
        assert_eq!(super::fitted("a b\n", Some(3)), "a b\n");
        assert_eq!(super::fitted(&text, None), text);
        for width in 1..60 {
            let fitted = super::fitted(&text, Some(width));
            assert!(
                fitted
                    .lines()
                    .all(|line| line.chars().count() <= width.max(1)),
                "{width}: {fitted}"
            );
        }
    }

    #[test]
    fn files_are_told_by_their_package() {
        for (file, short) in [
            (
                "/home/me/.cargo/registry/src/index-1/hyper-1.12.0/src/proto/h1/io.rs",
                "hyper-1.12.0/src/proto/h1/io.rs",
            ),
            (
                "/rustc/88d9e12/library/std/src/rt.rs",
                "library/std/src/rt.rs",
            ),
            (
                "/home/a/.rustup/toolchains/1/lib/rustlib/src/rust/library/alloc/src/vec/mod.rs",
                "library/alloc/src/vec/mod.rs",
            ),
            ("/home/me/service/src/main.rs", "service/src/main.rs"),
            ("src/main.rs", "src/main.rs"),
            ("./nptl/pthread_create.c", "nptl/pthread_create.c"),
            ("/build/a/b/c/d.c", "b/c/d.c"),
            ("", ""),
        ] {
            assert_eq!(short_file(file), short);
        }
        assert_eq!(shorten_left("a/b/c.rs", 5), "…c.rs");
        assert_eq!(shorten_left("c.rs", 5), "c.rs");
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shorten("abcdefghij", 10), "abcdefghij");
        assert_eq!(shorten("abcdefghijk", 10), "abcd…ghijk");
        assert_eq!(shorten("äöüäöüäöü", 4), "ä…öü");
        assert_eq!(shorten("abc", 0), "…");
        assert_eq!(shorten("a\x1b[2Jb", 80), "a\\u{1b}[2Jb");
    }
}
