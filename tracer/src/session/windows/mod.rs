//! Windows: the target is traced for some milliseconds now and then, at random times, and left alone between.
//!
//! What is not known between two windows, and why it is done so: `docs/design/0031-windows.md`.

mod chance;
mod deltas;
mod estimator;
mod fit;
mod governor;
mod marks;
mod price;
mod status;
mod worker;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracer_common::StackKey;

use self::chance::Chance;
use self::deltas::Deltas;
pub(super) use self::deltas::Stack;
use self::deltas::StackDelta;
pub(super) use self::estimator::Estimated;
use self::estimator::{Closed, Estimator, rename};
pub(super) use self::fit::Fit;
pub use self::governor::Share;
use self::governor::{Effort, Governor, Plan, Taken};
pub use self::marks::Mark;
use self::marks::Marks;
use self::price::{TRAPS, aftermath, took};
pub use self::status::WindowsStatus;
use self::worker::{Done, Worker};
use super::SessionError;
use super::cost::EventCosts;
use crate::bpf::{
    Calls, Gauge, Kernel, Probed, Site, StackAmounts, Window, WindowKind, Work, own_time,
};
use crate::estimate::Impossible;
use crate::process::{IoCalls, cpu_time};

/// How exactly the length of a window must be known to count for an estimate, as a part of it.
const UNSURE: u32 = 20;
/// A process that ends so soon after its first thread has ended as a whole.
const TOGETHER: Duration = Duration::from_millis(200);
/// How many windows count marks, once it is known what is a good mark.
const PROGRESS: f64 = 0.5;

/// What happens to the windows next.
pub(super) enum Step {
    /// It is time for one.
    Rested,
    /// One is over.
    Done(Box<Done>),
}

enum State {
    /// Until it is time.
    Resting(Instant),
    /// A window is being held.
    Holding(WindowKind, Instant),
    /// There is none: there will be none any more, or the target is traced exactly.
    Over,
}

/// The windows of a session.
pub(super) struct Windows {
    gauge: Gauge,
    worker: Worker,
    governor: Governor,
    /// What exact tracing may take.
    exact: Share,
    plan: Plan,
    chance: Chance,
    state: State,
    /// When the first thread has ended.
    given_up: Option<Instant>,
    /// What was counted when the last window was closed.
    calls: Calls,
    deltas: Deltas,
    marks: Marks,
    /// What ended images have allocated since, by their samples.
    ended: Vec<StackDelta>,
    estimator: Estimator,
    status: WindowsStatus,
    started: Instant,
    /// Since when there are windows, after exact tracing, and how many there had been before.
    begun: Instant,
    windows_before: u64,
    /// When time was last given to the governor, and what the target had done by then.
    passed: (Instant, Work),
    /// What it did in all.
    work: Work,
}

impl Windows {
    /// Of a kernel side whose programs are loaded for windows.
    ///
    /// # Errors
    ///
    /// There can be no thread for them, or the kernel refused their program.
    pub(super) fn new(
        kernel: &mut Kernel,
        process: NonZeroU32,
        (share, exact): (Share, Share),
        (started, before): (Instant, Work),
    ) -> Result<Self, SessionError> {
        let governor = Governor::new(share);
        let gauge = gauge(process);
        Ok(Self {
            worker: Worker::start(kernel.windows(process, Arc::clone(&gauge))?)?,
            gauge,
            plan: governor.plan(),
            governor,
            exact,
            chance: Chance::from_anywhere(),
            state: State::Over,
            given_up: None,
            calls: Calls::default(),
            deltas: Deltas::default(),
            marks: Marks::default(),
            ended: Vec::new(),
            estimator: Estimator::default(),
            status: WindowsStatus::default(),
            started,
            begun: started,
            windows_before: 0,
            passed: (started, before),
            work: Work::default(),
        })
    }

