//! Stacks with a known nature, made up: what the detector is tested against.
//!
//! Lifetimes are drawn object by object, in numbers, so that survivors by generation come out as a
//! real recording would have them. Everything follows from a seed.

use super::demand::Demand;
use crate::profile::series::{Counters, Mark, Series, StackId, StackWindow, Survivors, Window};

/// Seconds that are simulated, unless a test says otherwise; one window each.
pub(super) const SECONDS: usize = 60;

/// What a stack really does. Rates are per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Nature {
    // Healthy.
    /// Everything is freed at once, but for a few that live into the next second.
    Churn { rate: f64 },
    /// Lifetimes with this mean, without memory: sessions, requests in flight.
    Sessions { rate: f64, lifetime: f64 },
    /// A first-in-first-out cache with this bound; every insertion evicts one once it is full.
    Cache { rate: f64, bound: u64 },
    /// A cache that evicts one at random, and is hit more often the fuller it is.
    HitCache { rate: f64, bound: u64 },
    /// Never freed, at a rate that dies away.
    WarmUp { rate: f64, time: f64 },
    /// Never freed, as long as it is new: the rarer words come later and later.
    Interning { rate: f64 },
    /// What a cache's misses allocate and free; they get rarer with time, down to a share.
    Misses { rate: f64, time: f64, left: f64 },
    /// Collected, and all freed every so many seconds.
    Sawtooth { rate: f64, period: usize },
    /// Many at once every so many seconds, freed within two.
    Bursts { size: f64, period: usize },
    /// Short lives at a rate that goes up and down.
    Waves { rate: f64, period: f64 },
    /// Kept, all at one moment.
    OneOff { at: usize, objects: u64 },
    /// A few single objects, kept, at random moments.
    LazySetUp { objects: u32 },
    /// One block per thread; threads live a few seconds.
    Threads { rate: f64 },
    /// A queue whose length wanders.
    Queue { rate: f64 },
    /// A block that doubles whenever it is full, filled at a rate until it is done.
    Doubling { rate: f64, until: f64 },

    // Leaks.
    /// Everything is kept.
    KeepAll { rate: f64 },
    /// A share is kept, the rest is freed at once.
    KeepSome { rate: f64, share: f64 },
    /// One object is kept every so many seconds, to the clock, among many calls.
    KeepRarely { rate: f64, every: f64 },
    /// About this many are kept at once, about every second.
    KeepBursts { size: f64 },
    /// Sessions, of which a share is never closed.
    LostSessions {
        rate: f64,
        lifetime: f64,
        share: f64,
    },
    /// A block that is reallocated a little larger each time.
    Creeping { rate: f64 },
    /// A queue that is filled faster than it is emptied.
    Backlog { rate: f64, emptied: f64 },
    /// A share is kept, at a rate that goes up and down.
    KeepInWaves { rate: f64, period: f64 },
}

impl Nature {
    /// The same with so much less to do.
    fn under(mut self, load: f64) -> Self {
        match &mut self {
            Self::Churn { rate }
            | Self::Sessions { rate, .. }
            | Self::Cache { rate, .. }
            | Self::HitCache { rate, .. }
            | Self::WarmUp { rate, .. }
            | Self::Interning { rate, .. }
            | Self::Misses { rate, .. }
            | Self::Sawtooth { rate, .. }
            | Self::Bursts { size: rate, .. }
            | Self::Waves { rate, .. }
            | Self::Threads { rate }
            | Self::Queue { rate }
            | Self::KeepAll { rate }
            | Self::KeepSome { rate, .. }
            | Self::KeepRarely { rate, .. }
            | Self::KeepBursts { size: rate }
            | Self::LostSessions { rate, .. }
            | Self::Creeping { rate }
            | Self::Backlog { rate, .. }
            | Self::KeepInWaves { rate, .. } => *rate *= load,
            // By the work done so far, or not by work.
            Self::Doubling { .. } | Self::OneOff { .. } | Self::LazySetUp { .. } => {}
        }
        self
    }
}

