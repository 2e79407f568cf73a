//! What a process has done, in what the kernel counts anyway.

use std::sync::Arc;
use std::time::Duration;

/// What a process has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// CPU time.
    pub cpu: Duration,
    /// System calls that read and that write, as the kernel counts them; 0 where it does not.
    pub io: [u64; 2],
}

impl Work {
    /// What came after an earlier look.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        let [reads, writes] = self.io;
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            io: [
                reads.saturating_sub(before.io[0]),
                writes.saturating_sub(before.io[1]),
            ],
        }
    }

    /// Together with other work.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu),
            io: [self.io[0] + other.io[0], self.io[1] + other.io[1]],
        }
    }
}

/// Tells what a process has done so far; `None` where it has ended.
pub type Gauge = Arc<dyn Fn() -> Option<Work> + Send + Sync>;

/// CPU time that the calling thread has used: on a busy machine more passes.
#[must_use]
pub fn own_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
