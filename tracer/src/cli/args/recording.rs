//! The options of what records: `attach` and `run`, and what `check` shares with them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use tracer_common::Unwinding;
use tracer_common::limits::DEFAULT_MAX_STACKS;

use super::labels::LabelArgs;
use super::times::{duration, share};
use super::views::{FormatArg, NamesArgs, ValueArg};
use crate::bpf::{LogLevel, ProbeKind};
use crate::check::Bytes;
use crate::cli::sites::SitesArgs;
use crate::process::{ProcessError, find_process};
use crate::session::{Share, Source};

/// The process to attach to.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("target").required(true).args(["process", "pid"])))]
pub(in crate::cli) struct TargetArgs {
    /// Attach to this process, by its pid, or by its name if no other process has it
    #[arg(value_name = "PID|NAME")]
    process: Option<ProcessArg>,
    /// Attach to the process with this pid
    #[arg(short, long, value_name = "PID")]
    pid: Option<u32>,
}

/// When a recording of a running process ends.
#[derive(Debug, Args)]
pub(in crate::cli) struct EndArgs {
    /// Stop after TIME, such as 30 (seconds), 5m or 1h30m [default: on Ctrl-C, or when the process ends]
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub(in crate::cli) duration: Option<Duration>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AttachArgs {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArgs,
    #[command(flatten)]
    pub(in crate::cli) end: EndArgs,
    /// Wait until the process has grown by SIZE above its lowest use, then attach; costs nothing until then
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true,
          default_missing_value = "16MB")]
    pub(in crate::cli) when_growing: Option<Bytes>,
    #[command(flatten)]
    pub(in crate::cli) recording: RecordingArgs,
}

/// A process as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum ProcessArg {
    Pid(u32),
    Name(String),
}

impl FromStr for ProcessArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(pid) => Ok(Self::Pid(pid)),
            Err(_) if text.is_empty() => Err("name a process by its pid or its name".to_owned()),
            Err(_) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(format!("{text} is larger than any pid"))
            }
            Err(_) => Ok(Self::Name(text.to_owned())),
        }
    }
}

impl TargetArgs {
    /// The pid that is meant.
    ///
    /// # Errors
    ///
    /// No process has the name, or more than one.
    pub(in crate::cli) fn pid(&self) -> Result<u32, ProcessError> {
        match (&self.process, self.pid) {
            (Some(ProcessArg::Name(name)), _) => find_process(name),
            (Some(ProcessArg::Pid(pid)), _) => Ok(*pid),
            (None, Some(pid)) => Ok(pid),
            // clap asks for one of them.
            (None, None) => Err(ProcessError::PidZero),
        }
    }
}

/// What memory is told from, wherever something is recorded.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct SourceArgs {
    /// Where to learn about memory from
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) source: SourceArg,
}

/// One of the sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum SourceArg {
    /// Probe the allocator: exact, each call costs a trap
    #[default]
    Probes,
    /// Count pages as they become resident, by who touches them first: works for any program, places nothing
    /// into it, costs next to nothing
    Growth,
}

impl From<SourceArgs> for Source {
    fn from(args: SourceArgs) -> Self {
        match args.source {
            SourceArg::Probes => Self::Probes,
            SourceArg::Growth => Self::Growth,
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RunArgs {
    #[command(flatten)]
    pub(in crate::cli) recording: RecordingArgs,
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub(in crate::cli) command: Vec<OsString>,
}

/// How a process is traced, whatever is done with what is seen.
#[derive(Debug, Args)]
pub(in crate::cli) struct TracingArgs {
    #[command(flatten)]
    pub(in crate::cli) source: SourceArgs,
    /// See every call, whatever it costs the target. `run` does so by default; the others do as long as that takes
    /// at most 20% of the target's CPU time, and otherwise trace in windows that take 2%
    #[arg(long, conflicts_with = "max_overhead")]
    pub(in crate::cli) exact: bool,
    /// Take at most this SHARE of the target's CPU time, such as 2% or 0.5%. Trace exactly while that fits;
    /// otherwise trace in short windows at random times and estimate what was allocated
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with = "follow_forks")]
    pub(in crate::cli) max_overhead: Option<Share>,
    /// Trace the processes that the target starts, too, until the last of them has ended. Each call costs more;
    /// other processes are not touched
    #[arg(long)]
    pub(in crate::cli) follow_forks: bool,
    /// Track at most N live allocations, at about 50 bytes each, allocated as needed [default: what fits into
    /// an eighth of the available memory]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=(1 << 28)))]
    pub(in crate::cli) max_live: Option<u32>,
    /// Keep at most N distinct call stacks
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_STACKS,
          value_parser = clap::value_parser!(u32).range(1..=(1 << 24)))]
    pub(in crate::cli) max_stacks: u32,
    /// Walk stacks this way
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) unwind: UnwindArg,
    #[command(flatten)]
    pub(in crate::cli) labels: LabelArgs,
    /// Print rare events in the kernel to standard error, at most 100 a second: losses (error, warn),
    /// processes that start and end (info), calls given up and stacks cut (debug), everything unusual (trace)
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(in crate::cli) log: Option<LogArg>,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(in crate::cli) quiet: bool,
}

