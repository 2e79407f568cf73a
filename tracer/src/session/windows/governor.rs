//! How often windows may be, and how long: so that what they take stays below a share of the target's time.
//!
//! Pure: times go in and times come out.

use std::time::Duration;

/// A share above 0 and at most 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// `None` where it is no such share.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        (share > 0.0 && share <= 1.0).then_some(Self(share))
    }

    /// Of a hundred; 1 to 100.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        assert!(percent > 0 && percent <= 100, "no such share");
        Self(percent as f64 / 100.0)
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// From the beginning of a window to that of the next at least, where the length of windows can be chosen so. Each costs
/// the tracer some 5 ms of CPU time, and the target cold caches: with one every 150 ms the requests that were kept at
/// saturation were 91%, with one every 400 ms 96%. Half of
/// it at most is what passes around a window: the rest is left to chance.
const CYCLE: Duration = Duration::from_millis(700);
/// Length of a window at first.
const FIRST_LENGTH: Duration = Duration::from_millis(1);
/// The shortest and longest full window. A target that allocates little has long ones: each costs the tracer the same,
/// whatever its length.
const LENGTHS: [Duration; 2] = [Duration::from_micros(500), Duration::from_millis(100)];
/// A window in which only marks are counted is so many times as long, and takes about half as much. Whether the target
/// runs just then is most of what such windows differ by: the longer the better.
const PROGRESS_LENGTHS: u32 = 16;
/// The longest of these.
const LONGEST_PROGRESS: Duration = Duration::from_millis(100);
/// The shortest and the longest mean time between two windows.
const MEANS: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(10)];
/// Windows are not chosen so short that what they take whatever their length is more than this part of all.
const STALLS: f64 = 0.75;
/// What may be saved up: what is allowed for so long, or two windows.
const SAVED: Duration = Duration::from_secs(1);
/// A window ends early where it has taken what is allowed for so many cycles.
const PATIENCE: f64 = 3.0;
/// What a window's own figures weigh against those of the windows before.
const WEIGHT: f64 = 0.2;

/// A kind of window, as far as the governor cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// Every call is seen.
    Full,
    /// Marks are counted.
    Progress,
}

/// What a window took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) effort: Effort,
    /// How long it was.
    pub(super) length: Duration,
    /// Target's time that events took.
    pub(super) events: Duration,
    /// Target's time that making and closing took.
    pub(super) stalls: Duration,
    /// CPU time of the tracer itself. On a busy machine the target goes without it, so it counts against the limit; what
    /// was taken from the target's own time is without it.
    pub(super) own: Duration,
    /// What passed before and after it, in which there can be no other.
    pub(super) around: Duration,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Mean of the random time to wait.
    pub(super) mean: Duration,
    /// Time to wait at least.
    pub(super) least: Duration,
    /// Length of a full window.
    pub(super) length: Duration,
    /// The same of one that counts marks.
    pub(super) progress: Duration,
    /// What events may take before the window ends early.
    pub(super) budget: Duration,
}

/// What is known of the windows so far.
#[derive(Clone, Debug)]
pub(super) struct Governor {
    share: f64,
    /// CPUs that the target uses, at least one.
    cpus: f64,
    /// What may still be taken, seconds; below 0 where too much was.
    credit: f64,
    length: Duration,
    full: Price,
    progress: Price,
    /// Seconds around a window, in which there can be no other.
    around: Option<f64>,
    /// What there was to take, and what was taken, seconds.
    time: f64,
    taken: f64,
}

/// What windows of a kind take.
#[derive(Clone, Copy, Debug, Default)]
struct Price {
    /// CPUs, as long as one is open.
    running: Option<f64>,
    /// Seconds, to make and close one, the tracer's own included.
    stalls: Option<f64>,
}

impl Price {
    fn learn(&mut self, taken: &Taken) {
        let length = taken.length.as_secs_f64();
        if length > 0.0 {
            average(&mut self.running, taken.events.as_secs_f64() / length);
        }
        average(&mut self.stalls, (taken.stalls + taken.own).as_secs_f64());
    }

    /// Of a window of some length, seconds. Before anything is known, a window takes one CPU.
    fn of(&self, length: Duration) -> f64 {
        self.running.unwrap_or(1.0) * length.as_secs_f64() + self.stalls.unwrap_or(0.0)
    }
}

fn average(known: &mut Option<f64>, new: f64) {
    *known = Some(known.map_or(new, |known| known + WEIGHT * (new - known)));
}

impl Governor {
    pub(super) const fn new(share: Share) -> Self {
        Self {
            share: share.0,
            cpus: 1.0,
            credit: 0.0,
            length: FIRST_LENGTH,
            full: Price {
                running: None,
                stalls: None,
            },
            progress: Price {
                running: None,
                stalls: None,
            },
            around: None,
            time: 0.0,
            taken: 0.0,
        }
    }

