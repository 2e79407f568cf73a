//! A session that may not take more than a share from its target: exact while that fits, in windows while it does not.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use tracer_common::Counter;

use super::{Session, SessionError};
use crate::bpf::{Gauge, Work};
use crate::process::{has_first_thread, threads_of};
use crate::session::allocator::Allocator;
use crate::session::cost::{EventCosts, Events};
use crate::session::windows::{Fit, Share, Step, Windows, gauge};

/// How often it is looked what exact tracing takes,
const LOOK: Duration = Duration::from_millis(50);
/// and how often at first, for so long: a busy target pays for each moment.
const FIRST_LOOKS: Duration = Duration::from_millis(10);
const AT_FIRST: Duration = Duration::from_secs(1);
/// What events take until that is known.
const UNTIL_KNOWN: EventCosts = EventCosts {
    allocation: 2_500.0,
    free: 1_000.0,
};

/// The most that tracing may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Of the target's CPU time, or of one CPU where it uses less: what windows take.
    pub share: Share,
    /// The same of exact tracing. Where that takes more, there are windows.
    pub exact: Share,
    /// Somebody asked for it: without windows there is no recording. Else the target is then traced exactly.
    pub is_asked: bool,
    /// See it in windows also where exact tracing would fit. For tests.
    pub never_exact: bool,
}

impl Limit {
    /// That is asked for.
    #[must_use]
    pub const fn of(share: Share, never_exact: bool) -> Self {
        Self {
            share,
            exact: share,
            is_asked: true,
            never_exact,
        }
    }

    /// For a process that serves somebody, where nothing was asked for: 20% exactly, else 2% in windows.
    #[must_use]
    pub const fn for_live() -> Self {
        Self {
            share: Share::percent(2),
            exact: Share::percent(20),
            is_asked: false,
            never_exact: false,
        }
    }
}

/// How the target is traced, where that may not take more than a limit.
pub(super) struct Effort {
    process: NonZeroU32,
    gauge: Gauge,
    limit: Limit,
    fit: Fit,
    phase: Phase,
    /// What the target had done when exact tracing began, for the last time.
    begun: Work,
    was_in_windows: bool,
    /// When it was last looked what exact tracing takes.
    looked: Look,
}

enum Phase {
    /// Since when, and what it has taken.
    Exact(Instant, Duration),
    Windows,
    /// Exactly, whatever it takes: there can be no windows, and why.
    Stuck(String),
}

/// Some moment: when, what the target had done, and the events until then.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    work: Work,
    events: Events,
}

impl Effort {
    /// Of a session that begins to count.
    pub(super) fn new(process: NonZeroU32, limit: Limit) -> Self {
        let now = Instant::now();
        let gauge = gauge(process);
        let work = gauge().unwrap_or_default();
        Self {
            process,
            limit,
            fit: Fit::new(limit.exact),
            phase: Phase::Exact(now, Duration::ZERO),
            begun: work,
            was_in_windows: false,
            looked: Look {
                at: now,
                work,
                events: Events::default(),
            },
            gauge,
        }
    }

    /// Whether somebody asked for the limit.
    pub(super) const fn is_asked(&self) -> bool {
        self.limit.is_asked
    }

    /// Since when the target is traced exactly, where it is.
    pub(super) const fn exact_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Exact(since, _) => Some(since),
            Phase::Windows | Phase::Stuck(_) => None,
        }
    }

    /// Why it takes what it takes, where that is not as it was meant to be.
    pub(super) fn note(&self) -> Option<String> {
        let Limit {
            share,
            exact,
            is_asked,
            ..
        } = self.limit;
        match &self.phase {
            Phase::Stuck(why) => {
                let than = match is_asked {
                    true => "--max-overhead allows".to_owned(),
                    false => format!("{:.0}% of the target's CPU time", exact.get() * 100.0),
                };
                Some(format!(
                    "tracing took more than {than}: the target was traced exactly to the end, because {why}"
                ))
            }
            _ if self.was_in_windows && !is_asked => Some(format!(
                "to see every call would have taken more than {:.0}% of the target's CPU time, so it was traced in \
                 windows, at {:.0}%: --exact sees every call, --max-overhead SHARE sets another share",
                exact.get() * 100.0,
                share.get() * 100.0,
            )),
            _ => None,
        }
    }
}

/// What is next in the windows; never, where there are none.
pub(super) async fn next_step(windows: &mut Option<Windows>) -> Step {
    match windows {
        Some(windows) => windows.next().await,
        None => std::future::pending().await,
    }
}

/// When to look what exact tracing takes.
pub(super) async fn next_look(effort: &mut Option<Effort>) {
    match effort {
        Some(Effort {
            phase: Phase::Exact(since, _),
            looked,
            ..
        }) => {
            let is_new = looked.at - *since < AT_FIRST;
            let next = looked.at + if is_new { FIRST_LOOKS } else { LOOK };
            tokio::time::sleep_until(next.into()).await;
        }
        _ => std::future::pending().await,
    }
}

impl Session {
    /// Whether probes come and go.
    pub(super) fn is_in_windows(&self) -> bool {
        let effort = self.effort.as_ref();
        effort.is_some_and(|effort| matches!(effort.phase, Phase::Windows))
    }

    /// Begins with windows where they are wanted in any case.
    pub(super) fn begin_with_windows(&mut self) -> Result<(), SessionError> {
        match &self.effort {
            Some(effort) if effort.limit.never_exact => self.see_in_windows(),
            _ => Ok(()),
        }
    }

