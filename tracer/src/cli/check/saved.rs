//! Saved profiles as a recording, with the generations where tracer has kept them beside.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::super::read::read;
use super::super::series::{in_order_of_time, profiles_in};
use crate::check::{Recorded, SavedSeries};
use crate::export::series;
use crate::printable::Shown as _;
use crate::profile::series::StackId;

/// Reads the profiles, or those of a folder, as a series.
pub(super) fn saved(paths: &[PathBuf]) -> anyhow::Result<Recorded> {
    let paths = match paths {
        [directory] if directory.is_dir() => {
            if let Some(recorded) = with_generations(directory)? {
                return Ok(recorded);
            }
            let found = profiles_in(directory)?;
            let directory = directory.shown();
            ensure!(!found.is_empty(), "{directory} holds no profiles");
            found
        }
        paths => paths.to_vec(),
    };
    let standard_input = Path::new("-");
    ensure!(
        paths.len() == 1 || !paths.iter().any(|path| path == standard_input),
        "standard input can be the only profile, not one of several: name files"
    );
    let series = in_order_of_time(paths, SavedSeries::default, |series, path, contents| {
        let pushed = series.push(contents.profile, &contents.kinds);
        pushed.with_context(|| format!("{} does not go on with the series", path.shown()))
    })?;
    series
        .finish()
        .context("there is no profile among the files")
}

/// What `attach` and `run` write with `--every`: the last profile has everything at the end, the series
/// what came before, generations included. `None` where there is no such file.
pub(in crate::cli) fn with_generations(directory: &Path) -> anyhow::Result<Option<Recorded>> {
    let file = directory.join(series::FILE_NAME);
    if !file.exists() {
        return Ok(None);
    }
    let bytes = fs::read(&file).with_context(|| format!("{} could not be read", file.shown()))?;
    let series = series::read(&bytes)
        .with_context(|| format!("{} is not a series tracer can judge", file.shown()))?;
    // Numbered with at least four digits.
    let profiles = profiles_in(directory)?.into_iter();
    let last = profiles.max_by_key(|path| (path.as_os_str().len(), path.clone()));
    let last = last.with_context(|| format!("{} has no profiles beside it", file.shown()))?;
    let profile = read(&last)?.profile;
    let samples = profile.samples.len() as u64;
    ensure!(
        series.stacks().all(|(StackId(index), _)| index < samples),
        "{} has other stacks than {}: they are not of one recording",
        file.shown(),
        last.shown()
    );
    Ok(Some(Recorded::by_sample(series, profile)))
}