    /// Time has passed, in which the target has used so much CPU time. Less than one CPU counts as one: there is
    /// nobody to be slowed down then.
    pub(super) fn pass(&mut self, elapsed: Duration, cpu: Duration) {
        let time = self.take_time(elapsed, cpu);
        let most = self
            .allowed(SAVED.as_secs_f64())
            .max(2.0 * self.next_price());
        self.credit = (self.credit + self.share * time).min(most);
    }

    /// Time has passed in which the target was traced exactly, and that took so much. What that was beyond the share
    /// `exact` is taken off what windows may take, as far as one would save up.
    pub(super) fn pass_exact(
        &mut self,
        (elapsed, cpu): (Duration, Duration),
        exact: Share,
        taken: Duration,
    ) {
        let time = self.take_time(elapsed, cpu);
        let taken = taken.as_secs_f64();
        self.taken += taken;
        let beyond = (taken - exact.0 * time).clamp(0.0, self.allowed(SAVED.as_secs_f64()));
        self.credit -= beyond;
    }

    /// Takes in time, and returns how much of it counts, seconds.
    fn take_time(&mut self, elapsed: Duration, cpu: Duration) -> f64 {
        let (elapsed, cpu) = (elapsed.as_secs_f64(), cpu.as_secs_f64());
        if elapsed <= 0.0 {
            return 0.0;
        }
        let time = elapsed.max(cpu);
        self.cpus += (time / elapsed - self.cpus) * WEIGHT;
        self.time += time;
        time
    }

    /// A window has been.
    pub(super) fn take(&mut self, taken: &Taken) {
        let seconds = (taken.events + taken.stalls).as_secs_f64();
        self.taken += seconds;
        self.credit -= seconds + taken.own.as_secs_f64();
        average(&mut self.around, taken.around.as_secs_f64());
        match taken.effort {
            Effort::Full => self.full.learn(taken),
            Effort::Progress => self.progress.learn(taken),
        }
        // As long as what is allowed for a cycle, but not at once: one window says little.
        let [shortest, longest] = LENGTHS;
        let cycle = self.cycle();
        let change = (self.wanted_cycle() / cycle.max(1e-9)).clamp(0.8, 1.25);
        self.length = self.length.mul_f64(change).clamp(shortest, longest);
    }

    /// The share that exact tracing would take, at least: a target that windows slow down does more without.
    pub(super) fn exact_would_take(&self) -> f64 {
        self.full.running.unwrap_or(f64::INFINITY) / self.cpus
    }

    /// What was taken so far, as a share.
    pub(super) fn share_taken(&self) -> f64 {
        if self.time > 0.0 {
            self.taken / self.time
        } else {
            0.0
        }
    }

    pub(super) fn plan(&self) -> Plan {
        let owed = (self.next_price() - self.credit).max(0.0);
        let [shortest, longest] = MEANS;
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        Plan {
            mean: seconds((self.cycle() - self.around.unwrap_or(0.0)).max(0.0))
                .saturating_sub(self.length)
                .clamp(shortest, longest),
            least: seconds(owed / (self.share * self.cpus)),
            length: self.length,
            progress: self.progress_length(),
            budget: seconds(
                PATIENCE
                    * self
                        .allowed(self.wanted_cycle())
                        .max(self.full.of(self.length)),
            ),
        }
    }

    fn progress_length(&self) -> Duration {
        (self.length * PROGRESS_LENGTHS).min(LONGEST_PROGRESS)
    }

    /// What may be taken in some time, seconds.
    fn allowed(&self, seconds: f64) -> f64 {
        self.share * self.cpus * seconds
    }

    /// What a window takes, whichever comes next, seconds.
    fn next_price(&self) -> f64 {
        let full = self.full.of(self.length);
        match self.progress.running {
            Some(_) => f64::midpoint(full, self.progress.of(self.progress_length())),
            None => full,
        }
    }

    /// Seconds from one window to the next that their length is chosen for.
    fn wanted_cycle(&self) -> f64 {
        let stalls = self.full.stalls.unwrap_or(0.0) / (self.share * self.cpus);
        CYCLE
            .as_secs_f64()
            .max(2.0 * self.around.unwrap_or(0.0))
            .max(stalls / STALLS)
    }

