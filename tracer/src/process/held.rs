//! Files that are kept so that they can be opened again, also when they have no name any more and the process
//! that mapped them is gone.
//!
//! A process may map thousands of files, and a descriptor for each would soon be too many (`ulimit -n`; 1,024 as a
//! rule, and no more in many containers). So a file is kept by a mapping of one page that nobody may touch, from which
//! /proc/self/map_files opens it. docs/design/0025-limits.md has what else was looked at.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::mm::{MapFlags, ProtFlags};

use super::file_id::FileId;
use super::limits::describe_descriptors;

/// What tells files apart: device, inode, size and time of the last change.
pub type FileKey = (u64, u64, u64, i64, i64);

/// Why a mapped file can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// `RLIMIT_NOFILE`, or the whole system's limit.
    #[error("tracer ran out of file descriptors: {0}")]
    NoDescriptor(String),
    /// Nobody knows its root any more.
    #[error("the process ended before its files could be opened")]
    Ended,
    /// Something else is where it was.
    #[error("{0} than what was mapped")]
    Replaced(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for NotOpened {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE) => Self::NoDescriptor(describe_descriptors()),
            Some(libc::ENFILE) => {
                Self::NoDescriptor("the whole system has no more (sysctl fs.file-max)".to_owned())
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

/// A file that can be opened as often as is needed.
#[derive(Debug)]
pub(super) struct HeldFile(Kept);

#[derive(Debug)]
enum Kept {
    /// The address of a page of it.
    Page(usize),
    /// Where that is not permitted: /proc/self/map_files needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
    Descriptor(File),
}

impl HeldFile {
    /// Keeps a file.
    pub(super) fn new(file: File) -> Self {
        match Self::by_page(&file) {
            Some(held) if held.open().is_ok() => held,
            _ => Self(Kept::Descriptor(file)),
        }
    }

    fn by_page(file: &File) -> Option<Self> {
        let page = rustix::param::page_size();
        // SAFETY: a new mapping at an address of the kernel's choice, which nobody can read or write.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                page,
                ProtFlags::empty(),
                MapFlags::PRIVATE,
                file,
                0,
            )
        };
        Some(Self(Kept::Page(address.ok()?.addr())))
    }

    /// Opens it, with a position of its own where it is kept by a page.
    pub(super) fn open(&self) -> io::Result<File> {
        match &self.0 {
            Kept::Page(start) => {
                let end = start + rustix::param::page_size();
                File::open(format!("/proc/self/map_files/{start:x}-{end:x}"))
            }
            Kept::Descriptor(file) => file.try_clone(),
        }
    }

    /// Where it is mapped, if it is.
    pub(super) const fn mapped_at(&self) -> Option<u64> {
        match self.0 {
            Kept::Page(start) => Some(start as u64),
            Kept::Descriptor(_) => None,
        }
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        if let Kept::Page(start) = self.0 {
            let page = std::ptr::with_exposed_provenance_mut(start);
            // SAFETY: mapped by `by_page` with this length; nobody has a reference into it.
            let _ = unsafe { rustix::mm::munmap(page, rustix::param::page_size()) };
        }
    }
}

/// A mapped file.
#[derive(Debug)]
pub struct MappedFile {
    /// Path as the target sees it.
    pub path: PathBuf,
    /// Which file it is; `None` where that is not known.
    pub key: Option<FileKey>,
    held: Result<Arc<HeldFile>, NotOpened>,
}

impl MappedFile {
    /// Keeps a file that was opened, or the reason why it was not. A file that is kept already is kept once.
    #[must_use]
    pub fn new(path: PathBuf, file: Result<File, NotOpened>) -> Self {
        Self::checked(path, file, |_, _| Ok(()))
    }

    /// The same; a file that is not the one that was mapped is not kept.
    pub(super) fn of_mapping(
        path: PathBuf,
        file: Result<File, NotOpened>,
        id: FileId,
        mapped_ns: Option<u64>,
    ) -> Self {
        Self::checked(path, file, |file, held| {
            id.check(file, held, mapped_ns).map_err(NotOpened::Replaced)
        })
    }

    fn checked(
        path: PathBuf,
        file: Result<File, NotOpened>,
        check: impl FnOnce(&File, &HeldFile) -> Result<(), NotOpened>,
    ) -> Self {
        let kept = file.and_then(|file| {
            let key = Self::key_of(&file)?;
            let held = hold(key, &file)?;
            check(&file, &held)?;
            Ok((key, held))
        });
        let key = kept.as_ref().ok().map(|&(key, _)| key);
        Self {
            path,
            key,
            held: kept.map(|(_, held)| held),
        }
    }

    /// Opens it: for as long as it is read, not longer.
    ///
    /// # Errors
    ///
    /// It could not be opened when it was mapped, or there is no descriptor now.
    pub fn open(&self) -> Result<File, NotOpened> {
        let held = self.held.as_ref().map_err(Clone::clone)?;
        Ok(held.open()?)
    }

    /// Which file an open one is.
    ///
    /// # Errors
    ///
    /// Its metadata can't be read.
    pub fn key_of(file: &File) -> io::Result<FileKey> {
        let metadata = file.metadata()?;
        Ok((
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        ))
    }

    /// Why it was not opened when it was mapped.
    #[must_use]
    pub fn not_opened(&self) -> Option<&NotOpened> {
        self.held.as_ref().err()
    }
}

/// The files that are kept.
static KEPT: Mutex<Option<HashMap<FileKey, Weak<HeldFile>>>> = Mutex::new(None);

/// Keeps a file, once however often it is mapped.
fn hold(key: FileKey, file: &File) -> io::Result<Arc<HeldFile>> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = kept.get_or_insert_default();
    if let Some(held) = kept.get(&key).and_then(Weak::upgrade) {
        return Ok(held);
    }
    if kept.len() == kept.capacity() {
        kept.retain(|_, held| held.strong_count() > 0);
    }
    let held = Arc::new(HeldFile::new(file.try_clone()?));
    kept.insert(key, Arc::downgrade(&held));
    Ok(held)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_file_is_kept_without_a_name_and_without_a_descriptor()
    -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("lib");
        fs::write(&path, "contents")?;
        let one = MappedFile::new(path.clone(), Ok(File::open(&path)?));
        let two = MappedFile::new(path.clone(), Ok(File::open(&path)?));
        let (Ok(a), Ok(b)) = (&one.held, &two.held) else {
            return Err("not kept".into());
        };
        assert!(Arc::ptr_eq(a, b));
        fs::remove_file(&path)?;
        let mut text = String::new();
        two.open()?.read_to_string(&mut text)?;
        assert_eq!(text, "contents");
        // As root; where it is not permitted, a descriptor takes its place.
        assert!(a.mapped_at().is_some() || !rustix::process::geteuid().is_root());
        Ok(())
    }

    #[test]
    fn running_out_of_descriptors_is_said_as_such() {
        let error = NotOpened::from(io::Error::from_raw_os_error(libc::EMFILE));
        let text = error.to_string();
        assert!(matches!(error, NotOpened::NoDescriptor(_)));
        for part in [
            "ran out of file descriptors",
            "files are open, limit",
            "raise ulimit -n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let file = MappedFile::new(PathBuf::from("/x"), Err(error));
        assert!(file.not_opened().is_some() && file.open().is_err());
    }
}
