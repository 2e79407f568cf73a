//! Shell completions and man pages, from the clap definition.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use super::args::Cli;
use super::exit::Exit;

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
        Man::new(Cli::command()).render(&mut io::stdout().lock())?;
        return Ok(Exit::Done);
    };
    fs::create_dir_all(directory)
        .with_context(|| format!("the directory {} cannot be made", directory.display()))?;
    clap_mangen::generate_to(Cli::command(), directory)
        .with_context(|| format!("writing man pages to {} failed", directory.display()))?;
    Ok(Exit::Done)
}
