//! Random times, so that windows keep no step with what the target does.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

/// A sequence of random numbers (`SplitMix64`): the same for the same seed.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One that nobody can foresee.
    pub(super) fn from_anywhere() -> Self {
        Self::new(RandomState::new().build_hasher().finish())
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0 and below 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something happens that does in this share of the cases.
    pub(super) fn happens(&mut self, share: f64) -> bool {
        self.part() < share
    }

    /// A time with this mean, such as there is between events that know nothing of each other.
    pub(super) fn gap(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.part()).ln())
    }
}

/// For tests elsewhere.
#[cfg(test)]
pub(super) const fn seeded(seed: u64) -> Chance {
    Chance::new(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_the_mean_and_the_spread_of_chance() {
        let mut chance = Chance::new(7);
        let mean = Duration::from_millis(100);
        let gaps: Vec<f64> = (0..20_000)
            .map(|_| chance.gap(mean).as_secs_f64())
            .collect();
        let average = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((average - 0.1).abs() < 0.003, "{average}");
        // Of exponential times so many are below the mean.
        let short = gaps.iter().filter(|&&gap| gap < 0.1).count() as f64 / gaps.len() as f64;
        assert!((short - 0.632).abs() < 0.01, "{short}");
    }

    #[test]
    fn a_seed_makes_the_sequence() {
        let sequence = |seed| {
            let mut chance = Chance::new(seed);
            [(); 8].map(|()| chance.next())
        };
        assert_eq!(sequence(3), sequence(3));
        assert_ne!(sequence(3), sequence(4));
    }
}
