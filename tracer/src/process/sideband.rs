//! New executable mappings and execs, as the kernel reports them through perf's side-band: they
//! are noticed as they happen, not by polling /proc, so that a library that is loaded and a
//! process that ends between two looks still have names.
//!
//! One dummy event per CPU for the whole system: an event bound to a task would have to be opened
//! for each of its threads. It places no probe and costs an untraced process nothing but the
//! record of an executable mmap.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use byteorder::NativeEndian;
use linux_perf_event_reader::{
    Endianness, EventRecord, Mmap2FileId, PerfEventAttr, PerfEventHeader, RawData, RawEventRecord,
    RecordParseInfo, RecordType,
};
use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_DUMMY, PERF_SAMPLE_TIME, PERF_TYPE_SOFTWARE, perf_event_attr,
    perf_event_mmap_page,
};
use rustix::mm::{MapFlags, ProtFlags};

use super::{FileId, ProcessError};

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
        /// Which file it is.
        id: FileId,
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
    layout: RecordParseInfo,
}

impl Stream {
    fn open(cpu: i32) -> io::Result<Self> {
        let mut attr = attributes();
        let layout = layout(&attr)?;
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
                ptr::null_mut(),
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
            layout,
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
            if let Some(event) = decode(&record, self.layout) {
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

/// What is asked of the kernel.
fn attributes() -> perf_event_attr {
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
    attr
}

/// Decodes one record; `None` for the kinds that do not matter here.
fn decode(record: &[u8], layout: RecordParseInfo) -> Option<MappingEvent> {
    let header = PerfEventHeader::parse::<_, NativeEndian>(record).ok()?;
    let body = RawData::from(record.get(HEADER..)?);
    let raw = RawEventRecord::new(RecordType(header.type_), header.misc, body, layout);
    // A process of another pid namespace has no pid here.
    let process = |pid: i32| u32::try_from(pid).ok().filter(|&pid| pid != 0);
    match raw.parse().ok()? {
        EventRecord::Mmap2(mapped) => Some(MappingEvent::Map {
            pid: process(mapped.pid)?,
            start: mapped.address,
            end: mapped.address.checked_add(mapped.length)?,
            file_offset: mapped.page_offset,
            id: match mapped.file_id {
                Mmap2FileId::InodeAndVersion(id) => FileId {
                    major: id.major,
                    minor: id.minor,
                    inode: id.inode,
                    generation: Some(id.inode_generation),
                },
                // Not asked for.
                Mmap2FileId::BuildId(_) => FileId::default(),
            },
            path: PathBuf::from(OsString::from_vec(mapped.path.as_slice().into_owned())),
            time_ns: raw.timestamp()?,
        }),
        EventRecord::Comm(named) if named.is_execve => Some(MappingEvent::Exec {
            pid: process(named.pid)?,
            time_ns: raw.timestamp()?,
        }),
        // Threads are reported as well; they stay in their parent's process.
        EventRecord::Fork(born) if born.pid != born.ppid => Some(MappingEvent::Fork {
            parent: process(born.ppid)?,
            child: process(born.pid)?,
        }),
        EventRecord::Lost(lost) => Some(MappingEvent::Lost(lost.count)),
        _ => None,
    }
}

/// Where records of such an event have what was asked for.
fn layout(attr: &perf_event_attr) -> io::Result<RecordParseInfo> {
    // SAFETY: the structure was zeroed before its fields were set, so that all of its bytes are initialised.
    let bytes = unsafe {
        std::slice::from_raw_parts(
            ptr::from_ref(attr).cast::<u8>(),
            size_of::<perf_event_attr>(),
        )
    };
    let (attr, _) = PerfEventAttr::parse::<_, NativeEndian>(bytes)?;
    Ok(RecordParseInfo::new(&attr, Endianness::NATIVE))
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
    fn a_mapping_record_is_understood() -> io::Result<()> {
        let layout = layout(&attributes())?;
        let mut record = Vec::new();
        record.extend(RecordType::MMAP2.0.to_ne_bytes());
        record.extend([0, 0, 88, 0u8]);
        for word in [7u32, 8] {
            record.extend(word.to_ne_bytes());
        }
        for long in [0x1000u64, 0x2000, 0x500, 0xfe | 1 << 32, 9, 3, 0] {
            record.extend(long.to_ne_bytes());
        }
        record.extend(*b"/lib/x\0\0");
        record.extend(77u64.to_ne_bytes());
        assert_eq!(
            decode(&record, layout),
            Some(MappingEvent::Map {
                pid: 7,
                start: 0x1000,
                end: 0x3000,
                file_offset: 0x500,
                id: FileId {
                    major: 0xfe,
                    minor: 1,
                    inode: 9,
                    generation: Some(3),
                },
                path: PathBuf::from("/lib/x"),
                time_ns: 77,
            })
        );
        assert_eq!(decode(&record[..40], layout), None);
        assert_eq!(decode(&record[..4], layout), None);
        Ok(())
    }

    #[test]
    fn threads_are_no_children() -> io::Result<()> {
        let layout = layout(&attributes())?;
        let fork = |child: u32, parent: u32| {
            let mut record = RecordType::FORK.0.to_ne_bytes().to_vec();
            record.extend([0, 0, 40, 0u8]);
            for word in [child, parent, child + 1, parent] {
                record.extend(word.to_ne_bytes());
            }
            record.extend([77u64; 2].map(u64::to_ne_bytes).concat());
            decode(&record, layout)
        };
        assert_eq!(fork(5, 5), None);
        let born = MappingEvent::Fork {
            parent: 5,
            child: 6,
        };
        assert_eq!(fork(6, 5), Some(born));
        Ok(())
    }
}
