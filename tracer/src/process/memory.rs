//! How much memory a process and the machine have: the check on an attach that sees no event, and
//! the measure for the tracer's own tables.

use std::io;

use procfs::Current as _;

/// Bytes of memory that the machine can give without swapping (`MemAvailable`).
///
/// # Errors
///
/// /proc/meminfo can't be read.
pub fn available_memory() -> procfs::ProcResult<u64> {
    let info = procfs::Meminfo::current()?;
    Ok(info.mem_available.unwrap_or(info.mem_free))
}

/// Anonymous memory of a process, from /proc.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapUse {
    /// Bytes of private anonymous mappings and of the brk heap (`VmData` of /proc/PID/status).
    pub data: u64,
    /// Resident anonymous bytes (`RssAnon`).
    pub resident: u64,
}

impl HeapUse {
    /// Reads the figures of a process.
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub fn of(pid: u32) -> io::Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
                .map(|kib| kib.saturating_mul(1024))
                // A zombie has a status without memory.
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        Ok(Self {
            data: kib("VmData")?,
            resident: kib("RssAnon")?,
        })
    }

    /// How far two readings are apart, in bytes, by the figure that moved more.
    #[must_use]
    pub fn distance(&self, other: &Self) -> u64 {
        self.data
            .abs_diff(other.data)
            .max(self.resident.abs_diff(other.resident))
    }
}
