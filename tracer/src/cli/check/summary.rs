//! The job summary of GitHub's runner: a file of the runner's to which every step appends.
//!
//! Who may write into its folder can put anything at its place, and under sudo the tracer may do more
//! than they: so it is opened with the rights of the user who called, no link is followed, and nothing
//! but a file of one name is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::super::partial::caller;
use crate::printable::Shown as _;

/// The summary, open.
pub(super) struct Summary {
    path: PathBuf,
    file: File,
}

impl Summary {
    /// Opens it, before anything is done to the target.
    pub(super) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let shown = path.shown().to_string();
        let file = match with_rights_of_caller(|| open(&path)) {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                bail!("the summary {shown} is a symbolic link: name the file itself")
            }
            Err(error) => {
                return Err(error).with_context(|| format!("the summary {shown} cannot be opened"));
            }
        };
        let metadata = file.metadata();
        let metadata = metadata.with_context(|| format!("{shown} cannot be looked at"))?;
        if !metadata.is_file() {
            bail!("the summary {shown} is not a file: a summary is appended to one");
        }
        if metadata.nlink() > 1 {
            bail!("the summary {shown} has another name, too, and may be somebody else's file");
        }
        Ok(Self { path, file })
    }

    /// Appends to it, all at once.
    pub(super) fn append(mut self, text: &[u8]) -> anyhow::Result<()> {
        let written = self.file.write_all(text);
        written.with_context(|| format!("writing the summary {} failed", self.path.shown()))
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        // A pipe that nobody reads is refused, not waited for.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// Under sudo, opens files as the user who called would: what that user must not touch is refused by
/// the kernel, also behind a link on the way, and a new file is that user's.
fn with_rights_of_caller<T>(open: impl FnOnce() -> T) -> T {
    /// Goes back when it is dropped.
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            // SAFETY: see below. Root may always go back.
            unsafe {
                libc::setfsuid(rustix::process::geteuid().as_raw());
                libc::setfsgid(rustix::process::getegid().as_raw());
            }
        }
    }
    let Some((uid, gid)) = caller() else {
        return open();
    };
    let _back = Back;
    // SAFETY: system calls that change how this thread alone is seen by file systems. The group first:
    // with the user goes the right to change it.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
    open()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn append(path: &Path) -> anyhow::Result<()> {
        Summary::open(path.to_owned())?.append(b"two\n")
    }

    #[test]
    fn it_is_appended_to_and_private_where_it_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary");
        append(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        append(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\ntwo\n");
    }

    #[test]
    fn only_a_file_of_one_name_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name| folder.path().join(name);
        let victim = place("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, place("link")).unwrap();
        symlink(place("none"), place("dangling")).unwrap();
        fs::hard_link(&victim, place("other-name")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place("pipe"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        fs::create_dir(place("folder")).unwrap();
        for (name, word) in [
            ("link", "symbolic link"),
            ("dangling", "symbolic link"),
            ("other-name", "another name"),
            ("pipe", "cannot be opened"),
            ("folder", "cannot be opened"),
        ] {
            let message = format!("{:#}", append(&place(name)).unwrap_err());
            assert!(message.contains(word), "{name}: {message}");
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(!place("none").exists());
    }
}
