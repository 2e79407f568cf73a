//! How wrong the amounts of a report may be, where they are estimates.

use std::fmt;

use serde::Serialize;

use crate::estimate::{Estimate, difference};
use crate::profile::{Profile, Sampled, ValueKind};

/// Level of all intervals.
const LEVEL: f64 = 0.95;
/// Columns of an error in a table.
const WIDTH: usize = 7;

/// How wrong an amount may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AmountError {
    /// Standard error, in the amount's unit.
    pub standard_error: f64,
    /// The bounds between which the true amount lies in 95% of recordings; none where all amounts may be too low,
    /// since the windows may have slowed the target down.
    pub interval: Option<[f64; 2]>,
    /// The standard error is half of the amount or more: it tells the order of magnitude at best.
    pub rough: bool,
}

/// Whether a difference is more than chance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ChangeError {
    /// Standard error of the difference, in the amount's unit.
    pub standard_error: f64,
    /// The bounds between which the true difference lies in 95% of pairs of recordings; none where amounts of one of
    /// them may be too low.
    pub interval: Option<[f64; 2]>,
    /// None is outside of that: of 20 differences that are none, one is called significant. Never where there is no
    /// interval.
    pub significant: bool,
}

/// What is known of the errors of one value of a profile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubts {
    /// `None` where it is counted, or its errors are not known.
    sampled: Option<Sampled>,
    by: ValueKind,
}

impl Doubts {
    pub(super) fn new(profile: &Profile, by: ValueKind) -> Self {
        let sampled = profile
            .sampled
            .filter(|sampled| sampled.shared(by).is_some());
        Self { sampled, by }
    }

    /// Of a sum of samples, from the sum of the squares of their own errors.
    pub(super) fn of(&self, amount: i64, own_squares: f64) -> Option<AmountError> {
        let sampled = self.sampled.as_ref()?;
        let estimate = self.estimate(amount, own_squares);
        let (lower, upper) = estimate.interval(LEVEL);
        Some(AmountError {
            standard_error: estimate.standard_error,
            interval: (!sampled.may_be_low).then_some([lower, upper]),
            rough: estimate.is_rough(),
        })
    }

    fn estimate(&self, amount: i64, own_squares: f64) -> Estimate {
        let value = amount as f64;
        let Some(sampled) = &self.sampled else {
            return Estimate::exact(value);
        };
        Estimate {
            value,
            known: value * sampled.share_seen,
            standard_error: sampled.error(self.by, amount, own_squares).unwrap_or(0.0),
            degrees: sampled.degrees,
        }
    }

    /// Of a difference between two recordings; `None` where neither has errors. Each has its amount, and the sum of
    /// the squares of its samples' own errors.
    pub(super) fn between(
        before: (&Self, i64, f64),
        after: (&Self, i64, f64),
    ) -> Option<ChangeError> {
        let sides = [before.0.sampled, after.0.sampled];
        if sides.iter().all(Option::is_none) {
            return None;
        }
        let [one, other] =
            [before, after].map(|(doubts, amount, squares)| doubts.estimate(amount, squares));
        let difference = difference(&one, &other, LEVEL);
        let is_sure = !sides.iter().flatten().any(|sampled| sampled.may_be_low);
        let (lower, upper) = difference.interval;
        Some(ChangeError {
            standard_error: difference.standard_error,
            interval: is_sure.then_some([lower, upper]),
            significant: is_sure && difference.is_significant(),
        })
    }
}

/// The error in percent of the amount, in columns of its own; nothing at all where a report has no errors.
pub(super) fn column(error: Option<&AmountError>, amount: i64, has_errors: bool) -> String {
    match error {
        Some(error) => format!("{:>WIDTH$}", show(error, amount)),
        None if has_errors => " ".repeat(WIDTH),
        None => String::new(),
    }
}

/// The column's head.
pub(super) fn head(has_errors: bool) -> String {
    column(None, 0, has_errors)
}