    /// Seconds from one window to the next, so that no more than the share is taken.
    fn cycle(&self) -> f64 {
        self.next_price() / (self.share * self.cpus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: Duration = Duration::from_millis(60);

    /// A target that is slowed down by windows as much as one that does nothing but allocate.
    fn simulate(share: f64, cpus: f64, running: f64, seconds: u64) -> (Governor, u32) {
        let mut governor = Governor::new(Share(share));
        let mut chance = super::super::chance::seeded(11);
        let (mut passed, mut windows) = (Duration::ZERO, 0);
        while passed < Duration::from_secs(seconds) {
            let plan = governor.plan();
            let wait = chance.gap(plan.mean).max(plan.least);
            let cycle = wait + plan.length + AROUND;
            governor.pass(cycle, cycle.mul_f64(cpus));
            governor.take(&Taken {
                effort: Effort::Full,
                length: plan.length,
                events: plan.length.mul_f64(running).min(plan.budget),
                stalls: Duration::from_micros(300),
                own: Duration::ZERO,
                around: AROUND,
            });
            passed += cycle;
            windows += 1;
        }
        (governor, windows)
    }

    #[test]
    fn the_share_is_kept_and_used() {
        for (share, cpus, running) in [
            (0.02, 1.5, 1.6),
            (0.005, 1.0, 0.8),
            (0.02, 0.1, 0.05),
            (0.05, 8.0, 6.0),
        ] {
            let (governor, windows) = simulate(share, cpus, running, 120);
            let taken = governor.share_taken();
            assert!(taken <= share, "{share} {cpus}: {taken}");
            assert!(windows > 100, "{share} {cpus}: {windows}");
            // Where a window can't be long enough, less is taken.
            if governor.length < LENGTHS[1] {
                assert!(taken > 0.7 * share, "{share} {cpus}: {taken}");
            }
        }
    }

    #[test]
    fn a_window_that_took_too_much_is_paid_before_the_next() {
        let mut governor = Governor::new(Share(0.01));
        governor.pass(Duration::from_secs(1), Duration::ZERO);
        governor.take(&Taken {
            effort: Effort::Full,
            length: Duration::from_millis(1),
            events: Duration::from_millis(50),
            stalls: Duration::ZERO,
            own: Duration::ZERO,
            around: AROUND,
        });
        // 40 ms too much at 10 ms a second, and the next one.
        assert!(governor.plan().least > Duration::from_secs(4));
    }

    #[test]
    fn what_the_tracer_takes_itself_counts_against_the_limit_alone() {
        let window = |own| Taken {
            effort: Effort::Full,
            length: Duration::from_millis(1),
            events: Duration::from_millis(1),
            stalls: Duration::ZERO,
            own,
            around: AROUND,
        };
        let after = |own| {
            let mut governor = Governor::new(Share(0.02));
            governor.pass(Duration::from_secs(1), Duration::ZERO);
            governor.take(&window(own));
            governor
        };
        let (free, dear) = (after(Duration::ZERO), after(Duration::from_millis(5)));
        assert!((free.credit - dear.credit - 0.005).abs() < 1e-9);
        assert!(dear.next_price() > free.next_price() + 0.004);
        assert_eq!(free.share_taken(), dear.share_taken());
    }

    #[test]
    fn what_windows_take_at_any_length_does_not_make_them_the_shortest() {
        let mut governor = Governor::new(Share(0.005));
        for _ in 0..100 {
            let plan = governor.plan();
            governor.pass(Duration::from_secs(3), Duration::from_secs(3));
            governor.take(&Taken {
                effort: Effort::Full,
                length: plan.length,
                events: plan.length,
                stalls: Duration::from_millis(15),
                own: Duration::ZERO,
                around: AROUND,
            });
        }
        // A quarter of what is taken in all.
        let length = governor.length.as_secs_f64();
        assert!((0.004..0.006).contains(&length), "{length}");
    }

    #[test]
    fn exact_tracing_that_went_too_far_is_paid_back() {
        let second = (Duration::from_secs(1), Duration::from_secs(1));
        let mut governor = Governor::new(Share(0.02));
        governor.pass_exact(second, Share(0.02), Duration::from_millis(20));
        assert_eq!(governor.credit, 0.0);
        governor.pass_exact(second, Share(0.02), Duration::from_millis(30));
        assert!((governor.credit + 0.01).abs() < 1e-9, "{}", governor.credit);
        // And no more than is allowed for a second.
        governor.pass_exact(second, Share(0.02), Duration::from_secs(1));
        assert!((governor.credit + 0.03).abs() < 1e-9, "{}", governor.credit);
        assert!((governor.share_taken() - 0.35).abs() < 1e-9);
    }

    #[test]
    fn what_is_saved_up_is_no_licence() {
        let mut governor = Governor::new(Share(0.02));
        governor.pass(Duration::from_secs(3_600), Duration::ZERO);
        assert!(governor.credit <= 0.021, "{}", governor.credit);
    }

    #[test]
    fn an_idle_target_counts_as_one_that_uses_a_cpu() {
        let (idle, _) = simulate(0.02, 0.0, 0.5, 20);
        let (busy, _) = simulate(0.02, 1.0, 0.5, 20);
        assert_eq!(idle.taken, busy.taken);
    }

    #[test]
    fn windows_get_shorter_where_they_take_much_and_longer_where_little() {
        let (dear, _) = simulate(0.02, 2.0, 2.0, 60);
        let (cheap, _) = simulate(0.02, 1.0, 0.01, 60);
        assert!(dear.length < LENGTHS[1], "{:?}", dear.length);
        assert_eq!(cheap.length, LENGTHS[1]);
    }

    #[test]
    fn only_a_share_is_a_share() {
        for nonsense in [0.0, -0.1, 1.01, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::new(nonsense), None);
        }
        assert_eq!(Share::new(1.0).map(Share::get), Some(1.0));
    }
}
