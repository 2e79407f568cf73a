//! `tracer series`

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::args::{ReportFormat, SeriesArgs};
use super::exit::Exit;
use super::output::Output;
use super::read::{check_has, read};
use super::report::write_to;
use crate::export::{Contents, Format, ReadError};
use crate::printable::Shown as _;
use crate::profile::{Filter, Profile};
use crate::report::{SeriesBuilder, SeriesOptions};

/// Ends of the names of profiles.
const EXTENSIONS: [&str; 4] = [".pb.gz", ".pb", ".pprof", ".json"];

/// Reads the profiles of a folder and shows how they follow each other.
pub(super) fn series(args: &SeriesArgs) -> anyhow::Result<Exit> {
    let paths = profiles_in(&args.directory)?;
    let builder = in_order_of_time(
        paths,
        || new_builder(args),
        |builder, path, contents| {
            check_has(path, &contents.profile, args.value.into())?;
            push(builder, path, &contents.profile)
        },
    )?;
    if builder.len() < 2 {
        let (directory, found) = (args.directory.shown(), builder.len());
        bail!("{directory} holds {found} profile(s): a series takes two or more");
    }
    let inconclusive = builder.is_inconclusive();
    let format = match args.format {
        ReportFormat::Text => Format::Text,
        ReportFormat::Json => Format::Json,
    };
    let output = Output::prepare(&args.output.path, format, args.value.into())?;
    write_to(output, &builder.finish(), args.format, args.output.width())?;
    Ok(if inconclusive {
        Exit::Inconclusive
    } else {
        Exit::Done
    })
}

/// Reads profiles, mostly in the order of their names, and hands them over in that of their times,
/// one by one so as not to hold them all.
pub(super) fn in_order_of_time<B>(
    paths: Vec<PathBuf>,
    new: impl Fn() -> B,
    push: impl Fn(&mut B, &Path, Contents) -> anyhow::Result<()>,
) -> anyhow::Result<B> {
    let (mut builder, mut times, mut in_order) = (new(), Vec::new(), true);
    let mut kept = Vec::with_capacity(paths.len());
    for path in paths {
        let Some(contents) = read_profile(&path)? else {
            continue;
        };
        let time = contents.profile.metadata.time_nanos;
        in_order &= times.last().is_none_or(|&last| last <= time);
        times.push(time);
        if in_order {
            push(&mut builder, &path, contents)?;
        }
        kept.push(path);
    }
    if !in_order {
        // Names do not tell the order: read again.
        let mut by_time: Vec<_> = times.into_iter().zip(kept).collect();
        by_time.sort();
        builder = new();
        for (_, path) in &by_time {
            if let Some(contents) = read_profile(path)? {
                push(&mut builder, path, contents)?;
            }
        }
    }
    Ok(builder)
}

fn new_builder(args: &SeriesArgs) -> SeriesBuilder {
    SeriesBuilder::new(SeriesOptions {
        by: args.value.into(),
        limit: (args.limit > 0).then_some(args.limit),
        filter: Filter::from(&args.filter),
        names: args.names.into(),
        rules: args.sites.rules(),
        max_width: args.output.width(),
    })
}

fn push(builder: &mut SeriesBuilder, path: &Path, profile: &Profile) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    builder.push(&name, profile).with_context(|| {
        format!(
            "{} cannot be compared with the profiles before it",
            path.shown()
        )
    })
}

/// The files whose names are those of profiles, by name.
pub(super) fn profiles_in(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let list = || {
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let hidden = name.starts_with('.');
            if !hidden && EXTENSIONS.iter().any(|end| name.ends_with(end)) {
                paths.push(entry.path());
            }
        }
        paths.sort();
        std::io::Result::Ok(paths)
    };
    list().with_context(|| format!("{} could not be read", directory.shown()))
}

/// A profile; `None` for JSON of something else, which may well lie beside profiles.
fn read_profile(path: &Path) -> anyhow::Result<Option<Contents>> {
    match read(path) {
        Ok(contents) => Ok(Some(contents)),
        Err(error) => match error.downcast_ref::<ReadError>() {
            Some(ReadError::NotAProfile) if path.extension().is_some_and(|e| e == "json") => {
                Ok(None)
            }
            _ => Err(error),
        },
    }
}
