//! The command line of `tracer check`. The names of its rules are those of the policy file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Args};
use tracer_common::limits::DEFAULT_MAX_STACKS;

use super::super::args::{LogArg, NamesArgs, SourceArgs, duration};
use crate::check::policy::MaxGrowth;
use crate::check::report::Form;
use crate::check::{Bytes, Tolerance, time};

/// Judges a process, a command or saved profiles.
///
/// Without a policy the rule is: no leaks.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("subject").required(true).args(["profiles", "pid", "command"])))]
#[command(override_usage = "\
tracer check [OPTIONS] PROFILE... | DIR
       tracer check [OPTIONS] --pid PID
       tracer check [OPTIONS] -- CMD [ARG]...")]
#[command(after_help = "\
Exit codes: 0 nothing found, 1 a leak or a broken limit, 2 could not do it, 3 inconclusive (too
little was seen, or too much was missed, to say anything; never 0).")]
pub(crate) struct CheckArgs {
    /// Saved profiles of one recording, or a folder of them, as a series in the order of their times
    #[arg(value_name = "PROFILE")]
    pub(super) profiles: Vec<PathBuf>,
    /// Attach to this process
    #[arg(short, long, value_name = "PID")]
    pub(super) pid: Option<u32>,
    /// Run this command; it is ended when the time is up
    #[arg(last = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
    /// How long to record, such as 20s or 5m [default: 20s, or until the command ends]
    #[arg(short, long, value_name = "TIME", value_parser = duration, conflicts_with = "profiles")]
    pub(super) duration: Option<Duration>,
    /// Time between snapshots [default: a sixtieth of the duration, or 1s]
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "profiles")]
    pub(super) every: Option<Duration>,
    #[command(flatten)]
    pub(super) rules: RuleArgs,
    #[command(flatten)]
    pub(super) reports: ReportArgs,
    #[command(flatten)]
    pub(super) recording: RecordingArgs,
}

/// What is allowed; each wins over the same in the policy file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rules")]
pub(super) struct RuleArgs {
    /// Policy file [default: tracer.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// No stack may leak; the default, but of one profile with other rules
    #[arg(long, conflicts_with = "allow_leaks")]
    pub(super) no_leaks: bool,
    /// Do not look for leaks
    #[arg(long)]
    pub(super) allow_leaks: bool,
    /// Stacks that grew too few times, or while the load fell, to tell whether they leak do not make it
    /// inconclusive
    #[arg(long)]
    pub(super) allow_undecided: bool,
    /// Time at the beginning in which growth does not count [default: the first fifth]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) warm_up: Option<Duration>,
    /// Most by which what is live may grow after the warm-up, such as 1KiB/s or 16B/op; may be given
    /// for both
    #[arg(long, value_name = "SIZE/s|SIZE/op")]
    pub(super) max_growth: Vec<MaxGrowth>,
    /// Operations a second, for growth per operation
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(super) operations_per_second: Option<f64>,
    /// Most bytes live at once, such as 512MiB; the peak is kept however short it is
    #[arg(long, value_name = "SIZE")]
    pub(super) max_peak: Option<Bytes>,
    /// Most objects live at once
    #[arg(long, value_name = "N")]
    pub(super) max_peak_objects: Option<u32>,
    /// Profile that no more may be live than in
    #[arg(long, value_name = "FILE")]
    pub(super) baseline: Option<PathBuf>,
    /// Growth over the baseline that is allowed, such as 10%, of what a stack, or all, held
    #[arg(long, value_name = "SHARE")]
    pub(super) tolerance: Option<Tolerance>,
    /// Growth over the baseline that is none, such as 64KiB
    #[arg(long, value_name = "SIZE")]
    pub(super) min_growth: Option<Bytes>,
    /// File of suppressions, LeakSanitizer's or valgrind's; may be given again
    #[arg(long, value_name = "FILE")]
    pub(super) suppressions: Vec<PathBuf>,
    /// Memory that the target may use, for the time until it is reached [default when recording: that
    /// of its cgroup, or the machine's]
    #[arg(long, value_name = "SIZE")]
    pub(super) memory_limit: Option<Bytes>,
}

/// What is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reports")]
pub(super) struct ReportArgs {
    /// Report: text, markdown, junit, sarif or github (annotations), to a file or standard output; may
    /// be given again [default: text]
    #[arg(short, long = "report", value_name = "FORM[=FILE]")]
    pub(super) reports: Vec<ReportArg>,
    #[command(flatten)]
    pub(super) names: NamesArgs,
    /// Append the Markdown report to the job summary, the file that GITHUB_STEP_SUMMARY names
    #[arg(long)]
    pub(super) step_summary: bool,
    /// Name the commit that last touched each line found, in a git checkout
    #[arg(long)]
    pub(super) blame: bool,
    /// Write the last profile, to be the baseline from now on
    #[arg(long, value_name = "FILE")]
    pub(super) write_baseline: Option<PathBuf>,
    /// Write suppressions of all that was found
    #[arg(long, value_name = "FILE")]
    pub(super) write_suppressions: Option<PathBuf>,
}

/// How a process or command is recorded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recording")]
pub(super) struct RecordingArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Count the processes that the target starts, too; other processes are not touched
    #[arg(long, conflicts_with = "profiles")]
    pub(super) follow_forks: bool,
    /// Live allocations there is room for; by default up to an eighth of the memory available
    #[arg(long, value_name = "N", conflicts_with = "profiles",
          value_parser = clap::value_parser!(u32).range(1..=(1 << 28)))]
    pub(super) max_live: Option<u32>,
    /// Distinct call stacks there is room for
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_STACKS, conflicts_with = "profiles",
          value_parser = clap::value_parser!(u32).range(1..=(1 << 24)))]
    pub(super) max_stacks: u32,
    /// Tell on standard error of rare events in the kernel, up to 100 a second: see `tracer attach --help`
    #[arg(long, value_enum, value_name = "LEVEL", conflicts_with = "profiles")]
    pub(super) log: Option<LogArg>,
}

/// A report asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReportArg {
    pub(super) form: Form,
    /// `-` is standard output.
    pub(super) file: PathBuf,
}

impl FromStr for ReportArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (form, file) = text.split_once('=').unwrap_or((text, "-"));
        let form = match form {
            "text" => Form::Text,
            "markdown" => Form::Markdown,
            "junit" => Form::Junit,
            "sarif" => Form::Sarif,
            "github" => Form::Github,
            _ => return Err("the forms are text, markdown, junit, sarif and github".to_owned()),
        };
        if file.is_empty() {
            return Err("no file after `=`".to_owned());
        }
        Ok(Self {
            form,
            file: file.into(),
        })
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("must be a number above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_go_to_files_or_standard_output() {
        let report = |text: &str| text.parse::<ReportArg>();
        let file = |form, file: &str| {
            Ok(ReportArg {
                form,
                file: file.into(),
            })
        };
        assert_eq!(report("text"), file(Form::Text, "-"));
        assert_eq!(report("junit=a=b.xml"), file(Form::Junit, "a=b.xml"));
        assert!(report("sarif=").is_err());
        assert!(report("xml").is_err());
    }

    #[test]
    fn growth_has_a_measure() {
        let growth = |text: &str| text.parse::<MaxGrowth>();
        assert_eq!(growth("1KiB/s"), Ok(MaxGrowth::PerSecond(Bytes(1_024))));
        assert_eq!(growth("16/op"), Ok(MaxGrowth::PerOperation(Bytes(16))));
        for text in ["1KiB", "1kB/s", "/s", "1KiB/h", "-1/s"] {
            assert!(growth(text).is_err(), "{text}");
        }
    }
}
