//! The ratio of two sums over windows, and its error, from running sums.

/// What the amounts of windows are held against: marks, or seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Base {
    /// Number of windows.
    windows: f64,
    /// Sum over the windows.
    pub(super) sum: f64,
    /// Sum of squares.
    pub(super) squares: f64,
}

impl Base {
    pub(super) fn add(&mut self, base: f64) {
        self.windows += 1.0;
        self.sum += base;
        self.squares += base * base;
    }

    /// Number of windows that would tell as much if all were equal (Kish's effective sample size); 0
    /// where the sum is.
    pub(super) fn effective(&self) -> f64 {
        if self.squares > 0.0 {
            self.sum * self.sum / self.squares
        } else {
            0.0
        }
    }
}

/// Sums of one amount over the windows; those without it add nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    /// Of the amount.
    pub(super) sum: f64,
    /// Of its squares.
    pub(super) squares: f64,
    /// Of its products with the base.
    pub(super) products: f64,
}

/// Amount per unit of the base.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Ratio {
    /// The ratio.
    pub(super) value: f64,
    /// Its variance, as a share of its square; 0 where the ratio is.
    pub(super) variance: f64,
}

impl Ratio {
    /// The ratio of the amount to `base`, of which more than one effective window must be there.
    ///
    /// The value is Beale's estimator: the plain quotient is too large where the base varies and the amount
    /// does not go with it. The variance is that of the residuals around the quotient, and has no bias
    /// where an amount's variance goes with the base, however few the windows are.
    pub(super) fn of(sums: &Sums, base: &Base) -> Self {
        if sums.sum <= 0.0 {
            return Self::default();
        }
        // In shares of the sums. If all windows were alike, each product would be one part of so many.
        let spread = base.squares / (base.sum * base.sum);
        let common = sums.products / (sums.sum * base.sum);
        let even = 1.0 / base.windows;
        let sample = base.windows / (base.windows - 1.0);
        let beale = (1.0 + sample * (common - even)) / (1.0 + sample * (spread - even));
        let residuals = sums.squares / (sums.sum * sums.sum) - 2.0 * common + spread;
        let effective = base.effective();
        Self {
            value: sums.sum / base.sum * beale,
            // Rounding may leave a little less than nothing.
            variance: residuals.max(0.0) * effective / (effective - 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ratio over windows of this amount and base.
    fn ratio(windows: &[(f64, f64)]) -> Ratio {
        let mut base = Base::default();
        let mut sums = Sums::default();
        for &(amount, by) in windows {
            base.add(by);
            sums.sum += amount;
            sums.squares += amount * amount;
            sums.products += amount * by;
        }
        Ratio::of(&sums, &base)
    }

    #[test]
    fn equal_windows_are_a_plain_mean() {
        // Mean 5, variance of a window 20 / 3, of the mean 5 / 3.
        let ratio = ratio(&[(2.0, 2.0), (4.0, 2.0), (6.0, 2.0), (8.0, 2.0)]);
        assert!((ratio.value - 2.5).abs() < 1e-12, "{ratio:?}");
        assert!(
            (ratio.variance - 5.0 / 3.0 / 25.0).abs() < 1e-12,
            "{ratio:?}"
        );
    }

    #[test]
    fn what_goes_with_the_base_has_no_error() {
        let ratio = ratio(&[(3.0, 1.0), (6.0, 2.0), (15.0, 5.0)]);
        assert!((ratio.value - 3.0).abs() < 1e-12, "{ratio:?}");
        assert!(ratio.variance < 1e-12, "{ratio:?}");
    }

    #[test]
    fn a_base_that_varies_by_itself_is_corrected_for() {
        // Quotient 12 / 12. Of the base, 50 / 144 is squared where a third would be even; of the products
        // exactly a third: 1 / (1 + 3 / 2 * (50 / 144 - 1 / 3)) = 48 / 49.
        let ratio = ratio(&[(4.0, 3.0), (4.0, 4.0), (4.0, 5.0)]);
        assert!((ratio.value - 48.0 / 49.0).abs() < 1e-12, "{ratio:?}");
        // Residuals 1, 0 and -1; 144 / 50 windows are 2.88.
        let variance = 2.0 / 144.0 * 2.88 / 1.88;
        assert!((ratio.variance - variance).abs() < 1e-12, "{ratio:?}");
    }

    #[test]
    fn one_window_that_outweighs_all_counts_as_one() {
        let mut base = Base::default();
        for by in [100.0, 1.0, 0.0, 0.0] {
            base.add(by);
        }
        assert!((base.effective() - 1.02).abs() < 0.01, "{base:?}");
        assert_eq!(Base::default().effective(), 0.0);
    }
}
