//! Opening the target's files as the target sees them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::shown_as;

/// The target's root directory, held open: it keeps the target's view of the file system, its
/// mount namespace included, even after the target has ended.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    pid: u32,
}

impl Root {
    /// Opens the root of a process.
    ///
    /// # Errors
    ///
    /// The process is gone or may not be looked at.
    pub fn of(pid: u32) -> io::Result<Self> {
        let directory = rustix::fs::open(
            format!("/proc/{}/root", shown_as(pid)),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self { directory, pid })
    }

    /// The same root, held by another descriptor.
    ///
    /// # Errors
    ///
    /// No descriptor is free.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            directory: self.directory.try_clone()?,
            pid: self.pid,
        })
    }

    /// Opens a file by the path the target knows it by. Symbolic links are followed inside the
    /// target's root, never out of it.
    ///
    /// # Errors
    ///
    /// The file is missing, unreadable, or no regular file.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let fd = rustix::fs::openat2(
            &self.directory,
            path,
            // NONBLOCK: a FIFO put where a library was must not hang the tracer.
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
            ResolveFlags::IN_ROOT,
        )?;
        let file = File::from(fd);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok(file)
    }

    /// Opens a mapping's own file, deleted or not, while the process lives.
    ///
    /// # Errors
    ///
    /// The mapping or the process is gone.
    pub fn open_mapping(&self, start: u64, end: u64) -> io::Result<File> {
        let open = |pid: u32| File::open(format!("/proc/{pid}/map_files/{start:x}-{end:x}"));
        open(self.pid).or_else(|error| match shown_as(self.pid) {
            pid if pid == self.pid => Err(error),
            thread => open(thread),
        })
    }

    /// The root directory itself, for those who look for debug files below it.
    ///
    /// # Errors
    ///
    /// No descriptor is free.
    pub fn directory(&self) -> io::Result<OwnedFd> {
        self.directory.try_clone()
    }
}
