//! From windows to the amounts of the whole recording: chooses the mark, and keeps the sums.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use tracer_common::{Callee, StackKey};

use super::deltas::{Stack, StackDelta};
use crate::bpf::{Calls, WindowKind};
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
    /// CPU time of the target meanwhile, and what the probes took of that.
    pub(super) used: Duration,
    pub(super) took: Duration,
    /// The function whose calls amounts go by, where one is known by now.
    pub(super) mark: Option<Callee>,
    /// The calls that began in it, by function: those of the mark among them.
    pub(super) calls: &'a Calls,
    /// What was allocated in it; nothing in one that counts marks. Each stack once.
    pub(super) stacks: &'a [StackDelta],
}

/// The mark, by whose calls amounts are scaled.
#[derive(Clone, Debug)]
enum Mark {
    /// Not chosen yet: the full windows so far, whole.
    Pending(Vec<Kept>),
    /// Chosen for good; `None` where no function is called rarely enough.
    Chosen(Option<Callee>),
}

/// A full window that waits for the choice of the mark.
#[derive(Clone, Debug)]
struct Kept {
    length: Duration,
    calls: Calls,
    stacks: Vec<StackDelta>,
}

/// Takes in windows as they are over. Memory goes with the number of stacks.
#[derive(Clone, Debug)]
pub(super) struct Estimator {
    windows: estimate::Windows<Stack>,
    mark: Mark,
    full: Sums,
    progress: Sums,
    /// CPU time of the target while it was traced exactly, seconds.
    exact: f64,
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
    /// Calls of the mark.
    marks: f64,
}

impl Sums {
    fn add(&mut self, window: &Closed<'_>) {
        self.length += window.exposure.as_secs_f64();
        let ran = Duration::from_nanos(window.calls.ran_ns);
        self.ran += ran.as_secs_f64();
        self.used += window.used.saturating_sub(ran).as_secs_f64();
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
            mark: Mark::Pending(Vec::new()),
            full: Sums::default(),
            progress: Sums::default(),
            exact: 0.0,
        }
    }
}

impl Estimator {
    /// The mark, once it is chosen.
    pub(super) const fn mark(&self) -> Option<Callee> {
        match self.mark {
            Mark::Chosen(mark) => mark,
            Mark::Pending(_) => None,
        }
    }

    /// Takes one in.
    pub(super) fn take(&mut self, window: &Closed<'_>) {
        let length = window.exposure;
        if !window.is_sure {
            // What was allocated was allocated, and stands for nothing else.
            if window.kind == WindowKind::Full {
                self.windows.exact(length, amounts(window.stacks));
            }
            return;
        }
        match window.kind {
            WindowKind::Full => {
                self.full.add(window);
                self.take_full(length, window);
            }
            WindowKind::Progress(mark) => {
                let marks = window.calls.of(mark);
                self.progress.add(window);
                self.progress.marks += marks as f64;
                self.windows.progress(&estimate::Window {
                    elapsed: length,
                    exposure: own(window),
                    marks,
                });
            }
        }
    }

    /// Takes in what was allocated in a time in which the target was traced exactly, and used so much CPU time.
    pub(super) fn take_exact(&mut self, elapsed: Duration, used: Duration, stacks: &[StackDelta]) {
        self.windows.exact(elapsed, amounts(stacks));
        self.exact += used.as_secs_f64();
    }

    fn take_full(&mut self, length: Duration, window: &Closed<'_>) {
        match &mut self.mark {
            Mark::Chosen(mark) => {
                let marks = mark.map_or(0, |mark| window.calls.of(mark));
                self.add(length, marks, window.stacks);
            }
            Mark::Pending(kept) => {
                kept.push(Kept {
                    length,
                    calls: *window.calls,
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
    fn choose(&mut self, mark: Option<Callee>) {
        let before = std::mem::replace(&mut self.mark, Mark::Chosen(mark));
        if let Mark::Pending(kept) = before {
            for window in kept {
                let marks = mark.map_or(0, |mark| window.calls.of(mark));
                self.add(window.length, marks, &window.stacks);
            }
        }
    }

    fn add(&mut self, length: Duration, marks: u64, stacks: &[StackDelta]) {
        let window = estimate::Window {
            elapsed: length,
            // As it was: what the probes took of it is what marks are for.
            exposure: length,
            marks,
        };
        self.full.marks += marks as f64;
        self.windows.full(&window, amounts(stacks));
    }

    /// Stacks of images that have ended have become samples: those that are alike are one from now on.
    pub(super) fn retire(&mut self, moved: &[(StackKey, u32)]) {
        let sample_of: HashMap<_, _> = moved.iter().copied().collect();
        for &(key, sample) in moved {
            self.windows.join(Stack::Ended(sample), Stack::Known(key));
        }
        if let Mark::Pending(kept) = &mut self.mark {
            for window in kept {
                rename(&mut window.stacks, &sample_of);
            }
        }
    }

    /// What was allocated in `span`, the whole recording, in which the target used so much CPU time.
    ///
    /// # Errors
    ///
    /// There were too few windows.
    pub(super) fn estimate(&self, span: Duration, used: Duration) -> Result<Estimated, Impossible> {
        let mut all = Cow::Borrowed(self);
        if matches!(self.mark, Mark::Pending(_)) {
            all.to_mut().choose(None);
        }
        let outside = Duration::try_from_secs_f64(all.outside(used)).unwrap_or_default();
        let (estimates, choice) = all.windows.estimate_by_evidence(span, Some(outside))?;
        let taken = (all.full.traps + all.full.ran) / all.full.length.max(1e-9);
        let cpus = used.as_secs_f64() / span.as_secs_f64().max(1e-9);
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
            by: match (choice, self.mark()) {
                (Choice::Marks(_), Some(mark)) => format!("by calls of {}", mark.name()),
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
                Choice::Marks(_) => SampledBy::Marks,
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

    /// CPU time outside of all windows and exact tracing, in seconds: as much as if the probes of progress windows had taken what was
    /// known before.
    fn outside(&self, used: Duration) -> f64 {
        let Sums {
            used: in_windows,
            traps,
            ran,
            ..
        } = self.progress;
        let seen = in_windows + ran + self.full.used + self.full.ran + self.exact;
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

/// What of a window's CPU time was the target's own.
fn own(window: &Closed<'_>) -> Duration {
    window.used - window.took.min(window.used.mul_f64(MOST_TAKEN))
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
