//! Files on their way to being whole: written beside their place, then renamed. Whoever ends this
//! process before that removes them.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use tempfile::NamedTempFile;

use crate::printable::Shown as _;

/// Those that there are.
static ALL: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A file that is not whole yet; removed where it is dropped.
#[derive(Debug)]
pub(super) struct Partial {
    file: NamedTempFile,
    /// Under sudo it belongs to the user who called.
    given: bool,
    _entry: Entry,
}

/// Its place in [`ALL`].
#[derive(Debug)]
struct Entry(PathBuf);

impl Drop for Entry {
    fn drop(&mut self) {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|path| *path != self.0);
    }
}

/// Removes them all, and lets nobody begin another. For whoever ends this process next.
pub(super) fn remove_all() {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    for path in all.iter() {
        let _ = fs::remove_file(path);
    }
    std::mem::forget(all);
}

/// What becomes of a file that is at the place already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// The new one takes its place.
    Replace,
    /// It stays, and that is an error.
    Keep,
}

impl Partial {
    /// A file beside a place in this folder.
    pub(super) fn beside(folder: &Path) -> anyhow::Result<Self> {
        let mut name = tempfile::Builder::new();
        name.prefix(".tracer-").suffix(".partial");
        Self::create(|| name.tempfile_in(folder)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                anyhow::anyhow!(
                    "the directory {} does not exist: make it first",
                    folder.shown()
                )
            }
            _ => anyhow::Error::new(error).context(format!(
                "the directory {} cannot be written",
                folder.shown()
            )),
        })
    }

    fn create(create: impl FnOnce() -> io::Result<NamedTempFile>) -> io::Result<Self> {
        // Held, so that none comes to be while all are removed.
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let file = create()?;
        all.push(file.path().to_owned());
        drop(all);
        let entry = Entry(file.path().to_owned());
        Ok(Self {
            file,
            given: true,
            _entry: entry,
        })
    }

    /// Lets everybody read it, as befits a manual; it stays root's in a folder that is not the user's who
    /// called.
    pub(super) fn for_everybody(mut self, folder: &Path) -> io::Result<Self> {
        let file = self.file.as_file();
        file.set_permissions(Permissions::from_mode(0o644))?;
        let owner = fs::metadata(folder)?.uid();
        self.given = caller().is_some_and(|(uid, _)| uid == owner);
        Ok(self)
    }

    /// Writes what `write` makes and puts it at its place.
    pub(super) fn write(
        self,
        write: &Write<'_>,
        path: &Path,
        existing: Existing,
    ) -> anyhow::Result<()> {
        let file = self.file.as_file();
        let mut out = io::BufWriter::new(file);
        write(&mut out)
            .and_then(|()| out.flush())
            .and_then(|()| match existing {
                Existing::Replace => file.sync_all(),
                // Nothing else is lost if the machine goes down, and a recording under way can't wait.
                Existing::Keep => Ok(()),
            })
            .with_context(|| format!("writing {} failed", path.shown()))?;
        drop(out);
        if self.given {
            give_to_caller(file)
                .with_context(|| format!("giving {} to you failed", path.shown()))?;
        }
        let persisted = match existing {
            Existing::Replace => self.file.persist(path),
            Existing::Keep => self.file.persist_noclobber(path),
        };
        persisted
            .map_err(|error| error.error)
            .with_context(|| format!("replacing {} failed", path.shown()))?;
        Ok(())
    }
}

/// Makes the content of a file.
pub(super) type Write<'a> = dyn Fn(&mut dyn io::Write) -> io::Result<()> + 'a;

/// Writes into the folder for temporary files, for what cannot be written at its place. Returns where.
pub(super) fn write_elsewhere(write: &Write<'_>, path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let suffix = format!("-{name}");
    let mut elsewhere = tempfile::Builder::new();
    elsewhere.prefix("tracer-").suffix(&suffix);
    let Partial {
        mut file, _entry, ..
    } = Partial::create(|| elsewhere.tempfile())?;
    write(&mut file)?;
    file.as_file().sync_all()?;
    give_to_caller(file.as_file())?;
    let (_, path) = file.keep().map_err(|error| error.error)?;
    Ok(path)
}

/// The user and the group who called, under sudo.
pub(super) fn caller() -> Option<(u32, u32)> {
    let id = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let caller = (id("SUDO_UID")?, id("SUDO_GID")?);
    rustix::process::geteuid().is_root().then_some(caller)
}

/// Under sudo a file belongs to the user who called.
pub(super) fn give_to_caller(file: &File) -> io::Result<()> {
    match caller() {
        Some((uid, gid)) => std::os::unix::fs::fchown(file, Some(uid), Some(gid)),
        None => Ok(()),
    }
}
