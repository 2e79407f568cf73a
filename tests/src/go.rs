//! Go's pprof, the judge of what is written.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::process::{self, Ended};

/// Runs `go tool pprof`, however it ends.
///
/// # Errors
/// There is no Go.
pub fn pprof<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<Ended> {
    pprof_trusting(None, arguments)
}

/// The same; it knows the servers that have this certificate, and no other.
///
/// # Errors
/// There is no Go.
pub fn pprof_trusting<S: AsRef<OsStr>>(
    certificate: Option<&Path>,
    arguments: impl IntoIterator<Item = S>,
) -> Result<Ended> {
    // It keeps fetched profiles and settings in the home folder.
    let home = TempDir::new()?;
    let mut command = Command::new("go");
    command
        .args(["tool", "pprof"])
        .args(arguments)
        .env("HOME", home.path())
        .env("PPROF_TMPDIR", home.path())
        .envs(certificate.map(|path| ("SSL_CERT_FILE", path)));
    process::run(&mut command, b"").context("needs Go: apt-get install golang-go")
}
