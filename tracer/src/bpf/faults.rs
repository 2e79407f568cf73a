//! Page faults of a process's threads and of what they start, as perf events: nothing is placed into them.

use std::collections::HashSet;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_PAGE_FAULTS, PERF_TYPE_SOFTWARE, perf_event_attr,
};

use super::inherited::{Heirs, Threads, link, open_as};

/// The events; closing them ends it.
pub(super) struct FaultEvents {
    /// A link for each event.
    _links: Vec<OwnedFd>,
    _events: Vec<OwnedFd>,
    /// Threads that began while the program was attached, and may have been missed.
    pub(super) unsure: u64,
}

impl FaultEvents {
    /// Runs a program at each page fault of the threads.
    pub(super) fn open(program: BorrowedFd<'_>, threads: Threads<'_>) -> io::Result<Self> {
        let mut seen = HashSet::new();
        let mut news = || -> Vec<u32> {
            let list = (threads.list)().into_iter();
            list.filter(|tid| seen.insert(*tid)).collect()
        };
        // First an event for every thread, without the program: a thread that is started meanwhile inherits
        // one or gets one, or both. Only its own gets the program, so that no fault is counted twice.
        let mut events = Vec::new();
        loop {
            let new = news();
            if new.is_empty() {
                break;
            }
            for tid in new {
                match open(tid, threads.heirs) {
                    Ok(event) => events.push(event),
                    // It has ended.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if events.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        let links: io::Result<_> = events.iter().map(|event| link(program, event, 0)).collect();
        Ok(Self {
            _links: links?,
            _events: events,
            // What those inherit has the program or not.
            unsure: news().len() as u64,
        })
    }
}

fn open(tid: u32, heirs: Heirs) -> io::Result<OwnedFd> {
    let mut attr = perf_event_attr {
        type_: PERF_TYPE_SOFTWARE,
        size: size_of::<perf_event_attr>() as u32,
        config: u64::from(PERF_COUNT_SW_PAGE_FAULTS),
        ..perf_event_attr::default()
    };
    attr.__bindgen_anon_1.sample_period = 1;
    attr.set_inherit(1);
    attr.set_inherit_thread(u64::from(heirs == Heirs::Threads));
    open_as(&mut attr, tid)
}
