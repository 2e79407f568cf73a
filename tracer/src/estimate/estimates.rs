//! From sums over windows to the amounts of a whole recording.

use std::hash::Hash;
use std::time::Duration;

use super::quantile::MIN_DEGREES;
use super::ratio::{Base, Ratio};
use super::sensitivity::Sensitivity;
use super::value::{Estimate, joint_degrees};
use super::windows::{Clock, Quantity, Stack, Windows};

/// Effective windows of a kind at least, so that Student's t has the degrees it needs.
pub(super) const MIN_WINDOWS: f64 = MIN_DEGREES + 1.0;

/// Why nothing can be said of what was not seen.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Impossible {
    /// There are fewer than four full windows, or all but so few have no marks, or no exposure.
    #[error("too few windows in which everything was counted: {effective:.1} of {MIN_WINDOWS}")]
    FullWindows {
        /// How many count, by their weight.
        effective: f64,
    },
    /// There are fewer than four progress windows, or all but so few have no exposure.
    #[error("too few windows for the rate of the mark: {effective:.1} of {MIN_WINDOWS}")]
    ProgressWindows {
        /// How many count, by their weight.
        effective: f64,
    },
    /// No mark was called in a progress window.
    #[error("the mark was never called")]
    NoMarks,
}

/// The estimate for one stack, or for all of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StackEstimate {
    /// Objects allocated.
    pub objects: Estimate,
    /// Bytes allocated.
    pub bytes: Estimate,
    /// Full windows in which it was seen.
    pub windows: u64,
}

/// Estimates for a whole recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimates<K> {
    /// Each stack that was seen, in no order.
    pub stacks: Vec<(K, StackEstimate)>,
    /// All stacks together. Its error is not the sum of theirs, since stacks go up and down together.
    pub total: StackEstimate,
    /// What the amounts were held against.
    pub clock: Clock,
    /// Number of full windows.
    pub full_windows: u64,
    /// Number of progress windows.
    pub progress_windows: u64,
    /// Length of all windows together.
    pub in_windows: Duration,
    /// The part of what the target did outside of exact phases that full windows saw, from 0 to 1.
    pub share_seen: f64,
    /// Standard error of the clock, as a part of what was not counted.
    pub clock_error: f64,
    /// Degrees of freedom of all errors at least; infinite where there are none.
    pub degrees: f64,
}

impl<K> Estimates<K> {
    /// What leaks windows like these catch; `None` where they saw nothing.
    #[must_use]
    pub fn sensitivity(&self) -> Option<Sensitivity> {
        Sensitivity::new(self.share_seen)
    }
}

impl<K: Copy + Eq + Hash> Windows<K> {
    /// Estimates what was allocated in `span`, the length of the whole recording: by marks where there are
    /// progress windows, by time where there are none.
    ///
    /// # Errors
    ///
    /// Where a part of the span was not seen, and the windows are too few to tell of it.
    pub fn estimate(&self, span: Duration) -> Result<Estimates<K>, Impossible> {
        let clock = if self.progress.windows > 0 {
            Clock::Marks
        } else {
            Clock::Wall
        };
        self.estimate_by(clock, span)
    }

    /// The same by this clock.
    ///
    /// # Errors
    ///
    /// As for [`Windows::estimate`].
    pub fn estimate_by(&self, clock: Clock, span: Duration) -> Result<Estimates<K>, Impossible> {
        Ok(self.estimates(clock, self.unseen(clock, span, None)?))
    }

    /// The same by time, which may be wrong by this part for all stacks alike, as far as so many degrees can tell.
    pub(super) fn estimate_in_doubt(
        &self,
        doubt: f64,
        degrees: f64,
        span: Duration,
    ) -> Result<Estimates<K>, Impossible> {
        let mut unseen = self.unseen(Clock::Wall, span, None)?;
        if unseen.amount > 0.0 {
            (unseen.variance, unseen.degrees) = (doubt * doubt, degrees);
        }
        Ok(self.estimates(Clock::Wall, unseen))
    }

