//! `tracer attach`

use std::time::Duration;

use anyhow::Context as _;

use super::args::AttachArgs;
use super::exit::Exit;
use super::recording::{RecordingOutput, deliver, options, record};
use super::say::say;
use super::signals::Signals;
use crate::check::Bytes;
use crate::printable::Shown as _;
use crate::process::{Identity, ProcessError, check_traceable};
use crate::session::{
    Ended, Limit, Options, Session, SessionError, Target, check_privilege, wait_until_grown,
};
use crate::size::Size;

/// Attaches, records, writes.
pub(super) fn attach(args: &AttachArgs, signals: &Signals) -> anyhow::Result<Exit> {
    check_privilege()?;
    let who = check_traceable(args.target.pid()?)?;
    // It serves somebody.
    let options = options(&args.recording, &who, Some(Limit::for_live()))?;
    let mut place = RecordingOutput::prepare(&args.recording, &who)?;
    let runtime = runtime()?;
    let recorded = runtime.block_on(async {
        if let Some(size) = args.when_growing {
            wait(&who, size, args.recording.tracing.quiet).await?;
        }
        let session = start(&who, &options)?;
        // Before anybody is told that there is something to end.
        let until = signals.finish(args.end.duration);
        if !args.recording.tracing.quiet {
            announce(&session, args.end.duration);
        }
        record(session, until, &args.recording, true, &mut place).await
    })?;
    let recording = &recorded.recording;
    if recording.ended == Ended::TargetExited && !args.recording.tracing.quiet {
        say("note: the target ended before the recording did; this is what it held then");
    }
    let exit = Exit::for_verdict(&recording.profile.verdict);
    signals.end();
    deliver(&args.recording, &recorded, place)?;
    Ok(exit)
}

/// Attaches to a running process.
pub(super) fn start(who: &Identity, options: &Options) -> anyhow::Result<Session> {
    Session::start(Target::Running(who.clone()), options).map_err(|error| or_has_ended(who, error))
}

/// What the kernel says of a process that has ended while it was attached to says less than that it has.
fn or_has_ended(who: &Identity, error: SessionError) -> anyhow::Error {
    match check_traceable(who.pid) {
        Err(ProcessError::NoSuchProcess(_) | ProcessError::Zombie { .. }) => anyhow::anyhow!(
            "{} (pid {}) has ended while tracer attached to it",
            who.name,
            who.pid
        ),
        _ => error.into(),
    }
}

/// Waits until the process grows. A signal ends the tracer meanwhile: there is nothing to write.
async fn wait(who: &Identity, size: Bytes, is_quiet: bool) -> anyhow::Result<()> {
    let size = size.0.unsigned_abs();
    if !is_quiet {
        say(format_args!(
            "waiting until {} (pid {}) grows by {}",
            who.name,
            who.pid,
            Size::from(size)
        ));
    }
    let grown = wait_until_grown(who, size)
        .await
        .with_context(|| format!("it did not grow by {}", Size::from(size)))?;
    if !is_quiet {
        say(format_args!(
            "it has grown by {} in {:.1} s",
            Size::from(grown.bytes),
            grown.within.as_secs_f64()
        ));
    }
    Ok(())
}

pub(super) fn announce(session: &Session, duration: Option<Duration>) {
    let who = session.target();
    say(format_args!(
        "attached to {} (pid {}): {}",
        who.name,
        who.pid,
        session.describe_probes()
    ));
    for other in session.other_allocators() {
        say(format_args!(
            "note: {} defines malloc, too: unless it hands its calls on, what it serves is not seen",
            other.shown()
        ));
    }
    match duration {
        Some(duration) => say(format_args!(
            "recording for {}",
            humantime::format_duration(duration)
        )),
        None => say("recording until Ctrl-C"),
    }
}

/// One thread: the session has one owner, and the tracer should not take a core from its target.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the event loop could not be made")
}
