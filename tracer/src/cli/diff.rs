//! `tracer diff`

use std::panic;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, bail, ensure};

use super::args::{DiffArgs, DiffFormat, ReportFormat};
use super::exit::Exit;
use super::output::Output;
use super::read::{check_has, read};
use super::report::{filtered, write_report};
use super::say::say;
use super::sites::DiffByArg;
use crate::export::{Contents, Format, flame, folded, pprof};
use crate::printable::Shown as _;
use crate::profile::{self, Filter, Profile, ValueKind};
use crate::report::{CompareOptions, Side, compare, inconclusive};

/// Reads two profiles and shows or writes what changed.
pub(super) fn diff(args: &DiffArgs) -> anyhow::Result<Exit> {
    let standard_input = Path::new("-");
    if args.before == standard_input && args.after == standard_input {
        bail!("only one of the two profiles can come from standard input: name a file");
    }
    let (before, after) = read_both(&args.before, &args.after)?;
    let by = args.value.into();
    check_kinds(args, &before, &after, by)?;
    let (before, after) = (before.profile, after.profile);
    let output = Output::prepare(&args.output.path, file_format(args.format), by)?;
    let written = match args.format {
        DiffFormat::Text => show(args, &before, &after, ReportFormat::Text, output)?,
        DiffFormat::Json => show(args, &before, &after, ReportFormat::Json, output)?,
        DiffFormat::Pprof | DiffFormat::Folded | DiffFormat::Svg => {
            if let Some(warning) = inconclusive(&before.verdict, &after.verdict) {
                say(format_args!("warning: {warning}"));
            }
            let filter = Filter::from(&args.filter);
            let parts = (filtered(&before, &filter), filtered(&after, &filter));
            let diff = profile::diff(&parts.0, &parts.1).with_context(|| incomparable(args))?;
            match args.format {
                DiffFormat::Folded => output.write_with(&|out| folded::write_diff(&diff, by, out)),
                DiffFormat::Svg => {
                    let style = args.sites.style(args.names.into(), args.full);
                    output.write_with(&|out| flame::write_diff(&diff, by, &style, out))
                }
                _ => {
                    let delta = diff.into_delta();
                    output.write_with(&|mut out| pprof::write(&delta, &mut out))
                }
            }?
        }
    };
    written.say();
    let verdict = before.verdict.worse_of(after.verdict);
    Ok(Exit::for_verdict(&verdict))
}

/// Reads two files at the same time. What is wrong with the first comes first.
fn read_both(before: &Path, after: &Path) -> anyhow::Result<(Contents, Contents)> {
    thread::scope(|scope| {
        let after = scope.spawn(|| read(after));
        let before = read(before);
        match after.join() {
            Ok(after) => Ok((before?, after?)),
            Err(panicked) => panic::resume_unwind(panicked),
        }
    })
}

fn show(
    args: &DiffArgs,
    before: &Profile,
    after: &Profile,
    format: ReportFormat,
    output: Output,
) -> anyhow::Result<super::output::Written> {
    let name = |path: &Path| path.shown().to_string();
    let max_width = args.output.width();
    let options = CompareOptions {
        by: args.value.into(),
        limit: (args.limit > 0).then_some(args.limit),
        filter: Filter::from(&args.filter),
        names: args.names.into(),
        rules: args.sites.rules(),
        by_function: args.by == DiffByArg::Function,
        max_width,
    };
    let side = |file, profile| Side { file, profile };
    let report = compare(
        side(&name(&args.before), before),
        side(&name(&args.after), after),
        &options,
    )
    .with_context(|| incomparable(args))?;
    output.write_with(&|out| write_report(&report, format, max_width, out))
}

/// A value that one of the files lacks is not 0, but unknown.
fn check_kinds(
    args: &DiffArgs,
    before: &Contents,
    after: &Contents,
    by: ValueKind,
) -> anyhow::Result<()> {
    let names = |kinds: &[ValueKind]| {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        names.join(", ")
    };
    check_has(&args.before, &before.profile, by)?;
    check_has(&args.after, &after.profile, by)?;
    // The peak, where only one of them has kept it, is left out.
    let others = |contents: &Contents| -> Vec<ValueKind> {
        let kinds = contents.kinds.iter().copied();
        kinds.filter(|kind| !kind.is_peak()).collect()
    };
    ensure!(
        others(before) == others(after),
        "{}: A has {}, B has {}: compare profiles of the same kind",
        incomparable(args),
        names(&before.kinds),
        names(&after.kinds)
    );
    ensure!(
        before.kinds.contains(&by),
        "the profiles have no {}, only {}: name one of them with --value",
        by.name(),
        names(&before.kinds)
    );
    Ok(())
}

fn incomparable(args: &DiffArgs) -> String {
    let (before, after) = (args.before.shown(), args.after.shown());
    format!("{before} and {after} cannot be compared")
}

/// What a difference is like on a terminal.
const fn file_format(format: DiffFormat) -> Format {
    match format {
        DiffFormat::Text => Format::Text,
        DiffFormat::Json => Format::Json,
        DiffFormat::Pprof => Format::Pprof,
        DiffFormat::Folded => Format::Folded,
        DiffFormat::Svg => Format::Svg,
    }
}
