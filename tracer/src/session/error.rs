//! Why a session could not be held.

use crate::bpf::BpfError;
use crate::process::ProcessError;
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
        "attached to its allocator, but in {seconds:.1} s it was never called while the target's memory changed by {changed} kB: {hint}"
    )]
    NeverFired {
        /// Length of the recording.
        seconds: f64,
        /// How far the target's anonymous memory moved, in kB.
        changed: u64,
        /// The likely real allocator, and what can be done.
        hint: String,
    },
    /// The kernel's counters contradict each other.
    #[error("the series of snapshots contradicts itself: {0}")]
    Series(#[from] Invalid),
    /// The event loop itself failed.
    #[error("waiting for events failed: {0}")]
    Wait(#[from] std::io::Error),
}
