//! Readings of the processes' memory while they are recorded, for what was not seen.

use std::time::Duration;

use tracer_common::Counter;

use super::{Session, Source};
use crate::bpf::FIRST_IMAGE;
use crate::process::HeapUse;
use crate::session::growth::{Counted, Memory, Unseen};
use crate::session::verdict::Findings;

/// How often memory is read: a reading of one process takes about 30 us.
pub(in crate::session) const INTERVAL: Duration = Duration::from_millis(100);
/// With so many more processes, half as often.
const PROCESSES: usize = 8;

impl Session {
    /// Whether it is read now and then.
    pub(super) fn reads_memory(&self) -> bool {
        // Most of what allocators hand out is not seen in windows: readings tell nothing.
        self.source == Source::Growth || self.windows.is_none()
    }

    /// Reads it when it is time to.
    pub(super) fn glance_at_memory(&mut self) {
        if self.source == Source::Growth {
            self.glance_at_pages();
            return;
        }
        self.glances += 1;
        if self.glances > self.processes.iter().count() / PROCESSES {
            self.read_memory();
        }
    }

    /// Reads it now, while calls still count.
    pub(super) fn read_memory(&mut self) {
        self.glances = 0;
        if self.source == Source::Growth || !self.reads_memory() {
            // Of growth it is all that is looked at.
            return;
        }
        let alive = self.processes.iter();
        let alive = alive.filter(|(_, traced)| traced.ended.is_none());
        let processes = alive.filter_map(|(image, traced)| {
            Some(Memory {
                image,
                // A forked one walks by its parent's mappings until they are gone.
                is_fresh: image != FIRST_IMAGE && traced.walks_by.is_empty(),
                has: HeapUse::of(traced.pid).ok()?,
            })
        });
        let processes: Vec<_> = processes.collect();
        // After memory: what is handed out meanwhile explains more, not less.
        let value = |counter| self.kernel.counter(counter).unwrap_or(0);
        let allocated = value(Counter::AllocBytes);
        let counted = Counted {
            live_bytes: allocated
                .saturating_sub(value(Counter::FreeBytes))
                .saturating_add(value(Counter::ThrowingCallsBytes)),
            live_objects: value(Counter::AllocObjects).saturating_sub(value(Counter::FreeObjects)),
            alloc_bytes: allocated,
        };
        let collected = self
            .found
            .runtime
            .is_some_and(|runtime| runtime.is_collected);
        self.growth.take(&processes, counted, collected);
    }

    /// What the readings say so far.
    pub(super) fn unseen(&self) -> Findings {
        let runtime = self.found.runtime;
        let mut findings = Findings {
            runtime: runtime.map(|runtime| runtime.words),
            ..Findings::default()
        };
        match self.growth.finding() {
            Unseen::Nothing => {}
            // As much as a runtime takes for a program: not the allocator's business, and worth a word.
            Unseen::Settled(bytes) if runtime.is_some() => findings.runtime_bytes = bytes,
            Unseen::Settled(bytes) | Unseen::Growing(bytes) => findings.unseen_growth_bytes = bytes,
        }
        findings
    }
}
