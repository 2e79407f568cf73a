//! From windows to the amounts of the whole recording: chooses the mark, and keeps the sums.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use tracer_common::StackKey;

use super::deltas::{Stack, StackDelta};
use super::marks::Mark;
use crate::bpf::{Calls, WindowKind, Work};
use crate::estimate::{self, Amount, Choice, Estimates, Impossible};
use crate::profile::{Errors, Sampled, SampledBy};

/// Full windows after which there is none, where none was found.
const PATIENCE: usize = 64;
/// Stacks of all windows that are kept meanwhile, counted once for each: a few MB.
const KEPT_STACKS: usize = 100_000;
/// The probes' share of the time in full windows from which on they may slow the target down.
const NOTICED: f64 = 0.05;
/// The same whatever the target uses on average: it may work in bursts, or others may take the CPUs.
const PLAIN: f64 = 0.25;
/// CPUs that a target uses at least that has nothing to spare.
const BUSY: f64 = 0.7;
/// What traps may take beside what they leave to the target: where it is more, the rest can't be told from it well.
const DEAR: f64 = 0.2;
/// What there is to say then.
const DEAR_MARK: &str = "the function by whose calls amounts are scaled is called so often that the probe on it alone \
     slows the target down: what was allocated may be too low by a half";
/// The most that probes are held to take of a progress window.
const MOST_TAKEN: f64 = 0.9;
/// What traps take is known to so much of it: the rest of what they cost is that they leave caches cold.
const TRAP_ERROR: f64 = 0.5;

/// A window that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed<'a> {
    /// What was seen in it.
    pub(super) kind: WindowKind,
    /// How long calls were seen.
    pub(super) exposure: Duration,
    /// Whether that is known well enough to tell of what was not seen.
    pub(super) is_sure: bool,
    /// What the target did meanwhile.
    pub(super) work: Work,
    /// CPU time that the probes took of that.
    pub(super) took: Duration,
    /// From the first look at the work to the last: a little longer than the exposure.
    pub(super) looked: Duration,
    /// What amounts go by, where that is known by now.
    pub(super) mark: Option<Mark>,
    /// The calls that began in it, by function: those of the mark among them.
    pub(super) calls: &'a Calls,
    /// What was allocated in it; nothing in one that counts marks. Each stack once.
    pub(super) stacks: &'a [StackDelta],
}

/// Whether the mark is known, by which amounts are scaled.
#[derive(Clone, Debug)]
enum Choosing {
    /// Not chosen yet: the full windows so far, whole.
    Pending(Vec<Kept>),
    /// Chosen for good; `None` where there is none.
    Chosen(Option<Mark>),
}

/// A full window that waits for the choice of the mark.
#[derive(Clone, Debug)]
struct Kept {
    length: Duration,
    calls: Calls,
    work: Work,
    /// The part of the work that belongs to it.
    part: f64,
    stacks: Vec<StackDelta>,
}

/// Takes in windows as they are over. Memory goes with the number of stacks.
#[derive(Clone, Debug)]
pub(super) struct Estimator {
    windows: estimate::Windows<Stack>,
    mark: Choosing,
    full: Sums,
    progress: Sums,
    /// What the target did while it was traced exactly, and in windows that stand for nothing else.
    exact: Work,
}

/// Sums over windows of a kind, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    length: f64,
    /// CPU time of the target, without the programs.
    used: f64,
    /// What traps took of that, as far as is known before.
    traps: f64,
    /// What programs took, by their own clock.
    ran: f64,
    /// The mark.
    marks: f64,
}

impl Sums {
    fn add(&mut self, window: &Closed<'_>) {
        self.length += window.exposure.as_secs_f64();
        let ran = Duration::from_nanos(window.calls.ran_ns);
        self.ran += ran.as_secs_f64();
        self.used += window.work.cpu.saturating_sub(ran).as_secs_f64();
        self.traps += window.took.saturating_sub(ran).as_secs_f64();
    }
}

