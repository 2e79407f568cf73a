//! Which memory is still there, where it is followed as it becomes resident.

use std::collections::HashMap;

use super::{Session, Source};
use crate::bpf::FIRST_IMAGE;
use crate::process::{BlockPages, HeapUse, PageMap, ProcessError, pages_of};
use crate::session::residence::{Faulted, Residence};

/// Bytes that become resident beside what faults: page tables' worth of rounding, and what the kernel itself
/// writes.
const SLACK: u64 = 1 << 20;

impl Session {
    /// Looks which of the pages that faulted are still there, of all processes that are. `None` where page faults
    /// are not what is counted.
    pub(super) fn look_at_pages(&mut self) -> Option<Residence> {
        if self.source != Source::Growth {
            return None;
        }
        let mut residence = Residence::default();
        for (image, traced) in self.processes.iter() {
            if traced.ended.is_some() {
                continue;
            }
            let Ok(map) = PageMap::of(traced.pid) else {
                // It is gone, and all that it had.
                continue;
            };
            let live = self.kernel.live(traced.heap);
            let faulted: Faulted = live.map(|(page, record)| (page, record.stack)).collect();
            let before = |block: u64| {
                if image == FIRST_IMAGE {
                    self.pages_before.get(&block).copied().unwrap_or_default()
                } else if traced.walks_by.is_empty() {
                    BlockPages::default()
                } else {
                    // A forked one has its parent's pages, which are no growth.
                    BlockPages::ALL
                }
            };
            // As above.
            let _ = residence.add(&faulted, before, |block| map.block(block));
        }
        self.unattributed_bytes = self.unattributed(&residence);
        Some(residence)
    }

    /// How much anonymous memory the target has more than at the beginning, in bytes.
    pub(super) fn grown(&self) -> u64 {
        match (self.heap_at_start, HeapUse::of(self.who.pid)) {
            (Some(had), Ok(has)) => has.anonymous().saturating_sub(had.anonymous()),
            _ => 0,
        }
    }

    /// What became resident and belongs to no page fault of the target's own, in bytes.
    fn unattributed(&self, residence: &Residence) -> u64 {
        let grown = self.grown();
        let missing = grown.saturating_sub(residence.bytes());
        if missing > SLACK.max(grown / 20) {
            missing
        } else {
            0
        }
    }
}

/// What a process has before it is followed; nothing where only its allocator is probed.
///
/// # Errors
///
/// It can't be read: old memory would be taken for new.
pub(super) fn pages_before(
    source: Source,
    pid: u32,
) -> Result<HashMap<u64, BlockPages>, ProcessError> {
    match source {
        Source::Growth => pages_of(pid)
            .map_err(|error| ProcessError::unreadable(format!("/proc/{pid}/pagemap"), error)),
        Source::Probes => Ok(HashMap::new()),
    }
}