    /// Looks what exact tracing takes, and changes to windows where that is too much.
    pub(super) fn look_at_cost(&mut self) -> Result<(), SessionError> {
        let events = Events::of(&self.kernel.counters_of(Events::COUNTERS)?);
        let costs = self.costs.of_events().unwrap_or(UNTIL_KNOWN);
        let Some(effort) = &mut self.effort else {
            return Ok(());
        };
        let Phase::Exact(_, taken) = &mut effort.phase else {
            return Ok(());
        };
        let before = effort.looked;
        let now = Look {
            at: Instant::now(),
            // What has ended uses nothing.
            work: (effort.gauge)().unwrap_or(before.work),
            events,
        };
        effort.looked = now;
        let elapsed = now.at - before.at;
        let share = costs.share(now.events.since(before.events), elapsed);
        let took = elapsed.mul_f64(share);
        *taken += took;
        let time = elapsed.max(now.work.since(before.work).cpu);
        if effort.fit.goes_on(time, took) {
            if effort.fit.is_short() {
                self.kernel.probes().prepare_windows();
            }
            return Ok(());
        }
        if self.kept_ns.is_some() || !has_first_thread(effort.process.get()) {
            // It may have ended as a whole.
            if !self.has_ended && !threads_of(&[self.who.pid]).is_empty() {
                effort.phase = Phase::Stuck(
                    "its first thread has ended or another one has called exec, and windows know a process by its \
                     first thread"
                        .to_owned(),
                );
            }
            return Ok(());
        }
        self.see_in_windows()
    }

    /// Changes from exact tracing to windows.
    fn see_in_windows(&mut self) -> Result<(), SessionError> {
        let Some(effort) = &mut self.effort else {
            return Ok(());
        };
        let Phase::Exact(since, taken) = effort.phase else {
            return Ok(());
        };
        // What exact tracing took is held against all the time that it took.
        let begun = (since, effort.begun);
        let windows = match &mut self.windows {
            Some(windows) => windows,
            none => {
                let shares = (effort.limit.share, effort.limit.exact);
                // Before the probes are gone: without windows they stay.
                match Windows::new(&mut self.kernel, effort.process, shares, begun) {
                    Ok(windows) => none.insert(windows),
                    Err(error) => {
                        effort.phase = Phase::Stuck(format!("windows can't be held: {error}"));
                        return Ok(());
                    }
                }
            }
        };
        self.costs.measure_programs(false);
        self.kernel.probes().make_room_for_windows()?;
        windows.begin_after(&mut self.kernel, since.elapsed(), taken)?;
        effort.phase = Phase::Windows;
        effort.was_in_windows = true;
        Ok(())
    }

    /// Does the next step in the windows.
    pub(super) fn step(&mut self, step: Step) -> Result<(), SessionError> {
        // What was mapped meanwhile is known before it lies on a stack.
        self.take_events();
        let (Some(windows), Some(effort)) = (&mut self.windows, &mut self.effort) else {
            return Ok(());
        };
        let allocators = self.found.allocators.iter();
        let modules: Vec<_> = allocators.map(Allocator::probed).collect();
        let is_done = matches!(step, Step::Done(_));
        windows.step(step, &mut self.kernel, &modules, self.costs.of_traps())?;
        let (elapsed, count, would_take) = windows.outlook();
        if !is_done
            || effort.limit.never_exact
            || windows.given_up().is_some()
            || !effort.fit.begins_again(elapsed, count, would_take)
        {
            return Ok(());
        }
        windows.pause();
        let pid = self.who.pid;
        let list = move || threads_of(&[pid]);
        let scope = self.reach.scope(&list);
        self.kernel.probes().end_windows(&modules, scope)?;
        self.costs.measure_programs(true);
        let (now, work) = (Instant::now(), (effort.gauge)().unwrap_or_default());
        effort.phase = Phase::Exact(now, Duration::ZERO);
        effort.begun = work;
        effort.looked = Look {
            at: now,
            work,
            events: Events::of(&self.kernel.counters_of(Events::COUNTERS)?),
        };
        Ok(())
    }

    /// Ends the windows, or the exact tracing after some.
    pub(super) fn finish_windows(&mut self) -> Result<(), SessionError> {
        let (Some(windows), Some(effort)) = (&mut self.windows, &mut self.effort) else {
            return Ok(());
        };
        if let Phase::Exact(since, taken) = effort.phase {
            windows.take_exact(&self.kernel, since.elapsed(), taken)?;
            // Where probes make way, it ends twice.
            effort.phase = Phase::Exact(Instant::now(), Duration::ZERO);
        }
        windows.finish(self.has_ended, &mut self.kernel, self.costs.of_traps())
    }
}

/// What the exact programs have counted where the target was seen in windows, too: frees between two of them are no
/// losses.
pub(super) fn without_unseen(counters: &mut [(Counter, u64)]) {
    for (from, to) in [
        (Counter::UnknownFrees, Counter::FreesOfUnseen),
        (Counter::MissedFrees, Counter::FreedUnseen),
    ] {
        let mut moved = 0;
        for (counter, value) in &mut *counters {
            if *counter == from {
                moved = std::mem::take(value);
            }
        }
        for (counter, value) in &mut *counters {
            if *counter == to {
                *value += moved;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frees_between_windows_are_no_losses() {
        let mut counters = [
            (Counter::FreesOfUnseen, 5),
            (Counter::MissedFrees, 3),
            (Counter::FreedUnseen, 1),
        ];
        without_unseen(&mut counters);
        let expected = [
            (Counter::FreesOfUnseen, 5),
            (Counter::MissedFrees, 0),
            (Counter::FreedUnseen, 4),
        ];
        assert_eq!(counters, expected);
    }
}
