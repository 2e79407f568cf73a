//! `tracer attach`

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{AttachArgs, RecordingArgs};
use super::exit::Exit;
use super::output::Output;
use super::status::{StatusLine, summary};
use crate::bpf::ProbeKind;
use crate::export::Format;
use crate::process::{Identity, check_traceable};
use crate::session::{Ended, Options, Recording, Session, Target, check_privilege};

/// Attaches, records, writes.
pub(super) fn attach(args: &AttachArgs) -> anyhow::Result<Exit> {
    check_privilege()?;
    let who = check_traceable(args.pid)?;
    let output = output(&args.recording, &who)?;
    let runtime = runtime()?;
    let recording = runtime.block_on(async {
        let mut session = Session::start(Target::Running(who), &options(&args.recording))?;
        if !args.recording.quiet {
            announce(&session, args.duration);
        }
        let mut line = StatusLine::new(!args.recording.quiet);
        let interval = line.is_shown().then_some(StatusLine::INTERVAL);
        let ended = session
            .record(until(args.duration)?, interval, |status| {
                line.update(status)
            })
            .await?;
        line.clear();
        anyhow::Ok(session.finish(ended)?)
    })?;
    if recording.ended == Ended::TargetExited && !args.recording.quiet {
        eprintln!("note: the target ended before the recording did; this is what it held then");
    }
    let exit = Exit::for_verdict(&recording.profile.verdict);
    deliver(&args.recording, recording, output)?;
    Ok(exit)
}

fn announce(session: &Session, duration: Option<Duration>) {
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
fn until(duration: Option<Duration>) -> anyhow::Result<impl Future<Output = Ended>> {
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

/// The session's options of a command line.
pub(super) fn options(args: &RecordingArgs) -> Options {
    Options {
        max_live: args.max_live,
        max_stacks: args.max_stacks,
        follow_forks: args.follow_forks,
        series: false,
        probes: args.probes.map(ProbeKind::from),
        unwinding: args.unwind.into(),
    }
}

/// The place for the profile, reserved.
pub(super) fn output(args: &RecordingArgs, who: &Identity) -> anyhow::Result<Output> {
    let format = Format::from(args.format);
    let path = args.output.clone().unwrap_or_else(|| match format {
        Format::Text | Format::Folded => PathBuf::from("-"),
        Format::Pprof | Format::Json | Format::Svg => default_name(who, format),
    });
    Output::prepare(&path, format, args.value.into())
}

/// `tracer-NAME-PID.pb.gz`, whatever characters the name has.
fn default_name(who: &Identity, format: Format) -> PathBuf {
    let name: String = who
        .name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    PathBuf::from(format!("tracer-{name}-{}.{}", who.pid, format.extension()))
}

/// Writes the profile and says what it holds.
pub(super) fn deliver(
    args: &RecordingArgs,
    recording: Recording,
    output: Output,
) -> anyhow::Result<()> {
    let said = summary(&recording.profile);
    let written = output.write(&recording.profile)?;
    if !args.quiet {
        eprintln!(
            "{said}\nattached in {:.0} ms, detached in {:.0} ms\nwrote {}",
            recording.attach_time.as_secs_f64() * 1e3,
            recording.detach_time.as_secs_f64() * 1e3,
            written.0
        );
    }
    Ok(())
}