/// What the whole recording allocated, as far as it can be told.
#[derive(Clone, Debug)]
pub(in crate::session) struct Estimated {
    /// The facts behind it; what windows took is not among them.
    pub(in crate::session) sampled: Sampled,
    /// Objects and bytes of each stack, and the errors of its own.
    pub(in crate::session) stacks: HashMap<Stack, ([i64; 2], Errors)>,
    /// What amounts were held against, for people.
    pub(in crate::session) by: String,
    /// By how much all of them may be too low.
    pub(in crate::session) doubt: Option<String>,
}

impl Default for Estimator {
    fn default() -> Self {
        Self {
            windows: estimate::Windows::default(),
            mark: Choosing::Pending(Vec::new()),
            full: Sums::default(),
            progress: Sums::default(),
            exact: Work::default(),
        }
    }
}

impl Estimator {
    /// The mark, once it is chosen.
    pub(super) const fn mark(&self) -> Option<Mark> {
        match self.mark {
            Choosing::Chosen(mark) => mark,
            Choosing::Pending(_) => None,
        }
    }

    /// Takes one in.
    pub(super) fn take(&mut self, window: &Closed<'_>) {
        let length = window.exposure;
        if !window.is_sure {
            // What was allocated was allocated, and stands for nothing else.
            if window.kind == WindowKind::Full {
                self.windows.exact(length, amounts(window.stacks));
                self.exact = self.exact.and(window.work);
            }
            return;
        }
        match window.kind {
            WindowKind::Full => {
                self.full.add(window);
                self.take_full(length, window);
            }
            WindowKind::Progress(mark) => {
                let marks = window.calls.of(mark) as f64;
                self.progress.add(window);
                self.progress.marks += marks;
                self.windows.progress(&estimate::Window {
                    elapsed: length,
                    exposure: own(window),
                    marks,
                });
            }
        }
    }

    /// Takes in what was allocated in a time in which the target was traced exactly, and did so much.
    pub(super) fn take_exact(&mut self, elapsed: Duration, work: Work, stacks: &[StackDelta]) {
        self.windows.exact(elapsed, amounts(stacks));
        self.exact = self.exact.and(work);
    }

    fn take_full(&mut self, length: Duration, window: &Closed<'_>) {
        let looked = window.looked.max(length).as_secs_f64();
        let part = length.as_secs_f64() / looked.max(f64::MIN_POSITIVE);
        match &mut self.mark {
            Choosing::Chosen(mark) => {
                let marks = marks(*mark, window.calls, window.work, part);
                self.add(length, marks, window.stacks);
            }
            Choosing::Pending(kept) => {
                kept.push(Kept {
                    length,
                    calls: *window.calls,
                    work: window.work,
                    part,
                    stacks: window.stacks.to_vec(),
                });
                let stacks: usize = kept.iter().map(|kept| kept.stacks.len()).sum();
                let is_full = kept.len() >= PATIENCE || stacks > KEPT_STACKS;
                if is_full || window.mark.is_some() {
                    self.choose(window.mark);
                }
            }
        }
    }

    /// Chooses the mark, and takes in what has waited for it.
    fn choose(&mut self, mark: Option<Mark>) {
        let before = std::mem::replace(&mut self.mark, Choosing::Chosen(mark));
        if let Choosing::Pending(kept) = before {
            for window in kept {
                let marks = marks(mark, &window.calls, window.work, window.part);
                self.add(window.length, marks, &window.stacks);
            }
        }
    }

    fn add(&mut self, length: Duration, marks: f64, stacks: &[StackDelta]) {
        let window = estimate::Window {
            elapsed: length,
            // As it was: what the probes took of it is what marks are for.
            exposure: length,
            marks,
        };
        self.full.marks += marks;
        self.windows.full(&window, amounts(stacks));
    }

    /// Stacks of images that have ended have become samples: those that are alike are one from now on.
    pub(super) fn retire(&mut self, moved: &[(StackKey, u32)]) {
        let sample_of: HashMap<_, _> = moved.iter().copied().collect();
        for &(key, sample) in moved {
            self.windows.join(Stack::Ended(sample), Stack::Known(key));
        }
        if let Choosing::Pending(kept) = &mut self.mark {
            for window in kept {
                rename(&mut window.stacks, &sample_of);
            }
        }
    }

