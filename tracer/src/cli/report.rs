//! `tracer report`

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::args::{ReportArgs, ReportFormat};
use super::exit::Exit;
use crate::export::{self, MAX_INFLATED};
use crate::profile::Profile;
use crate::report::{PeekOptions, Sort, TopOptions, TreeOptions, peek, top, tree};

/// Reads a profile and shows it.
pub(super) fn report(args: &ReportArgs) -> anyhow::Result<Exit> {
    let profile = read(&args.file)?;
    let by = args.value.into();
    let max_width = terminal_width();
    if let Some(pattern) = &args.peek {
        let report = peek(
            &profile,
            &PeekOptions {
                by,
                pattern: pattern.clone(),
                show_allocator: args.show_allocator,
                max_width,
            },
        );
        if report.entries.is_empty() {
            bail!("no function matches `{pattern}`");
        }
        show(&report, args.format)?;
    } else if args.tree {
        let options = TreeOptions {
            by,
            show_allocator: args.show_allocator,
            max_width,
            ..TreeOptions::default()
        };
        show(&tree(&profile, &options), args.format)?;
    } else {
        let options = TopOptions {
            by,
            sort: if args.cum { Sort::Cum } else { Sort::Flat },
            limit: (args.limit > 0).then_some(args.limit),
            show_allocator: args.show_allocator,
            max_width,
        };
        show(&top(&profile, &options), args.format)?;
    }
    Ok(Exit::for_verdict(&profile.verdict))
}

fn read(path: &Path) -> anyhow::Result<Profile> {
    // One byte more than is taken, so that a longer file is recognised as such.
    let most = MAX_INFLATED as u64 + 1;
    let open = || {
        let mut bytes = Vec::new();
        if path == Path::new("-") {
            io::stdin().lock().take(most).read_to_end(&mut bytes)?;
        } else {
            File::open(path)?.take(most).read_to_end(&mut bytes)?;
        }
        io::Result::Ok(bytes)
    };
    let bytes = open().with_context(|| format!("{} could not be read", path.display()))?;
    export::read(&bytes)
        .with_context(|| format!("{} is not a profile tracer can show", path.display()))
}

/// Prints a report in the form asked for.
pub(super) fn show<T: Serialize + std::fmt::Display>(
    report: &T,
    format: ReportFormat,
) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        ReportFormat::Text => write!(out, "{report}")?,
        ReportFormat::Json => {
            serde_json::to_writer_pretty(&mut out, report).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(())
}

/// Columns of the terminal; `None` where the text goes elsewhere.
fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}
