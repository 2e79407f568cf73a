//! Where the target's files are: deleted, or in a mount namespace of the target's own.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tests::process;
use tests::tracing::Tracing;
use tests::workload::Workload;
use tests::{binaries, profile, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial::root("files::deleted", deleted),
        trial::root(
            "files::in_another_mount_namespace",
            in_another_mount_namespace,
        ),
    ]
}

/// Attaches to a workload and checks that everything is counted and named.
fn check(workload: Workload) -> Result<()> {
    let tracing = Tracing::attach(workload.pid())?;
    let (ledger, profile) = tracing.record(workload)?;
    profile::check_complete(&profile)?;
    ledger.check_parts(&profile)
}

/// The executable is gone from the file system; the process still has it.
fn deleted() -> Result<()> {
    let folder = TempDir::new()?;
    let program = folder.path().join("program");
    process::write_program(&program, &fs::read(binaries::workload("midlife")?)?)?;
    let workload = Workload::start_command(&mut Command::new(&program))?;
    fs::remove_file(&program)?;
    check(workload)
}

/// Executable and C library lie in a file system that only the target sees, the library at a path
/// where this namespace has nothing.
fn in_another_mount_namespace() -> Result<()> {
    let folder = TempDir::new()?;
    let library = mapped_c_library()?;
    let script = "mount -t tmpfs none \"$1\" && cp \"$2\" \"$1/program\" && \
                  cp \"$3\" \"$1/libc.so.6\" && LD_LIBRARY_PATH=$1 exec \"$1/program\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(binaries::workload("midlife")?)
        .arg(library);
    let workload = Workload::start_command(&mut command)?;
    let maps = fs::read_to_string(format!("/proc/{}/maps", workload.pid()))?;
    let hidden = folder.path().join("libc.so.6");
    ensure!(
        maps.contains(&*hidden.to_string_lossy()) && !hidden.exists(),
        "the library is not where this test wants it\n{maps}"
    );
    check(workload)
}

/// Path of the C library that this very process uses.
fn mapped_c_library() -> Result<String> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let line = maps.lines().find(|line| line.ends_with("/libc.so.6"));
    let path = line.and_then(|line| line.split_whitespace().next_back());
    Ok(path.context("no libc.so.6 is mapped")?.to_owned())
}