/// splitmix64.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// From 0 up to 1.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Evenly over orders of magnitude.
    pub(super) fn scale(&mut self, low: f64, high: f64) -> f64 {
        (self.between(low.ln(), high.ln())).exp()
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 30.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let limit = (-mean).exp();
        let mut product = self.uniform();
        let mut count = 0;
        while product > limit {
            product *= self.uniform();
            count += 1;
        }
        count
    }

    fn binomial(&mut self, count: u64, share: f64) -> u64 {
        if count < 40 {
            return (0..count).filter(|_| self.uniform() < share).count() as u64;
        }
        let mean = count as f64 * share;
        if mean < 20.0 {
            return self.poisson(mean).min(count);
        }
        let drawn = mean + (mean * (1.0 - share)).sqrt() * self.normal();
        (drawn.round().max(0.0) as u64).min(count)
    }
}

/// A stack as it lives.
struct Stack {
    random: Random,
    size: u64,
    counters: Counters,
    /// Objects that live and bytes, by generation.
    live: Vec<(u64, u64)>,
    /// Objects that will never be freed, by generation, where that is known beforehand.
    lost: Vec<f64>,
}

impl Stack {
    fn allocate(&mut self, objects: u64) {
        let bytes = objects * self.size;
        self.counters.alloc_objects += objects;
        self.counters.alloc_bytes += bytes;
        if let Some(now) = self.live.last_mut() {
            now.0 += objects;
            now.1 += bytes;
        }
    }

    fn free(&mut self, generation: usize, objects: u64) {
        let (of, bytes) = &mut self.live[generation];
        let share = *bytes * objects / (*of).max(1);
        *of -= objects;
        *bytes -= share;
        self.counters.freed_objects += objects;
        self.counters.freed_bytes += share;
    }

    /// Allocated and freed within the window.
    fn pass_through(&mut self, objects: u64) {
        self.allocate(objects);
        self.free(self.live.len() - 1, objects);
    }

    fn free_share(&mut self, generation: usize, share: f64) {
        let dead = self.random.binomial(self.live[generation].0, share);
        self.free(generation, dead);
    }

    fn free_all(&mut self) {
        for generation in 0..self.live.len() {
            self.free(generation, self.live[generation].0);
        }
    }

    fn free_oldest(&mut self, mut objects: u64) {
        for generation in 0..self.live.len() {
            let dead = self.live[generation].0.min(objects);
            self.free(generation, dead);
            objects -= dead;
        }
    }

    /// Frees as many as are too many, each as likely as any other.
    fn free_at_random(&mut self, objects: u64) {
        let all = self.live_objects();
        for generation in 0..self.live.len() {
            let share = self.live[generation].0 as f64 / all.max(1) as f64;
            let dead = self.random.poisson(objects as f64 * share);
            self.free(generation, dead.min(self.live[generation].0));
        }
    }

    fn live_objects(&self) -> u64 {
        self.live.iter().map(|live| live.0).sum()
    }

    /// The one block is moved and now has this size.
    fn reallocate(&mut self, bytes: u64) {
        self.free_all();
        self.size = bytes;
        self.allocate(1);
    }

