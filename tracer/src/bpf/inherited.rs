//! Probes that a process's threads and children have from their first instruction on, and no other
//! process at any time.
//!
//! A uprobe link knows one process by its first thread: its breakpoints are in nobody else, but a child
//! has none that stays, and they go when that thread has ended and anybody changes probes on the file. A
//! link without a process puts breakpoints into every process of the machine, and kills those that read
//! their code as data.
//!
//! So a place is defined as an event of the tracing file system, and a disabled perf event is opened on it for
//! each thread, which is inherited. That alone decides where the kernel keeps the breakpoint: in a memory
//! that some thread with the event has. The program runs for all of them, since it belongs to the event's
//! definition and not to one perf event. It is attached through a perf event of its own, that is not
//! inherited: when a child ends, the kernel takes a program that came with an inherited one out for
//! everybody. It is bound to a thread of the kernel's, which has no memory and so no breakpoint: so events
//! of threads are never the last of a place, on which the kernel waits some 100 ms, for one place after the
//! other, with the breakpoints of all others still there (3 s).
//!
//! Where two tasks that have inherited the same events follow each other on a CPU, the kernel saves work and
//! exchanges their events. An event that goes with one of them may then be the other's, whose breakpoints
//! go with it. It does not where an event reads a counter for each sample (Linux 6.12 allows that for inherited
//! ones), and so these ask for it, though they have no samples.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::thread;

use aya_obj::generated::{bpf_attach_type, bpf_cmd};
use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_DUMMY, PERF_SAMPLE_READ, PERF_SAMPLE_TID, PERF_TYPE_SOFTWARE,
    PERF_TYPE_TRACEPOINT, perf_event_attr,
};

use super::holder::Holder;
use super::sys::{bpf, zeroed};
use super::to_the_end::to_the_end;
use super::tracefs::{Defined, TraceFs};

/// Who has the probes beside the threads that they are placed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heirs {
    /// The threads that these start.
    Threads,
    /// And the processes.
    Children,
}

/// Threads to place probes for.
#[derive(Clone, Copy)]
pub struct Threads<'a> {
    /// The threads that there are now, of all processes.
    pub list: &'a (dyn Fn() -> Vec<u32> + Sync),
    /// Who else has the probes.
    pub heirs: Heirs,
}

/// A place, and what runs there.
pub(super) struct InheritedProbe<'a> {
    pub(super) offset: u64,
    pub(super) at_return: bool,
    pub(super) program: BorrowedFd<'a>,
    pub(super) cookie: u64,
}

/// The probes that are placed.
pub(super) struct InheritedProbes {
    /// Until it is closed.
    tracefs: Option<TraceFs>,
    places: Vec<Placed>,
    /// What programs' events are bound to: a thread of the kernel's; `None` where that can't be seen, and they are bound
    /// to a thread that has the probes.
    carrier: Option<u32>,
}

/// One place.
struct Placed {
    event: Defined,
    /// The program's link, and the perf event that it is attached through.
    program: Option<(OwnedFd, OwnedFd)>,
    /// A perf event for each thread.
    threads: Vec<OwnedFd>,
}

