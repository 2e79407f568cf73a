//! Waiting for a process to grow, at the cost of a look at /proc now and then.

use std::time::{Duration, Instant};

use super::wake::pidfd;
use super::{SessionError, recorder};
use crate::process::{HeapUse, Identity, ProcessError};

/// How often memory is looked at, which takes 30 us.
const INTERVAL: Duration = recorder::MEMORY_INTERVAL;

/// A process has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Bytes of anonymous memory, resident or swapped out, more than at its least since the wait began.
    pub bytes: u64,
    /// Since then.
    pub within: Duration,
}

/// The least that a process had, and when.
#[derive(Debug)]
struct Least<T> {
    bytes: u64,
    at: T,
}

impl<T: Copy> Least<T> {
    /// Takes a reading; the growth where that is as much as `wanted` bytes, and since when.
    fn take(&mut self, now: u64, at: T, wanted: u64) -> Option<(u64, T)> {
        if now < self.bytes {
            *self = Self { bytes: now, at };
        }
        let grown = now - self.bytes;
        (grown >= wanted).then_some((grown, self.at))
    }
}

/// Waits until a process has so many bytes of anonymous memory more than at its least.
///
/// Must be called inside a tokio runtime with I/O and time.
///
/// # Errors
///
/// The process has ended.
pub async fn wait_until_grown(who: &Identity, bytes: u64) -> Result<Grown, SessionError> {
    // Held: a pid may come back as another process.
    let ended = pidfd(who)?;
    let reading = || {
        let read = HeapUse::of(who.pid).map(|memory| memory.anonymous());
        read.map_err(|_| ProcessError::NoSuchProcess(who.pid))
    };
    let mut least = Least {
        bytes: reading()?,
        at: Instant::now(),
    };
    loop {
        tokio::select! {
            _ = ended.readable() => return Err(ProcessError::NoSuchProcess(who.pid).into()),
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Some((bytes, since)) = least.take(reading()?, Instant::now(), bytes) {
            return Ok(Grown {
                bytes,
                within: since.elapsed(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_counts_from_the_least_there_was() {
        let mut least = Least { bytes: 50, at: 0 };
        assert_eq!(least.take(59, 1, 10), None);
        assert_eq!(least.take(20, 2, 10), None);
        assert_eq!(least.take(29, 3, 10), None);
        assert_eq!(least.take(31, 4, 10), Some((11, 2)));
    }
}
