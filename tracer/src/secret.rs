//! Files with secrets in them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The text of a file that nobody but its owner may read. More than `most` bytes are not read: what is longer comes
/// with one byte more.
///
/// # Errors
///
/// It can't be read, or others may.
pub(crate) fn read_secret(path: &Path, most: usize) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    // Of the file that was opened, whatever lies at the path by now.
    let mode = file.metadata()?.mode();
    if mode & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "others may read it (mode {:o}): chmod 600 it, and change the secret",
            mode & 0o777
        )));
    }
    file.take(most as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}
