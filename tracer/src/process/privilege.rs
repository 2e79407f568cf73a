//! What this process may do: capabilities, the pid namespace, the switches that turn eBPF off.

use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt as _;
use std::thread::{self, JoinHandle};

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities,
};

use super::status::Status;

/// A capability that tracing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// As in capabilities(7).
    pub name: &'static str,
    /// Bit in the effective set.
    bit: u32,
    /// What it is for.
    pub purpose: &'static str,
}

/// What tracing needs. CAP_SYS_ADMIN stands for the newer two, as the kernel has it.
const NEEDED: [Capability; 4] = [
    Capability {
        name: "CAP_BPF",
        bit: 39,
        purpose: "load eBPF programs",
    },
    Capability {
        name: "CAP_PERFMON",
        bit: 38,
        purpose: "attach probes and read kernel memory from eBPF",
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        bit: 19,
        purpose: "look at another user's process",
    },
    Capability {
        name: "CAP_SYS_ADMIN",
        bit: 21,
        purpose: "open the target's deleted files and use uprobe links",
    },
];

/// The capabilities that tracing needs and this process lacks.
///
/// # Errors
///
/// `/proc/self/status` could not be read.
pub fn missing_capabilities() -> io::Result<Vec<Capability>> {
    Ok(missing_from(Status::of("self")?.capabilities))
}

fn missing_from(effective: u64) -> Vec<Capability> {
    let has = |bit: u32| effective & (1 << bit) != 0;
    let admin = has(21);
    NEEDED
        .into_iter()
        .filter(|capability| {
            let implied = admin && matches!(capability.name, "CAP_BPF" | "CAP_PERFMON");
            !has(capability.bit) && !implied
        })
        .collect()
}

/// What a recording needs once it runs, and may need later: a new link for a window, the files of a new mapping, to run
/// before all others for some milliseconds.
const KEPT: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_NICE);

/// Gives up all capabilities of the calling thread, and of those that it starts from now on, but for what a recording
/// needs.
///
/// # Errors
///
/// The kernel refuses.
pub fn keep_recording_capabilities() -> io::Result<()> {
    let has = capabilities(None)?;
    let kept = has.permitted & KEPT;
    // Root's programs would get all of them again. Who may not set bounds is not root, and gets none.
    for capability in CapabilitySet::all().difference(KEPT).iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
    Ok(set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?)
}

/// Gives up all capabilities of the calling thread, and of those that it starts from now on.
///
/// # Errors
///
/// The kernel refuses.
fn give_up_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    Ok(set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?)
}

/// Starts a thread that has no capability, and neither has what it starts.
///
/// # Errors
///
/// There is no thread, or the kernel refuses.
pub fn spawn_unprivileged(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (tell, told) = std::sync::mpsc::channel();
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let given_up = give_up_capabilities();
            let is_safe = given_up.is_ok();
            if tell.send(given_up).is_ok() && is_safe {
                run();
            }
        })?;
    told.recv().map_err(io::Error::other).flatten()?;
    Ok(thread)
}

/// Gives up all capabilities of the calling thread, and of those that it starts from now on; none of the programs that
/// it starts gets any. Files are opened and made as this user and group would, where there is one: who calls by sudo
/// has them in folders that root without capabilities could not write.
///
/// # Errors
///
/// The kernel refuses: to change the user takes `CAP_SETUID`, and to change the group `CAP_SETGID`.
pub fn give_up_all_as(user: Option<(u32, u32)>) -> io::Result<()> {
    if let Some((user, group)) = user {
        // SAFETY: these take numbers. They change the calling thread alone, and return what was there before.
        let (_, _, now_group, now_user) = unsafe {
            (
                libc::setfsgid(group),
                libc::setfsuid(user),
                libc::setfsgid(u32::MAX),
                libc::setfsuid(u32::MAX),
            )
        };
        let is_it = |now: libc::c_int, wanted: u32| u32::try_from(now) == Ok(wanted);
        if !is_it(now_group, group) || !is_it(now_user, user) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
    for capability in CapabilitySet::all().iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
    give_up_capabilities()
}

/// Why eBPF is switched off on this machine, if it is: bpf(2) itself is asked.
#[must_use]
pub fn bpf_disabled() -> Option<String> {
    // BPF_PROG_GET_NEXT_ID needs no more than the syscall and the privilege, and changes nothing.
    const BPF_PROG_GET_NEXT_ID: libc::c_long = 11;
    let mut attributes = [0u8; 64];
    // SAFETY: the attribute block is larger than this command reads or writes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_GET_NEXT_ID,
            attributes.as_mut_ptr(),
            attributes.len(),
        )
    };
    if result == 0 {
        return None;
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // There is no next program: the call works.
        Some(libc::ENOENT) => None,
        Some(libc::ENOSYS) => Some(
            "bpf(2) is not there: the kernel was built without CONFIG_BPF_SYSCALL, or a seccomp filter hides it"
                .to_owned(),
        ),
        Some(libc::EPERM) => Some(
            "bpf(2) is not permitted: kernel lockdown, a seccomp filter (containers have one) or a missing capability"
                .to_owned(),
        ),
        _ => Some(format!("bpf(2) fails: {error}")),
    }
}

/// (device, inode) of the pid namespace this process lives in; `None` in the initial one, whose
/// inode is fixed (`PROC_PID_INIT_INO` in `include/linux/proc_ns.h`).
///
/// # Errors
///
/// `/proc/self/ns/pid` could not be read.
pub fn pid_namespace() -> io::Result<Option<(u64, u64)>> {
    const PROC_PID_INIT_INO: u64 = 0xEFFF_FFFC;
    let metadata = fs::metadata("/proc/self/ns/pid")?;
    if metadata.st_ino() == PROC_PID_INIT_INO {
        return Ok(None);
    }
    Ok(Some((metadata.st_dev(), metadata.st_ino())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(effective: u64) -> Vec<&'static str> {
        missing_from(effective).iter().map(|c| c.name).collect()
    }

    #[test]
    fn sys_admin_stands_for_the_newer_capabilities() {
        assert_eq!(names((1 << 21) | (1 << 19)), Vec::<&str>::new());
        assert_eq!(names(1 << 21), ["CAP_SYS_PTRACE"]);
    }

    #[test]
    fn without_any_all_are_named() {
        assert_eq!(
            names(0),
            ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN"]
        );
    }
}
