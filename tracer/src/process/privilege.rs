//! What this process may do: capabilities, the pid namespace, the switches that turn eBPF off.

use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt as _;
use std::thread::{self, JoinHandle};

use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::User;
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

impl Capability {
    const BPF: Self = Self::new("CAP_BPF", 39, "load eBPF programs");
    const PERFMON: Self = Self::new(
        "CAP_PERFMON",
        38,
        "attach probes and read kernel memory from eBPF",
    );
    const SYS_PTRACE: Self = Self::new("CAP_SYS_PTRACE", 19, "look at another user's process");
    const SYS_ADMIN: Self = Self::new(
        "CAP_SYS_ADMIN",
        21,
        "open the target's deleted files, and measure how long programs run",
    );
    const DAC_READ_SEARCH: Self = Self::new(
        "CAP_DAC_READ_SEARCH",
        2,
        "read the files of another user's process",
    );
    const SYS_NICE: Self = Self::new("CAP_SYS_NICE", 23, "end a window in time on a busy machine");

    const fn new(name: &'static str, bit: u32, purpose: &'static str) -> Self {
        Self { name, bit, purpose }
    }
}

/// What tracing needs. CAP_SYS_ADMIN stands for the newer two, as the kernel has it.
const NEEDED: [Capability; 4] = [
    Capability::BPF,
    Capability::PERFMON,
    Capability::SYS_PTRACE,
    Capability::SYS_ADMIN,
];

/// What a recording needs once it runs, and may need later: for a new link of a window, for the files of a new mapping.
pub const KEPT: [Capability; 6] = [
    Capability::BPF,
    Capability::PERFMON,
    Capability::SYS_PTRACE,
    Capability::SYS_ADMIN,
    Capability::DAC_READ_SEARCH,
    Capability::SYS_NICE,
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

/// Gives up all capabilities of the calling thread, and of those that it starts from now on, but for [`KEPT`]. Where
/// there is a user, it becomes that user for good.
///
/// # Errors
///
/// The kernel refuses: to become another user takes `CAP_SETUID` and `CAP_SETGID`.
pub fn keep_recording_capabilities(user: Option<User>) -> io::Result<()> {
    let bits = KEPT.iter().fold(0, |bits, one| bits | 1_u64 << one.bit);
    let kept = CapabilitySet::from_bits_truncate(bits);
    let kept = capabilities(None)?.permitted & kept;
    // Root's programs would get all of them again. Who may not set bounds is not root, and gets none.
    for capability in CapabilitySet::all().difference(kept).iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
    if let Some(user) = user {
        let (id, group) = (Uid::from_raw(user.id), Gid::from_raw(user.group));
        // They would go with the user.
        set_keep_capabilities(true)?;
        set_thread_groups(&[])?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(id, id, id)?;
        set_keep_capabilities(false)?;
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
