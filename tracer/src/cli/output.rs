//! Where a profile or a report goes: checked before the recording begins, written whole or not at all.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;

use crate::export::{self, Format};
use crate::profile::{Profile, ValueKind};

/// A place for a profile.
#[derive(Debug)]
pub(super) struct Output {
    destination: Destination,
    format: Format,
    value: ValueKind,
}

#[derive(Debug)]
enum Destination {
    Stdout,
    /// A device or a pipe: written into, never replaced.
    Stream(PathBuf),
    /// Written beside `path` and renamed, so that an existing file stays whole until the new one
    /// is. A symbolic link is replaced, not followed: others may have put it there.
    File {
        path: PathBuf,
        partial: NamedTempFile,
    },
}

impl Output {
    /// Checks the place and reserves it, before anything is done to the target.
    pub(super) fn prepare(path: &Path, format: Format, value: ValueKind) -> anyhow::Result<Self> {
        Ok(Self {
            destination: destination(path, format)?,
            format,
            value,
        })
    }

    /// Writes the profile.
    pub(super) fn write(self, profile: &Profile) -> anyhow::Result<Written> {
        let (format, value) = (self.format, self.value);
        self.write_with(&|mut out| export::write(profile, format, value, &mut out))
    }

    /// Writes what `write` makes; it is called again where the first place turns out to be full.
    pub(super) fn write_with(self, write: &Write) -> anyhow::Result<Written> {
        match self.destination {
            Destination::Stdout => {
                let mut out = io::stdout().lock();
                write(&mut out)?;
                out.flush()?;
                Ok(Written("standard output".to_owned()))
            }
            Destination::Stream(path) => {
                let write = || write(&mut File::options().write(true).open(&path)?);
                write().with_context(|| format!("writing {} failed", path.display()))?;
                Ok(Written(path.display().to_string()))
            }
            Destination::File { path, partial } => {
                let written = write_file(write, partial, &path, Existing::Replace);
                written.map_err(|error| rescue(write, &path, error))
            }
        }
    }
}

/// Makes the content of a file.
pub(super) type Write<'a> = dyn Fn(&mut dyn io::Write) -> io::Result<()> + 'a;

/// Where a profile went, for the message.
#[derive(Debug)]
pub(super) struct Written(pub(super) String);

fn destination(path: &Path, format: Format) -> anyhow::Result<Destination> {
    if path == Path::new("-") {
        if format == Format::Pprof && io::stdout().is_terminal() {
            bail!(
                "a pprof file is binary and standard output is a terminal: name a file with -o, or redirect"
            );
        }
        return Ok(Destination::Stdout);
    }
    if let Ok(metadata) = fs::metadata(path) {
        let kind = metadata.file_type();
        if kind.is_dir() {
            bail!("{} is a directory: name a file in it", path.display());
        }
        if kind.is_char_device() || kind.is_fifo() || kind.is_socket() || kind.is_block_device() {
            if kind.is_block_device() {
                bail!("{} is a disk: name a file", path.display());
            }
            return Ok(Destination::Stream(path.to_owned()));
        }
    }
    if path.file_name().is_none() {
        bail!("{} names no file", path.display());
    }
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    Ok(Destination::File {
        path: path.to_owned(),
        partial: partial_file(folder)?,
    })
}

/// A file that is to become whole beside its place.
pub(super) fn partial_file(folder: &Path) -> anyhow::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".tracer-")
        .suffix(".partial")
        .tempfile_in(folder)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                anyhow::anyhow!(
                    "the directory {} does not exist: make it first",
                    folder.display()
                )
            }
            _ => anyhow::Error::new(error).context(format!(
                "the directory {} cannot be written",
                folder.display()
            )),
        })
}

/// What becomes of a file that is at the place already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// The new one takes its place.
    Replace,
    /// It stays, and that is an error.
    Keep,
}

/// Writes what `write` makes and puts it at its place.
pub(super) fn write_file(
    write: &Write,
    partial: NamedTempFile,
    path: &Path,
    existing: Existing,
) -> anyhow::Result<Written> {
    let mut out = io::BufWriter::new(partial.as_file());
    write(&mut out)
        .and_then(|()| out.flush())
        .and_then(|()| match existing {
            Existing::Replace => partial.as_file().sync_all(),
            // Nothing else is lost if the machine goes down, and a recording under way can't wait.
            Existing::Keep => Ok(()),
        })
        .with_context(|| format!("writing {} failed", path.display()))?;
    drop(out);
    give_to_caller(partial.as_file())
        .with_context(|| format!("giving {} to you failed", path.display()))?;
    let persisted = match existing {
        Existing::Replace => partial.persist(path),
        Existing::Keep => partial.persist_noclobber(path),
    };
    persisted
        .map_err(|error| error.error)
        .with_context(|| format!("replacing {} failed", path.display()))?;
    Ok(Written(path.display().to_string()))
}

/// What was recorded is not thrown away because a disk is full: it is kept in the folder for
/// temporary files, if that has room.
fn rescue(write: &Write, path: &Path, error: anyhow::Error) -> anyhow::Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kept = tempfile::Builder::new()
        .prefix("tracer-")
        .suffix(&format!("-{name}"))
        .tempfile()
        .and_then(|mut file| {
            write(&mut file)?;
            file.as_file().sync_all()?;
            give_to_caller(file.as_file())?;
            let (_, path) = file.keep().map_err(|error| error.error)?;
            Ok(path)
        });
    match kept {
        Ok(kept) => error.context(format!(
            "{} was left as it was; what was to be in it is in {}",
            path.display(),
            kept.display()
        )),
        Err(_) => error.context(format!("{} was left as it was", path.display())),
    }
}

/// Under sudo a file belongs to the user who called.
pub(super) fn give_to_caller(file: &File) -> io::Result<()> {
    let id = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    match (id("SUDO_UID"), id("SUDO_GID")) {
        (Some(uid), Some(gid)) if rustix::process::geteuid().is_root() => {
            std::os::unix::fs::fchown(file, Some(uid), Some(gid))
        }
        _ => Ok(()),
    }
}

/// Columns of the terminal; `None` where standard output goes elsewhere.
pub(super) fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn write_to(path: &Path) -> anyhow::Result<Written> {
        Output::prepare(path, Format::Json, ValueKind::default())?.write(&Profile::default())
    }

    #[test]
    fn a_file_is_private_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heap.json");
        write_to(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_recording_that_fails_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heap.json");
        fs::write(&path, "old").unwrap();
        drop(Output::prepare(&path, Format::Json, ValueKind::default()).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_symbolic_link_is_replaced_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, link) = (
            folder.path().join("victim"),
            folder.path().join("heap.json"),
        );
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &link).unwrap();
        write_to(&link).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
    }

    #[test]
    fn a_device_is_written_not_replaced() {
        write_to(Path::new("/dev/null")).unwrap();
        assert!(
            fs::metadata("/dev/null")
                .unwrap()
                .file_type()
                .is_char_device()
        );
    }

    #[test]
    fn bad_places_are_refused_with_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/heap.json");
        for (path, word) in [
            (folder.path(), "is a directory"),
            (&missing, "does not exist"),
        ] {
            let message = format!("{:#}", write_to(path).unwrap_err());
            assert!(message.contains(word), "{message}");
            assert!(
                message.contains(&*folder.path().to_string_lossy()),
                "{message}"
            );
        }
    }
}
