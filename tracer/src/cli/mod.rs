//! The command line: parse, run, exit code. No domain logic.

mod args;
mod attach;
mod check;
mod diff;
mod doctor;
mod exit;
mod folder;
mod generate;
mod manual;
mod output;
mod partial;
mod plan;
mod read;
mod recording;
mod report;
mod run;
mod say;
mod series;
mod serve;
mod signals;
mod sites;
mod status;
mod top;
mod view;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use exit::Exit;
use say::say_error;
use signals::Signals;

use crate::process::raise_descriptor_limit;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    raise_descriptor_limit();
    match run_command(Cli::parse().command) {
        Ok(exit) => exit.leave(),
        Err(error) => {
            if is_broken_pipe(&error) {
                // Whoever read our output has seen enough.
                return ExitCode::SUCCESS;
            }
            say_error(&error);
            Exit::Failed.leave()
        }
    }
}

fn run_command(command: Command) -> anyhow::Result<Exit> {
    if let Command::Serve(args) = &command {
        let prepared = serve::Prepared::new(args)?;
        return serve::serve(args, prepared, &Signals::take()?);
    }
    if let Command::Top(args) = &command {
        let prepared = top::Prepared::new(args)?;
        return top::top(args, prepared, &Signals::take()?);
    }
    let signals = Signals::take()?;
    match command {
        // Done above: they give privileges up before there are threads.
        Command::Serve(_) | Command::Top(_) => Ok(Exit::Done),
        Command::Attach(args) => attach::attach(&args, &signals),
        Command::Run(args) => run::run(&args, &signals),
        Command::View(args) => view::view(&args, &signals),
        Command::Report(args) => report::report(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Series(args) => series::series(&args),
        Command::Check(args) => check::check(&args, &signals),
        Command::Plan(args) => plan::plan(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Completions { shell } => generate::completions(shell),
        Command::CalibrationSubject => crate::session::be_measured()
            .map(|()| Exit::Done)
            .map_err(Into::into),
        Command::Man { directory } => generate::man(directory.as_deref()),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
