//! What a test needs, and what happens where that is missing.
//!
//! A test that needs root is reported as ignored where a user runs the tests without root. On CI
//! (`CI` is set), or as root, it runs and fails: a test must never pass by skipping.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use libtest_mimic::{Failed, Trial};

/// Held by heavy tests, so that no two of them share the processors.
static HEAVY: Mutex<()> = Mutex::new(());

/// Whether the tests run in a machine of `./x kernels`: slow, and without a compiler, so that the
/// workloads are there.
#[must_use]
pub fn emulated() -> bool {
    std::env::var_os("TRACER_EMULATED").is_some()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn on_ci() -> bool {
    std::env::var_os("CI").is_some()
}

/// A test that anybody can run.
#[must_use]
pub fn plain(name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || run(test))
}

/// A test that loads BPF programs.
#[must_use]
pub fn root(name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    let gated = move || {
        ensure!(is_root(), "needs root, and CI must have it");
        test()
    };
    Trial::test(name, move || run(gated)).with_ignored_flag(!is_root() && !on_ci())
}

/// A test that loads BPF programs and keeps the processors busy.
#[must_use]
pub fn heavy(name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    let alone = move || {
        let _guard = HEAVY.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(is_root(), "needs root, and CI must have it");
        test()
    };
    Trial::test(name, move || run(alone)).with_ignored_flag(!is_root() && !on_ci())
}

fn run(test: impl FnOnce() -> Result<()>) -> Result<(), Failed> {
    test().map_err(|error| {
        // The chain of causes; a backtrace would only show the harness.
        let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
        Failed::from(causes.join("\nbecause: "))
    })
}
