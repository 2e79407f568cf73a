//! The clap definition; shell completions and man pages come from it as well.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use tracer_common::Unwinding;
use tracer_common::limits::DEFAULT_MAX_STACKS;

use super::check::CheckArgs;
use crate::bpf::{LogLevel, ProbeKind};
use crate::check::Bytes;
use crate::export::Format;
use crate::names::NameStyle;
use crate::profile::{Filter, ValueKind};
use crate::session::{Share, Source};

/// Shows who holds the memory of a running, unmodified Linux process.
///
/// Probes on the process's allocator count live and allocated bytes per call stack inside the
/// kernel; the result is a heap profile that every pprof viewer opens.
#[derive(Debug, Parser)]
#[command(name = "tracer", version, max_term_width = 100)]
#[command(after_help = "\
Exit codes: 0 done, nothing found, 1 found what was looked for (a leak, a broken limit), 2 could not
do it, 3 inconclusive (too much was missed to say anything).
`tracer run` exits as its program does.")]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Trace a process that runs already
    Attach(AttachArgs),
    /// Start a program and trace it from its first allocation, or its first page
    Run(RunArgs),
    /// Show a profile as a table, a call tree, or one function with its callers and callees
    Report(ReportArgs),
    /// Show what changed from one profile to another
    Diff(DiffArgs),
    /// Show how a target's memory went over a folder of profiles
    Series(SeriesArgs),
    /// Judge a process, a command or saved profiles: leaks and broken limits end with exit code 1
    Check(Box<CheckArgs>),
    /// Show which instructions would be probed, and why, without attaching
    Plan(PlanArgs),
    /// Say what this kernel, these privileges and a process allow
    Doctor(DoctorArgs),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Allocates and frees when asked, to be measured (see `session::cost`)
    #[command(name = crate::session::SUBJECT_COMMAND, hide = true)]
    CalibrationSubject,
    /// Write the man pages
    Man {
        /// Folder to write them to; the page of `tracer` itself goes to standard output without
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct AttachArgs {
    /// Process to attach to
    #[arg(short, long, value_name = "PID")]
    pub(super) pid: u32,
    /// Stop after this time, such as 30s, 5m or 1h30m; without, on Ctrl-C or when the process ends
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub(super) duration: Option<Duration>,
    /// Wait until the process holds SIZE more than at its least, and only then begin; nothing is in it before
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true,
          default_missing_value = "16MiB")]
    pub(super) when_growing: Option<Bytes>,
    #[command(flatten)]
    pub(super) recording: RecordingArgs,
}

/// What memory is told from, wherever something is recorded.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct SourceArgs {
    /// What to tell memory from
    #[arg(long, value_enum, default_value_t)]
    pub(super) source: SourceArg,
}

/// One of the sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum SourceArg {
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

/// How views for people show names.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct NamesArgs {
    /// Names in text and flame graphs; the other forms have the full ones
    #[arg(long, value_enum, default_value_t)]
    names: NamesArg,
}

/// One of the ways to show names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum NamesArg {
    /// As people say them: crate, type and method, without generic arguments and parameters
    #[default]
    Short,
    /// As they are in the profile
    Full,
}

