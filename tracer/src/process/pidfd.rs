//! A handle of one process. Unlike a pid it is never another's: a signal to a process that has ended
//! reaches nobody.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A handle of a process.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// A handle of a child that nobody has waited for yet: until then its pid is its own.
    ///
    /// # Errors
    ///
    /// There is no such child, or there are no descriptors left.
    pub fn of_child(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Another handle of the same process.
    ///
    /// # Errors
    ///
    /// There are no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Sends a signal. Where the process has ended, nothing happens.
    pub fn send(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.0, signal);
    }

    /// Waits until the process has ended, or the time is up. Returns whether it has ended.
    #[must_use]
    pub fn ends_within(&self, time: Duration) -> bool {
        let Ok(timeout) = Timespec::try_from(time) else {
            return false;
        };
        let mut handles = [PollFd::new(&self.0, PollFlags::IN)];
        // Signals are taken by a thread of their own and restart the call.
        poll(&mut handles, Some(&timeout)).is_ok_and(|ready| ready > 0)
    }
}
