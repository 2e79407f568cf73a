//! The ways to place probes, and the choice between them: by asking the kernel for the feature,
//! never by its version, because distributions carry features back.

use aya::sys::{UProbeMultiFeature, is_uprobe_multi_supported};

use super::uprobe_session::SessionProgram;

/// How the probes are placed, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// One uprobe session for entry and return (Linux 6.13).
    Session,
    /// A multi-uprobe link each for entries and returns (6.10).
    Multi,
    /// A perf event for each probe.
    Perf,
    /// Perf events that are inherited, see `inherited.rs`: not a rung, but what other scopes need.
    Inherited,
    /// None: the program runs at page faults.
    Faults,
}

impl ProbeKind {
    /// The best that the kernel has.
    pub(super) fn best() -> Self {
        // A pid that selects the whole process and not one thread came with 6.10.
        let multi =
            is_uprobe_multi_supported(UProbeMultiFeature::ProcessScopedPidFilter).unwrap_or(false);
        if multi && SessionProgram::is_supported() {
            Self::Session
        } else if multi {
            Self::Multi
        } else {
            Self::Perf
        }
    }

    /// The name in what people read.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Session => "uprobe_session",
            Self::Multi => "uprobe_multi",
            Self::Perf => "perf-event uprobes",
            Self::Inherited => "inherited uprobes",
            Self::Faults => "page faults",
        }
    }

    /// Which of aya's programs serve it.
    pub(super) const fn programs(self) -> Programs {
        match self {
            Self::Session | Self::Multi => Programs {
                alloc_entry: "alloc_entry_multi",
                alloc_return: "alloc_return_multi",
                free_entry: "free_entry_multi",
                sized_free_entry: "sized_free_entry_multi",
                throwing_entry: "throwing_entry_multi",
            },
            // For page faults there is another, and none of these.
            Self::Perf | Self::Inherited | Self::Faults => Programs {
                alloc_entry: "alloc_entry",
                alloc_return: "alloc_return",
                free_entry: "free_entry",
                sized_free_entry: "sized_free_entry",
                throwing_entry: "throwing_entry",
            },
        }
    }
}

/// Names of aya's programs for one way of attaching.
#[derive(Clone, Copy)]
pub(super) struct Programs {
    pub(super) alloc_entry: &'static str,
    pub(super) alloc_return: &'static str,
    pub(super) free_entry: &'static str,
    pub(super) sized_free_entry: &'static str,
    pub(super) throwing_entry: &'static str,
}

/// Whether the target may be seen in windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayWindow {
    /// It is traced exactly.
    No,
    /// Where the kernel can do that.
    If,
    /// It is an error where the kernel can't.
    Must,
}
