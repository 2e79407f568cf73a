//! The floor: the tracer's own probes, with programs that do nothing.
//!
//! Debian's bpftrace cannot play this side: it only probes a function's first instruction, and at
//! glibc's `free` that one is single-stepped, which alone costs several times the whole tracer.
//! So this file talks to bpf(2) itself. It needs uprobe_multi (kernel 6.6).

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::fd::FromRawFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use object::Object as _;
use object::ObjectSymbol as _;

use super::Bench;
use super::breakpoints::Breakpoints;
use super::side::Side;

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_TRACE_UPROBE_MULTI: u32 = 48;
const BPF_TRACE_UPROBE_SESSION: u32 = 57;
const BPF_F_UPROBE_MULTI_RETURN: u32 = 1;

/// `r0 = 0; exit`.
const EMPTY_PROGRAM: [u64; 2] = [0xb7, 0x95];

/// Names of the tracer's programs that these take the place of.
const SESSION: &str = "alloc_session";
const FREE: &str = "free_entry";

/// Functions whose return the tracer needs as well: those that return a block.
const RETURN_PROBED: [&str; 9] = [
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "valloc",
    "pvalloc",
];

/// Attached empty programs; detached when dropped.
pub(super) struct Floor {
    _links: Vec<OwnedFd>,
    /// Held to be asked about, see `bpf_objects`.
    _programs: Vec<OwnedFd>,
}

/// Which instructions to probe in which file.
struct Places {
    library: CString,
    /// Entry and return.
    sessions: Vec<u64>,
    /// Entry alone.
    entries: Vec<u64>,
}

impl Floor {
    /// Has the tracer attach to the process, looks where it put its probes, and puts empty ones
    /// there instead.
    pub(super) fn attach(bench: &Bench<'_>, pid: u32) -> Result<Self> {
        let tracer = Side::Tracer.attach(bench, pid)?;
        let places = Places::of(&Breakpoints::read(pid)?)?;
        tracer.detach()?;
        places.attach(pid).context("cannot attach empty programs")
    }
}

impl Places {
    fn of(breakpoints: &Breakpoints) -> Result<Self> {
        let ranges = function_ranges(&breakpoints.library)?;
        let (sessions, entries) = breakpoints
            .offsets
            .iter()
            .partition::<Vec<u64>, _>(|offset| ranges.iter().any(|range| range.contains(offset)));
        if sessions.is_empty() || entries.is_empty() {
            bail!("the tracer probes nothing in the C library");
        }
        Ok(Self {
            library: CString::new(breakpoints.library.as_os_str().as_bytes())?,
            sessions,
            entries,
        })
    }

    fn attach(&self, pid: u32) -> io::Result<Floor> {
        let plain = load(FREE, BPF_TRACE_UPROBE_MULTI)?;
        let mut links = vec![self.link(&plain, BPF_TRACE_UPROBE_MULTI, &self.entries, 0, pid)?];
        // Sessions came with kernel 6.13; before that a link each for entry and return.
        let mut programs = Vec::new();
        match load(SESSION, BPF_TRACE_UPROBE_SESSION).and_then(|session| {
            let offsets = &self.sessions;
            let link = self.link(&session, BPF_TRACE_UPROBE_SESSION, offsets, 0, pid)?;
            Ok((session, link))
        }) {
            Ok((session, link)) => {
                programs.push(session);
                links.push(link);
            }
            Err(_) => {
                for flags in [0, BPF_F_UPROBE_MULTI_RETURN] {
                    let offsets = &self.sessions;
                    links.push(self.link(&plain, BPF_TRACE_UPROBE_MULTI, offsets, flags, pid)?);
                }
            }
        }
        programs.push(plain);
        Ok(Floor {
            _links: links,
            _programs: programs,
        })
    }

    fn link(
        &self,
        program: &OwnedFd,
        attach_type: u32,
        offsets: &[u64],
        flags: u32,
        pid: u32,
    ) -> io::Result<OwnedFd> {
        let attributes = LinkCreate {
            program: program.as_raw_fd(),
            attach_type,
            path: self.library.as_ptr() as u64,
            offsets: offsets.as_ptr() as u64,
            count: u32::try_from(offsets.len()).map_err(io::Error::other)?,
            flags,
            pid,
            ..LinkCreate::default()
        };
        // SAFETY: `LinkCreate` is the head of the kernel's union for this command, and path and
        // offsets outlive the call.
        unsafe { bpf(BPF_LINK_CREATE, &attributes) }
    }
}

/// File offsets that the functions of [`RETURN_PROBED`] take up.
fn function_ranges(library: &Path) -> Result<Vec<std::ops::Range<u64>>> {
    let bytes = fs::read(library).with_context(|| format!("cannot read {}", library.display()))?;
    let file = object::File::parse(&*bytes)
        .with_context(|| format!("{} is not an ELF file", library.display()))?;
    // In the libraries of all distributions text lies at equal addresses and offsets.
    Ok(file
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition())
        .filter(|symbol| {
            symbol
                .name()
                .is_ok_and(|name| RETURN_PROBED.contains(&name))
        })
        .map(|symbol| symbol.address()..symbol.address() + symbol.size())
        .collect())
}

/// `union bpf_attr`, the part for `BPF_PROG_LOAD`, up to the last field used.
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// The part for `BPF_LINK_CREATE` with `uprobe_multi`.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: i32,
    target: u32,
    attach_type: u32,
    link_flags: u32,
    path: u64,
    offsets: u64,
    reference_counters: u64,
    cookies: u64,
    count: u32,
    flags: u32,
    pid: u32,
    padding: u32,
}

fn load(name: &str, expected_attach_type: u32) -> io::Result<OwnedFd> {
    let mut kernel_name = [0; 16];
    kernel_name[..name.len()].copy_from_slice(name.as_bytes());
    let attributes = ProgramLoad {
        name: kernel_name,
        kind: BPF_PROG_TYPE_KPROBE,
        instruction_count: 2,
        instructions: EMPTY_PROGRAM.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        expected_attach_type,
        ..ProgramLoad::default()
    };
    // SAFETY: `ProgramLoad` is the head of the kernel's union for this command, and its pointers
    // are to static data.
    unsafe { bpf(BPF_PROG_LOAD, &attributes) }
}

/// bpf(2) for commands that return a descriptor.
///
/// # Safety
/// `attributes` must be laid out as the kernel reads it for `command`, with pointers that are
/// valid during the call.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads no more than the size given; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    let descriptor = i32::try_from(result).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just made for this call, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
