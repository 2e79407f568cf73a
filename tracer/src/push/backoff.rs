//! How long to wait before another try.

use std::time::Duration;

/// Before the second try.
const FIRST: Duration = Duration::from_secs(1);
/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(60);
/// Nobody who asks for patience is given more.
const MOST_ASKED_FOR: Duration = Duration::from_secs(300);

/// The pauses between tries, each twice as long as the one before, and shorter by a random part: those who were turned
/// away together come back one by one.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// The next pause, at least as long as the server asks for; `part` is random, from 0 to 1.
    pub(super) fn next(&mut self, asked_for: Option<Duration>, part: f64) -> Duration {
        let pause = self.0.mul_f64(0.5 + part / 2.0);
        self.0 = (self.0 * 2).min(LONGEST);
        let asked_for = asked_for.unwrap_or_default().min(MOST_ASKED_FOR);
        pause.max(asked_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..9).map(|_| backoff.next(None, 1.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(None, 0.0), FIRST / 2);
    }

    #[test]
    fn a_server_is_given_the_time_it_asks_for() {
        let mut backoff = Backoff::default();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(backoff.next(seconds(7), 1.0).as_secs(), 7);
        assert_eq!(backoff.next(seconds(1), 1.0).as_secs(), 2);
        assert_eq!(backoff.next(seconds(86_400), 1.0), MOST_ASKED_FOR);
    }
}
