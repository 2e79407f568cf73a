//! What wakes a session, and how soon.

use std::os::fd::OwnedFd;

use rustix::event::epoll;
use tokio::io::unix::AsyncFd;

use super::SessionError;
use crate::bpf::Kernel;
use crate::process::{Identity, ProcessError, Sideband};

/// The shortest slice that a thread can ask for, nanoseconds.
const SHORT_SLICE_NS: u64 = 100_000;

/// A descriptor that becomes readable when the process ends.
pub(super) fn pidfd(who: &Identity) -> Result<AsyncFd<OwnedFd>, SessionError> {
    let pid = i32::try_from(who.pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .ok_or(ProcessError::NoSuchProcess(who.pid))?;
    let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .map_err(|_| ProcessError::NoSuchProcess(who.pid))?;
    register(fd)
}

/// One descriptor that becomes readable when any of the streams has something.
pub(super) fn watch(
    kernel: &Kernel,
    sideband: &Sideband,
) -> Result<AsyncFd<OwnedFd>, SessionError> {
    let all = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(std::io::Error::from)?;
    for fd in sideband.fds().chain(kernel.event_fds()) {
        epoll::add(
            &all,
            fd,
            epoll::EventData::new_u64(0),
            epoll::EventFlags::IN,
        )
        .map_err(std::io::Error::from)?;
    }
    register(all)
}

/// Asks that the calling thread, when it wakes, need not wait for another's whole slice: a busy target's
/// stacks are copied until the news of a mapping has been read. No share of the CPU goes with it. Linux
/// has it since 6.12; where it is refused, nothing else changes.
pub(super) fn ask_for_short_slices() {
    // SAFETY: a structure of integers.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: the kernel writes `size` bytes at most, to a valid pointer; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    // For a policy with priorities the field means something else.
    if result != 0 || attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return;
    }
    attributes.sched_runtime = SHORT_SLICE_NS;
    // SAFETY: a valid pointer, which the kernel reads from; 0 is the calling thread.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

fn register(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, SessionError> {
    // SAFETY: the descriptor is owned by the result, which is never taken apart: it stays open for
    // as long as it is registered.
    let registered = unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) };
    registered.map_err(|error| SessionError::Wait(error.into()))
}
