//! How long it takes to catch a leak in windows, and what leak would have been caught.

use std::time::Duration;

use super::quantile;

/// Probability with which as many are caught as is said.
const CERTAINTY: f64 = 0.95;

/// What windows can catch of objects that are allocated evenly and never freed.
///
/// An object is caught where it is allocated in a full window. Caught ones are as many as chance has it
/// (Poisson's distribution), so for 20 of them 28 must be expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sensitivity {
    share: f64,
}

impl Sensitivity {
    /// Where full windows see this share of what the target does, above 0 and up to 1; `None` for any other.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        (share > 0.0 && share <= 1.0).then_some(Self { share })
    }

    /// The time in which a leak of so many objects per second has shown `survivors`, with a probability of
    /// 95%. `None` where there is no leak, or the time is beyond all measure.
    #[must_use]
    pub fn time_to_catch(&self, survivors: u32, objects_per_second: f64) -> Option<Duration> {
        if objects_per_second.is_nan() || objects_per_second <= 0.0 {
            return None;
        }
        let seconds = expected(survivors) / (self.share * objects_per_second);
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// The smallest leak, in objects per second, that had shown `survivors` in this time with a probability
    /// of 95%. `None` where no time has passed.
    #[must_use]
    pub fn smallest_leak(&self, survivors: u32, elapsed: Duration) -> Option<f64> {
        let seconds = elapsed.as_secs_f64();
        (seconds > 0.0).then(|| expected(survivors) / (self.share * seconds))
    }
}

/// How many must be expected for at least so many to come, with a probability of 95%; the same is the most that must be
/// reckoned with where one fewer came.
#[must_use]
pub fn expected(survivors: u32) -> f64 {
    let Some(fewer) = survivors.checked_sub(1) else {
        return 0.0;
    };
    quantile::poisson_upper(f64::from(fewer), quantile::normal(1.0 - CERTAINTY))
}
