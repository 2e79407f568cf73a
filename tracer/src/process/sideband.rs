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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

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
/// How often it is looked whether a buffer fills. Starting programs as fast as it can, a CPU takes 200 ms to
/// fill one.
const ROOM_INTERVAL: Duration = Duration::from_millis(50);
/// Bytes of records per CPU that may wait for a reader: those of a minute of nothing but starting programs.
const MAX_MOVED: usize = 64 << 20;

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
///
/// A thread keeps the kernel's buffers from running full while the reader is busy: placing a probe takes tens of
/// milliseconds, in which a machine that starts many programs fills a buffer, and the kernel drops what is too much.
#[derive(Debug)]
pub struct Sideband {
    events: Vec<OwnedFd>,
    rings: Arc<Mutex<Vec<Ring>>>,
    keeper: Option<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
}

impl Sideband {
    /// Opens the streams.
    ///
    /// # Errors
    ///
    /// No privilege, or the kernel has no perf events.
    pub fn open() -> Result<Self, ProcessError> {
        Self::open_all().map_err(ProcessError::Sideband)
    }

    fn open_all() -> io::Result<Self> {
        let mut attr = attributes();
        let layout = layout(&attr)?;
        let mut events = Vec::new();
        let mut rings = Vec::new();
        for cpu in online_cpus()? {
            let event = open_event(&mut attr, cpu)?;
            rings.push(Ring::map(&event, layout)?);
            events.push(event);
        }
        let rings = Arc::new(Mutex::new(rings));
        let is_over = Arc::new(AtomicBool::new(false));
        let keeper = {
            let (rings, is_over) = (Arc::clone(&rings), Arc::clone(&is_over));
            let keep = move || {
                while !is_over.load(Ordering::Relaxed) {
                    lock(&rings).iter_mut().for_each(Ring::make_room);
                    thread::park_timeout(ROOM_INTERVAL);
                }
            };
            thread::Builder::new().name("sideband".into()).spawn(keep)?
        };
        Ok(Self {
            events,
            rings,
            keeper: Some(keeper),
            is_over,
        })
    }

    /// File descriptors that become readable when there are records.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.events.iter().map(|event| event.as_fd())
    }

    /// Takes the records that are there; those of different CPUs come in no order.
    pub fn drain(&mut self, mut each: impl FnMut(MappingEvent)) {
        for ring in lock(&self.rings).iter_mut() {
            ring.drain(&mut each);
        }
    }
}

impl Drop for Sideband {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(keeper) = self.keeper.take() {
            keeper.thread().unpark();
            let _ = keeper.join();
        }
    }
}

/// What a thread that panicked left is a whole number of records.
fn lock(rings: &Mutex<Vec<Ring>>) -> MutexGuard<'_, Vec<Ring>> {
    rings.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_event(attr: &mut perf_event_attr, cpu: i32) -> io::Result<OwnedFd> {
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
    // SAFETY: the attribute block is valid and carries its own size.
    let fd =
        unsafe { perf_event_open_sys::perf_event_open(attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The buffer that the kernel writes records into.
#[derive(Debug)]
struct Ring {
    start: NonNull<u8>,
    len: usize,
    page: usize,
    layout: RecordParseInfo,
    /// Records that were taken out to make room, the oldest first.
    moved: Vec<u8>,
}

// SAFETY: the mapping belongs to the process, and `Ring` is its only user.
unsafe impl Send for Ring {}

impl Ring {
    fn map(event: &OwnedFd, layout: RecordParseInfo) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let len = (DATA_PAGES + 1) * page;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                event,
                0,
            )
        }?;
        let start = NonNull::new(start.cast())
            .ok_or_else(|| io::Error::other("the kernel mapped the ring at address 0"))?;
        Ok(Self {
            start,
            len,
            page,
            layout,
            moved: Vec::new(),
        })
    }

    /// Positions that the kernel writes to and that is read from.
    fn head_and_tail(&self) -> (&AtomicU64, &AtomicU64) {
        let control = self.start.cast::<perf_event_mmap_page>();
        // SAFETY: both fields lie in the first page, aligned, for as long as `self` lives; the
        // kernel writes one and reads the other.
        unsafe {
            (
                AtomicU64::from_ptr(&raw mut (*control.as_ptr()).data_head),
                AtomicU64::from_ptr(&raw mut (*control.as_ptr()).data_tail),
            )
        }
    }

    /// Takes the records out, if there are many, for the next [`drain`](Self::drain).
    fn make_room(&mut self) {
        let (head, tail) = self.head_and_tail();
        let waiting = head.load(Ordering::Acquire) - tail.load(Ordering::Relaxed);
        if waiting as usize >= DATA_PAGES * self.page / 4 && self.moved.len() < MAX_MOVED {
            self.take();
        }
    }

    /// Moves the records to the end of `moved`.
    ///
    /// Follows the protocol of `perf_event_mmap_page` in perf_event.h: read `data_head`, barrier,
    /// read the records, barrier, write `data_tail`.
    fn take(&mut self) {
        let (head, tail) = self.head_and_tail();
        let end = head.load(Ordering::Acquire);
        let at = tail.load(Ordering::Relaxed);
        let data_len = DATA_PAGES * self.page;
        let waiting = (end - at) as usize;
        let from = at as usize % data_len;
        let first = waiting.min(data_len - from);
        // SAFETY: the data area begins one page into the mapping and is `data_len` bytes long; the
        // kernel does not touch the part between tail and head.
        let [older, newer] = unsafe {
            let data = self.start.as_ptr().add(self.page);
            [
                std::slice::from_raw_parts(data.add(from), first),
                std::slice::from_raw_parts(data, waiting - first),
            ]
        };
        self.moved.extend_from_slice(older);
        self.moved.extend_from_slice(newer);
        self.head_and_tail().1.store(end, Ordering::Release);
    }

    fn drain(&mut self, each: &mut impl FnMut(MappingEvent)) {
        self.take();
        let mut records = self.moved.as_slice();
        while let Some(header) = records.first_chunk::<HEADER>() {
            let size = usize::from(u16::from_ne_bytes([header[6], header[7]]));
            // The kernel writes no other sizes; skip the rest rather than loop.
            let Some((record, rest)) = records.split_at_checked(size).filter(|_| size >= HEADER)
            else {
                break;
            };
            if let Some(event) = decode(record, self.layout) {
                each(event);
            }
            records = rest;
        }
        self.moved = Vec::new();
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length and not used after.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
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