impl From<NamesArgs> for NameStyle {
    fn from(args: NamesArgs) -> Self {
        match args.names {
            NamesArg::Short => Self::Short,
            NamesArg::Full => Self::Full,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) recording: RecordingArgs,
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub(super) command: Vec<OsString>,
}

/// What attach and run have in common.
#[derive(Debug, Args)]
pub(super) struct RecordingArgs {
    /// File to write, `-` for standard output; with --every, the folder [default: tracer-NAME-PID.pb.gz, or
    /// standard output for text and folded stacks]
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Trace the target exactly, whatever that costs it: what is done where nothing else is said
    #[arg(long, conflicts_with = "max_overhead")]
    pub(super) exact: bool,
    /// Take no more than this SHARE of the target's CPU time, such as 2% or 0.5%: trace it exactly while that fits,
    /// and in windows of some milliseconds at random times while it does not. What was allocated is then estimated
    #[arg(long, value_name = "SHARE", value_parser = share,
          conflicts_with_all = ["every", "follow_forks"])]
    pub(super) max_overhead: Option<Share>,
    /// Trace in windows also where exact tracing would fit
    #[arg(long, hide = true, requires = "max_overhead")]
    pub(super) never_exact: bool,
    /// Keep a series: write a profile after each TIME, such as 10s, and which allocations survive, without
    /// stopping the target. The output is then a folder, new or empty [default: tracer-NAME-PID]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) every: Option<Duration>,
    /// Form of the profile
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) format: FormatArg,
    /// The value that text, folded stacks and flame graphs show; the other forms have all
    #[arg(long, value_enum, default_value_t)]
    pub(super) value: ValueArg,
    #[command(flatten)]
    pub(super) names: NamesArgs,
    /// Count the processes that the target starts, too, and record until the last of them has ended. Each call
    /// costs more then; other processes are not touched
    #[arg(long)]
    pub(super) follow_forks: bool,
    /// Live allocations there is room for. Room is made as it is needed, about 50 bytes for each; by
    /// default up to an eighth of the memory available
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=(1 << 28)))]
    pub(super) max_live: Option<u32>,
    /// Distinct call stacks there is room for
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_STACKS,
          value_parser = clap::value_parser!(u32).range(1..=(1 << 24)))]
    pub(super) max_stacks: u32,
    /// How to walk stacks
    #[arg(long, value_enum, default_value_t)]
    pub(super) unwind: UnwindArg,
    /// Copy every stack and walk it in user space; for tests
    #[arg(long, hide = true)]
    pub(super) copy_stacks: bool,
    /// Walk also the stacks that are recognised, and count those taken for others; for tests
    #[arg(long, hide = true)]
    pub(super) audit_stacks: bool,
    /// How to place the probes, where not as the kernel does best; for tests and measurements
    #[arg(long, value_enum, hide = true)]
    pub(super) probes: Option<ProbesArg>,
    /// Tell on standard error of rare events in the kernel, up to 100 a second: what is missing (error, warn),
    /// processes that begin and end (info), calls given up and stacks cut (debug), all that is out of the
    /// ordinary (trace)
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(super) log: Option<LogArg>,
    /// Say nothing but errors
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Profile: pprof (tracer's or another heap profiler's) or tracer's JSON
    pub(super) file: PathBuf,
    /// The value to show
    #[arg(short, long, alias = "sample-index", value_enum, default_value_t)]
    pub(super) value: ValueArg,
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    #[command(flatten)]
    pub(super) names: NamesArgs,
    /// Show the call tree
    #[arg(long, conflicts_with = "peek")]
    pub(super) tree: bool,
    /// Show the functions that match a regular expression, with their callers and callees
    #[arg(long, value_name = "REGEX")]
    pub(super) peek: Option<regex::Regex>,
    /// Sort the table by what the functions and all they call hold
    #[arg(long, conflicts_with_all = ["tree", "peek"])]
    pub(super) cum: bool,
    /// Rows of the table; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub(super) limit: usize,
    /// Show the allocator's own frames, too
    #[arg(long)]
    pub(super) show_allocator: bool,
    /// Form of the report
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) format: ViewFormat,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// Profile A, the one before: pprof (tracer's or another heap profiler's) or tracer's JSON
    pub(super) before: PathBuf,
    /// Profile B, the one after
    pub(super) after: PathBuf,
    /// The value to show; a pprof file has all
    #[arg(
        short,
        long = "sample-index",
        visible_alias = "value",
        value_enum,
        default_value_t
    )]
    pub(super) value: ValueArg,
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    #[command(flatten)]
    pub(super) names: NamesArgs,
    /// Rows of each table; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub(super) top: usize,
    /// Form of the difference
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) format: DiffFormat,
    /// File to write [default: standard output]
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "-",
        hide_default_value = true
    )]
    pub(super) output: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct SeriesArgs {
    /// Folder with profiles of one target
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
    /// The value by which stacks grow
    #[arg(
        short,
        long = "sample-index",
        visible_alias = "value",
        value_enum,
        default_value_t
    )]
    pub(super) value: ValueArg,
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    #[command(flatten)]
    pub(super) names: NamesArgs,
    /// Growing stacks shown; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub(super) top: usize,
    /// Form of the report
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) format: ReportFormat,
}

/// Parts of a profile, with pprof's meaning. A pattern may match anywhere in a function's name, short or
/// full, its source file, or the path of the program or library it is in.
#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Only stacks with a frame whose function, file or module matches
    #[arg(long, value_name = "REGEX")]
    focus: Option<regex::Regex>,
    /// No stacks with such a frame
    #[arg(long, value_name = "REGEX")]
    ignore: Option<regex::Regex>,
    /// Leave out such frames; what they hold goes to their callers
    #[arg(long, value_name = "REGEX")]
    hide: Option<regex::Regex>,
    /// Leave out the callers of the outermost such frame
    #[arg(long, value_name = "REGEX")]
    show_from: Option<regex::Regex>,
}

