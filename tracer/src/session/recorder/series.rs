//! A session that records a series: a snapshot at the end of each window, while the target runs on.
//!
//! How the kernel side keeps the generations: `docs/design/0012-series.md`.

use std::ops::ControlFlow;
use std::time::Duration;

use tracer_common::{Counter, EXACT_GENERATIONS, StackCounters};

use super::resident::Look;
use super::{Ended, Recording, Session, SessionError, Source, Status, Ticks, Wake};
use crate::bpf::StackAmounts;
use crate::profile::series::{Counters, Mark, Seen, Series, StackId, StackWindow, Window};
use crate::profile::{Profile, Verdict};
use crate::session::cost::Events;

/// What an observer of a series is told.
#[derive(Debug)]
pub enum Progress<'a> {
    /// How the recording stands, for a live display.
    Status(&'a Status),
    /// A window has ended, and this is the profile then.
    Window(&'a Profile),
}

/// When the series is told how it stands, and windows end.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Length of a window.
    pub window: Duration,
    /// How often there is a [`Progress::Status`]; `None` for never.
    pub status: Option<Duration>,
}

impl Session {
    /// As [`Self::record`] and [`Self::finish`], with a snapshot at the end of each window. The session
    /// was started with [`Options::series`](super::Options::series).
    ///
    /// The [`StackId`] of a stack is the index of its sample, in the recording's profile and in those of
    /// the windows that have it. What came after the last window, unless it is longer than half of one,
    /// is in the recording and not in the series; so is what came before the target ended where memory is told
    /// from page faults, since nobody can look then. A recording that the observer breaks off ends as
    /// [`Ended::Interrupted`].
    ///
    /// # Errors
    ///
    /// As for those.
    pub async fn record_series(
        mut self,
        until: impl Future<Output = Ended>,
        pace: Pace,
        mut observer: impl FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<(Series, Recording), SessionError> {
        tokio::pin!(until);
        let mut status = Ticks::new(pace.status);
        let mut windows = Ticks::new(Some(pace.window));
        let mut series = Series::new(EXACT_GENERATIONS);
        let ended = loop {
            let flow = match self.wait(until.as_mut(), &mut status, &mut windows).await? {
                Wake::Events => {
                    self.take_events();
                    ControlFlow::Continue(())
                }
                Wake::Memory => {
                    self.glance_at_memory();
                    continue;
                }
                Wake::Step(step) => {
                    self.step(step)?;
                    continue;
                }
                Wake::Cost => {
                    self.look_at_cost()?;
                    continue;
                }
                Wake::Ask(ask) => {
                    self.answer_ask(ask)?;
                    continue;
                }
                Wake::Status => observer(Progress::Status(&self.status()?)),
                Wake::Window => {
                    self.end_window(&mut series)?;
                    observer(Progress::Window(self.snapshots.profile()))
                }
                Wake::End(ended) => break ended,
            };
            if flow.is_break() {
                break Ended::Interrupted;
            }
            if let Some(ended) = self.is_over() {
                break ended;
            }
        };
        let stopped = self.stop()?;
        let mut amounts = self.kernel.end_window()?;
        let seen = self.seen();
        self.settle_pages(stopped.look.as_ref(), &mut amounts);
        self.take_the_dead(&mut amounts);
        let is_seen = stopped.look.as_ref().is_none_or(Look::saw_some);
        let last = series.marks().last().map(|mark| mark.seconds);
        let counters = self.update_profile(stopped.elapsed, &amounts)?;
        let rest = stopped.elapsed.as_secs_f64() - last.unwrap_or(0.0);
        if last.is_none() || (is_seen && rest > pace.window.as_secs_f64() / 2.0) {
            let taken = amounts.iter_mut().map(|amount| StackAmounts {
                survivors: amount.survivors.take(),
                ..*amount
            });
            let window = self.window(stopped.elapsed, seen, &counters, taken);
            series.push(window)?;
        }
        Ok((series, self.conclude(ended, stopped, &amounts)?))
    }

    fn end_window(&mut self, series: &mut Series) -> Result<(), SessionError> {
        self.take_events();
        self.read_memory();
        let elapsed = self.started.elapsed();
        let mut amounts = self.kernel.end_window()?;
        let seen = self.seen();
        // After the counters: what comes meanwhile is there before it is counted, and not the other way round.
        let look = self.look_at_pages(false);
        self.settle_pages(look.as_ref(), &mut amounts);
        self.pages.end_window();
        self.take_the_dead(&mut amounts);
        // Once more: the frames of what was counted meanwhile.
        self.take_events();
        let counters = self.update_profile(elapsed, &amounts)?;
        if self.source == Source::Probes && Events::of(&counters).is_none() {
            // Of a whole recording that could not be told; here the last profile will say it.
            self.snapshots.profile_mut().verdict = Verdict::Degraded {
                reasons: vec!["the allocator has not been called yet".to_owned()],
            };
        }
        // The window's list takes the place of theirs.
        series.push(self.window(elapsed, seen, &counters, amounts.into_iter()))?;
        Ok(())
    }

    fn window(
        &mut self,
        elapsed: Duration,
        seen: Option<Seen>,
        counters: &[(Counter, u64)],
        amounts: impl Iterator<Item = StackAmounts>,
    ) -> Window {
        let unknown_frees = counters
            .iter()
            .find_map(|&(counter, value)| (counter == Counter::UnknownFrees).then_some(value));
        let unknown_frees = self.survivors.unknown_frees(unknown_frees.unwrap_or(0));
        let stacks = amounts.filter_map(|amount| {
            let stack = StackId(self.snapshots.sample_of(amount.index)? as u64);
            let mut counters = totals(&amount.counters);
            if self.processes.is_gone(&amount.counters.key) {
                // Its memory went with the image.
                counters.freed_objects = counters.alloc_objects;
                counters.freed_bytes = counters.alloc_bytes;
                return Some(StackWindow {
                    stack,
                    counters,
                    survivors: Vec::new(),
                });
            }
            Some(StackWindow {
                stack,
                counters,
                survivors: amount.survivors?,
            })
        });
        Window {
            mark: Mark {
                seconds: elapsed.as_secs_f64(),
                operations: None,
                unknown_frees,
                seen,
                resident: (self.source == Source::Growth).then(|| self.pages.anonymous()),
            },
            stacks: stacks.collect(),
        }
    }
}

const fn totals(counters: &StackCounters) -> Counters {
    Counters {
        alloc_objects: counters.alloc_objects,
        alloc_bytes: counters.alloc_bytes,
        freed_objects: counters.freed_objects,
        freed_bytes: counters.freed_bytes,
    }
}
