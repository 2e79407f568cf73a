//! What `attach` and `run` have in common: the options of a session, its course, and where the result
//! goes.

use std::ops::ControlFlow;
use std::path::Path;

use super::args::{LogArg, RecordingArgs, TracingArgs};
use super::folder::Folder;
use super::output::{Output, PIPED_WIDTH, free_name, terminal_width};
use super::say::{say, say_line};
use super::status::{StatusLine, summary};
use crate::bpf::{LogOptions, ProbeKind};
use crate::export::Format;
use crate::process::Identity;
use crate::profile::series::Series;
use crate::profile::{Profile, ValueKind, Verdict};
use crate::report::{SitesOptions, fitted, largest_sites};
use crate::session::{Ended, Limit, Options, Pace, Progress, Recording, Session};

/// What a session is asked for. `by_default` limits the cost where neither `--exact` nor `--max-overhead` is given.
///
/// # Errors
///
/// A label can't be looked up.
pub(super) fn tracing_options(
    args: &TracingArgs,
    who: &Identity,
    by_default: Option<Limit>,
) -> anyhow::Result<Options> {
    let asked = args.max_overhead.map(|share| Limit::of(share, false));
    Ok(Options {
        source: args.source.into(),
        max_live: args.max_live,
        max_stacks: args.max_stacks,
        follow_forks: args.follow_forks,
        series: false,
        probes: None,
        max_overhead: match args.exact {
            true => None,
            false => asked.or(by_default),
        },
        unwinding: args.unwind.into(),
        copy_stacks: false,
        audit_stacks: false,
        labels: args.labels.of(who)?,
        label_pids: args.labels.has_pid(),
        label_threads: args.labels.has_thread(),
        log: args.log.map(log_options),
    })
}

/// The same for what writes profiles.
pub(super) fn options(
    args: &RecordingArgs,
    who: &Identity,
    by_default: Option<Limit>,
) -> anyhow::Result<Options> {
    let tracing = tracing_options(&args.tracing, who, by_default)?;
    Ok(Options {
        series: args.every.is_some(),
        probes: args.probes.map(ProbeKind::from),
        max_overhead: match args.tracing.max_overhead {
            Some(share) if args.never_exact => Some(Limit::of(share, true)),
            _ => tracing.max_overhead,
        },
        copy_stacks: args.copy_stacks,
        audit_stacks: args.audit_stacks,
        ..tracing
    })
}

/// The log that a command line asks for.
pub(super) fn log_options(level: LogArg) -> LogOptions {
    LogOptions {
        level: level.into(),
        say: say_line,
    }
}

/// The place for what is recorded.
#[derive(Debug)]
pub(super) enum RecordingOutput {
    Profile(Output),
    Series(Folder),
}

impl RecordingOutput {
    /// Reserves it.
    pub(super) fn prepare(args: &RecordingArgs, who: &Identity) -> anyhow::Result<Self> {
        let format = Format::from(args.format);
        let value = args.value.into();
        let style = args.sites.style(args.names.into(), false);
        if args.every.is_some() {
            let path = match &args.output {
                Some(path) => path.clone(),
                None => free_name(&default_name(who), "")?,
            };
            let folder = Folder::prepare(&path, format, value)?;
            return Ok(Self::Series(folder.with_style(style)));
        }
        let output = match (&args.output, format) {
            (Some(path), _) => Output::prepare(path, format, value)?,
            (None, Format::Text | Format::Folded) => {
                Output::prepare(Path::new("-"), format, value)?
            }
            (None, Format::Pprof | Format::Json | Format::Svg) => {
                let path = free_name(&default_name(who), format.extension())?;
                Output::prepare_new(&path, format, value)?
            }
        };
        Ok(Self::Profile(output.with_style(style)))
    }
}

/// `tracer-NAME-PID`, whatever characters the name has.
pub(super) fn default_name(who: &Identity) -> String {
    let name: String = who
        .name
        .raw()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    format!("tracer-{name}-{}", who.pid)
}

/// A recording, and the series where one was asked for.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) recording: Recording,
    series: Option<Series>,
}

/// Records to the end. `status` says whether a live display may be shown.
pub(super) async fn record(
    mut session: Session,
    until: impl Future<Output = Ended>,
    args: &RecordingArgs,
    status: bool,
    place: &mut RecordingOutput,
) -> anyhow::Result<Recorded> {
    let mut line = StatusLine::new(status && !args.tracing.quiet && args.tracing.log.is_none());
    let interval = line.is_shown().then_some(StatusLine::INTERVAL);
    let (Some(window), RecordingOutput::Series(folder)) = (args.every, place) else {
        let ended = session
            .record(until, interval, |status| line.update(status))
            .await?;
        line.clear();
        return Ok(Recorded {
            recording: session.finish(ended)?,
            series: None,
        });
    };
    let pace = Pace {
        window,
        status: interval,
    };
    let mut written = Ok(());
    let (series, recording) = session
        .record_series(until, pace, |progress| {
            match progress {
                Progress::Status(status) => line.update(status),
                Progress::Window(profile) => written = folder.write(profile),
            }
            match written {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })
        .await?;
    line.clear();
    written?;
    Ok(Recorded {
        recording,
        series: Some(series),
    })
}

/// Writes what was recorded and says what it holds.
pub(super) fn deliver(
    args: &RecordingArgs,
    recorded: &Recorded,
    place: RecordingOutput,
) -> anyhow::Result<()> {
    let Recorded { recording, series } = recorded;
    let written = match place {
        RecordingOutput::Profile(output) => output.write(&recording.profile)?.place,
        RecordingOutput::Series(folder) => {
            let none = Series::default();
            folder.finish(&recording.profile, series.as_ref().unwrap_or(&none))?
        }
    };
    if !args.tracing.quiet {
        let width = Some(terminal_width().unwrap_or(PIPED_WIDTH));
        let text = format!(
            "{}{}",
            summary(recording),
            largest(args, &recording.profile)
        );
        say(format_args!(
            "{}\nattached in {:.0} ms, detached in {:.0} ms\nwrote {written}",
            fitted(&text, width).trim_end(),
            recording.attach_time.as_secs_f64() * 1e3,
            recording.detach_time.as_secs_f64() * 1e3,
        ));
    }
    Ok(())
}

/// The largest sites: of what is live, or, where that is nothing or not known, of what was allocated.
fn largest(args: &RecordingArgs, profile: &Profile) -> String {
    const LINES: usize = 3;
    let live = profile.samples.iter().any(|one| one.values.inuse_space > 0);
    let is_sampled = matches!(profile.verdict, Verdict::Sampled { .. });
    let (by, head) = match live && !is_sampled {
        true => (ValueKind::InuseSpace, "most of what is live"),
        false => (ValueKind::AllocSpace, "most of what was allocated"),
    };
    let options = SitesOptions {
        by,
        limit: Some(LINES),
        names: args.names.into(),
        rules: args.sites.rules(),
        ..SitesOptions::default()
    };
    let sites = largest_sites(profile, &options);
    let lines = sites.into_iter().map(|site| format!("\n  {site}"));
    match lines.collect::<String>() {
        none if none.is_empty() => none,
        lines => format!("\n{head}:{lines}"),
    }
}
