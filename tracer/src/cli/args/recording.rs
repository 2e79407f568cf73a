//! The options of what records: `attach` and `run`, and what `check` shares with them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use tracer_common::Unwinding;
use tracer_common::limits::DEFAULT_MAX_STACKS;

use super::times::{duration, share};
use super::views::{FormatArg, NamesArgs, ValueArg};
use crate::bpf::{LogLevel, ProbeKind};
use crate::check::Bytes;
use crate::process::{ProcessError, find_process};
use crate::session::{Share, Source};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("target").required(true).args(["process", "pid"])))]
pub(in crate::cli) struct AttachArgs {
    /// Process to attach to: its pid, or its name where only one process has it
    #[arg(value_name = "PID|NAME")]
    pub(in crate::cli) process: Option<ProcessArg>,
    /// Process to attach to, by its pid
    #[arg(short, long, value_name = "PID")]
    pub(in crate::cli) pid: Option<u32>,
    /// Stop after this time: 30 or 30s, 5m, 1h30m [default: on Ctrl-C, or when the process ends]
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub(in crate::cli) duration: Option<Duration>,
    /// Wait until the process holds SIZE more than at its least, and only then begin; nothing is in it before
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true,
          default_missing_value = "16MiB")]
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

impl AttachArgs {
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
    /// What to tell memory from
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) source: SourceArg,
}

/// One of the sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum SourceArg {
    /// Calls of the allocator, exactly: each costs a trap
    #[default]
    Probes,
    /// Pages that become resident, by who touched them first: next to nothing, for any program, and with
    /// nothing placed into it
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

/// What attach and run have in common.
#[derive(Debug, Args)]
pub(in crate::cli) struct RecordingArgs {
    /// File to write, `-` for standard output; an existing file is replaced. With --every, the folder
    /// [default: tracer-NAME-PID.pb.gz, with .2, .3 and so on where it exists; standard output for text and
    /// folded stacks]
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::cli) output: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) source: SourceArgs,
    /// Trace the target exactly, whatever that costs it: what is done where nothing else is said
    #[arg(long, conflicts_with = "max_overhead")]
    pub(in crate::cli) exact: bool,
    /// Take no more than this SHARE of the target's CPU time, such as 2% or 0.5%: trace it exactly while that fits,
    /// and in windows of some milliseconds at random times while it does not. What was allocated is then estimated
    #[arg(long, value_name = "SHARE", value_parser = share,
          conflicts_with_all = ["every", "follow_forks"])]
    pub(in crate::cli) max_overhead: Option<Share>,
    /// Trace in windows also where exact tracing would fit
    #[arg(long, hide = true, requires = "max_overhead")]
    pub(in crate::cli) never_exact: bool,
    /// Keep a series: write a profile after each TIME, such as 10s, and which allocations survive, without
    /// stopping the target. The output is then a folder, new or empty
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(in crate::cli) every: Option<Duration>,
    /// Form of the profile
    #[arg(short, long, value_enum, default_value_t)]
    pub(in crate::cli) format: FormatArg,
    /// The value that text, folded stacks and flame graphs show; the other forms have all
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) value: ValueArg,
    #[command(flatten)]
    pub(in crate::cli) names: NamesArgs,
    /// Count the processes that the target starts, too, and record until the last of them has ended. Each call
    /// costs more then; other processes are not touched
    #[arg(long)]
    pub(in crate::cli) follow_forks: bool,
    /// Live allocations there is room for. Room is made as it is needed, about 50 bytes for each; by
    /// default up to an eighth of the memory available
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=(1 << 28)))]
    pub(in crate::cli) max_live: Option<u32>,
    /// Distinct call stacks there is room for
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_STACKS,
          value_parser = clap::value_parser!(u32).range(1..=(1 << 24)))]
    pub(in crate::cli) max_stacks: u32,
    /// How to walk stacks
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) unwind: UnwindArg,
    /// Copy every stack and walk it in user space; for tests
    #[arg(long, hide = true)]
    pub(in crate::cli) copy_stacks: bool,
    /// Walk also the stacks that are recognised, and count those taken for others; for tests
    #[arg(long, hide = true)]
    pub(in crate::cli) audit_stacks: bool,
    /// How to place the probes, where not as the kernel does best; for tests and measurements
    #[arg(long, value_enum, hide = true)]
    pub(in crate::cli) probes: Option<ProbesArg>,
    /// Tell on standard error of rare events in the kernel, up to 100 a second: what is missing (error, warn),
    /// processes that begin and end (info), calls given up and stacks cut (debug), all that is out of the
    /// ordinary (trace)
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(in crate::cli) log: Option<LogArg>,
    /// Say nothing but errors
    #[arg(short, long)]
    pub(in crate::cli) quiet: bool,
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
    /// What the amounts lack
    Error,
    /// Also: what has lost its stack
    Warn,
    /// Also: processes that begin and end
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
    /// By call frame information, and along frame pointers where there is none
    #[default]
    Auto,
    /// By call frame information only
    Cfi,
    /// Along frame pointers only
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
