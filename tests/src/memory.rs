//! What a tracer leaves in the memory of its target: probes are breakpoints in the code.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};
use procfs::process::{MMPermissions, MMapPath, Process};

/// Counts the bytes of a process's code that differ from the files it was mapped from. A probe is
/// one such byte; a process nobody probes has none, since code is never relocated.
///
/// # Errors
/// The process is gone, or one of its files cannot be read.
pub fn changed_code_bytes(pid: u32) -> Result<usize> {
    let process = Process::new(i32::try_from(pid)?)?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut changed = 0;
    let mut compared = 0;
    for map in process.maps()? {
        let MMapPath::Path(path) = &map.pathname else {
            continue;
        };
        if !map.perms.contains(MMPermissions::EXECUTE) {
            continue;
        }
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let rest = file.metadata()?.len().saturating_sub(map.offset);
        let length = usize::try_from((map.address.1 - map.address.0).min(rest))?;
        let (mut code, mut written) = (vec![0; length], vec![0; length]);
        memory.read_exact_at(&mut code, map.address.0)?;
        file.read_exact_at(&mut written, map.offset)?;
        // Most often there is nothing to count.
        if code != written {
            changed += code.iter().zip(&written).filter(|(a, b)| a != b).count();
        }
        compared += length;
    }
    ensure!(compared > 0, "process {pid} has no code to compare");
    Ok(changed)
}

/// The C library's code as a process has it.
///
/// # Errors
/// The process is gone, or has none.
pub fn code_of_the_c_library(pid: u32) -> Result<Vec<u8>> {
    let maps = Process::new(i32::try_from(pid)?)?.maps()?;
    let code = maps.iter().find(|map| {
        let is_library = matches!(&map.pathname, MMapPath::Path(path)
            if path.file_name().is_some_and(|name| name == "libc.so.6"));
        // Not one that the program has made.
        is_library
            && map.perms.contains(MMPermissions::EXECUTE)
            && map.address.1 - map.address.0 > 1 << 20
    });
    let (start, end) = code.context("no C library")?.address;
    let mut bytes = vec![0; usize::try_from(end - start)?];
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}
