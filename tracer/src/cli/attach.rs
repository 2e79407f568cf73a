//! `tracer attach`

use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::args::AttachArgs;
use super::exit::Exit;
use super::recording::{Place, deliver, options, record};
use crate::process::check_traceable;
use crate::session::{Ended, Session, Target, check_privilege};

/// Attaches, records, writes.
pub(super) fn attach(args: &AttachArgs) -> anyhow::Result<Exit> {
    check_privilege()?;
    let who = check_traceable(args.pid)?;
    let mut place = Place::prepare(&args.recording, &who)?;
    let runtime = runtime()?;
    let recorded = runtime.block_on(async {
        let session = Session::start(Target::Running(who), &options(&args.recording))?;
        // Before anybody is told that there is something to end.
        let until = until(args.duration)?;
        if !args.recording.quiet {
            announce(&session, args.duration);
        }
        record(session, until, &args.recording, true, &mut place).await
    })?;
    let recording = &recorded.recording;
    if recording.ended == Ended::TargetExited && !args.recording.quiet {
        eprintln!("note: the target ended before the recording did; this is what it held then");
    }
    let exit = Exit::for_verdict(&recording.profile.verdict);
    deliver(&args.recording, &recorded, place)?;
    Ok(exit)
}

pub(super) fn announce(session: &Session, duration: Option<Duration>) {
    let who = session.target();
    eprintln!(
        "attached to {} (pid {}): {}",
        who.name,
        who.pid,
        session.describe_probes()
    );
    for other in session.other_allocators() {
        eprintln!(
            "note: {} defines malloc, too: what it serves is not seen",
            other.display()
        );
    }
    match duration {
        Some(duration) => eprintln!("recording for {}", humantime::format_duration(duration)),
        None => eprintln!("recording until Ctrl-C"),
    }
}

/// Resolves when the time is up or somebody asks for the end.
pub(super) fn until(duration: Option<Duration>) -> anyhow::Result<impl Future<Output = Ended>> {
    let handler = |kind| signal(kind).context("a signal handler could not be set");
    let mut interrupt = handler(SignalKind::interrupt())?;
    let mut terminate = handler(SignalKind::terminate())?;
    let mut hangup = handler(SignalKind::hangup())?;
    Ok(async move {
        let elapsed = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = elapsed => Ended::Elapsed,
            _ = interrupt.recv() => Ended::Interrupted,
            _ = terminate.recv() => Ended::Interrupted,
            _ = hangup.recv() => Ended::Interrupted,
        }
    })
}

/// One thread: the session has one owner, and the tracer should not take a core from its target.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the event loop could not be made")
}
