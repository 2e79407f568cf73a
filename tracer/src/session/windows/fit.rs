//! Whether exact tracing takes no more than it may: else the target is seen in windows.
//!
//! Pure: times and shares go in, and decisions come out.

use std::time::Duration;

use super::governor::Share;

/// What may be taken at once, as long as it takes to save it up.
const SAVED: f64 = 1.0;
/// Exact tracing begins again where it would take this part of what it may: what is counted in windows of a target that
/// they slow down is too little.
const ROOM: f64 = 0.5;
/// Not before it was seen for so long, and in so many windows.
const LONG_ENOUGH: Duration = Duration::from_secs(5);
const WINDOWS_ENOUGH: u64 = 10;

/// What exact tracing takes, held against what it may.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Fit {
    share: f64,
    /// What may still be taken, seconds; below 0 where too much was.
    credit: f64,
}

impl Fit {
    pub(in crate::session) const fn new(share: Share) -> Self {
        Self {
            share: share.get(),
            credit: share.get() * SAVED,
        }
    }

    /// Exact tracing took so much, while there was so much time: of the target's CPUs, or of one where it used less.
    /// Returns whether it may go on.
    pub(in crate::session) fn goes_on(&mut self, time: Duration, taken: Duration) -> bool {
        let more = self.share * time.as_secs_f64() - taken.as_secs_f64();
        self.credit = (self.credit + more).min(self.share * SAVED);
        self.credit >= 0.0
    }

    /// Whether half of what may be taken at once is used up.
    pub(in crate::session) fn is_short(&self) -> bool {
        self.credit < self.share * SAVED / 2.0
    }

    /// Windows tell which share exact tracing would take, at least. Returns whether it begins again.
    pub(in crate::session) fn begins_again(
        &mut self,
        elapsed: Duration,
        windows: u64,
        would_take: f64,
    ) -> bool {
        let is_known = elapsed >= LONG_ENOUGH && windows >= WINDOWS_ENOUGH;
        let fits = is_known && would_take < self.share * ROOM;
        if fits {
            self.credit = self.share * SAVED;
        }
        fits
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(25);

    fn of(share: f64) -> Fit {
        Fit::new(Share::new(share).expect("a share"))
    }

    /// How long exact tracing goes on, looked at 40 times a second.
    fn lasts(share: f64, takes: f64) -> Option<Duration> {
        let mut fit = of(share);
        (1..40_000)
            .find(|_| !fit.goes_on(LOOK, LOOK.mul_f64(takes)))
            .map(|looks| LOOK * looks)
    }

    #[test]
    fn what_takes_no_more_than_it_may_goes_on() {
        assert_eq!(lasts(0.02, 0.02), None);
        assert_eq!(lasts(0.2, 0.1), None);
    }

    #[test]
    fn what_takes_far_too_much_ends_at_once() {
        assert!(lasts(0.02, 0.8) <= Some(LOOK * 2));
        assert!(lasts(0.2, 0.8) <= Some(Duration::from_millis(400)));
        // And what takes a little too much, some time later.
        let later = lasts(0.02, 0.03).expect("an end");
        assert!((1..4).contains(&later.as_secs()), "{later:?}");
    }

    #[test]
    fn a_burst_is_paid_by_what_was_saved_up() {
        let mut fit = of(0.02);
        assert!(fit.goes_on(LOOK, Duration::from_millis(15)));
        for _ in 0..40 {
            assert!(fit.goes_on(LOOK, Duration::ZERO));
        }
        assert!(fit.goes_on(LOOK, Duration::from_millis(15)));
        assert!(!fit.goes_on(LOOK, Duration::from_millis(15)));
    }

    #[test]
    fn it_begins_again_with_room_to_spare_and_not_before_that_is_known() {
        let mut fit = of(0.02);
        assert!(!fit.begins_again(Duration::from_secs(4), 50, 0.001));
        assert!(!fit.begins_again(Duration::from_secs(60), 9, 0.001));
        assert!(!fit.begins_again(Duration::from_secs(60), 50, 0.015));
        assert!(fit.begins_again(Duration::from_secs(60), 50, 0.005));
        assert!(fit.goes_on(LOOK, Duration::from_millis(15)));
    }
}