/// What attach and run have in common.
#[derive(Debug, Args)]
pub(in crate::cli) struct RecordingArgs {
    /// Write to FILE (replaced if it exists), `-` for standard output; with --every, to this folder
    /// [default: tracer-NAME-PID.pb.gz, with .2, .3 and so on where it exists; standard output for text and
    /// folded stacks]
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::cli) output: Option<PathBuf>,
    /// Write a profile every TIME, such as 10s, into a new or empty folder, and record which allocations
    /// survive. Does not stop the target
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(in crate::cli) every: Option<Duration>,
    /// Write the profile in this format
    #[arg(short, long, value_enum, default_value_t)]
    pub(in crate::cli) format: FormatArg,
    /// Show this value in text, folded stacks and flame graphs; the other formats hold all values
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) value: ValueArg,
    #[command(flatten)]
    pub(in crate::cli) names: NamesArgs,
    #[command(flatten)]
    pub(in crate::cli) sites: SitesArgs,
    #[command(flatten)]
    pub(in crate::cli) tracing: TracingArgs,
    /// Trace in windows even where exact tracing would fit; for tests
    #[arg(long, hide = true, requires = "max_overhead")]
    pub(in crate::cli) never_exact: bool,
    /// Copy every stack and walk it in user space; for tests
    #[arg(long, hide = true)]
    pub(in crate::cli) copy_stacks: bool,
    /// Also walk the stacks found in the cache, and count those credited to the wrong one; for tests
    #[arg(long, hide = true)]
    pub(in crate::cli) audit_stacks: bool,
    /// Place the probes this way instead of the best one; for tests and measurements
    #[arg(long, value_enum, hide = true)]
    pub(in crate::cli) probes: Option<ProbesArg>,
}

/// How the probes are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ProbesArg {
    /// One session for entry and return
    Session,
    /// Multi-uprobe links
    Multi,
    /// Perf events
    Perf,
}

impl From<ProbesArg> for ProbeKind {
    fn from(probes: ProbesArg) -> Self {
        match probes {
            ProbesArg::Session => Self::Session,
            ProbesArg::Multi => Self::Multi,
            ProbesArg::Perf => Self::Perf,
        }
    }
}

/// Which rare events are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LogArg {
    /// Allocations missing from the amounts
    Error,
    /// Also: allocations without a stack
    Warn,
    /// Also: processes that start and end
    Info,
    /// Also: calls given up, stacks cut
    Debug,
    /// Everything
    Trace,
}

impl From<LogArg> for LogLevel {
    fn from(level: LogArg) -> Self {
        match level {
            LogArg::Error => Self::Error,
            LogArg::Warn => Self::Warn,
            LogArg::Info => Self::Info,
            LogArg::Debug => Self::Debug,
            LogArg::Trace => Self::Trace,
        }
    }
}

/// How stacks are walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum UnwindArg {
    /// Use call frame information, and frame pointers where there is none
    #[default]
    Auto,
    /// Use call frame information only
    Cfi,
    /// Use frame pointers only
    Fp,
}

impl From<UnwindArg> for Unwinding {
    fn from(unwind: UnwindArg) -> Self {
        match unwind {
            UnwindArg::Auto => Self::Auto,
            UnwindArg::Cfi => Self::Tables,
            UnwindArg::Fp => Self::FramePointers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_a_pid_or_a_name() {
        let parse = |text: &str| text.parse::<ProcessArg>();
        assert_eq!(parse("27355"), Ok(ProcessArg::Pid(27_355)));
        assert_eq!(parse("redis"), Ok(ProcessArg::Name("redis".to_owned())));
        assert_eq!(parse("7zip"), Ok(ProcessArg::Name("7zip".to_owned())));
        assert!(parse("").is_err());
        assert!(parse("99999999999").is_err());
    }
}
