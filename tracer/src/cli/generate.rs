//! Shell completions and man pages, from the clap definition.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::args::Cli;
use super::exit::Exit;
use super::manual::page;
use super::partial::{Existing, Partial};
use crate::printable::Shown as _;

/// Prints the completions for a shell.
pub(super) fn completions(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tracer", &mut text);
    io::stdout().lock().write_all(&text)?;
    Ok(Exit::Done)
}

/// Writes a man page for the command and each subcommand to a folder, or the first to standard
/// output.
pub(super) fn man(directory: Option<&Path>) -> anyhow::Result<Exit> {
    let Some(directory) = directory else {
        io::stdout().lock().write_all(&page(&Cli::command()))?;
        return Ok(Exit::Done);
    };
    fs::create_dir_all(directory)
        .with_context(|| format!("the directory {} cannot be made", directory.shown()))?;
    // As clap_mangen does it, but each page whole.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    write_pages(&command, directory)?;
    Ok(Exit::Done)
}

fn write_pages(command: &Command, directory: &Path) -> anyhow::Result<()> {
    for subcommand in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        write_pages(subcommand, directory)?;
    }
    let text = page(command);
    let path = directory.join(Man::new(command.clone()).get_filename());
    let partial = Partial::beside(directory)?.for_everybody(directory)?;
    partial.write(&|out| out.write_all(&text), &path, Existing::Replace)
}
