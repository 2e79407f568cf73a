//! A child that holds this process's descriptors while they are closed here, so that the last close of each is
//! made by a process that ends by itself.
//!
//! The kernel takes breakpoints out when the last descriptor of their link is closed. Where a thread does
//! that and SIGKILL comes meanwhile, it gives up half-way: the breakpoints stay in the target for good
//! (seen on Linux 6.18, "failed to unregister, leaking uprobe"). A process that has begun to exit is not
//! interrupted any more.

use std::io::{self, PipeWriter};
use std::os::fd::AsRawFd as _;

use rustix::process::{Pid, WaitOptions, waitpid};

use super::copies;

/// The child; dropping it lets it go, and waits until all is closed.
pub(super) struct Holder {
    child: Pid,
    /// Its end is what the child waits for, whatever becomes of this process.
    go: Option<PipeWriter>,
}

impl Holder {
    /// Forks it.
    pub(super) fn new() -> io::Result<Self> {
        // Two that are forked at one time would each hold what the other waits for.
        let _alone = copies::alone();
        let (wait, go) = io::pipe()?;
        // SAFETY: a set of signals is integers, and the calls get valid pointers.
        let (child, error) = unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            // Signals are this process's to answer.
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            let child = libc::fork();
            if child == 0 {
                // Only what is async-signal-safe: other threads may hold any lock.
                libc::close(go.as_raw_fd());
                let mut byte = 0_u8;
                while libc::read(wait.as_raw_fd(), (&raw mut byte).cast(), 1) < 0
                    && *libc::__errno_location() == libc::EINTR
                {}
                libc::_exit(0);
            }
            let error = io::Error::last_os_error();
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
            (child, error)
        };
        match Pid::from_raw(child) {
            Some(child) if child.as_raw_nonzero().get() > 0 => Ok(Self {
                child,
                go: Some(go),
            }),
            _ => Err(error),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.go.take());
        let wait = || waitpid(Some(self.child), WaitOptions::empty());
        while matches!(wait(), Err(rustix::io::Errno::INTR)) {}
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn two_at_one_time_do_not_wait_for_each_other() {
        for _ in 0..200 {
            thread::scope(|scope| {
                let holders: Vec<_> = (0..4)
                    .map(|_| scope.spawn(|| Holder::new().map(drop)))
                    .collect();
                for holder in holders {
                    assert!(holder.join().is_ok_and(|ended| ended.is_ok()));
                }
            });
        }
    }
}
