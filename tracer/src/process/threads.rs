//! The threads of processes. A process lives as long as any of them: its first thread may have ended, and
//! then /proc/PID shows no memory, no executable and no root, where /proc/TID of another still does.

use std::fs::{self, File};
use std::num::NonZeroU32;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

/// The threads of processes that have not ended, in no order; nothing of a process that is gone.
#[must_use]
pub fn threads_of(pids: &[u32]) -> Vec<u32> {
    let tasks = pids.iter().flat_map(|pid| {
        let folder = fs::read_dir(format!("/proc/{pid}/task"));
        folder.into_iter().flatten().flatten()
    });
    tasks
        .filter_map(|task| task.file_name().to_str()?.parse().ok())
        .filter(|&tid| is_alive(tid))
        .collect()
}

/// Whether the first thread of a process has not ended.
#[must_use]
pub fn has_first_thread(pid: u32) -> bool {
    is_alive(pid)
}

/// CPU time that a process has used, all its threads together; `None` where it is gone.
#[must_use]
pub fn cpu_time(process: NonZeroU32) -> Option<Duration> {
    let pid = i32::try_from(process.get()).ok()?;
    let mut clock = 0;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: valid pointers.
    let is_known = unsafe {
        libc::clock_getcpuclockid(pid, &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    is_known.then(|| Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32))
}

/// The system calls for I/O that a process has made, as the kernel counts them in `/proc/PID/io`.
#[derive(Debug)]
pub struct IoCalls(File);

impl IoCalls {
    /// Of a process; `None` where the kernel does not count, or does not tell.
    #[must_use]
    pub fn of(process: NonZeroU32) -> Option<Self> {
        let calls = Self(File::open(format!("/proc/{process}/io")).ok()?);
        calls.read().map(|_| calls)
    }

    /// How many there were: of `read`, `readv` and `pread`, and of `write`, `writev` and `pwrite`. `None` where the
    /// process is gone. Allocates nothing.
    #[must_use]
    pub fn read(&self) -> Option<[u64; 2]> {
        let mut text = [0; 512];
        let len = self.0.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..len)?).ok()?;
        let of = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().parse().ok()
        };
        Some([of("syscr:")?, of("syscw:")?])
    }
}

/// The number under which /proc shows a process's memory and files: its own, or where its first thread has
/// ended that of another. Its own, too, where there is none: then the process is gone.
#[must_use]
pub fn shown_as(pid: u32) -> u32 {
    if is_alive(pid) {
        return pid;
    }
    threads_of(&[pid]).into_iter().min().unwrap_or(pid)
}

/// Whether a thread is there and has not ended.
fn is_alive(tid: u32) -> bool {
    fs::read(format!("/proc/{tid}/stat")).is_ok_and(|stat| {
        // The name before it may hold any byte, a parenthesis too.
        let state = memchr::memrchr(b')', &stat).and_then(|end| stat.get(end + 2));
        state.is_some_and(|state| !matches!(state, b'Z' | b'X' | b'x'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_its_threads() {
        let pid = std::process::id();
        let (tell, told) = std::sync::mpsc::channel();
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _ = tell.send(rustix::thread::gettid());
            let _ = gone.recv();
        });
        let tid = told
            .recv()
            .map(|tid| tid.as_raw_nonzero().get().cast_unsigned());
        let threads = threads_of(&[pid]);
        assert!(threads.contains(&pid) && tid.is_ok_and(|tid| threads.contains(&tid)));
        assert!(has_first_thread(pid));
        assert_eq!(shown_as(pid), pid);
        drop(go);
        assert!(thread.join().is_ok());
        assert!(threads_of(&[0]).is_empty());
    }
}
