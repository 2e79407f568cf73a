//! Amounts, rates and times as the reports write them: in the units that a policy is written in.

use crate::size::Size;

/// Digits that count, where no more are needed to tell amounts apart.
const DIGITS: usize = 3;

/// `12.3 MB`.
pub(crate) fn bytes(bytes: f64) -> String {
    bytes_with(bytes, DIGITS)
}

/// Amounts beside each other, each with as many digits as it takes for different ones to look different.
pub(super) fn bytes_apart<const N: usize>(amounts: [f64; N]) -> [String; N] {
    // A double has 15.
    let mut shown = amounts.map(bytes);
    for digits in DIGITS + 1..=15 {
        let differ = |(a, one): (usize, &f64)| {
            let others = amounts.iter().enumerate().skip(a + 1);
            others
                .into_iter()
                .all(|(b, other)| one == other || shown.get(a) != shown.get(b))
        };
        if amounts.iter().enumerate().all(differ) {
            break;
        }
        shown = amounts.map(|amount| bytes_with(amount, digits));
    }
    shown
}

fn bytes_with(bytes: f64, digits: usize) -> String {
    let (amount, unit) = Size(bytes).scaled();
    format!("{} {unit}", number_with(amount, digits))
}

/// Three digits that count, and all before the point.
pub(super) fn number(number: f64) -> String {
    number_with(number, DIGITS)
}

fn number_with(number: f64, digits: usize) -> String {
    let size = number.abs();
    let decimals = match size {
        _ if size >= 1.0 => digits.saturating_sub(1 + size.log10().floor() as usize),
        _ if size > 0.0 => digits + (-size.log10()).floor().clamp(0.0, 9.0) as usize,
        _ => 0,
    };
    let text = format!("{number:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// `3 h 20 min`: the two largest units.
pub(super) fn time(seconds: f64) -> String {
    const YEAR: u64 = 365 * 86_400;
    let whole = seconds.max(0.0) as u64;
    if whole < 60 {
        return format!("{} s", number(seconds.max(0.0)));
    }
    if whole >= YEAR {
        return "more than a year".to_owned();
    }
    let parts = [
        (whole / 86_400, "d"),
        (whole / 3_600 % 24, "h"),
        (whole / 60 % 60, "min"),
        (whole % 60, "s"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .skip_while(|(amount, _)| *amount == 0)
        .take(2)
        .filter(|(amount, _)| *amount > 0)
        .map(|(amount, unit)| format!("{amount} {unit}"))
        .collect();
    parts.join(" ")
}

/// `part` of `whole` in percent.
pub(super) fn percent(part: i64, whole: i64) -> String {
    if whole <= 0 {
        return "0%".to_owned();
    }
    format!("{}%", number(part as f64 / whole as f64 * 100.0))
}

/// `1 leak`, `2 leaks`.
pub(crate) fn count(count: usize, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_well() {
        for (amount, text) in [
            (0.0, "0 B"),
            (0.25, "0.25 B"),
            (64.0, "64 B"),
            (1023.0, "1023 B"),
            (1536.0, "1.5 kB"),
            (12.34 * 1024.0 * 1024.0, "12.3 MB"),
            (1e18, "888 PB"),
            (-2048.0, "-2 kB"),
        ] {
            assert_eq!(bytes(amount), text);
        }
        assert_eq!(number(0.012345), "0.0123");
        assert_eq!(number(999.6), "1000");
        assert_eq!(percent(1, 3), "33.3%");
        assert_eq!(percent(1, 0), "0%");
    }

    #[test]
    fn different_amounts_look_different() {
        const MIB: f64 = 1024.0 * 1024.0;
        assert_eq!(
            bytes_apart([1.5712 * MIB, 1.5701 * MIB, 1.5701 * MIB]),
            ["1.571 MB", "1.57 MB", "1.57 MB"]
        );
        let [more, less] = bytes_apart([64.0 * MIB + 1.0, 64.0 * MIB]);
        assert_ne!(more, less);
        assert_eq!(less, "64 MB");
        assert_eq!(bytes_apart([2.0, 1.0]), ["2 B", "1 B"]);
    }

    #[test]
    fn times_read_well() {
        for (seconds, text) in [
            (0.5, "0.5 s"),
            (59.0, "59 s"),
            (60.0, "1 min"),
            (3_725.0, "1 h 2 min"),
            (90_000.0, "1 d 1 h"),
            (1e12, "more than a year"),
            (f64::INFINITY, "more than a year"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }
}
