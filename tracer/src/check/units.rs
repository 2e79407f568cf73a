//! Amounts as people write them in a policy.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// Bytes: `"64kB"`, `"1.5 MB"`, `"100B"`, or a number of them.
///
/// Units are powers of 1024 in every input and output, under the names that pprof has for them (and
/// `/proc/meminfo`); `KiB` is the same as `kB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Amount")]
pub struct Bytes(pub i64);

/// A share of something else: `"10%"`, from 0 on; 0.1 in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "String")]
pub struct Tolerance(pub f64);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an amount such as \"64kB\"")]
enum Amount {
    Number(i64),
    Text(String),
}

/// The names of each power of 1024, in any case.
const UNITS: [&[&str]; 5] = [
    &["b"],
    &["kb", "kib", "k"],
    &["mb", "mib", "m"],
    &["gb", "gib", "g"],
    &["tb", "tib", "t"],
];

impl TryFrom<Amount> for Bytes {
    type Error = String;

    fn try_from(amount: Amount) -> Result<Self, String> {
        match amount {
            Amount::Number(bytes) if bytes < 0 => Err(format!("{bytes} is below 0")),
            Amount::Number(bytes) => Ok(Self(bytes)),
            Amount::Text(text) => bytes(&text),
        }
    }
}

impl FromStr for Bytes {
    type Err = String;

    /// As in a policy: with a unit, or a number of bytes.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) => Amount::Number(number).try_into(),
            Err(_) => bytes(text),
        }
    }
}

fn bytes(text: &str) -> Result<Bytes, String> {
    let at = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(at.unwrap_or(text.len()));
    let unknown = || format!("`{text}` is not an amount: say it as 64kB, 1.5MB or 100B");
    let unit = unit.trim().to_lowercase();
    let power = UNITS.iter().position(|names| names.contains(&&*unit));
    let power = power.ok_or_else(unknown)?;
    let number = positive(number).ok_or_else(unknown)?;
    let bytes = number * 1024_f64.powi(power as i32);
    if bytes >= i64::MAX as f64 {
        return Err(format!("`{text}` is more than can be counted"));
    }
    Ok(Bytes(bytes as i64))
}

/// A time from zero on: `30s`, `1h30m`, or a number of seconds such as `3` or `0.5`.
///
/// # Errors
/// What is wrong with it, and how to say it.
pub fn time(text: &str) -> Result<Duration, String> {
    if let Some(seconds) = positive(text) {
        return Duration::try_from_secs_f64(seconds)
            .map_err(|_| format!("`{text}` seconds are more than can be counted"));
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is not a time ({error}): say it as 30s, 5m or 1h30m"))
}

/// Digits with or without a decimal point.
fn positive(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| plain)
}

impl TryFrom<String> for Tolerance {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Tolerance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(positive);
        match number {
            Some(percent) if percent.is_finite() => Ok(Self(percent / 100.0)),
            _ => Err(format!("`{text}` is not a share: say it as 10%")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Bytes, Duration, Tolerance, bytes, time};

    #[test]
    fn amounts_have_units() {
        for (text, expected) in [
            ("64kB", 65_536),
            ("64 kB", 65_536),
            ("1.5MB", 1_572_864),
            ("100B", 100),
            ("0B", 0),
            ("2TB", 2 << 40),
            ("64KiB", 65_536),
            ("64 kib", 65_536),
            ("5m", 5 << 20),
        ] {
            assert_eq!(bytes(text), Ok(Bytes(expected)), "{text}");
        }
        for text in [
            "",
            "64",
            "kB",
            "-1kB",
            "1e3B",
            "1,5MB",
            "64 K iB",
            "9000000TB",
            "infB",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!("64".parse(), Ok(Bytes(64)));
        assert_eq!("64kB".parse(), Ok(Bytes(65_536)));
        assert!("-64".parse::<Bytes>().is_err());
    }

    #[test]
    fn times_are_seconds_where_no_unit_is_given() {
        for (text, millis) in [
            ("3", 3_000),
            ("0.5", 500),
            ("0", 0),
            ("2m", 120_000),
            ("0s", 0),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "-3",
            "soon",
            "5 parsecs",
            "1e3",
            "1,5",
            "99999999999999999999999",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tolerances_are_percentages() {
        assert_eq!(Tolerance::try_from("10%".to_owned()), Ok(Tolerance(0.1)));
        assert_eq!(Tolerance::try_from("0.5%".to_owned()), Ok(Tolerance(0.005)));
        for text in ["10", "-1%", "%", "ten%", "1e2%"] {
            assert!(Tolerance::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_does_harm(text in "[0-9.]{0,25}[A-Za-z ]{0,4}|\\PC{0,8}") {
            if let Ok(Bytes(bytes)) = bytes(&text) {
                prop_assert!(bytes >= 0);
            }
        }
    }
}
