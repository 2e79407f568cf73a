//! Amounts, rates and times as the reports write them: in the units that a policy is written in.

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// `12.3 MiB`.
pub(crate) fn bytes(bytes: f64) -> String {
    let mut amount = bytes;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for &larger in units {
        if amount.abs() < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = larger;
    }
    format!("{} {unit}", number(amount))
}

/// Three digits that count, and all before the point.
pub(super) fn number(number: f64) -> String {
    let size = number.abs();
    let decimals = match size {
        _ if size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ if size > 0.0 => 3 + (-size.log10()).floor().clamp(0.0, 9.0) as usize,
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
pub(super) fn count(count: usize, one: &str) -> String {
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
            (1536.0, "1.5 KiB"),
            (12.34 * 1024.0 * 1024.0, "12.3 MiB"),
            (1e18, "909495 TiB"),
            (-2048.0, "-2 KiB"),
        ] {
            assert_eq!(bytes(amount), text);
        }
        assert_eq!(number(0.012345), "0.0123");
        assert_eq!(number(999.6), "1000");
        assert_eq!(percent(1, 3), "33.3%");
        assert_eq!(percent(1, 0), "0%");
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
