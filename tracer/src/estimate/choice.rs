//! Which clock to believe: whether full windows slow the target down.

use std::hash::Hash;
use std::time::Duration;

use super::estimates::{Estimates, Impossible, MIN_WINDOWS};
use super::ratio::Ratio;
use super::windows::{Clock, Kind, Windows};

/// Standard errors by which two rates of the mark may differ and still be the same.
const ALIKE: f64 = 2.0;
/// Rates are the same only where so much of a difference would have been seen: their standard error is less.
const TELLING: f64 = 0.1;

/// How much faster the target is without a full window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slowdown {
    /// Marks a second in progress windows, as a multiple of those in full windows.
    pub factor: f64,
    /// Its standard error, as a part of it.
    pub error: f64,
    /// Degrees of freedom of that.
    degrees: f64,
}

/// What amounts were held against, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// Marks that were counted all the time.
    Counted,
    /// Marks, since full windows slow the target down, or it can't be told that they do not.
    Marks(Slowdown),
    /// Time, since there are as many marks a second in full windows as in others.
    Even(Slowdown),
    /// Time, for want of marks: right only where the target is not slowed down, of which nothing is known.
    Unproven,
}

impl<K: Copy + Eq + Hash> Windows<K> {
    /// How much full windows slow the target down; `None` where too few windows, or no marks, could tell.
    #[must_use]
    pub fn slowdown(&self) -> Option<Slowdown> {
        let [full, progress] = [&self.full, &self.progress].map(rate);
        let ((full, full_variance), (progress, progress_variance)) = (full?, progress?);
        let least = |kind: &Kind| kind.length.effective() - 1.0;
        Some(Slowdown {
            factor: progress / full,
            error: (full_variance + progress_variance).sqrt(),
            degrees: least(&self.full).min(least(&self.progress)),
        })
    }

    /// Estimates what was allocated in `span`, in which there were `unseen` marks outside of full windows and exact
    /// phases: they were counted, and have no error.
    ///
    /// # Errors
    ///
    /// Fewer than four full windows have marks.
    pub fn estimate_by_count(
        &self,
        span: Duration,
        unseen: f64,
    ) -> Result<(Estimates<K>, Choice), Impossible> {
        let unseen = self.unseen_counted(span, unseen)?;
        Ok((self.estimates(Clock::Marks, unseen), Choice::Counted))
    }

    /// Estimates what was allocated in `span` by the clock that the windows speak for. `outside` is what there was outside
    /// of all windows and exact phases of what progress windows' exposure is measured in; `None` where that is time.
    ///
    /// # Errors
    ///
    /// As for [`Windows::estimate`].
    pub fn estimate_by_evidence(
        &self,
        span: Duration,
        outside: Option<Duration>,
    ) -> Result<(Estimates<K>, Choice), Impossible> {
        if let Some(slowdown) = self.slowdown() {
            if slowdown.is_none() {
                // Only so far is it known that there is none.
                let estimates = self.estimate_in_doubt(slowdown.error, slowdown.degrees, span)?;
                return Ok((estimates, Choice::Even(slowdown)));
            }
            if let Ok(unseen) = self.unseen(Clock::Marks, span, outside) {
                let estimates = self.estimates(Clock::Marks, unseen);
                return Ok((estimates, Choice::Marks(slowdown)));
            }
        }
        Ok((self.estimate_by(Clock::Wall, span)?, Choice::Unproven))
    }
}

impl Slowdown {
    /// Whether there is none, as far as can be told, and enough can be told.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.error <= TELLING && self.factor.ln().abs() <= ALIKE * self.error
    }
}

/// Marks a second of time in windows of a kind, and its variance as a part of its square.
fn rate(kind: &Kind) -> Option<(f64, f64)> {
    if kind.length.effective() < MIN_WINDOWS || kind.marks.sum <= 0.0 {
        return None;
    }
    let rate = Ratio::of(&kind.marks_by_length(), &kind.length);
    // Windows may be alike by chance, but marks are never fewer than they are.
    let least = 1.0 / kind.marks.sum;
    Some((rate.value, rate.variance.max(least)))
}
