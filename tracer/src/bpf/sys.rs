//! bpf(2) itself, for what aya has no call for.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_map_type, bpf_prog_info};

use super::run_time::Runs;

pub(super) const fn zeroed() -> bpf_attr {
    // SAFETY: a union of integers and of structures of them.
    unsafe { std::mem::zeroed() }
}

/// bpf(2).
///
/// # Safety
///
/// The part of `attributes` that belongs to `command` is set, and its pointers are valid during the
/// call for the lengths beside them.
unsafe fn call(command: bpf_cmd, attributes: &bpf_attr) -> io::Result<c_long> {
    // SAFETY: the kernel reads no more than the size given; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_ref(attributes),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// bpf(2) for the commands that make a descriptor.
///
/// # Safety
///
/// The part of `attributes` that belongs to `command` is set, and its pointers are valid during the
/// call for the lengths beside them.
pub(super) unsafe fn bpf(command: bpf_cmd, attributes: &bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let result = unsafe { call(command, attributes) }?;
    let fd = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for this call; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How long a program has run, of the times that the kernel counted.
pub(super) fn program_runs(program: &OwnedFd) -> io::Result<Runs> {
    // SAFETY: integers, and pointers that may be null.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attributes = zeroed();
    // SAFETY: all bytes are 0, which is a value of every part of the union.
    let part = unsafe { &mut attributes.info };
    part.bpf_fd = program.as_raw_fd().cast_unsigned();
    part.info = (&raw mut info) as u64;
    part.info_len = u32::try_from(size_of::<bpf_prog_info>()).map_err(io::Error::other)?;
    // SAFETY: `info` is as long as is said beside it, and names no other memory to be filled.
    unsafe { call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &attributes) }?;
    Ok(Runs {
        nanoseconds: info.run_time_ns,
        runs: info.run_cnt,
    })
}

/// A descriptor for type information that the kernel has.
pub(super) fn btf_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    // SAFETY: all bytes are 0, which is a value of every part of the union.
    unsafe { &mut attributes.__bindgen_anon_6 }
        .__bindgen_anon_1
        .btf_id = id;
    // SAFETY: the command reads the id only.
    unsafe { bpf(bpf_cmd::BPF_BTF_GET_FD_BY_ID, &attributes) }
}

/// A new array map.
pub(super) fn create_array(entries: u32, value_size: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    // SAFETY: all bytes are 0, which is a value of every part of the union.
    let part = unsafe { &mut attributes.__bindgen_anon_1 };
    part.map_type = bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
    part.key_size = size_of::<u32>() as u32;
    part.value_size = value_size;
    part.max_entries = entries;
    part.map_flags = flags;
    // SAFETY: the command reads the fields above, none of them a pointer.
    unsafe { bpf(bpf_cmd::BPF_MAP_CREATE, &attributes) }
}