    /// One more second. `done` is the work done until now, `load` the work of this second: both in
    /// seconds of full load.
    fn second(&mut self, nature: Nature, second: usize, done: f64, load: f64) {
        self.live.push((0, 0));
        let now = second as f64;
        let wave = |period: f64| 1.0 + (std::f64::consts::TAU * now / period).sin();
        match nature.under(load) {
            Nature::Churn { rate } => {
                let mut objects = self.random.poisson(rate);
                if let Some(before) = second.checked_sub(1) {
                    self.free(before, self.live[before].0);
                }
                let left = self.random.poisson(rate.sqrt() * 0.1).min(objects);
                objects -= left;
                self.pass_through(objects);
                self.allocate(left);
            }
            Nature::Sessions { rate, lifetime } => {
                let dies = 1.0 - (-1.0 / lifetime).exp();
                for generation in 0..second {
                    self.free_share(generation, dies);
                }
                let objects = self.random.poisson(rate);
                self.allocate(objects);
                self.free_share(second, dies / 2.0);
            }
            Nature::Cache { rate, bound } => {
                let objects = self.random.poisson(rate);
                self.allocate(objects);
                self.free_oldest(self.live_objects().saturating_sub(bound));
            }
            Nature::HitCache { rate, bound } => {
                let missed = 1.0 - 0.9 * self.live_objects() as f64 / bound as f64;
                let objects = self.random.poisson(rate * missed);
                self.allocate(objects);
                self.free_at_random(self.live_objects().saturating_sub(bound));
            }
            Nature::WarmUp { rate, time } => {
                let objects = self.random.poisson(rate * (-done / time).exp());
                self.allocate(objects);
            }
            Nature::Interning { rate } => {
                let objects = self.random.poisson(rate * (1.0 + done).powf(-0.5));
                self.allocate(objects);
            }
            Nature::Misses { rate, time, left } => {
                let share = left + (1.0 - left) * (-done / time).exp();
                let objects = self.random.poisson(rate * share);
                self.pass_through(objects);
            }
            Nature::Sawtooth { rate, period } => {
                if second % period == period - 1 {
                    self.free_all();
                }
                let objects = self.random.poisson(rate);
                self.allocate(objects);
            }
            Nature::Bursts { size, period } => {
                for generation in second.saturating_sub(2)..second {
                    self.free_share(generation, 0.6);
                }
                if let Some(old) = second.checked_sub(3) {
                    self.free(old, self.live[old].0);
                }
                if second.is_multiple_of(period) {
                    let objects = self.random.poisson(size);
                    self.allocate(objects);
                }
            }
            Nature::Waves { rate, period } => {
                for generation in 0..second {
                    self.free_share(generation, 0.8);
                }
                let objects = self.random.poisson(rate * wave(period));
                self.allocate(objects);
            }
            Nature::OneOff { at, objects } => {
                if second == at {
                    self.allocate(objects);
                }
            }
            Nature::LazySetUp { objects } => {
                let new = self.random.poisson(f64::from(objects) / SECONDS as f64);
                let left = u64::from(objects).saturating_sub(self.live_objects());
                self.allocate(new.min(left));
            }
            Nature::Threads { rate } => {
                for generation in 0..second {
                    let age = second - generation;
                    self.free_share(generation, if age >= 6 { 1.0 } else { 0.2 });
                }
                let objects = self.random.poisson(rate);
                self.allocate(objects);
            }
            Nature::Queue { rate } => {
                let objects = self.random.poisson(rate);
                let served = self.random.poisson(rate * 1.02);
                self.allocate(objects);
                self.free_oldest(served.min(self.live_objects()));
            }
            Nature::Doubling { rate, until } => {
                let content = rate * (done + 1.0).min(until);
                let capacity = (content.max(4.0) as u64).next_power_of_two() * 16;
                if capacity != self.size {
                    self.reallocate(capacity);
                }
            }
            Nature::KeepAll { rate } => {
                let objects = self.random.poisson(rate);
                self.allocate(objects);
            }
            Nature::KeepSome { rate, share } => {
                let objects = self.random.poisson(rate * (1.0 - share));
                self.pass_through(objects);
                let kept = self.random.poisson(rate * share);
                self.allocate(kept);
            }
            Nature::KeepRarely { rate, every } => {
                let objects = self.random.poisson(rate);
                self.pass_through(objects);
                let kept = ((done + load) / every) as u64 - (done / every) as u64;
                self.allocate(kept);
            }
            Nature::KeepBursts { size } => {
                let bursts = 1 + self.random.next() % 3 - u64::from(self.random.uniform() < 0.5);
                for _ in 0..bursts {
                    let objects = self.random.between(0.5 * size, 1.5 * size) as u64;
                    self.allocate(objects);
                }
                let objects = self.random.poisson(50.0);
                self.pass_through(objects);
            }
            Nature::LostSessions {
                rate,
                lifetime,
                share,
            } => {
                let dies = 1.0 - (-1.0 / lifetime).exp();
                for generation in 0..second {
                    let open = self.live[generation].0 as f64;
                    let closing = (open - self.lost[generation]).max(0.0);
                    let dead = self.random.poisson(closing * dies);
                    self.free(generation, dead.min(self.live[generation].0));
                }
                let objects = self.random.poisson(rate);
                self.allocate(objects);
                self.lost.push(rate * share);
            }
            Nature::Creeping { rate } => {
                let more = self.random.poisson(rate);
                self.reallocate(self.size + more * 16);
            }
            Nature::Backlog { rate, emptied } => {
                let objects = self.random.poisson(rate);
                let served = self.random.poisson(rate * emptied);
                self.allocate(objects);
                self.free_oldest(served.min(self.live_objects()));
            }
            Nature::KeepInWaves { rate, period } => {
                let objects = self.random.poisson(9.0 * rate * wave(period));
                self.pass_through(objects);
                let kept = self.random.poisson(rate * wave(period));
                self.allocate(kept);
            }
        }
    }