impl From<&FilterArgs> for Filter {
    fn from(args: &FilterArgs) -> Self {
        Self {
            focus: args.focus.clone(),
            ignore: args.ignore.clone(),
            hide: args.hide.clone(),
            show_from: args.show_from.clone(),
        }
    }
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("subject").required(true).args(["pid", "file"])))]
pub(super) struct PlanArgs {
    /// Plan for the allocators of this process
    #[arg(short, long, value_name = "PID")]
    pub(super) pid: Option<u32>,
    /// Plan for this ELF file: a C library, an allocator, or a static program
    #[arg(long, value_name = "ELF")]
    pub(super) file: Option<PathBuf>,
    /// Form of the plan
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) format: ReportFormat,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Look at this process as well
    #[arg(short, long, value_name = "PID")]
    pub(super) pid: Option<u32>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) format: ReportFormat,
}

/// The form of what is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// For people
    #[default]
    Text,
    /// For machines
    Json,
}

/// The form of a view of a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ViewFormat {
    /// For people
    #[default]
    Text,
    /// For machines
    Json,
    /// A flame graph for browsers
    Svg,
}

/// The form of a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum DiffFormat {
    /// For people
    #[default]
    Text,
    /// The same for machines
    Json,
    /// A profile of the differences for pprof and its viewers, gzipped
    Pprof,
    /// A line per stack with its value in A and in B, for flame graph tools
    Folded,
    /// A differential flame graph for browsers: as wide as B, red where it grew, blue where it shrank
    Svg,
}

/// The form of a profile's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatArg {
    /// For pprof and its viewers, gzipped
    #[default]
    Pprof,
    /// A line per stack, for flame graph tools
    Folded,
    /// Everything, for machines
    Json,
    /// A summary for people
    Text,
    /// A flame graph for browsers
    Svg,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Pprof => Self::Pprof,
            FormatArg::Folded => Self::Folded,
            FormatArg::Json => Self::Json,
            FormatArg::Text => Self::Text,
            FormatArg::Svg => Self::Svg,
        }
    }
}

/// How the probes are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProbesArg {
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
pub(super) enum LogArg {
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
pub(super) enum UnwindArg {
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

/// One of the values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum ValueArg {
    /// Objects allocated
    AllocObjects,
    /// Bytes allocated
    AllocSpace,
    /// Objects live at the end
    InuseObjects,
    /// Bytes live at the end
    #[default]
    InuseSpace,
    /// Objects live when most bytes were
    PeakObjects,
    /// Bytes live when most were
    PeakSpace,
}

impl From<ValueArg> for ValueKind {
    fn from(value: ValueArg) -> Self {
        match value {
            ValueArg::AllocObjects => Self::AllocObjects,
            ValueArg::AllocSpace => Self::AllocSpace,
            ValueArg::InuseObjects => Self::InuseObjects,
            ValueArg::InuseSpace => Self::InuseSpace,
            ValueArg::PeakObjects => Self::PeakObjects,
            ValueArg::PeakSpace => Self::PeakSpace,
        }
    }
}

/// A share above 0% and at most 100%.
pub(super) fn share(text: &str) -> Result<Share, String> {
    const FORM: &str = "say it as 2% or 0.5%";
    let number = text
        .strip_suffix('%')
        .ok_or_else(|| format!("there is no %; {FORM}"))?;
    let is_number = number.starts_with(|c: char| c.is_ascii_digit())
        && number.ends_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let percent: f64 = number
        .parse()
        .ok()
        .filter(|_| is_number)
        .ok_or_else(|| format!("not a number; {FORM}"))?;
    Share::new(percent / 100.0).ok_or_else(|| "must be above 0% and at most 100%".to_owned())
}

/// A time above zero and below a year, with a unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; say it as 30s, 5m or 1h30m"))?;
    if duration.is_zero() {
        return Err("must be above zero".to_owned());
    }
    if duration > YEAR {
        return Err("must be below a year".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_duration_needs_sense() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        for nonsense in ["", "0s", "-3s", "30", "soon", "1e9s", "99999h", "400days"] {
            assert!(duration(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_share_is_a_percentage() {
        let get = |text| share(text).map(Share::get);
        assert_eq!(get("2%"), Ok(0.02));
        assert_eq!(get("0.5%"), Ok(0.005));
        assert_eq!(get("100%"), Ok(1.0));
        for nonsense in [
            "", "%", "2", "0%", "0.0%", "-1%", "100.1%", "1e1%", "nan%", "inf%", "2 %", ".5%",
            "5.%", "1.2.3%", "2%%", "two%",
        ] {
            assert!(share(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn everything_after_the_program_is_the_programs() {
        let cli = Cli::try_parse_from(["tracer", "run", "-o", "x", "prog", "-o", "y", "--", "z"]);
        let Ok(Cli {
            command: Command::Run(args),
        }) = cli
        else {
            panic!("{cli:?}");
        };
        assert_eq!(args.command, ["prog", "-o", "y", "--", "z"]);
    }
}
