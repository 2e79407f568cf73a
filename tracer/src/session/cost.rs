//! What the tracing takes from the target, as an estimate: events times what one event of its kind costs.
//!
//! A trap costs the same wherever it is; that is measured on a child of the tracer's own. How long the programs run
//! depends on the target (how deep its stacks are, how often one is new, what is left in the caches), so that is
//! measured there: `docs/design/0030-stated-cost.md`.

mod calibration;
mod meter;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracer_common::Counter;

pub use self::calibration::{SUBJECT_COMMAND, be_measured};
use self::meter::Meter;
use super::Options;
use crate::bpf::{ProbeKind, RunTimes, Taken};

/// What the events of a session cost, as far as it is known.
#[derive(Default)]
pub(super) struct Costs {
    calibrated: Arc<OnceLock<Calibrated>>,
    meter: Option<Meter>,
}

/// What an event costs under a child of the tracer's own.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Calibrated {
    whole: EventCosts,
    /// Of that, what the programs take.
    programs: Taken,
}

/// Added time of one event by its kind, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventCosts {
    /// An allocation: entry, stack, return.
    pub allocation: f64,
    /// A free.
    pub free: f64,
}

impl Costs {
    /// Begins to measure, without waiting for it. Where it fails there is no estimate, and nothing else changes.
    pub(super) fn measure(
        kind: Option<ProbeKind>,
        options: &Options,
        programs: Option<RunTimes>,
    ) -> Self {
        Self {
            calibrated: calibration::begin(kind, options),
            meter: programs.and_then(|programs| Meter::start(programs).ok()),
        }
    }

    /// Whether the programs of exact tracing run in the target from now on: where they don't, they are not measured.
    pub(super) fn measure_programs(&self, run: bool) {
        if let Some(meter) = &self.meter {
            meter.look_from_now_on(run);
        }
    }

    /// As it is known by now.
    pub(super) fn of_events(&self) -> Option<EventCosts> {
        let calibrated = self.calibrated.get()?;
        let taken = self.meter.as_ref().map(Meter::taken);
        Some(taken.map_or(calibrated.whole, |taken| calibrated.with(taken)))
    }
}

impl Costs {
    /// What the traps of events take, without the programs.
    pub(super) fn of_traps(&self) -> Option<EventCosts> {
        let &Calibrated { whole, programs } = self.calibrated.get()?;
        Some(EventCosts {
            allocation: (whole.allocation - programs.allocation?).max(0.0),
            free: (whole.free - programs.free?).max(0.0),
        })
    }
}

impl Calibrated {
    /// The traps as they were, and what the programs take elsewhere.
    fn with(&self, elsewhere: Taken) -> EventCosts {
        let cost = |whole: f64, here: Option<f64>, there: Option<f64>| match here.zip(there) {
            Some((here, there)) => (whole - here).max(0.0) + there,
            None => whole,
        };
        EventCosts {
            allocation: cost(
                self.whole.allocation,
                self.programs.allocation,
                elsewhere.allocation,
            ),
            free: cost(self.whole.free, self.programs.free, elsewhere.free),
        }
    }
}

impl EventCosts {
    /// Share of one CPU that so many events took from the target.
    #[must_use]
    pub fn share(&self, events: Events, elapsed: Duration) -> f64 {
        let Events {
            allocations,
            frees,
            others,
        } = events;
        // What only passes by stops the target once, as a free does.
        let nanoseconds =
            allocations as f64 * self.allocation + (frees + others) as f64 * self.free;
        let elapsed = elapsed.as_nanos() as f64;
        if elapsed > 0.0 {
            nanoseconds / elapsed
        } else {
            0.0
        }
    }

    /// The rate of events and what they took from the target, for the profile.
    pub(super) fn note(&self, counters: &[(Counter, u64)], elapsed: Duration) -> Option<String> {
        let events = Events::of(counters);
        let seconds = elapsed.as_secs_f64();
        (seconds > 0.0).then(|| {
            let rate = |events: u64| events as f64 / seconds;
            let mut note = format!(
                "tracing took about {:.1}% of one CPU from the target: {:.0} allocations/s at {:.1} us, \
                 {:.0} frees/s at {:.1} us",
                self.share(events, elapsed) * 100.0,
                rate(events.allocations),
                self.allocation / 1e3,
                rate(events.frees),
                self.free / 1e3,
            );
            // As little as would be said to be none.
            if rate(events.others) >= 0.5 {
                let others = format!(
                    ", {:.0} calls/s that the allocator makes itself or that do nothing",
                    rate(events.others)
                );
                note.push_str(&others);
            }
            note
        })
    }
}