    fn window(&self, id: StackId, exact: usize) -> StackWindow {
        let merged = self.live.len().saturating_sub(exact);
        let mut survivors: Vec<Survivors> = Vec::new();
        let (mut objects, mut bytes) = (0, 0);
        for (generation, live) in self.live.iter().enumerate() {
            objects += live.0;
            bytes += live.1;
            if generation + 1 < merged || objects == 0 {
                continue;
            }
            survivors.push(Survivors {
                generation: u32::try_from(generation).unwrap_or(u32::MAX),
                objects,
                bytes,
            });
            (objects, bytes) = (0, 0);
        }
        StackWindow {
            stack: id,
            counters: self.counters,
            survivors: if exact == 0 { Vec::new() } else { survivors },
        }
    }
}

/// A series of these stacks, which get the ids 0, 1, 2 and so on.
pub(super) fn simulate(natures: &[Nature], seed: u64, seconds: usize, exact: u32) -> Series {
    simulate_under(natures, |_| Demand::Even, seed, seconds, exact)
}

/// The same under a demand, which need not be that of all stacks.
pub(super) fn simulate_under(
    natures: &[Nature],
    demand: impl Fn(usize) -> Demand,
    seed: u64,
    seconds: usize,
    exact: u32,
) -> Series {
    let mut series = Series::new(exact);
    let mut stacks: Vec<_> = natures
        .iter()
        .zip(0_u64..)
        .map(|(_, id)| {
            let mut random = Random(seed ^ id.wrapping_mul(0xD134_2543_DE82_EF95));
            Stack {
                size: 16 + random.next() % 500,
                random,
                counters: Counters::default(),
                live: Vec::new(),
                lost: Vec::new(),
            }
        })
        .collect();
    let mut done = vec![0.0; stacks.len()];
    for second in 0..seconds {
        let windows = stacks.iter_mut().zip(natures).enumerate();
        let windows = windows.zip(0..).map(|((index, (stack, &nature)), id)| {
            let load = demand(index).at(second, seconds);
            stack.second(nature, second, done[index], load);
            done[index] += load;
            stack.window(StackId(id), exact as usize)
        });
        let window = Window {
            stacks: windows.collect(),
            mark: Mark {
                seconds: second as f64 + 1.0,
                ..Mark::default()
            },
        };
        series.push(window).expect("time goes on");
    }
    series
}