    pub(super) fn estimates(&self, clock: Clock, unseen: Unseen) -> Estimates<K> {
        let base = self.full.base(clock);
        let of = |stack: &Stack| {
            let objects = stack.objects.known.max(1.0);
            let size = (stack.bytes.known / objects).max(1.0);
            StackEstimate {
                objects: unseen.estimate(&stack.objects, base, 1.0),
                bytes: unseen.estimate(&stack.bytes, base, size),
                windows: stack.windows,
            }
        };
        let stacks = self.stacks.iter().map(|(&key, stack)| (key, of(stack)));
        Estimates {
            stacks: stacks.collect(),
            total: of(&self.total),
            clock,
            full_windows: self.full.windows,
            progress_windows: self.progress.windows,
            in_windows: self.full.elapsed.saturating_add(self.progress.elapsed),
            share_seen: if unseen.amount > 0.0 {
                base.sum / (base.sum + unseen.amount)
            } else {
                1.0
            },
            clock_error: unseen.variance.sqrt(),
            degrees: if unseen.amount > 0.0 {
                (base.effective() - 1.0).min(unseen.degrees)
            } else {
                f64::INFINITY
            },
        }
    }

    /// The same, of marks that were counted all the time.
    pub(super) fn unseen_counted(&self, span: Duration, marks: f64) -> Result<Unseen, Impossible> {
        let nothing = Unseen::nothing(Clock::Marks);
        if self.hidden(span).is_zero() {
            return Ok(nothing);
        }
        let effective = self.full.marks.effective();
        if effective < MIN_WINDOWS {
            return Err(Impossible::FullWindows { effective });
        }
        Ok(Unseen {
            amount: marks.max(0.0),
            ..nothing
        })
    }

    /// Time in which no stacks were seen.
    fn hidden(&self, span: Duration) -> Duration {
        span.saturating_sub(self.exact.saturating_add(self.full.elapsed))
    }

    /// How much the target did where no stacks were seen.
    pub(super) fn unseen(
        &self,
        clock: Clock,
        span: Duration,
        outside: Option<Duration>,
    ) -> Result<Unseen, Impossible> {
        let hidden = self.hidden(span);
        if hidden.is_zero() {
            return Ok(Unseen::nothing(clock));
        }
        let effective = self.full.base(clock).effective();
        if effective < MIN_WINDOWS {
            return Err(Impossible::FullWindows { effective });
        }
        match clock {
            Clock::Wall => Ok(Unseen {
                amount: hidden.as_secs_f64(),
                ..Unseen::nothing(clock)
            }),
            Clock::Marks => {
                let time = hidden.saturating_sub(self.progress.elapsed);
                self.unseen_marks(outside.unwrap_or(time))
            }
        }
    }

    /// The marks in progress windows, and in so much beside all windows of what their exposure is measured in.
    fn unseen_marks(&self, outside: Duration) -> Result<Unseen, Impossible> {
        let exposure = &self.progress.exposure;
        let effective = exposure.effective();
        if effective < MIN_WINDOWS {
            return Err(Impossible::ProgressWindows { effective });
        }
        let counted = self.progress.marks.sum;
        if counted <= 0.0 {
            return Err(Impossible::NoMarks);
        }
        let rate = Ratio::of(&self.progress.marks_by_exposure(), exposure);
        let others = rate.value * outside.as_secs_f64();
        let amount = others + counted;
        Ok(Unseen {
            amount,
            // Only the others have an error, and they vary by themselves as well.
            variance: rate.variance * others / amount,
            degrees: effective - 1.0,
            clock: Clock::Marks,
        })
    }
}

/// What the target did where no stacks were seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unseen {
    clock: Clock,
    /// In marks, or in seconds.
    amount: f64,
    /// As a share of the amount's square.
    variance: f64,
    degrees: f64,
}

impl Unseen {
    const fn nothing(clock: Clock) -> Self {
        Self {
            clock,
            amount: 0.0,
            variance: 0.0,
            degrees: f64::INFINITY,
        }
    }

    /// The estimate for one amount, of which an object has `size`.
    fn estimate(&self, quantity: &Quantity, base: &Base, size: f64) -> Estimate {
        if self.amount <= 0.0 {
            return Estimate::exact(quantity.known);
        }
        let ratio = Ratio::of(&quantity.sums(self.clock), base);
        let unseen = ratio.value * self.amount;
        // What is estimated varies by itself too, not only the windows it is estimated from.
        let by_ratio = ratio.variance * (1.0 + base.sum / self.amount);
        let error = unseen * (by_ratio + self.variance).sqrt();
        // Windows may be alike by chance: one object more in them is always possible.
        let least = size * self.amount / base.sum;
        Estimate {
            value: quantity.known + unseen,
            known: quantity.known,
            standard_error: error.max(least),
            degrees: joint_degrees(
                (by_ratio, base.effective() - 1.0),
                (self.variance, self.degrees),
            ),
        }
    }
}
