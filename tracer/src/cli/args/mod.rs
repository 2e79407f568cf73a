//! The clap definition; shell completions and man pages come from it as well.

mod labels;
mod push;
mod recording;
mod serve;
mod times;
mod top;
mod views;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};

pub(super) use push::PushArgs;
pub(super) use recording::{AttachArgs, LogArg, RecordingArgs, RunArgs, SourceArgs, TracingArgs};
pub(super) use serve::{AccessArgs, ServeArgs, ViewArgs};
pub(super) use times::{duration, share};
pub(super) use top::TopArgs;
pub(super) use views::{
    DiffArgs, DiffFormat, NamesArgs, ReportArgs, ReportFormat, SeriesArgs, ViewFormat,
};

use super::check::CheckArgs;

/// Shows who holds the memory of a running, unmodified Linux process.
///
/// Probes on the process's allocator count live and allocated bytes per call stack inside the
/// kernel; the result is a heap profile that every pprof viewer opens.
#[derive(Debug, Parser)]
#[command(name = "tracer", version, max_term_width = 100)]
#[command(after_help = "\
Exit codes: 0 done, nothing found; 1 `check` found a leak or an exceeded limit; 2 could not do it;
3 inconclusive (too much was missed to tell). `tracer run` exits as its program does.")]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Trace a running process
    Attach(AttachArgs),
    /// Start a program and trace it from its first allocation
    Run(RunArgs),
    /// Trace a running process and serve its profile over HTTP: a page, and what Go's net/http/pprof has
    Serve(ServeArgs),
    /// Trace a running process and show its profile in the terminal, live
    Top(TopArgs),
    /// Show saved profiles in the browser: a page on this machine
    View(ViewArgs),
    /// Show a profile: table, call tree, or a function with its callers and callees
    Report(ReportArgs),
    /// Show what changed from one profile to another
    Diff(DiffArgs),
    /// Show a folder of profiles over time
    Series(SeriesArgs),
    /// Check for leaks and exceeded limits: exit code 1 if there are any
    Check(Box<CheckArgs>),
    /// Show which instructions would be probed, and why; attaches nothing
    Plan(PlanArgs),
    /// Check what this kernel, your privileges and a process allow
    Doctor(DoctorArgs),
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Allocates and frees when asked, to be measured (see `session::cost`)
    #[command(name = crate::session::SUBJECT_COMMAND, hide = true)]
    CalibrationSubject,
    /// Write the man pages
    Man {
        /// Write them to this folder; without it, print the page of `tracer`
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("subject").required(true).args(["pid", "file"])))]
pub(super) struct PlanArgs {
    /// Show the plan for this process
    #[arg(short, long, value_name = "PID")]
    pub(super) pid: Option<u32>,
    /// Show the plan for this ELF file: a C library, an allocator or a static program
    #[arg(long, value_name = "ELF")]
    pub(super) file: Option<PathBuf>,
    /// Print the plan in this format
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) format: ReportFormat,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Check this process, too
    #[arg(short, long, value_name = "PID")]
    pub(super) pid: Option<u32>,
    /// Print the answer in this format
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) format: ReportFormat,
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
