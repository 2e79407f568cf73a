//! Work that is done to its end, even where this process is killed meanwhile.
//!
//! The kernel writes the breakpoints of a link one by one. Where SIGKILL comes in between, it gives up, and can't take
//! those out again that are there: a task that is being killed may not touch another's memory (Linux 6.18, "failed
//! to unregister, leaking uprobe"). They stay in the target for good.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Bytes of the stack that the work is done on.
const STACK: usize = 1 << 20;

struct Job<W, T> {
    work: Option<W>,
    result: Option<Result<T, Box<dyn Any + Send>>>,
}

/// Does work in a process of its own that shares memory and descriptors with this one, as vfork's child does: the
/// thread that calls waits, and its thread-local data serve the work. Who kills this process does not kill that
/// one, which goes on, and closes the descriptors when it ends.
///
/// The work must start no threads. Where there can be no such process, it is done here.
pub(super) fn to_the_end<T>(work: impl FnOnce() -> T) -> T {
    let mut job = Job {
        work: Some(work),
        result: None,
    };
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
        if let Some(work) = job.work.take() {
            job.result = Some(catch_unwind(AssertUnwindSafe(work)));
        }
        0
    }
    let mut stack = vec![0_u8; STACK];
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_result_and_the_descriptors_are_this_process_s() -> std::io::Result<()> {
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
}
