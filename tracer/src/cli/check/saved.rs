//! Saved profiles as a recording.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::super::series::{in_order_of_time, profiles_in};
use crate::check::{Recorded, SavedSeries};

/// Reads the profiles, or those of a folder, as a series.
pub(super) fn saved(paths: &[PathBuf]) -> anyhow::Result<Recorded> {
    let paths = match paths {
        [directory] if directory.is_dir() => {
            let found = profiles_in(directory)?;
            let directory = directory.display();
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
        pushed.with_context(|| format!("{} does not go on with the series", path.display()))
    })?;
    series
        .finish()
        .context("there is no profile among the files")
}
