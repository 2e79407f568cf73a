//! Where a series goes: a folder of its own, with a profile for each window and what they do not say.
//!
//! Nothing that is there is replaced.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::output::PIPED_WIDTH;
use super::partial::{Existing, Partial, Write, give_to_caller};
use crate::export::{self, Format};
use crate::printable::Shown as _;
use crate::profile::series::Series;
use crate::profile::{Profile, ValueKind};
use crate::report::Style;

/// A folder for a series.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    format: Format,
    value: ValueKind,
    style: Style,
    /// It was made for this recording.
    made: bool,
    /// Profiles written so far.
    profiles: u32,
}

impl Folder {
    /// Checks the place and makes the folder, before anything is done to the target.
    pub(super) fn prepare(path: &Path, format: Format, value: ValueKind) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            bail!("a series is many profiles: name a folder for them with -o");
        }
        let made = prepare_folder(path)?;
        Ok(Self {
            path: path.to_owned(),
            format,
            value,
            style: Style::default(),
            made,
            profiles: 0,
        })
    }

    /// Shows profiles in this way, where people read them.
    pub(super) fn with_style(mut self, style: Style) -> Self {
        self.style = Style {
            max_width: Some(PIPED_WIDTH),
            ..style
        };
        self
    }

    /// Writes the next profile.
    pub(super) fn write(&mut self, profile: &Profile) -> anyhow::Result<()> {
        let (format, value, style) = (self.format, self.value, self.style.clone());
        self.profiles += 1;
        let name = format!("{:04}.{}", self.profiles, format.extension());
        self.write_file(&name, &|mut out| {
            export::write(profile, format, value, &style, &mut out)
        })
    }

    /// Writes the last profile and the series. Returns what was written, for the message.
    pub(super) fn finish(mut self, profile: &Profile, series: &Series) -> anyhow::Result<String> {
        self.write(profile)?;
        self.write_file(export::series::FILE_NAME, &|mut out| {
            export::series::write(series, &mut out)
        })?;
        let count = self.profiles;
        Ok(format!(
            "{count} profiles and {} to {}",
            export::series::FILE_NAME,
            self.path.shown()
        ))
    }

    fn write_file(&self, name: &str, write: &Write<'_>) -> anyhow::Result<()> {
        let partial = Partial::beside(&self.path)?;
        partial.write(write, &self.path.join(name), Existing::Keep)
    }
}

impl Drop for Folder {
    /// Where nothing came of the recording, nothing is left.
    fn drop(&mut self) {
        if self.made && self.profiles == 0 {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Makes the folder; returns whether it was not there.
fn prepare_folder(path: &Path) -> anyhow::Result<bool> {
    let shown = path.shown();
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            File::open(path)
                .and_then(|folder| give_to_caller(&folder))
                .with_context(|| format!("giving {shown} to you failed"))?;
            return Ok(true);
        }
        Err(error) => match error.kind() {
            io::ErrorKind::AlreadyExists => {}
            io::ErrorKind::NotFound => {
                bail!("the folder {shown} cannot be made: the one it would be in does not exist")
            }
            _ => {
                return Err(error).with_context(|| format!("the folder {shown} cannot be made"));
            }
        },
    }
    // Not followed: others may have put a link there.
    let kind =
        fs::symlink_metadata(path).with_context(|| format!("{shown} cannot be looked at"))?;
    if kind.is_symlink() {
        bail!("{shown} is a symbolic link: name the folder itself");
    }
    if !kind.is_dir() {
        bail!("{shown} is a file, and a series takes a folder: name another place with -o");
    }
    let mut entries = fs::read_dir(path).with_context(|| format!("{shown} cannot be read"))?;
    if entries.next().is_some() {
        bail!("the folder {shown} is not empty: name a new one with -o");
    }
    drop(Partial::beside(path)?);
    Ok(false)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn prepare(path: &Path) -> anyhow::Result<Folder> {
        Folder::prepare(path, Format::Json, ValueKind::default())
    }

    #[test]
    fn a_folder_is_private_and_holds_whole_files() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("series");
        let mut folder = prepare(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        folder.write(&Profile::default()).unwrap();
        folder
            .finish(&Profile::default(), &Series::new(10))
            .unwrap();
        let mut names: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["0001.json", "0002.json", "series.json.gz"]);
    }

    #[test]
    fn a_recording_that_fails_leaves_no_folder_of_its_own() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("series");
        drop(prepare(&path).unwrap());
        assert!(!path.exists());
        fs::create_dir(&path).unwrap();
        drop(prepare(&path).unwrap());
        assert!(path.exists());
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let inside = |name: &str| parent.path().join(name);
        fs::write(inside("file"), "precious").unwrap();
        fs::create_dir(inside("full")).unwrap();
        fs::write(inside("full/0001.json"), "precious").unwrap();
        fs::create_dir(inside("empty")).unwrap();
        symlink(inside("empty"), inside("link")).unwrap();
        for (name, word) in [
            ("file", "is a file"),
            ("full", "is not empty"),
            ("link", "is a symbolic link"),
            ("missing/series", "does not exist"),
        ] {
            let message = format!("{:#}", prepare(&inside(name)).unwrap_err());
            assert!(message.contains(word), "{message}");
        }
        let mut folder = prepare(&inside("empty")).unwrap();
        fs::write(inside("empty/0001.json"), "precious").unwrap();
        let message = format!("{:#}", folder.write(&Profile::default()).unwrap_err());
        assert!(message.contains("0001.json"), "{message}");
        let kept = fs::read_to_string(inside("empty/0001.json")).unwrap();
        assert_eq!(kept, "precious");
    }
}
