//! /proc/PID/status: the one place that reads it.
//!
//! As bytes, since a thread's name need not be UTF-8, for which procfs gives up the whole file.

use std::fs;
use std::io;

/// What is asked of a process's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// The process that the thread belongs to.
    pub(super) tgid: Option<u32>,
    /// Its pids, from the outermost pid namespace that is seen to its own.
    pub(super) ns_pids: Vec<u32>,
    /// Bytes of private anonymous mappings and of the brk heap; a zombie has none of the two.
    pub(super) data: Option<u64>,
    /// Resident anonymous bytes.
    pub(super) resident: Option<u64>,
    /// Resident bytes, those of files and of shared memory among them.
    pub(super) all_resident: Option<u64>,
    /// Swapped bytes of its memory.
    pub(super) swapped: Option<u64>,
    /// Threads.
    pub(super) threads: Option<u64>,
    /// Effective capabilities, one bit for each.
    pub(super) capabilities: u64,
    /// It has a shadow stack (Intel CET). Kernels that have none do not say anything.
    pub(super) has_shadow_stack: bool,
}

impl Status {
    /// Reads the status of a process, by its pid or `self`.
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub(super) fn of(pid: impl std::fmt::Display) -> io::Result<Self> {
        Ok(Self::parse(&fs::read(format!("/proc/{pid}/status"))?))
    }

    /// Lines that are not there, or not understood, leave their field empty.
    fn parse(bytes: &[u8]) -> Self {
        let mut status = Self::default();
        for line in bytes.split(|&byte| byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else {
                continue;
            };
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            let bytes = || {
                let kib: u64 = value.strip_suffix(" kB")?.trim().parse().ok()?;
                kib.checked_mul(1024)
            };
            match name {
                "Tgid" => status.tgid = value.parse().ok(),
                "NSpid" => {
                    status.ns_pids = value.split_whitespace().flat_map(str::parse).collect();
                }
                "VmData" => status.data = bytes(),
                "RssAnon" => status.resident = bytes(),
                "VmRSS" => status.all_resident = bytes(),
                "VmSwap" => status.swapped = bytes(),
                "Threads" => status.threads = value.parse().ok(),
                "CapEff" => status.capabilities = u64::from_str_radix(value, 16).unwrap_or(0),
                "x86_Thread_features" => {
                    status.has_shadow_stack = value.split_whitespace().any(|one| one == "shstk");
                }
                _ => {}
            }
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_found() {
        let text =
            b"Name:\t\xff\xfe(x) y\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t42\nPid:\t43\n\
                     NSpid:\t42\t7\nVmData:\t     180 kB\nVmRSS:\t  20 kB\nRssAnon:\t      12 kB\n\
                     CapEff:\t000001ffffffffff\nx86_Thread_features:\tshstk wrss \n\
                     x86_Thread_features_locked:\t\n";
        let expected = Status {
            tgid: Some(42),
            ns_pids: vec![42, 7],
            data: Some(180 << 10),
            resident: Some(12 << 10),
            all_resident: Some(20 << 10),
            swapped: None,
            threads: None,
            capabilities: 0x1ff_ffff_ffff,
            has_shadow_stack: true,
        };
        assert_eq!(Status::parse(text), expected);
    }

    #[test]
    fn what_is_not_there_is_empty() {
        let text =
            b"Name:\tTgid:\\n5\nx86_Thread_features:\t\nx86_Thread_features_locked:\tshstk\n";
        assert_eq!(Status::parse(text), Status::default());
        assert_eq!(Status::parse(b""), Status::default());
    }

    #[test]
    fn this_process_has_one() -> io::Result<()> {
        let status = Status::of("self")?;
        assert_eq!(status.tgid, Some(std::process::id()));
        assert!(status.resident.is_some_and(|bytes| bytes > 0));
        assert!(Status::of(u32::MAX).is_err());
        Ok(())
    }
}