/// ` ±4%`, or ` ~±62%` where the amount is rough.
pub(crate) fn show(error: &AmountError, amount: i64) -> String {
    if amount == 0 {
        return String::new();
    }
    let percent = (error.standard_error / amount as f64).abs() * 100.0;
    let rough = if error.rough { "~" } else { "" };
    match percent {
        0.0..0.095 => format!(" {rough}±<0.1%"),
        0.095..0.95 => format!(" {rough}±{percent:.1}%"),
        0.95..999.5 => format!(" {rough}±{percent:.0}%"),
        _ => format!(" {rough}±>10x"),
    }
}

/// What the signs mean, below a table that has them.
pub(super) fn legend(
    errors: impl IntoIterator<Item = Option<AmountError>>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let errors: Vec<AmountError> = errors.into_iter().flatten().collect();
    if errors.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n±: standard error of what is estimated")?;
    if errors.iter().any(|error| error.rough) {
        writeln!(f, "~: half of the amount or more may be error")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{AmountError, Doubts, show};
    use crate::export::example::{counter_service, estimated};
    use crate::profile::{Profile, ValueKind};

    const KIND: ValueKind = ValueKind::AllocSpace;

    #[test]
    fn only_what_is_estimated_has_errors() {
        let profile = estimated();
        assert!(Doubts::new(&profile, KIND).of(1_000, 0.0).is_some());
        let live = Doubts::new(&profile, ValueKind::InuseSpace);
        assert_eq!(live.of(1_000, 0.0), None);
        assert_eq!(Doubts::new(&counter_service(), KIND).of(1_000, 0.0), None);
    }

    #[test]
    fn an_interval_is_around_the_amount_and_not_below_what_was_seen() {
        let doubts = Doubts::new(&estimated(), KIND);
        let error = doubts.of(1_000_000, 300_000.0_f64.powi(2));
        let [lower, upper] = error.and_then(|error| error.interval).unwrap_or_default();
        assert!(lower > 400_000.0 && lower < 600_000.0, "{lower}");
        // Further up than down.
        assert!(upper - 1_000_000.0 > 1_000_000.0 - lower, "{upper}");
        let rough = doubts.of(1_000_000, 5_000_000.0_f64.powi(2));
        assert!(rough.is_some_and(|error| error.rough));
        let [lower, _] = rough.and_then(|error| error.interval).unwrap_or_default();
        assert!(lower >= 6_700.0, "{lower}");
    }

    fn low(mut profile: Profile) -> Profile {
        if let Some(sampled) = &mut profile.sampled {
            sampled.may_be_low = true;
        }
        profile
    }

    #[test]
    fn what_may_be_too_low_has_no_interval() {
        let error = Doubts::new(&low(estimated()), KIND).of(1_000, 100.0);
        assert_eq!(error.and_then(|error| error.interval), None);
        assert!(error.is_some_and(|error| error.standard_error > 0.0));
    }

    #[test]
    fn changes_count_that_chance_does_not_make() {
        let doubts = Doubts::new(&estimated(), KIND);
        let squares = 100.0_f64.powi(2);
        let significant = |after| {
            let error = Doubts::between((&doubts, 1_000, squares), (&doubts, after, squares));
            error.map(|error| error.significant)
        };
        assert_eq!(significant(1_200), Some(false));
        assert_eq!(significant(2_500), Some(true));
        let exact = Doubts::new(&counter_service(), KIND);
        let one_sided = Doubts::between((&exact, 2_500, 0.0), (&doubts, 1_000, squares));
        assert!(one_sided.is_some_and(|error| error.significant));
        assert_eq!(Doubts::between((&exact, 1, 0.0), (&exact, 2, 0.0)), None);
        let low = Doubts::new(&low(estimated()), KIND);
        let unsure = Doubts::between((&doubts, 1_000, squares), (&low, 2_500, squares));
        assert!(unsure.is_some_and(|error| !error.significant && error.interval.is_none()));
    }

    #[test]
    fn errors_read_well() {
        let text = |standard_error, rough| {
            let error = AmountError {
                standard_error,
                interval: None,
                rough,
            };
            show(&error, 1_000)
        };
        assert_eq!(text(40.0, false), " ±4%");
        assert_eq!(text(4.0, false), " ±0.4%");
        assert_eq!(text(0.4, false), " ±<0.1%");
        assert_eq!(text(620.0, true), " ~±62%");
        assert_eq!(text(50_000.0, true), " ~±>10x");
    }
}
