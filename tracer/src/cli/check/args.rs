//! The command line of `tracer check`. The names of its rules are those of the policy file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgGroup, Args};
use tracer_common::limits::DEFAULT_MAX_STACKS;

use super::super::args::{LogArg, NamesArgs, SourceArgs, duration, share};
use super::super::sites::SitesArgs;
use crate::check::policy::MaxGrowth;
use crate::check::report::Form;
use crate::check::{Bytes, Tolerance, time};
use crate::session::Share;

/// Check a process, a command or saved profiles for leaks and exceeded limits.
///
/// Without a policy the rule is: no leaks.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("subject").required(true).args(["profiles", "pid", "command"])))]
#[command(override_usage = "\
tracer check [OPTIONS] PROFILE... | DIR
       tracer check [OPTIONS] --pid PID
       tracer check [OPTIONS] -- CMD [ARG]...")]
#[command(after_help = "\
Exit codes: 0 nothing found; 1 a leak or an exceeded limit; 2 could not do it; 3 inconclusive (too
little was seen or too much was missed to tell; never 0).")]
pub(crate) struct CheckArgs {
    /// Check these saved profiles of one recording, or a folder of them, in the order of their times
    #[arg(value_name = "PROFILE")]
    pub(super) profiles: Vec<PathBuf>,
    /// Attach to this process
    #[arg(short, long, value_name = "PID")]
    pub(super) pid: Option<u32>,
    /// Run this command and check it; it is stopped when the time is up
    #[arg(last = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
    /// Record for TIME, such as 20 (seconds) or 5m [default: 20s, or until the command ends]
    #[arg(short, long, value_name = "TIME", value_parser = duration, conflicts_with = "profiles")]
    pub(super) duration: Option<Duration>,
    /// Take a snapshot every TIME [default: a sixtieth of the duration, or 1s]
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
    /// Read the policy from FILE [default: tracer.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// Fail on leaks (default, except when one profile is judged by other rules)
    #[arg(long, conflicts_with = "allow_leaks")]
    pub(super) no_leaks: bool,
    /// Don't look for leaks
    #[arg(long)]
    pub(super) allow_leaks: bool,
    /// Don't end with 3 for possible leaks, or for stacks with too few growth steps or a falling load
    #[arg(long)]
    pub(super) allow_undecided: bool,
    /// Ignore growth in the first TIME [default: a fifth of the recording]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) warm_up: Option<Duration>,
    /// Fail if live memory grows faster than this after the warm-up, such as 1kB/s or 16B/op; may be given
    /// once for each
    #[arg(long, value_name = "SIZE/s|SIZE/op")]
    pub(super) max_growth: Vec<MaxGrowth>,
    /// Count N operations a second, for growth per operation
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(super) operations_per_second: Option<f64>,
    /// Fail if more is live at once, such as 512MB (units are powers of 1024), however short the peak
    #[arg(long, value_name = "SIZE")]
    pub(super) max_peak: Option<Bytes>,
    /// Fail if more objects are live at once
    #[arg(long, value_name = "N")]
    pub(super) max_peak_objects: Option<u32>,
    /// Baseline profile; fail if more is live
    #[arg(long, value_name = "FILE")]
    pub(super) baseline: Option<PathBuf>,
    /// Allow this much growth over the baseline, such as 10%, of each stack and of the total
    #[arg(long, value_name = "SHARE")]
    pub(super) tolerance: Option<Tolerance>,
    /// Ignore growth up to this size, such as 64kB
    #[arg(long, value_name = "SIZE")]
    pub(super) min_growth: Option<Bytes>,
    #[command(flatten)]
    pub(super) sites: SitesArgs,
    /// Read suppressions from FILE, in LeakSanitizer's or valgrind's format; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(super) suppressions: Vec<PathBuf>,
    /// Assume the target may use SIZE, to tell when a leak reaches it [default when recording: the limit of its
    /// cgroup, or the machine's memory]
    #[arg(long, value_name = "SIZE")]
    pub(super) memory_limit: Option<Bytes>,
}

/// What is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reports")]
pub(super) struct ReportArgs {
    /// Write a report to FILE or standard output: text, markdown, junit, sarif or github (annotations); may be
    /// repeated [default: text]
    #[arg(short, long = "report", value_name = "FORM[=FILE]")]
    pub(super) reports: Vec<ReportArg>,
    #[command(flatten)]
    pub(super) names: NamesArgs,
    /// Append the Markdown report to the job summary, the file named by GITHUB_STEP_SUMMARY
    #[arg(long)]
    pub(super) step_summary: bool,
    /// Name the commit that last touched each line found; needs a git checkout
    #[arg(long)]
    pub(super) blame: bool,
    /// Write the last profile to FILE, as the baseline from now on
    #[arg(long, value_name = "FILE")]
    pub(super) write_baseline: Option<PathBuf>,
    /// Write suppressions for everything found
    #[arg(long, value_name = "FILE")]
    pub(super) write_suppressions: Option<PathBuf>,
}

/// How a process or command is recorded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recording")]
pub(super) struct RecordingArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Take at most this SHARE of the target's CPU time, such as 2%. Trace exactly while that fits; otherwise trace in
    /// short windows at random times. What these don't tell is inconclusive
    #[arg(long, value_name = "SHARE", value_parser = share,
          conflicts_with_all = ["profiles", "follow_forks"])]
    pub(super) max_overhead: Option<Share>,
    /// Trace in windows even where exact tracing would fit; for tests
    #[arg(long, hide = true, requires = "max_overhead")]
    pub(super) never_exact: bool,
    /// Trace the processes that the target starts, too; other processes are not touched
    #[arg(long, conflicts_with = "profiles")]
    pub(super) follow_forks: bool,
    /// Track at most N live allocations [default: what fits into an eighth of the available memory]
    #[arg(long, value_name = "N", conflicts_with = "profiles",
          value_parser = clap::value_parser!(u32).range(1..=(1 << 28)))]
    pub(super) max_live: Option<u32>,
    /// Keep at most N distinct call stacks
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_STACKS, conflicts_with = "profiles",
          value_parser = clap::value_parser!(u32).range(1..=(1 << 24)))]
    pub(super) max_stacks: u32,
    /// Print rare events in the kernel to standard error, at most 100 a second: see `tracer attach --help`
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
        assert_eq!(growth("1kB/s"), Ok(MaxGrowth::PerSecond(Bytes(1_024))));
        assert_eq!(growth("16/op"), Ok(MaxGrowth::PerOperation(Bytes(16))));
        for text in ["1kB", "/s", "1kB/h", "-1/s"] {
            assert!(growth(text).is_err(), "{text}");
        }
    }
}
