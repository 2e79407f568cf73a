//! A made-up process whose threads serve requests, and windows opened in it at random times.
//!
//! What it does is drawn once, in working time; a trial draws windows and sees how far the work gets at
//! the speed that they leave. So the truth is known to the byte, and a trial costs only its windows.

use std::time::Duration;

use super::super::{Amount, Window, Windows};

/// Length of a step of time where the load changes, in seconds.
const STEP: f64 = 0.001;

/// Speed of a target that is busy all the time, in each kind of window.
const SPEED_FULL: f64 = 0.2;
const SPEED_PROGRESS: f64 = 0.92;

/// xorshift64*.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 to 1, without 1.
    pub(super) fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// With mean 1, never negative, without memory.
    pub(super) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

/// In each request, three objects.
pub(super) const EACH: usize = 0;
/// In every 100th request, at random, one object.
pub(super) const HUNDREDTH: usize = 1;
/// As often, 10 to 410 objects at once.
pub(super) const BURSTS: usize = 2;
/// In phases of some 100 requests, a tenth of the time, two objects a request.
pub(super) const PHASES: usize = 3;
/// In every 5,000th request, a large object.
pub(super) const RARE: usize = 4;
/// In every 100th request, 5 to 2,000 objects: most of them in the largest few percent of the bursts.
pub(super) const TAIL: usize = 5;
pub(super) const STACKS: usize = 6;

/// What was done until a moment.
#[derive(Clone, Copy, Default)]
struct Done {
    stacks: [Amount; STACKS],
    marks: u64,
}

impl Done {
    fn since(&self, before: &Self) -> Self {
        let mut since = *self;
        since.marks -= before.marks;
        for (amount, old) in since.stacks.iter_mut().zip(&before.stacks) {
            amount.objects -= old.objects;
            amount.bytes -= old.bytes;
        }
        since
    }

    fn allocate(&mut self, stack: usize, objects: u64, size: u64) {
        self.stacks[stack].objects += objects;
        self.stacks[stack].bytes += objects * size;
    }
}

/// All requests, in the order in which they end.
pub(super) struct Process {
    /// When each ends, in seconds of work.
    ends: Vec<f64>,
    /// What was done before each.
    done: Vec<Done>,
}

impl Process {
    /// Threads that are busy for so many seconds, with 400 us a request.
    pub(super) fn new(seed: u64, threads: usize, seconds: f64) -> Self {
        let random = &mut Random::new(seed);
        let mut ends = Vec::new();
        for _ in 0..threads {
            let mut now = 0.0;
            while now < seconds {
                now += 0.0001 + 0.0003 * random.exponential();
                ends.push(now);
            }
        }
        ends.sort_by(f64::total_cmp);
        let mut done = vec![Done::default()];
        let mut now = Done::default();
        let mut phase = false;
        for _ in &ends {
            now.allocate(EACH, 3, 24 + (random.unit() * 200.0) as u64);
            if random.unit() < 0.01 {
                now.allocate(HUNDREDTH, 1, 4096);
            }
            if random.unit() < 0.01 {
                now.allocate(BURSTS, 10 + (random.unit() * 400.0) as u64, 64);
            }
            if random.unit() < 0.01 {
                let objects = (5.0 * (1.5 * random.exponential()).exp()).min(2000.0);
                now.allocate(TAIL, objects as u64, 64);
            }
            if random.unit() < if phase { 0.01 } else { 0.001 } {
                phase = !phase;
            }
            if phase {
                now.allocate(PHASES, 2, 512);
            }
            if random.unit() < 0.0002 {
                now.allocate(RARE, 1, 1 << 16);
            }
            now.marks += u64::from(random.unit() < 0.5);
            done.push(now);
        }
        Self { ends, done }
    }

    /// What was done after so many seconds of work.
    fn at(&self, work: f64) -> &Done {
        &self.done[self.ends.partition_point(|&end| end <= work)]
    }
}

/// How much the process has to do.
#[derive(Clone, Copy)]
pub(super) enum Load {
    /// All threads are busy all the time: what probes cost is not done.
    Saturated,
    /// The same, in phases of a few tenths of a second, with nothing to do in between.
    HalfIdle,
    /// Work comes in at this share of what it could do, and waits while it is slow.
    Open(f64),
}

/// How windows are drawn.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// Length of the recording, in seconds.
    pub(super) span: f64,
    /// Windows on average, of each kind.
    pub(super) full: f64,
    pub(super) progress: f64,
    /// Length of each, in seconds.
    pub(super) length: f64,
    pub(super) load: Load,
}

/// One recording.
pub(super) struct Trial {
    pub(super) windows: Windows<usize>,
    pub(super) truth: [Amount; STACKS],
    pub(super) span: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Outside,
    Full,
    Progress,
}

impl Plan {
    /// Draws windows, with gaps without memory.
    pub(super) fn record(&self, process: &Process, random: &mut Random) -> Trial {
        let all = self.full + self.progress;
        let gap = (self.span - all * self.length) / all;
        let mut windows = Windows::default();
        let mut work = 0.0;
        let mut now = 0.0;
        while now < self.span {
            let until = now + gap * random.exponential();
            self.go_on(&mut work, now, until.min(self.span), Kind::Outside);
            now = until;
            if now + self.length > self.span {
                self.go_on(&mut work, now, self.span, Kind::Outside);
                break;
            }
            let kind = if random.unit() * all < self.full {
                Kind::Full
            } else {
                Kind::Progress
            };
            let before = *process.at(work);
            self.go_on(&mut work, now, now + self.length, kind);
            let seen = process.at(work).since(&before);
            now += self.length;
            let own = match (kind, self.load) {
                (Kind::Progress, Load::Saturated | Load::HalfIdle) => SPEED_PROGRESS,
                _ => 1.0,
            };
            let window = Window {
                elapsed: Duration::from_secs_f64(self.length),
                exposure: Duration::from_secs_f64(self.length * own),
                marks: seen.marks as f64,
            };
            if kind == Kind::Full {
                let amounts = seen.stacks.into_iter().enumerate();
                let amounts = amounts.filter(|(_, amount)| amount.objects > 0);
                windows.full(&window, amounts);
            } else {
                windows.progress(&window);
            }
        }
        Trial {
            windows,
            truth: process.at(work).stacks,
            span: Duration::from_secs_f64(self.span),
        }
    }

    /// Does what can be done in this time.
    fn go_on(&self, work: &mut f64, from: f64, until: f64, kind: Kind) {
        let speed = match kind {
            Kind::Outside => 1.0,
            Kind::Full => SPEED_FULL,
            Kind::Progress => SPEED_PROGRESS,
        };
        if matches!(self.load, Load::Saturated) {
            *work += speed * (until - from).max(0.0);
            return;
        }
        let mut now = from;
        while now < until {
            let step = STEP.min(until - now);
            now += step;
            *work += match self.load {
                Load::Open(share) => (speed * step).min((share * now - *work).max(0.0)),
                Load::HalfIdle if !is_busy(now) => 0.0,
                Load::HalfIdle | Load::Saturated => speed * step,
            };
        }
    }
}

/// Phases that do not repeat.
fn is_busy(now: f64) -> bool {
    (now * 7.3).sin() + (now * 11.9).sin() > 0.0
}
