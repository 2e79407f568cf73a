//! Storms: what can happen at any moment does, in random order by a seed. A short one in every test run,
//! a long one by `./x storm`.

mod half_placed;
mod kills;
mod lives;
mod plugins;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use libtest_mimic::Trial;
use tests::{rung, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial::heavy("storm::kills", kills::kills),
        trial::heavy("storm::lives", lives::lives),
    ];
    let rungs = rung::ALL.map(|rung| (rung.trial("storm::half"), rung.arguments()));
    let followed = ("storm::half_followed".to_owned(), vec!["--follow-forks"]);
    for (name, arguments) in rungs.into_iter().chain([followed]) {
        let same = arguments.clone();
        trials.push(trial::root(&format!("{name}_placed"), move || {
            half_placed::half_placed(&arguments)
        }));
        trials.push(trial::root(&format!("{name}_removed"), move || {
            half_placed::half_removed(&same)
        }));
    }
    trials
}

/// How many seconds the long form takes, set by `./x storm`.
const SECONDS: &str = "TRACER_STORM";
/// The seed of a storm that is to be had again.
const SEED: &str = "TRACER_STORM_SEED";

/// How long a storm goes on.
enum Length {
    Rounds(u32),
    Until(Instant),
}

impl Length {
    /// So many rounds in a test run, and as long as asked for by hand.
    fn new(rounds: u32) -> Result<Self> {
        let Some(seconds) = std::env::var_os(SECONDS) else {
            return Ok(Self::Rounds(rounds));
        };
        let seconds = seconds.to_str().and_then(|text| text.parse().ok());
        let seconds = seconds.with_context(|| format!("{SECONDS} is a number of seconds"))?;
        Ok(Self::Until(Instant::now() + Duration::from_secs(seconds)))
    }

    /// Whether there is a round with this number.
    fn has(&self, round: u32) -> bool {
        match *self {
            Self::Rounds(rounds) => round < rounds,
            Self::Until(end) => Instant::now() < end,
        }
    }
}

/// Random numbers by a seed, which belongs into every message.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn new() -> Result<Self> {
        let seed = match std::env::var(SEED) {
            Ok(seed) => seed.parse().context("the seed is a number")?,
            Err(_) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
                u64::from(now.subsec_nanos())
            }
        };
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Ok(Self { seed, state })
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % limit
    }

    fn millis(&mut self, limit: u64) -> Duration {
        Duration::from_micros(self.below(limit * 1000))
    }
}
