//! `tracer top`

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::args::TopArgs;
use super::attach::{announce, runtime, start};
use super::exit::Exit;
use super::output::{Output, free_name};
use super::partial::caller;
use super::recording::{default_name, tracing_options};
use super::say::say;
use super::signals::Signals;
use super::status::farewell;
use crate::export::Format;
use crate::process::{Identity, check_traceable, keep_recording_capabilities};
use crate::profile::{Profile, ValueKind};
use crate::session::{Ended, Limit, Recording, asking, check_privilege};
use crate::top::{Begin, Display, End, Subject, Waiting};

/// What is had before privileges are given up.
pub(super) struct Prepared {
    who: Identity,
    display: Waiting,
}

impl Prepared {
    /// Looks for the terminal and the process, and gives up what is not needed any more. To be called before there are
    /// threads: each has capabilities of its own.
    pub(super) fn new(args: &TopArgs) -> anyhow::Result<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            bail!(
                "top needs a terminal for its input and output: `tracer attach` writes a file, `tracer serve` answers \
                 over HTTP"
            );
        }
        if args.tracing.log.is_some() && io::stderr().is_terminal() {
            bail!("--log would write into the display: redirect it, as with 2>FILE");
        }
        check_privilege()?;
        let who = check_traceable(args.target.pid()?)?;
        // What is saved belongs to who has called sudo: becoming that user takes privileges.
        let display = Waiting::new(caller())?;
        keep_recording_capabilities(None).context("capabilities could not be given up")?;
        Ok(Self { who, display })
    }
}

/// Records and shows until the user leaves.
pub(super) fn top(args: &TopArgs, prepared: Prepared, signals: &Signals) -> anyhow::Result<Exit> {
    let Prepared { who, display } = prepared;
    // It serves somebody.
    let options = tracing_options(&args.tracing, &who, Some(Limit::for_live()))?;
    let recording = runtime()?.block_on(async {
        let (asking, asked) = asking();
        let mut session = start(&who, &options)?.answering(asked);
        let until = signals.finish(args.end.duration);
        if !args.tracing.quiet {
            announce(&session, args.end.duration);
        }
        let mut display = display.begin(Begin {
            subject: subject(args, &who),
            asking,
            interval: args.interval,
            save: {
                let name = default_name(&who);
                Box::new(move |profile| save(&name, profile))
            },
        })?;
        let until = async {
            tokio::select! {
                ended = until => ended,
                () = display.closed() => Ended::Interrupted,
            }
        };
        let ended = session.record(until, None, |_| {}).await?;
        // The probes go first: the terminal may be slow.
        let recording = session.finish(ended)?;
        show_end(&recording, &mut display, signals).await;
        display.close()?;
        anyhow::Ok(recording)
    })?;
    if !args.tracing.quiet {
        say(farewell(&recording));
    }
    Ok(Exit::Done)
}

fn subject(args: &TopArgs, who: &Identity) -> Subject {
    let no_colour = std::env::var_os("NO_COLOR");
    Subject {
        name: who.name.raw().to_owned(),
        pid: who.pid,
        names: args.names.into(),
        rules: args.sites.rules(),
        has_colours: no_colour.is_none_or(|value| value.is_empty()),
    }
}

/// Where nobody has asked for the end, the last state stays until somebody leaves it.
async fn show_end(recording: &Recording, display: &mut Display, signals: &Signals) {
    let why = match recording.ended {
        Ended::Elapsed | Ended::Interrupted => return,
        Ended::TargetExited => "the process ended: this is its last state",
        Ended::MadeWay => "the probes were taken out, since a program reads code as data",
    };
    let asked = signals.finish(None);
    display.show_end(End {
        profile: recording.profile.clone().into(),
        elapsed: recording.elapsed,
        why: why.to_owned(),
    });
    tokio::select! {
        _ = asked => {}
        () = display.closed() => {}
    }
}

/// Writes a profile to a new file of this name in the working folder.
fn save(name: &str, profile: &Profile) -> Result<String, String> {
    let write = || {
        let format = Format::Pprof;
        let path: PathBuf = free_name(name, format.extension())?;
        let output = Output::prepare_new(&path, format, ValueKind::default())?;
        anyhow::Ok(output.write(profile)?.place)
    };
    write().map_err(|error| format!("{error:#}"))
}