/// How often the target was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// By an allocation: at its entry, and at its return.
    pub allocations: u64,
    /// By a free.
    pub frees: u64,
    /// By a call from inside another, one that frees nothing, or one that is only counted.
    pub others: u64,
}

impl Events {
    /// Those that have come since.
    pub(super) const fn since(self, before: Self) -> Self {
        Self {
            allocations: self.allocations.saturating_sub(before.allocations),
            frees: self.frees.saturating_sub(before.frees),
            others: self.others.saturating_sub(before.others),
        }
    }

    /// The counters that they are told from.
    pub(super) const COUNTERS: &[Counter] = &[
        Counter::AllocObjects,
        Counter::FailedAllocs,
        Counter::FreeObjects,
        Counter::UnknownFrees,
        Counter::FreesOfUnseen,
        Counter::NestedCalls,
        Counter::AllocatorFrees,
        Counter::NullFrees,
        Counter::ThrowingCalls,
    ];

    /// As the kernel side has counted them.
    pub(super) fn of(counters: &[(Counter, u64)]) -> Self {
        let mut events = Self::default();
        for &(counter, value) in counters {
            match counter {
                Counter::AllocObjects | Counter::FailedAllocs => events.allocations += value,
                Counter::FreeObjects | Counter::UnknownFrees | Counter::FreesOfUnseen => {
                    events.frees += value;
                }
                Counter::NestedCalls
                | Counter::AllocatorFrees
                | Counter::NullFrees
                | Counter::ThrowingCalls => events.others += value,
                _ => {}
            }
        }
        events
    }

    /// Whether there were none.
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_from_inside_another_is_no_allocation() {
        let counters = [
            (Counter::AllocObjects, 12),
            (Counter::NestedCalls, 9),
            (Counter::FreeObjects, 10),
            (Counter::NullFrees, 2),
        ];
        let events = Events::of(&counters);
        assert_eq!(
            (events.allocations, events.frees, events.others),
            (12, 10, 11)
        );
        let costs = EventCosts {
            allocation: 2_000.0,
            free: 1_000.0,
        };
        let note = costs
            .note(&counters, Duration::from_secs(1))
            .unwrap_or_default();
        assert!(
            note.contains("12 allocations/s") && note.contains("11 calls/s"),
            "{note}"
        );
        // What rounds to none is not said.
        let note = costs.note(&counters, Duration::from_secs(100));
        assert!(note.is_some_and(|note| !note.contains("calls/s")));
        assert!(Events::of(&[(Counter::AllocBytes, 5)]).is_none());
    }

    #[test]
    fn events_are_told_from_their_counters_alone() {
        let one_each: Vec<_> = Counter::ALL.iter().map(|&counter| (counter, 1)).collect();
        let wanted: Vec<_> = Events::COUNTERS
            .iter()
            .map(|&counter| (counter, 1))
            .collect();
        assert_eq!(Events::of(&wanted), Events::of(&one_each));
        let Events {
            allocations,
            frees,
            others,
        } = Events::of(&wanted);
        assert_eq!((allocations + frees + others) as usize, wanted.len());
    }

    #[test]
    fn what_the_programs_take_is_the_targets_own() {
        let calibrated = Calibrated {
            whole: EventCosts {
                allocation: 2_000.0,
                free: 1_000.0,
            },
            programs: Taken {
                allocation: Some(1_200.0),
                free: None,
            },
        };
        let there = calibrated.with(Taken {
            allocation: Some(3_000.0),
            free: Some(500.0),
        });
        assert_eq!((there.allocation, there.free), (3_800.0, 1_000.0));
    }

    #[test]
    fn a_share_is_time_spent_over_time_passed() {
        let costs = EventCosts {
            allocation: 2_000.0,
            free: 1_000.0,
        };
        let events = Events {
            allocations: 100_000,
            frees: 30_000,
            others: 20_000,
        };
        let share = costs.share(events, Duration::from_secs(1));
        assert!((share - 0.25).abs() < 1e-9, "{share}");
        assert_eq!(costs.share(events, Duration::ZERO), 0.0);
    }
}
