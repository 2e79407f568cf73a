//! A process or a command, recorded to be judged.

use std::ops::ControlFlow;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use tracer_common::Unwinding;

use super::super::attach::{announce, runtime};
use super::super::recording::log_options;
use super::super::signals::Signals;
use super::super::status::StatusLine;
use super::args::CheckArgs;
use crate::check::Recorded;
use crate::process::{MemoryUse, Program, Waiting, check_traceable, find_program};
use crate::profile::Labels;
use crate::session::{
    Ended, Limit, Options, Pace, Progress, Session, Target, check_privilege, foresee,
};

/// How long a process is recorded where nobody says.
const DURATION: Duration = Duration::from_secs(20);
/// Snapshots of a recording.
const SNAPSHOTS: u32 = 60;
/// Time between the snapshots of a command whose end nobody knows.
const EVERY: Duration = Duration::from_secs(1);
/// The shortest and longest time between snapshots that is chosen.
const BOUNDS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];
/// How long a command may take to end once it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// A finished recording.
pub(super) struct Live {
    pub(super) recorded: Recorded,
    /// The memory the target may use, and uses.
    pub(super) memory: Option<MemoryUse>,
    /// How the command ended, if it did by itself and failed.
    pub(super) failed: Option<ExitStatus>,
    /// What else is known of the recording, its cost among it; one sentence each.
    pub(super) notes: Vec<String>,
}

/// Records a process that runs.
pub(super) fn process(pid: u32, args: &CheckArgs, signals: &Signals) -> anyhow::Result<Live> {
    check_privilege()?;
    let who = check_traceable(pid)?;
    let duration = args.duration.unwrap_or(DURATION);
    runtime()?.block_on(async {
        let session = Session::start(Target::Running(who), &options(args))?;
        // Before anybody is told that there is something to end.
        let until = signals.finish(Some(duration));
        announce(&session, Some(duration));
        let (live, _) = record(session, until, args, Some(duration)).await?;
        Ok(live)
    })
}

/// Runs a command and records it until it ends, or the time is up and it is ended.
pub(super) fn command(args: &CheckArgs, signals: &Signals) -> anyhow::Result<Live> {
    check_privilege()?;
    let name = args.command.first().context("no command was given")?;
    let program = find_program(name)?;
    let options = options(args);
    let foreseen = foresee(&program, options.source)?;
    let waiting = Waiting::spawn(&program, &args.command)?;
    runtime()?.block_on(async {
        let target = Target::Waiting {
            who: waiting.who().clone(),
            foreseen: Box::new(foreseen),
        };
        let session = Session::start(target, &options)?;
        let until = signals.finish(args.duration);
        let running = Running(Some(waiting.go()?));
        // What it frees because it is asked to end is not a part of the recording.
        let (live, ended) = record(session, until, args, args.duration).await?;
        let status = running.end(ended == Ended::TargetExited)?;
        let failed = status.filter(|status| !status.success());
        Ok(Live { failed, ..live })
    })
}

fn options(args: &CheckArgs) -> Options {
    let recording = &args.recording;
    Options {
        source: recording.source.into(),
        max_live: recording.max_live,
        max_stacks: recording.max_stacks,
        follow_forks: recording.follow_forks,
        series: true,
        probes: None,
        max_overhead: recording
            .max_overhead
            .map(|share| Limit::of(share, recording.never_exact)),
        unwinding: Unwinding::default(),
        copy_stacks: false,
        audit_stacks: false,
        labels: Labels::default(),
        label_pids: false,
        label_threads: false,
        log: recording.log.map(log_options),
    }
}

async fn record(
    session: Session,
    until: impl Future<Output = Ended>,
    args: &CheckArgs,
    duration: Option<Duration>,
) -> anyhow::Result<(Live, Ended)> {
    let pid = session.target().pid;
    let mut line = StatusLine::new(args.pid.is_some() && args.recording.log.is_none());
    let [shortest, longest] = BOUNDS;
    let chosen = duration.map(|duration| (duration / SNAPSHOTS).clamp(shortest, longest));
    let pace = Pace {
        window: args.every.or(chosen).unwrap_or(EVERY),
        status: line.is_shown().then_some(StatusLine::INTERVAL),
    };
    let (series, recording) = session
        .record_series(until, pace, |progress| {
            if let Progress::Status(status) = progress {
                line.update(status);
            }
            ControlFlow::Continue(())
        })
        .await?;
    line.clear();
    let live = Live {
        notes: recording.profile.metadata.notes.clone(),
        recorded: Recorded::by_sample(series, recording.profile),
        memory: MemoryUse::of(pid),
        failed: None,
    };
    Ok((live, recording.ended))
}

/// A command that runs, and does not outlive this.
struct Running(Option<Program>);

impl Running {
    /// Its status, if it ends by itself; otherwise it is ended.
    fn end(mut self, by_itself: bool) -> anyhow::Result<Option<ExitStatus>> {
        let Some(mut program) = self.0.take() else {
            return Ok(None);
        };
        if by_itself {
            let status = program.wait();
            return Ok(Some(
                status.context("the command's exit status could not be had")?,
            ));
        }
        program.stop(GRACE);
        Ok(None)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(program) = &mut self.0 {
            program.stop(GRACE);
        }
    }
}
