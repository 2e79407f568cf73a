//! The lines of the table that take more than arguments: another user, a kernel that refuses, a
//! program of another architecture.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Result, anyhow};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use tests::binaries;
use tests::process::{self, Child};

use super::Place;

/// `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// The smallest i386 program that waits: header, one segment, and a loop around pause(2).
pub(super) fn elf32() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    // mov eax, 29 (pause); int 0x80; jmp to the start
    const CODE: [u8; 9] = [0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7];
    let size = HEADERS + 9;
    let half = |file: &mut Vec<u8>, values: &[u16]| {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    let word = |file: &mut Vec<u8>, values: &[u32]| {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    half(&mut file, &[2, 3]); // executable, i386
    word(&mut file, &[1, BASE + HEADERS, 52, 0, 0]); // version, entry, segments, sections, flags
    half(&mut file, &[52, 32, 1, 40, 0, 0]); // sizes and counts of the headers
    word(&mut file, &[1, 0, BASE, BASE, size, size, 5, 4096]); // loaded, readable, executable
    file.extend(CODE);
    file
}

/// Runs the tracer as a user who may do nothing, from a folder that user can reach.
fn as_nobody(place: &mut Place, pid: u32) -> Result<Command> {
    place.expect(&["CAP_"]);
    let folder = place.folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    let binary = folder.join("tracer");
    process::write_program(&binary, &fs::read(binaries::tracer()?)?)?;
    let writable = folder.join("writable");
    fs::create_dir(&writable)?;
    chown(&writable, Some(NOBODY), Some(NOBODY))?;
    let mut command = Command::new(binary);
    command
        .args(["attach", "--duration=1s", "--pid", &pid.to_string(), "-o"])
        .arg(writable.join("heap.pb.gz"))
        .current_dir("/")
        .gid(NOBODY)
        .uid(NOBODY);
    Ok(command)
}

pub(super) fn no_privilege(place: &mut Place) -> Result<Command> {
    let pid = place.target.pid();
    as_nobody(place, pid)
}

pub(super) fn no_privilege_over_own_process(place: &mut Place) -> Result<Command> {
    let mut sleep = Command::new("sleep");
    let child = Child::spawn(sleep.arg("1000").current_dir("/").gid(NOBODY).uid(NOBODY))?;
    let pid = child.pid();
    place.others.push(child);
    as_nobody(place, pid)
}

/// As in a container, or on a kernel, where bpf(2) answers with `errno`.
pub(super) fn without_bpf(place: &mut Place, errno: u32) -> Result<Command> {
    place.expect(&["bpf"]);
    let rules = [(BPF_SYSCALL, vec![])].into_iter().collect();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        std::env::consts::ARCH
            .try_into()
            .map_err(|error| anyhow!("{error}"))?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    let mut command = place.attach()?;
    // SAFETY: the hook makes two system calls on memory prepared before the fork; it takes no
    // lock and does not allocate on success.
    unsafe {
        command.pre_exec(move || {
            seccompiler::apply_filter(&program).map_err(|_| std::io::ErrorKind::Other.into())
        });
    }
    Ok(command)
}

/// Number of bpf(2).
#[cfg(target_arch = "x86_64")]
const BPF_SYSCALL: i64 = 321;
#[cfg(target_arch = "aarch64")]
const BPF_SYSCALL: i64 = 280;
