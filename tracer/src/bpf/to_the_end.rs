//! Work that is done to its end, even where this process is killed meanwhile.
//!
//! The kernel writes the breakpoints of a link one by one. Where SIGKILL comes in between, it gives up, and can't take
//! those out again that are there: a task that is being killed may not touch another's memory (Linux 6.18, "failed
//! to unregister, leaking uprobe"). They stay in the target for good.
//!
//! A process that is killed leaves its locks taken, the allocator's among them. Work that shares memory with it would
//! wait for them for ever, with the probes in place. So the work ends with the process, though not within a system call.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::copies;

/// Bytes of the stack that the work is done on.
const STACK: usize = 1 << 20;

/// Tells the work that the process it is done for has ended. Nobody else sends it: it is the work's alone.
const ORPHANED: c_int = libc::SIGUSR2;

struct Job<W, T> {
    /// The process that the work is done for.
    process: c_int,
    work: Option<W>,
    result: Option<Result<T, Box<dyn Any + Send>>>,
}

/// Does work in a process of its own that shares memory and descriptors with this one, as vfork's child does: the
/// thread that calls waits, and its thread-local data serve the work. Who kills this process does not kill that
/// one, which comes to the end of the system call that it is in, and ends: that closes the descriptors.
///
/// The work must start no threads. Where there can be no such process, it is done here.
pub(super) fn to_the_end<T>(work: impl FnOnce() -> T) -> T {
    let mut job = Job {
        // SAFETY: no arguments.
        process: unsafe { libc::getpid() },
        work: Some(work),
        result: None,
    };
    let _no_copies = copies::none();
    in_a_process(&mut job);
    // There was no process, or somebody has ended it before it had begun.
    if let Some(work) = job.work {
        return work();
    }
    match job.result {
        Some(Ok(result)) => result,
        Some(Err(panic)) => resume_unwind(panic),
        None => resume_unwind(Box::new("the process that places probes was ended")),
    }
}

fn in_a_process<T, W: FnOnce() -> T>(job: &mut Job<W, T>) {
    extern "C" fn run<T, W: FnOnce() -> T>(job: *mut c_void) -> c_int {
        // SAFETY: `in_a_process` passes its job, which its thread does not touch meanwhile.
        let job = unsafe { &mut *job.cast::<Job<W, T>>() };
        // Not with those that are sent to the whole group.
        // SAFETY: numbers only.
        unsafe { libc::setpgid(0, 0) };
        end_with(job.process);
        if let Some(work) = job.work.take() {
            job.result = Some(catch_unwind(AssertUnwindSafe(work)));
        }
        0
    }
    // Not filled with zeros, which would take longer than most of the work.
    let mut stack = Box::<[u8]>::new_uninit_slice(STACK);
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: a set of signals is integers, and the calls get valid pointers. The new process works on a stack of its
    // own, and this thread waits for its end (CLONE_VFORK), so that nothing is used by both.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        // Signals are this process's to answer.
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let child = libc::clone(
            run::<T, W>,
            top.map_addr(|end| end & !15).cast(),
            libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_FS | libc::CLONE_VFORK,
            std::ptr::from_mut(job).cast(),
        );
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        if child > 0 {
            while libc::waitpid(child, std::ptr::null_mut(), libc::__WCLONE) < 0
                && *libc::__errno_location() == libc::EINTR
            {}
        }
    }
}

/// Ends this process, the work's, as soon as another has ended: at once, or behind a system call.
fn end_with(process: c_int) {
    extern "C" fn end(_signal: c_int) {
        // SAFETY: ends the process, and takes no lock.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: sets of signals and actions are integers, and the calls get valid pointers. The actions are this
    // process's alone: memory is shared, they are not.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = end as extern "C" fn(c_int) as usize;
        libc::sigaction(ORPHANED, &raw const action, std::ptr::null_mut());
        let mut orphaned: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut orphaned);
        libc::sigaddset(&raw mut orphaned, ORPHANED);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const orphaned, std::ptr::null_mut());
        libc::prctl(libc::PR_SET_PDEATHSIG, ORPHANED);
        if libc::getppid() != process {
            libc::_exit(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;
    use std::{io, thread};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    #[test]
    fn the_result_and_the_descriptors_are_this_process_s() -> io::Result<()> {
        let here = std::process::id();
        let mut seen = 0;
        let file = to_the_end(|| {
            // SAFETY: no arguments.
            seen = unsafe { libc::syscall(libc::SYS_getpid) };
            File::open("/proc/self/stat")
        })?;
        assert_ne!(seen, i64::from(here));
        assert!(file.metadata().is_ok());
        Ok(())
    }

    #[test]
    fn a_panic_comes_back() {
        let caught = catch_unwind(|| to_the_end(|| resume_unwind(Box::new(7_u32))));
        let caught = caught.map_err(|panic| panic.downcast_ref::<u32>().copied());
        assert_eq!(caught, Err::<(), _>(Some(7)));
    }

    /// Whatever the work waits for: a lock of the process that was killed, for example.
    #[test]
    fn the_work_ends_with_the_process() -> io::Result<()> {
        let (mut ended, ends) = io::pipe()?;
        let (mut begun, begins) = io::pipe()?;
        // SAFETY: the child only uses what is its own after fork, which glibc makes fit for use.
        let process = unsafe { libc::fork() };
        if process == 0 {
            let begins = begins.as_raw_fd();
            to_the_end(|| {
                // SAFETY: a valid pointer.
                unsafe { libc::write(begins, (&raw const begins).cast(), 1) };
                loop {
                    thread::park();
                }
            });
        }
        assert!(process > 0);
        drop((ends, begins));
        begun.read_exact(&mut [0])?;
        // SAFETY: this test's own child, which it has not waited for.
        unsafe {
            libc::kill(process, libc::SIGKILL);
            libc::waitpid(process, std::ptr::null_mut(), 0);
        }
        let wait = Timespec {
            tv_sec: 30,
            tv_nsec: 0,
        };
        let mut closed = [PollFd::new(&ended, PollFlags::IN)];
        assert_ne!(poll(&mut closed, Some(&wait))?, 0, "it lives on");
        assert_eq!(ended.read(&mut [0])?, 0);
        Ok(())
    }
}
