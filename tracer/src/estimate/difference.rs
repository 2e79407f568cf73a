//! What differs between two recordings, beyond their errors.

use super::value::{Estimate, joint_degrees};

/// A difference of two estimates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The second less the first.
    pub value: f64,
    /// Standard error of that.
    pub standard_error: f64,
    /// Degrees of freedom of the standard error; infinite where it is 0.
    pub degrees: f64,
    /// The bounds between which the true difference lies with the level's probability.
    pub interval: (f64, f64),
}

impl Difference {
    /// Whether chance is unlikely to have made it: none is outside of the interval. At a level of 0.95, one
    /// of 20 comparisons of equals is; where many stacks are compared, ask for a higher level.
    #[must_use]
    pub fn is_significant(&self) -> bool {
        self.interval.0 > 0.0 || self.interval.1 < 0.0
    }
}

/// By how much `after` is more than `before`, two-sided at this level, from 0.5 to 0.999. They must be of
/// different recordings: those of one share the errors of its clock.
///
/// The interval is put together of the two estimates' own (Zou and Donner's method), which lie more to one
/// side where little was seen.
#[must_use]
pub fn difference(before: &Estimate, after: &Estimate, level: f64) -> Difference {
    let value = after.value - before.value;
    let (first, second) = (before.interval(level), after.interval(level));
    let lower = (after.value - second.0).hypot(first.1 - before.value);
    let upper = (second.1 - after.value).hypot(before.value - first.0);
    let variance = |estimate: &Estimate| estimate.standard_error.powi(2);
    Difference {
        value,
        standard_error: before.standard_error.hypot(after.standard_error),
        degrees: joint_degrees(
            (variance(before), before.degrees),
            (variance(after), after.degrees),
        ),
        interval: (value - lower, value + upper),
    }
}
