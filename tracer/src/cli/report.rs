//! `tracer report`

use std::borrow::Cow;
use std::io::{self, Write};

use anyhow::{bail, ensure};
use serde::Serialize;

use super::args::{ReportArgs, ReportFormat, ViewFormat};
use super::exit::Exit;
use super::output::{Output, text_width};
use super::read::{check_has, read};
use super::sites::ByArg;
use crate::export::Format;
use crate::printable::JsonEscapes;
use crate::profile::{Filter, FrameRules, Profile, prune};
use crate::report::{
    GroupBy, PeekOptions, SitesOptions, Sort, TopOptions, TreeOptions, fitted, peek, sites, top,
    tree,
};

/// Reads a profile and shows it.
pub(super) fn report(args: &ReportArgs) -> anyhow::Result<Exit> {
    let profile = read(&args.file)?.profile;
    let by = args.value.into();
    check_has(&args.file, &profile, by)?;
    let filter = Filter::from(&args.filter);
    let (names, max_width) = (args.names.into(), args.output.width());
    let format = match args.format {
        ViewFormat::Text => ReportFormat::Text,
        ViewFormat::Json => ReportFormat::Json,
        ViewFormat::Folded => return whole_stacks(args, &profile, Format::Folded),
        ViewFormat::Svg => return whole_stacks(args, &profile, Format::Svg),
    };
    let file_format = match format {
        ReportFormat::Text => Format::Text,
        ReportFormat::Json => Format::Json,
    };
    let output = Output::prepare(&args.output.path, file_format, by)?;
    if let Some(pattern) = &args.peek {
        let report = peek(
            &profile,
            &PeekOptions {
                by,
                pattern: pattern.clone(),
                show_allocator: args.show_allocator,
                filter,
                names,
                max_width,
            },
        );
        if report.entries.is_empty() {
            bail!("no function matches `{pattern}`");
        }
        write_to(output, &report, format, max_width)?;
    } else if args.tree {
        let options = TreeOptions {
            by,
            show_allocator: args.show_allocator,
            filter,
            names,
            max_width,
            threshold_percent: match (args.full, args.least) {
                (true, _) => 0.0,
                (false, Some(least)) => least.get() * 100.0,
                (false, None) => TreeOptions::default().threshold_percent,
            },
            depth: args.depth,
            is_full: args.full,
            rules: args.sites.rules(),
        };
        write_to(output, &tree(&profile, &options), format, max_width)?;
    } else if let Some(group) = group_of(args)? {
        let options = SitesOptions {
            by,
            group,
            limit: (args.limit > 0).then_some(args.limit),
            filter,
            names,
            rules: args.sites.rules(),
            max_width,
        };
        write_to(output, &sites(&profile, &options), format, max_width)?;
    } else {
        let options = TopOptions {
            by,
            sort: if args.cum { Sort::Cum } else { Sort::Flat },
            limit: (args.limit > 0).then_some(args.limit),
            show_allocator: args.show_allocator,
            filter,
            names,
            max_width,
        };
        write_to(output, &top(&profile, &options), format, max_width)?;
    }
    Ok(Exit::for_verdict(&profile.verdict))
}

/// What the table has rows of; `None` for functions.
fn group_of(args: &ReportArgs) -> anyhow::Result<Option<GroupBy>> {
    let by = match args.by {
        // Whoever asks for a column of functions wants functions.
        ByArg::Site if args.cum => ByArg::Function,
        by => by,
    };
    ensure!(
        by == ByArg::Function || !args.cum,
        "--cum sorts functions: say --by function, or leave --cum out"
    );
    Ok(by.group())
}

/// Writes folded stacks or a flame graph, which are views of their own.
fn whole_stacks(args: &ReportArgs, profile: &Profile, format: Format) -> anyhow::Result<Exit> {
    ensure!(
        !args.tree && !args.cum && args.peek.is_none(),
        "--format {} shows every function and who calls it: leave --tree, --cum and --peek out",
        format.name()
    );
    let part = filtered(profile, &Filter::from(&args.filter));
    let output = Output::prepare(&args.output.path, format, args.value.into())?;
    let style = args.sites.style(args.names.into(), args.full);
    output.with_style(style).write(&part)?.say();
    Ok(Exit::for_verdict(&profile.verdict))
}

/// Filters choose from what people see, as in reports and in pprof; without one every frame stays.
pub(super) fn filtered<'a>(profile: &'a Profile, filter: &Filter) -> Cow<'a, Profile> {
    if filter.is_empty() {
        return Cow::Borrowed(profile);
    }
    let seen = prune(profile, FrameRules::allocators());
    Cow::Owned(filter.apply(&seen).0.into_owned())
}

/// Writes a report where it is to go, in the form asked for.
pub(super) fn write_to<T: Serialize + std::fmt::Display>(
    output: Output,
    report: &T,
    format: ReportFormat,
    max_width: Option<usize>,
) -> anyhow::Result<()> {
    output
        .write_with(&|out| write_report(report, format, max_width, out))?
        .say();
    Ok(())
}

/// Prints a report in the form asked for.
pub(super) fn show<T: Serialize + std::fmt::Display>(
    report: &T,
    format: ReportFormat,
) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    write_report(report, format, text_width(), &mut out)?;
    out.flush()?;
    Ok(())
}

/// Writes a report in the form asked for, as text no wider than so many columns.
pub(super) fn write_report<T: Serialize + std::fmt::Display>(
    report: &T,
    format: ReportFormat,
    max_width: Option<usize>,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        ReportFormat::Text => out.write_all(fitted(&report.to_string(), max_width).as_bytes()),
        ReportFormat::Json => {
            serde_json::to_writer_pretty(JsonEscapes(&mut *out), report)
                .map_err(io::Error::from)?;
            writeln!(out)
        }
    }
}