impl InheritedProbes {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            tracefs: Some(TraceFs::open()?),
            places: Vec::new(),
            carrier: Some(KTHREADD).filter(|&pid| is_kernel_thread(pid)),
        })
    }

    /// Places programs into a file, in the order given. What is placed when this fails is taken out again.
    pub(super) fn place(
        &mut self,
        file: &Path,
        places: &[InheritedProbe<'_>],
        threads: Threads<'_>,
    ) -> io::Result<()> {
        let first = self.places.len();
        let placed = self.try_place(file, places, threads);
        if placed.is_err() {
            self.take_out(first);
        }
        placed
    }

    fn try_place(
        &mut self,
        file: &Path,
        places: &[InheritedProbe<'_>],
        threads: Threads<'_>,
    ) -> io::Result<()> {
        let first = self.places.len();
        let tracefs = self.tracefs.as_mut().ok_or(io::ErrorKind::NotFound)?;
        for place in places {
            let event = tracefs.define(file, place.offset, place.at_return)?;
            self.places.push(Placed {
                event,
                program: None,
                threads: Vec::new(),
            });
        }
        // A thread that is started meanwhile, by one that had not all events yet, is in the next list.
        let mut seen = HashSet::new();
        let mut is_placed = false;
        loop {
            let new: Vec<u32> = (threads.list)()
                .into_iter()
                .filter(|tid| seen.insert(*tid))
                .collect();
            if new.is_empty() {
                break;
            }
            is_placed |= to_the_end(|| self.add_threads(&new, first, places, threads.heirs))?;
        }
        if is_placed {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ESRCH))
        }
    }

    /// Opens the events from `first` on for some threads; `false` where all have ended.
    fn add_threads(
        &mut self,
        tids: &[u32],
        first: usize,
        places: &[InheritedProbe<'_>],
        heirs: Heirs,
    ) -> io::Result<bool> {
        let mut is_placed = false;
        for &tid in tids {
            is_placed |= self.add_thread(tid, first, places, heirs)?;
        }
        Ok(is_placed)
    }

    /// Opens the events from `first` on for a thread; `false` where it has ended.
    fn add_thread(
        &mut self,
        tid: u32,
        first: usize,
        places: &[InheritedProbe<'_>],
        heirs: Heirs,
    ) -> io::Result<bool> {
        let carrier = self.carrier.unwrap_or(tid);
        for (placed, place) in self.places[first..].iter_mut().zip(places) {
            let opened = (|| {
                if placed.program.is_none() {
                    let carrier = open(placed.event.id, carrier, None)?;
                    let link = link(place.program, &carrier, place.cookie)?;
                    placed.program = Some((link, carrier));
                }
                open(placed.event.id, tid, Some(heirs))
            })();
            match opened {
                Ok(event) => placed.threads.push(event),
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Closes all, side by side. The breakpoints go with the last copies.
    pub(super) fn close(mut self) -> LeftEvents {
        let mut places = std::mem::take(&mut self.places);
        let apart = places.iter_mut().filter(|_| self.carrier.is_some());
        let programs = apart.filter_map(|placed| placed.program.take()).collect();
        LeftEvents {
            events: close_all(places),
            programs,
            tracefs: self.tracefs.take(),
        }
    }

    /// Takes the places from `first` on out.
    fn take_out(&mut self, first: usize) {
        let events = close_all(self.places.split_off(first));
        if let Some(tracefs) = &self.tracefs {
            remove(tracefs, &events);
        }
    }
}

impl Drop for InheritedProbes {
    fn drop(&mut self) {
        self.take_out(0);
    }
}

/// Events whose probes are closed.
#[derive(Default)]
pub(super) struct LeftEvents {
    tracefs: Option<TraceFs>,
    events: Vec<Defined>,
    programs: Vec<(OwnedFd, OwnedFd)>,
}

impl LeftEvents {
    /// Removes them.
    pub(super) fn remove(self) {
        if !self.programs.is_empty() {
            // Nobody has breakpoints of them any more.
            let holder = Holder::new().ok();
            drop(self.programs);
            drop(holder);
        }
        if let Some(tracefs) = &self.tracefs {
            remove(tracefs, &self.events);
        }
    }
}

/// What can't be removed is a name without a probe; the next tracer tries again.
fn remove(tracefs: &TraceFs, events: &[Defined]) {
    for event in events {
        let _ = tracefs.remove(event);
    }
}

/// The thread that starts the kernel's others, seen from the machine's own pid namespace.
const KTHREADD: u32 = 2;

/// Whether a pid is that of a thread of the kernel's: by `PF_KTHREAD` in the flags of /proc/PID/stat.
fn is_kernel_thread(pid: u32) -> bool {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything: state, parent, group, session, terminal, its group, flags.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let flags = fields.split(' ').nth(6);
    flags
        .and_then(|flags| flags.parse::<u64>().ok())
        .is_some_and(|flags| flags & PF_KTHREAD != 0)
}

fn close_all(places: Vec<Placed>) -> Vec<Defined> {
    thread::scope(|scope| {
        // Entries first, so that no call begins whose return would not be seen.
        let closing: Vec<_> = places
            .into_iter()
            .rev()
            .map(|placed| {
                let Placed {
                    event,
                    program,
                    threads,
                } = placed;
                (event, scope.spawn(move || drop((program, threads))))
            })
            .collect();
        let closed = closing.into_iter().map(|(event, closing)| {
            // Closing descriptors does not panic.
            let _ = closing.join();
            event
        });
        closed.collect()
    })
}

/// Opens an event for a thread, disabled: it keeps the breakpoint, and costs no switch of tasks anything.
fn open(event: u64, tid: u32, heirs: Option<Heirs>) -> io::Result<OwnedFd> {
    let mut attr = perf_event_attr {
        type_: PERF_TYPE_TRACEPOINT,
        size: size_of::<perf_event_attr>() as u32,
        config: event,
        ..perf_event_attr::default()
    };
    attr.set_disabled(1);
    let Some(heirs) = heirs else {
        return open_as(&mut attr, tid);
    };
    attr.set_inherit(1);
    attr.set_inherit_thread(u64::from(heirs == Heirs::Threads));
    attr.sample_type = u64::from(PERF_SAMPLE_READ | PERF_SAMPLE_TID);
    open_as(&mut attr, tid).or_else(|error| {
        if error.raw_os_error() != Some(libc::EINVAL) {
            return Err(error);
        }
        attr.sample_type = 0;
        open_as(&mut attr, tid)
    })
}

pub(super) fn open_as(attr: &mut perf_event_attr, tid: u32) -> io::Result<OwnedFd> {
    let tid = i32::try_from(tid).map_err(io::Error::other)?;
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
    // SAFETY: the attribute block is valid and carries its own size.
    let fd =
        unsafe { perf_event_open_sys::perf_event_open(attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether inherited events stay with the task that they are for, on this kernel: it is asked for a harmless
/// one.
pub(super) fn stay_with_their_task() -> bool {
    let mut attr = perf_event_attr {
        type_: PERF_TYPE_SOFTWARE,
        size: size_of::<perf_event_attr>() as u32,
        config: u64::from(PERF_COUNT_SW_DUMMY),
        sample_type: u64::from(PERF_SAMPLE_READ | PERF_SAMPLE_TID),
        ..perf_event_attr::default()
    };
    attr.set_disabled(1);
    attr.set_inherit(1);
    open_as(&mut attr, 0).is_ok()
}

/// Attaches a program through a perf event, with a cookie.
pub(super) fn link(program: BorrowedFd<'_>, event: &OwnedFd, cookie: u64) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    // SAFETY: all bytes are 0, which is a value of every part of the union.
    let part = unsafe { &mut attributes.link_create };
    part.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    part.__bindgen_anon_2.target_fd = event.as_raw_fd().cast_unsigned();
    part.attach_type = bpf_attach_type::BPF_PERF_EVENT as u32;
    // SAFETY: as above.
    unsafe { &mut part.__bindgen_anon_3.perf_event }.bpf_cookie = cookie;
    // SAFETY: the command reads the fields above, none of them a pointer.
    unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &attributes) }
}
