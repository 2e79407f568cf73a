//! The descriptors that wake a session.

use std::os::fd::OwnedFd;

use rustix::event::epoll;
use tokio::io::unix::AsyncFd;

use super::SessionError;
use crate::bpf::Kernel;
use crate::process::{Identity, ProcessError, Sideband};

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
    for fd in sideband.fds().chain([kernel.event_fd()]) {
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

fn register(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, SessionError> {
    // SAFETY: the descriptor is owned by the result, which is never taken apart: it stays open for
    // as long as it is registered.
    let registered = unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) };
    registered.map_err(|error| SessionError::Wait(error.into()))
}
