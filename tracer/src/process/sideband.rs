//! New executable mappings and execs, as the kernel reports them through perf's side-band: they
//! are noticed as they happen, not by polling /proc, so that a library that is loaded and a
//! process that ends between two looks still have names.
//!
//! One dummy event per CPU for the whole system: an event bound to a task would have to be opened
//! for each of its threads. It places no probe and costs an untraced process nothing but the
//! record of an executable mmap.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_DUMMY, PERF_RECORD_COMM, PERF_RECORD_FORK, PERF_RECORD_LOST,
    PERF_RECORD_MISC_COMM_EXEC, PERF_RECORD_MMAP2, PERF_SAMPLE_TIME, PERF_TYPE_SOFTWARE,
    perf_event_attr, perf_event_mmap_page,
};
use rustix::mm::{MapFlags, ProtFlags};

use super::ProcessError;

/// Pages of records per CPU; a power of two.
const DATA_PAGES: usize = 64;
/// Bytes of `perf_event_header`.
const HEADER: usize = 8;

/// A record of the side-band.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingEvent {
    /// A process mapped something executable.
    Map {
        /// Process.
        pid: u32,
        /// First address.
        start: u64,
        /// First address past the end.
        end: u64,
        /// Offset in the file.
        file_offset: u64,
        /// Path as the process sees it, or `//anon`, `[vdso]`.
        path: PathBuf,
        /// `CLOCK_MONOTONIC`, nanoseconds.
        time_ns: u64,
    },
    /// A process has unmapped a range, or mapped something there that is not executable. Not a record of
    /// the side-band, which has none for that.
    Unmap {
        /// Process.
        pid: u32,
        /// First address.
        start: u64,
        /// First address past the end.
        end: u64,
        /// `CLOCK_MONOTONIC`, nanoseconds.
        time_ns: u64,
    },
    /// A process is about to replace its image; its new mappings follow.
    Exec {
        /// Process.
        pid: u32,
        /// `CLOCK_MONOTONIC`, nanoseconds.
        time_ns: u64,
    },
    /// A process has a new child.
    Fork {
        /// Parent.
        parent: u32,
        /// Child.
        child: u32,
    },
    /// The buffer overflowed: this many records are missing.
    Lost(u64),
}

/// The open streams, one a CPU.
#[derive(Debug)]
pub struct Sideband {
    streams: Vec<Stream>,
}

impl Sideband {
    /// Opens the streams.
    ///
    /// # Errors
    ///
    /// No privilege, or the kernel has no perf events.
    pub fn open() -> Result<Self, ProcessError> {
        let cpus = online_cpus().map_err(ProcessError::Sideband)?;
        let streams = cpus
            .into_iter()
            .map(Stream::open)
            .collect::<io::Result<Vec<_>>>()
            .map_err(ProcessError::Sideband)?;
        Ok(Self { streams })
    }

    /// File descriptors that become readable when there are records.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.streams.iter().map(|stream| stream.event.as_fd())
    }

    /// Takes the records that are there; those of different CPUs come in no order.
    pub fn drain(&mut self, mut each: impl FnMut(MappingEvent)) {
        for stream in &mut self.streams {
            stream.drain(&mut each);
        }
    }
}

#[derive(Debug)]
struct Stream {
    event: OwnedFd,
    ring: NonNull<u8>,
    ring_len: usize,
    page: usize,
}

impl Stream {
    fn open(cpu: i32) -> io::Result<Self> {
        let mut attr = perf_event_attr {
            type_: PERF_TYPE_SOFTWARE,
            size: size_of::<perf_event_attr>() as u32,
            config: u64::from(PERF_COUNT_SW_DUMMY),
            sample_type: u64::from(PERF_SAMPLE_TIME),
            clockid: libc::CLOCK_MONOTONIC,
            ..perf_event_attr::default()
        };
        attr.set_mmap(1);
        attr.set_mmap2(1);
        attr.set_task(1);
        attr.set_comm(1);
        attr.set_comm_exec(1);
        attr.set_sample_id_all(1);
        attr.set_use_clockid(1);
        attr.set_exclude_kernel(1);
        // Wake for every record: a file must be opened before it can go away.
        attr.set_watermark(1);
        attr.__bindgen_anon_2.wakeup_watermark = 1;
        const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
        // SAFETY: the attribute block is valid and carries its own size.
        let fd = unsafe {
            perf_event_open_sys::perf_event_open(&mut attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else owns.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        let page = rustix::param::page_size();
        let ring_len = (DATA_PAGES + 1) * page;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let ring = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                ring_len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &event,
                0,
            )
        }?;
        let ring = NonNull::new(ring.cast())
            .ok_or_else(|| io::Error::other("the kernel mapped the ring at address 0"))?;
        Ok(Self {
            event,
            ring,
            ring_len,
            page,
        })
    }

