//! `tracer report`

use std::io::{self, Write};

use anyhow::bail;
use serde::Serialize;

use super::args::{ReportArgs, ReportFormat};
use super::exit::Exit;
use super::output::terminal_width;
use super::read::read;
use crate::profile::Filter;
use crate::report::{PeekOptions, Sort, TopOptions, TreeOptions, peek, top, tree};

/// Reads a profile and shows it.
pub(super) fn report(args: &ReportArgs) -> anyhow::Result<Exit> {
    let profile = read(&args.file)?.profile;
    let by = args.value.into();
    let filter = Filter::from(&args.filter);
    let max_width = terminal_width();
    if let Some(pattern) = &args.peek {
        let report = peek(
            &profile,
            &PeekOptions {
                by,
                pattern: pattern.clone(),
                show_allocator: args.show_allocator,
                filter,
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
            filter,
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
            filter,
            max_width,
        };
        show(&top(&profile, &options), args.format)?;
    }
    Ok(Exit::for_verdict(&profile.verdict))
}

/// Prints a report in the form asked for.
pub(super) fn show<T: Serialize + std::fmt::Display>(
    report: &T,
    format: ReportFormat,
) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    write_report(report, format, &mut out)?;
    out.flush()?;
    Ok(())
}

/// Writes a report in the form asked for.
pub(super) fn write_report<T: Serialize + std::fmt::Display>(
    report: &T,
    format: ReportFormat,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        ReportFormat::Text => write!(out, "{report}"),
        ReportFormat::Json => {
            serde_json::to_writer_pretty(&mut *out, report).map_err(io::Error::from)?;
            writeln!(out)
        }
    }
}