    /// Begins, after the target was traced exactly for some time, which took so much of it.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub(super) fn begin_after(
        &mut self,
        kernel: &mut Kernel,
        elapsed: Duration,
        taken: Duration,
    ) -> Result<(), SessionError> {
        // What is under way will not be seen to return.
        self.status.calls_at_edges += kernel.forget_calls()?;
        self.take_exact(kernel, elapsed, taken)?;
        self.begun = Instant::now();
        self.windows_before = self.status.windows;
        self.state = State::Resting(self.begun);
        Ok(())
    }

    /// Takes in what was counted while the target was traced exactly for some time, which took so much of it.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub(super) fn take_exact(
        &mut self,
        kernel: &Kernel,
        elapsed: Duration,
        taken: Duration,
    ) -> Result<(), SessionError> {
        let mut stacks = self.deltas.since(&kernel.stacks()?);
        stacks.append(&mut self.ended);
        let (passed, work) = self.look();
        self.governor
            .pass_exact((passed, work.cpu), self.exact, taken);
        self.estimator.take_exact(elapsed, work, &stacks);
        self.status.exact += elapsed;
        Ok(())
    }

    /// Ends for some time, in which the target is traced exactly. Not while a window is being held.
    pub(super) fn pause(&mut self) {
        self.state = State::Over;
    }

    /// How long they have been going on, how many there were since, and which share exact tracing would take, at least.
    pub(super) fn outlook(&self) -> (Duration, u64, f64) {
        (
            self.begun.elapsed(),
            self.status.windows - self.windows_before,
            self.governor.exact_would_take(),
        )
    }

    /// Waits for what is next. To be dropped at any time.
    pub(super) async fn next(&mut self) -> Step {
        match &self.state {
            State::Resting(until) => {
                tokio::time::sleep_until((*until).into()).await;
                Step::Rested
            }
            State::Holding(..) => Step::Done(Box::new(self.worker.done().await)),
            State::Over => std::future::pending().await,
        }
    }

    /// Does it.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub(super) fn step(
        &mut self,
        step: Step,
        kernel: &mut Kernel,
        modules: &[Probed<'_>],
        traps: Option<EventCosts>,
    ) -> Result<(), SessionError> {
        match step {
            Step::Rested if self.given_up.is_some() => {
                self.state = State::Over;
                Ok(())
            }
            Step::Rested => self.begin(modules),
            Step::Done(done) => self.settle(*done, kernel, traps),
        }
    }

    /// Ends them: waits until no probe is left. `is_gone` says that the process has ended.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub(super) fn finish(
        &mut self,
        is_gone: bool,
        kernel: &mut Kernel,
        traps: Option<EventCosts>,
    ) -> Result<(), SessionError> {
        let is_whole = is_gone && self.given_up.is_some_and(|at| at.elapsed() < TOGETHER);
        if let State::Holding(..) = self.state
            && let Some(done) = self.worker.wait()
        {
            self.settle(done, kernel, traps)?;
        }
        if is_whole {
            // All its threads have ended at one time: there is nothing to say of that.
            self.given_up = None;
        }
        self.pass();
        self.state = State::Over;
        Ok(())
    }

    /// Begins none any more, since the first thread has ended, by which a link knows its process. One that is being
    /// held does not count: since then it may have seen nothing.
    pub(super) fn give_up(&mut self) {
        self.given_up = Some(Instant::now());
    }

    /// What there is to say of windows that there were none of.
    pub(super) fn given_up(&self) -> Option<String> {
        self.given_up.map(|_| {
            "the target's first thread has ended: no window was held after that, and what was allocated then \
             counts nowhere"
                .to_owned()
        })
    }

    /// Images have ended: of these stacks nothing more comes, and they have become samples of the profile.
    pub(super) fn retire(&mut self, amounts: &[StackAmounts], moved: &[(StackKey, u32)]) {
        self.ended.append(&mut self.deltas.since(amounts));
        rename(&mut self.ended, &moved.iter().copied().collect());
        self.estimator.retire(moved);
    }

    /// What was allocated in a recording that has been going on for so long.
    ///
    /// # Errors
    ///
    /// There were too few windows.
    pub(super) fn estimate(&self, elapsed: Duration) -> Result<Estimated, Impossible> {
        // Since the first thread has ended nothing was seen that would tell of what came then.
        let until = self.given_up.map(|at| at - self.started);
        let span = until.unwrap_or(elapsed).min(elapsed);
        let mut estimated = self
            .estimator
            .estimate(span, self.work, self.marks.at_last())?;
        estimated.sampled.share_taken = self.governor.share_taken();
        Ok(estimated)
    }

    /// How they stand.
    pub(super) fn status(&self) -> WindowsStatus {
        WindowsStatus {
            share: self.governor.share_taken(),
            mark: self.estimator.mark(),
            marks: self.marks.known(),
            ..self.status
        }
    }

    /// Has a window held.
    fn begin(&mut self, modules: &[Probed<'_>]) -> Result<(), SessionError> {
        let mark = self.estimator.mark().and_then(Mark::function);
        let mark = mark.filter(|_| self.chance.happens(PROGRESS));
        let (kind, length) = match mark {
            Some(mark) => (WindowKind::Progress(mark), self.plan.progress),
            None => (WindowKind::Full, self.plan.length),
        };
        self.worker.hold(Window {
            kind,
            sites: Site::all(modules, |callee| match kind {
                WindowKind::Full => self.marks.wants(callee),
                WindowKind::Progress(mark) => callee == mark,
            })?,
            length,
            // What runs, without the traps around it, which take about as much.
            budget: self.plan.budget / 2,
        });
        self.state = State::Holding(kind, Instant::now());
        Ok(())
    }

    /// What a window has brought, now that none of its programs runs any more.
    fn settle(
        &mut self,
        done: Done,
        kernel: &mut Kernel,
        traps: Option<EventCosts>,
    ) -> Result<(), SessionError> {
        let settling = own_time();
        self.pass();
        let State::Holding(kind, begun) = std::mem::replace(&mut self.state, State::Over) else {
            return Ok(());
        };
        let held = match done.held {
            Ok(held) => held,
            // It has ended, or its first thread has.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
            Err(error) => return Err(SessionError::Window(error)),
        };
        let [least, most] = held.exposure;
        let (exposure, work) = ((least + most) / 2, held.work.unwrap_or_default());
        let is_sure = most - least < most / UNSURE && held.work.is_some();
        let left = kernel.forget_calls()?;
        if self.given_up.is_some() {
            return Ok(());
        }
        self.status.calls_at_edges += left;
        let now = done.calls?;
        let calls = now.since(&self.calls);
        self.calls = now;
        self.status.calls_outside += calls.outside;
        let stacks = match kind {
            WindowKind::Full => {
                let mut stacks = self.deltas.since(&kernel.stacks()?);
                stacks.append(&mut self.ended);
                stacks
            }
            WindowKind::Progress(_) => Vec::new(),
        };
        let effort = match kind {
            WindowKind::Full => Effort::Full,
            WindowKind::Progress(_) => Effort::Progress,
        };
        let events = took(&calls, effort, traps.unwrap_or(TRAPS));
        match kind {
            WindowKind::Full => {
                self.marks.take(&calls, work);
                self.status.windows += 1;
                self.status.exposure += exposure;
            }
            WindowKind::Progress(mark) => {
                self.status.progress_windows += 1;
                self.status.progress_exposure += exposure;
                self.status.progress_marks += calls.of(mark);
            }
        }
        self.status.unsure += u64::from(!is_sure);
        let in_window = Calls {
            outside: 0,
            ..calls
        };
        self.estimator.take(&Closed {
            kind,
            exposure,
            is_sure,
            work,
            looked: held.looked,
            took: took(&in_window, effort, traps.unwrap_or(TRAPS)),
            mark: self.marks.chosen(),
            calls: &calls,
            stacks: &stacks,
        });
        self.governor.take(&Taken {
            effort,
            length: exposure,
            events,
            // Breakpoints are taken out as they are placed.
            stalls: held.placing * 2 + aftermath(exposure, work.cpu),
            own: held.own + own_time().saturating_sub(settling),
            around: begun.elapsed().saturating_sub(exposure),
        });
        self.plan = self.governor.plan();
        let gap = self.chance.gap(self.plan.mean).max(self.plan.least);
        let until = Instant::now().checked_add(gap);
        self.state = until.map_or(State::Over, State::Resting);
        Ok(())
    }

    /// Gives the governor the time that has passed.
    fn pass(&mut self) {
        let (passed, work) = self.look();
        self.governor.pass(passed, work.cpu);
    }

    /// The time that has passed since the last look, and what the target did in it.
    fn look(&mut self) -> (Duration, Work) {
        let now = Instant::now();
        let (before, done_before) = self.passed;
        // What has ended does nothing.
        let done = (self.gauge)().unwrap_or(done_before);
        let since = done.since(done_before);
        if self.given_up.is_none() {
            self.work = self.work.and(since);
        }
        self.passed = (now, done);
        (now - before, since)
    }
}

/// Tells what a process has done.
pub(super) fn gauge(process: NonZeroU32) -> Gauge {
    let io = IoCalls::of(process);
    Arc::new(move || {
        Some(Work {
            cpu: cpu_time(process)?,
            io: match &io {
                Some(io) => io.read()?,
                None => [0; 2],
            },
        })
    })
}