    /// Follows the protocol of `perf_event_mmap_page` in perf_event.h: read `data_head`, barrier,
    /// read the records, barrier, write `data_tail`.
    fn drain(&mut self, each: &mut impl FnMut(MappingEvent)) {
        let control = self.ring.cast::<perf_event_mmap_page>();
        // SAFETY: both fields lie in the first page, aligned, for as long as `self` lives; the
        // kernel writes one and reads the other.
        let (head, tail) = unsafe {
            (
                AtomicU64::from_ptr(&raw mut (*control.as_ptr()).data_head),
                AtomicU64::from_ptr(&raw mut (*control.as_ptr()).data_tail),
            )
        };
        let end = head.load(Ordering::Acquire);
        let mut at = tail.load(Ordering::Relaxed);
        let mut record = Vec::new();
        while at < end {
            self.copy(at, HEADER, &mut record);
            let size = usize::from(u16::from_ne_bytes([record[6], record[7]]));
            if size < HEADER || at + size as u64 > end {
                // Never written by the kernel; skip the rest rather than loop.
                at = end;
                break;
            }
            self.copy(at, size, &mut record);
            if let Some(event) = decode(&record) {
                each(event);
            }
            at += size as u64;
        }
        tail.store(at, Ordering::Release);
    }

    /// Copies bytes out of the ring, which may wrap.
    fn copy(&self, at: u64, len: usize, into: &mut Vec<u8>) {
        let data_len = DATA_PAGES * self.page;
        let start = at as usize % data_len;
        let first = len.min(data_len - start);
        into.clear();
        // SAFETY: the data area begins one page into the mapping and is `data_len` bytes long; the
        // kernel does not touch the part between tail and head.
        unsafe {
            let data = self.ring.as_ptr().add(self.page);
            into.extend_from_slice(std::slice::from_raw_parts(data.add(start), first));
            into.extend_from_slice(std::slice::from_raw_parts(data, len - first));
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: mapped by `open` with this length and not used after.
        let _ = unsafe { rustix::mm::munmap(self.ring.as_ptr().cast(), self.ring_len) };
    }
}

/// Decodes one record; `None` for the kinds that do not matter here.
fn decode(record: &[u8]) -> Option<MappingEvent> {
    let word = |at: usize| Some(u32::from_ne_bytes(record.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(record.get(at..at + 8)?.try_into().ok()?));
    let kind = word(0)?;
    let misc = u32::from(u16::from_ne_bytes([*record.get(4)?, *record.get(5)?]));
    // sample_id_all appends the time.
    let time = || long(record.len().checked_sub(8)?);
    match kind {
        PERF_RECORD_MMAP2 => {
            let name = record.get(72..record.len().checked_sub(8)?)?;
            let name = &name[..name.iter().position(|&byte| byte == 0)?];
            let start = long(16)?;
            use std::os::unix::ffi::OsStrExt as _;
            Some(MappingEvent::Map {
                pid: word(8)?,
                start,
                end: start.checked_add(long(24)?)?,
                file_offset: long(32)?,
                path: PathBuf::from(std::ffi::OsStr::from_bytes(name)),
                time_ns: time()?,
            })
        }
        PERF_RECORD_COMM if misc & PERF_RECORD_MISC_COMM_EXEC != 0 => Some(MappingEvent::Exec {
            pid: word(8)?,
            time_ns: time()?,
        }),
        // Threads are reported as well; they stay in their parent's process.
        PERF_RECORD_FORK if word(8)? != word(12)? => Some(MappingEvent::Fork {
            parent: word(12)?,
            child: word(8)?,
        }),
        PERF_RECORD_LOST => Some(MappingEvent::Lost(long(16)?)),
        _ => None,
    }
}

/// The CPUs that are online, from the kernel's list (`0-3,8`).
fn online_cpus() -> io::Result<Vec<i32>> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    parse_cpu_list(&list)
        .ok_or_else(|| io::Error::other(format!("cannot read the list of CPUs: {list:?}")))
}

fn parse_cpu_list(list: &str) -> Option<Vec<i32>> {
    let mut cpus = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (i32, i32) = (first.parse().ok()?, last.parse().ok()?);
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_cpu_list_is_understood() {
        assert_eq!(parse_cpu_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_cpu_list("0"), Some(vec![0]));
        assert_eq!(parse_cpu_list("x"), None);
    }

    #[test]
    fn a_mapping_record_is_understood() {
        let mut record = Vec::new();
        record.extend(PERF_RECORD_MMAP2.to_ne_bytes());
        record.extend([0u8; 4]);
        for word in [7u32, 8] {
            record.extend(word.to_ne_bytes());
        }
        for long in [0x1000u64, 0x2000, 0x500, 0, 9, 0, 0] {
            record.extend(long.to_ne_bytes());
        }
        record.extend(*b"/lib/x\0\0");
        record.extend(77u64.to_ne_bytes());
        assert_eq!(
            decode(&record),
            Some(MappingEvent::Map {
                pid: 7,
                start: 0x1000,
                end: 0x3000,
                file_offset: 0x500,
                path: PathBuf::from("/lib/x"),
                time_ns: 77,
            })
        );
        assert_eq!(decode(&record[..40]), None);
    }
}
