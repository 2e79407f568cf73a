//! Why a session could not be held.

use std::path::PathBuf;

use crate::bpf::BpfError;
use crate::printable::Shown as _;
use crate::process::{GROWTH_INSTEAD, ProcessError};
use crate::profile::Invalid;

/// An error of a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// About the target.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// About the kernel side.
    #[error(transparent)]
    Bpf(#[from] BpfError),
    /// Not allowed to trace.
    #[error("{0}")]
    Privilege(String),
    /// The target's heap moved and no probe fired: it uses another allocator.
    #[error(
        "attached to the allocator, but it was never called in {seconds:.1} s, while the target's memory changed by {changed} kB: {hint}. {}",
        GROWTH_INSTEAD
    )]
    NeverFired {
        /// Length of the recording.
        seconds: f64,
        /// How far the target's anonymous memory moved, in KiB.
        changed: u64,
        /// The likely real allocator, and what can be done.
        hint: String,
    },
    /// The tracer is in the target's control group, and there is no room for it.
    #[error(
        "the tracer is in the same control group as the target, {}, whose memory is limited to {limit} MB with \
         {used} MB in use: its tables take at least {least} MB there, more than 1/{share} of what is left, \
         and the kernel might end the target for it; run tracer outside the container or control group \
         (on the host, or in a pod of its own), or raise the limit",
        group.shown()
    )]
    Crowded {
        /// The group's folder.
        group: PathBuf,
        /// Its limit in MiB.
        limit: u64,
        /// What is used of it.
        used: u64,
        /// What the tracer takes at least.
        least: u64,
        /// Which part of the rest that may be.
        share: u64,
    },
    /// The control group of the tracer has no memory left for the tables.
    #[error(
        "{error}; the control group that tracer is in, {}, has {room} MB left of {limit}: run tracer outside it, \
         raise its limit, or take smaller tables (--max-live, --max-stacks)",
        group.shown()
    )]
    NoMemory {
        /// What was refused.
        error: BpfError,
        /// The group's folder.
        group: PathBuf,
        /// What is left, in MiB.
        room: u64,
        /// Its limit, in MiB.
        limit: u64,
    },
    /// The kernel's counters contradict each other.
    #[error("the series of snapshots contradicts itself: {0}")]
    Series(#[from] Invalid),
    /// Windows are for one process.
    #[error(
        "windows (--max-overhead) are for one process whose first thread lives: not for children \
         (--follow-forks), and not for page faults (--source growth)"
    )]
    NoWindows,
    /// The probes of a window could not be placed.
    #[error("the probes of a window could not be placed: {0}")]
    Window(std::io::Error),
    /// The event loop itself failed.
    #[error("waiting for events failed: {0}")]
    Wait(#[from] std::io::Error),
}