    /// What was allocated in `span`, the whole recording, in which the target did so much. Where no mark is chosen yet it
    /// is `at_last`.
    ///
    /// # Errors
    ///
    /// There were too few windows.
    pub(super) fn estimate(
        &self,
        span: Duration,
        work: Work,
        at_last: Option<Mark>,
    ) -> Result<Estimated, Impossible> {
        let mut all = Cow::Borrowed(self);
        if matches!(self.mark, Choosing::Pending(_)) {
            all.to_mut().choose(at_last);
        }
        let (estimates, choice) = match all.unseen(work) {
            Some(marks) => all.windows.estimate_by_count(span, marks),
            None => {
                let outside = Duration::try_from_secs_f64(all.outside(work.cpu));
                let outside = Some(outside.unwrap_or_default());
                all.windows.estimate_by_evidence(span, outside)
            }
        }?;
        let taken = (all.full.traps + all.full.ran) / all.full.length.max(1e-9);
        let cpus = work.cpu.as_secs_f64() / span.as_secs_f64().max(1e-9);
        let doubt = match choice {
            Choice::Unproven if taken > if cpus > BUSY { NOTICED } else { PLAIN } => {
                Some(doubt(taken, cpus))
            }
            Choice::Marks(_) if all.missing() > DEAR => Some(DEAR_MARK.to_owned()),
            _ => None,
        };
        let may_be_low = doubt.is_some();
        Ok(Estimated {
            sampled: all.facts(&estimates, choice, may_be_low),
            stacks: stacks(&estimates),
            by: match (choice, all.mark()) {
                (Choice::Marks(_) | Choice::Counted, Some(mark)) => format!("by {}", mark.shown()),
                _ => "by time".to_owned(),
            },
            doubt,
        })
    }

    fn facts(&self, estimates: &Estimates<Stack>, choice: Choice, may_be_low: bool) -> Sampled {
        let shared = estimates.shared();
        let by_traps = match choice {
            Choice::Marks(_) => self.trap_error(),
            _ => 0.0,
        };
        let nanos = |seconds: f64| (seconds * 1e9) as u64;
        Sampled {
            by: match choice {
                Choice::Marks(_) | Choice::Counted => SampledBy::Marks,
                Choice::Even(_) => SampledBy::Time,
                Choice::Unproven => SampledBy::TimeAlone,
            },
            windows: estimates.full_windows,
            nanos: nanos(self.full.length),
            progress_windows: estimates.progress_windows,
            progress_nanos: nanos(self.progress.length),
            share_seen: estimates.share_seen,
            share_taken: 0.0,
            shared_objects: shared.objects.hypot(by_traps),
            shared_space: shared.bytes.hypot(by_traps),
            // A file has no number for endless.
            degrees: estimates.degrees.min(1e6),
            may_be_low,
        }
    }

    /// How much dearer traps are in this target than was known before, since they leave it with cold caches: as the mark
    /// has it. What a mark's work takes is the same in both kinds of windows, and all else is probes.
    fn dearer(&self) -> f64 {
        let [full, progress] = [self.full, self.progress].map(|sums| {
            let marks = sums.marks.max(1.0);
            (sums.used / marks, sums.traps / marks)
        });
        let (used, traps) = (full.0 - progress.0, full.1 - progress.1);
        if self.full.marks > 0.0 && self.progress.marks > 0.0 && used > 0.0 && traps > 0.0 {
            (used / traps).clamp(0.5, 4.0)
        } else {
            1.0
        }
    }

    /// Marks outside of full windows and exact tracing, where they were counted all the time.
    fn unseen(&self, work: Work) -> Option<f64> {
        let mark = self.mark()?;
        let of = |work| mark.count(&Calls::default(), work) as f64;
        let unseen = of(work) - of(self.exact) - self.full.marks;
        mark.function().is_none().then_some(unseen)
    }

