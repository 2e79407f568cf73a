//! Profiles from files and standard input.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::export::{self, Contents, MAX_INFLATED};
use crate::printable::Shown as _;
use crate::profile::{Profile, ValueKind};

/// Reads a profile; `-` is standard input.
pub(super) fn read(path: &Path) -> anyhow::Result<Contents> {
    // One byte more than is taken, so that a longer file is recognised as such.
    let most = MAX_INFLATED as u64 + 1;
    ensure!(
        !path.is_dir(),
        "{0} is a folder: `tracer series {0}` shows the profiles in a folder; or name one of them",
        path.shown()
    );
    let open = || {
        let mut bytes = Vec::new();
        if path == Path::new("-") {
            io::stdin().lock().take(most).read_to_end(&mut bytes)?;
        } else {
            File::open(path)?.take(most).read_to_end(&mut bytes)?;
        }
        io::Result::Ok(bytes)
    };
    let bytes = open().with_context(|| format!("{} could not be read", path.shown()))?;
    export::read_contents(&bytes)
        .with_context(|| format!("{} is not a profile tracer can show", path.shown()))
}

/// A value that a profile lacks is not 0, but unknown.
pub(super) fn check_has(path: &Path, profile: &Profile, by: ValueKind) -> anyhow::Result<()> {
    ensure!(
        profile.has(by),
        "{} has no {}: its peak was not kept, which takes a recording by this version of tracer",
        path.shown(),
        by.name()
    );
    Ok(())
}
