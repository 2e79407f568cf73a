//! Times and shares as people write them on a command line.

use std::time::Duration;

use crate::check::time;
use crate::session::Share;

/// A share above 0% and at most 100%.
pub(in crate::cli) fn share(text: &str) -> Result<Share, String> {
    const FORM: &str = "say it as 2% or 0.5%";
    let number = text
        .strip_suffix('%')
        .ok_or_else(|| format!("there is no %; {FORM}"))?;
    let is_number = number.starts_with(|c: char| c.is_ascii_digit())
        && number.ends_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let percent: f64 = number
        .parse()
        .ok()
        .filter(|_| is_number)
        .ok_or_else(|| format!("not a number; {FORM}"))?;
    Share::new(percent / 100.0).ok_or_else(|| "must be above 0% and at most 100%".to_owned())
}

/// A time above zero and below a year, in seconds where it has no unit.
pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let duration = time(text)?;
    if duration.is_zero() {
        return Err("must be above zero".to_owned());
    }
    if duration > YEAR {
        return Err("must be below a year".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_sense() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        for nonsense in [
            "", "0", "0s", "-3", "-3s", "soon", "1e9s", "99999h", "400days",
        ] {
            assert!(duration(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_share_is_a_percentage() {
        let get = |text| share(text).map(Share::get);
        assert_eq!(get("2%"), Ok(0.02));
        assert_eq!(get("0.5%"), Ok(0.005));
        assert_eq!(get("100%"), Ok(1.0));
        for nonsense in [
            "", "%", "2", "0%", "0.0%", "-1%", "100.1%", "1e1%", "nan%", "inf%", "2 %", ".5%",
            "5.%", "1.2.3%", "2%%", "two%",
        ] {
            assert!(share(nonsense).is_err(), "{nonsense}");
        }
    }
}