    /// CPU time outside of all windows and exact tracing, in seconds: as much as if the probes of progress windows had taken what was
    /// known before.
    fn outside(&self, used: Duration) -> f64 {
        let Sums {
            used: in_windows,
            traps,
            ran,
            ..
        } = self.progress;
        let seen = in_windows + ran + self.full.used + self.full.ran + self.exact.cpu.as_secs_f64();
        let outside = (used.as_secs_f64() - seen).max(0.0);
        let own = |dearer: f64| in_windows - (traps * dearer).min(in_windows * MOST_TAKEN);
        if in_windows > 0.0 {
            outside * own(1.0) / own(self.dearer())
        } else {
            outside
        }
    }

    /// What traps took of progress windows, as a part of what was left to the target.
    fn missing(&self) -> f64 {
        let Sums { used, traps, .. } = self.progress;
        let missing = (traps * self.dearer()).min(used * MOST_TAKEN);
        missing / (used - missing).max(1e-9)
    }

    /// How wrong the rate of marks may be, since it is not known exactly what the probes took meanwhile.
    fn trap_error(&self) -> f64 {
        (TRAP_ERROR + (self.dearer() - 1.0).abs() / 4.0) * self.missing()
    }
}

/// The mark in a window, of whose work a part belongs to it.
fn marks(mark: Option<Mark>, calls: &Calls, work: Work, part: f64) -> f64 {
    let count = mark.map_or(0, |mark| mark.count(calls, work)) as f64;
    match mark.and_then(Mark::function) {
        Some(_) => count,
        None => count * part,
    }
}

/// What of a window's CPU time was the target's own.
fn own(window: &Closed<'_>) -> Duration {
    let used = window.work.cpu;
    used - window.took.min(used.mul_f64(MOST_TAKEN))
}

/// Each stack's amounts, rounded, and the errors of its own, rounded up.
fn stacks(estimates: &Estimates<Stack>) -> HashMap<Stack, ([i64; 2], Errors)> {
    let shared = estimates.shared();
    let stacks = estimates.stacks.iter();
    stacks
        .map(|(stack, estimate)| {
            let [objects, space] = shared.own(estimate).map(f64::ceil);
            let amounts = [&estimate.objects, &estimate.bytes];
            let amounts = amounts.map(|amount| amount.value.round() as i64);
            (*stack, (amounts, Errors { objects, space }))
        })
        .collect()
}

/// What there is to say where the probes may have slowed the target down, and nothing tells whether they did.
fn doubt(taken: f64, cpus: f64) -> String {
    let busy = format!(
        "the target uses {cpus:.1} CPUs, and no function is called rarely enough to tell how far windows slow it \
         down: what was allocated is scaled by time, and may be too low"
    );
    let missing = taken / cpus.max(1.0);
    if missing < 0.95 {
        format!("{busy}, by {:.1} times at most", 1.0 / (1.0 - missing))
    } else {
        format!("{busy}, by many times")
    }
}

/// Gives stacks their names after they have ended; those that have the same become one.
pub(super) fn rename(stacks: &mut Vec<StackDelta>, sample_of: &HashMap<StackKey, u32>) {
    let mut sums: HashMap<u32, (u64, u64)> = HashMap::new();
    stacks.retain(|delta| {
        let sample = match delta.stack {
            Stack::Known(key) => sample_of.get(&key).copied(),
            Stack::Ended(sample) => Some(sample),
        };
        let Some(sample) = sample else { return true };
        let sum = sums.entry(sample).or_default();
        *sum = (sum.0 + delta.objects, sum.1 + delta.bytes);
        false
    });
    let sums = sums.into_iter();
    stacks.extend(sums.map(|(sample, (objects, bytes))| StackDelta {
        stack: Stack::Ended(sample),
        objects,
        bytes,
    }));
}

fn amounts(stacks: &[StackDelta]) -> impl Iterator<Item = (Stack, Amount)> + '_ {
    stacks.iter().map(|delta| {
        let amount = Amount {
            objects: delta.objects,
            bytes: delta.bytes,
        };
        (delta.stack, amount)
    })
}

#[cfg(test)]
mod tests;
