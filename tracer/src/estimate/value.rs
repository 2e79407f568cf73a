//! An amount that is known in part, and its error.

use super::quantile;

/// An amount, and how wrong it may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimated amount.
    pub value: f64,
    /// The part of it that was counted, and has no error.
    pub known: f64,
    /// Standard error of the rest, in the amount's unit; 0 only where nothing is unseen.
    pub standard_error: f64,
    /// Degrees of freedom of the standard error; infinite where it is 0.
    pub degrees: f64,
}

impl Estimate {
    /// An amount that was counted as a whole.
    #[must_use]
    pub const fn exact(amount: f64) -> Self {
        Self {
            value: amount,
            known: amount,
            standard_error: 0.0,
            degrees: f64::INFINITY,
        }
    }

    /// The part of it that was not counted.
    pub(super) const fn unseen(&self) -> f64 {
        self.value - self.known
    }

    /// The bounds between which the true amount lies with this probability, from 0.5 to 0.999. The lower
    /// one is never less than what is known.
    ///
    /// The unseen part is taken for a Poisson number of equal lumps with the same relative error, since an
    /// amount that was seen seldom lies further above the estimate than below. Of many lumps the bounds are
    /// those of Student's t.
    #[must_use]
    pub fn interval(&self, level: f64) -> (f64, f64) {
        if self.standard_error <= 0.0 {
            return (self.value, self.value);
        }
        let tail = (1.0 - level.clamp(0.5, 0.999)) / 2.0;
        let deviate = quantile::student(tail, self.degrees);
        let unseen = self.unseen();
        let lumps = (unseen / self.standard_error).powi(2);
        // Where none was seen, the error is that of one.
        let lump = if unseen > 0.0 {
            unseen / lumps
        } else {
            self.standard_error
        };
        (
            self.known + lump * quantile::poisson_lower(lumps, deviate),
            self.known + lump * quantile::poisson_upper(lumps, deviate),
        )
    }

    /// Whether half of the value or more may be error: one that tells the order of magnitude at best.
    #[must_use]
    pub fn is_rough(&self) -> bool {
        self.standard_error > 0.0 && self.standard_error >= self.value / 2.0
    }
}

/// Degrees of freedom of the sum of two variances, each given with its own (Welch and Satterthwaite).
pub(super) fn joint_degrees(first: (f64, f64), second: (f64, f64)) -> f64 {
    let sum = first.0 + second.0;
    if sum > 0.0 {
        let share = |(variance, degrees): (f64, f64)| (variance / sum).powi(2) / degrees;
        1.0 / (share(first) + share(second))
    } else {
        first.1.min(second.1)
    }
}
