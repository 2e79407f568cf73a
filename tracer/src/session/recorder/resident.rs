//! Which memory is still there, where it is followed as it becomes resident.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::{Session, Source};
use crate::bpf::{FIRST_IMAGE, StackAmounts};
use crate::process::{BlockPages, HeapUse, PageMap, ProcessError, pages_of};
use crate::session::processes::Traced;
use crate::session::residence::{Accounts, Faulted, FaultedPage, Residence};

/// Bytes that become resident beside what faults: page tables' worth of rounding, and what the kernel itself
/// writes.
const SLACK: u64 = 1 << 20;
/// Time between two looks that nobody asked for, in times of what the last one took.
const REST: u32 = 400;

/// What is known of the target's pages.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// What the target had when page faults began to count, by block.
    before: HashMap<u64, BlockPages>,
    accounts: Accounts,
    /// Number of the window that is under way.
    window: u32,
    /// Anonymous bytes that an image had before its page faults counted.
    had: HashMap<u32, u64>,
    /// Bytes of each image that became resident without a page fault of its own, as of the last look.
    unattributed: HashMap<u32, u64>,
    /// Anonymous bytes of all processes at the last look.
    anonymous: u64,
    /// When the last look ended, and how long it took.
    last: Option<(Instant, Duration)>,
}

/// What a look at the pages has found.
#[derive(Debug, Default)]
pub(super) struct Look {
    residence: Residence,
    /// The images that were looked at: those that have ended can't be.
    images: HashSet<u32>,
    /// Whether no other follows.
    is_last: bool,
}

impl Look {
    /// Whether any process was still there.
    pub(super) fn saw_some(&self) -> bool {
        !self.images.is_empty()
    }
}

impl Pages {
    /// What a process has before it is followed; nothing where only its allocator is probed.
    ///
    /// # Errors
    ///
    /// It can't be read: old memory would be taken for new.
    pub(super) fn before(source: Source, pid: u32) -> Result<Self, ProcessError> {
        let before = match source {
            Source::Growth => pages_of(pid)
                .map_err(|error| ProcessError::unreadable(format!("/proc/{pid}/pagemap"), error))?,
            Source::Probes => HashMap::new(),
        };
        Ok(Self {
            before,
            ..Self::default()
        })
    }

    pub(super) const fn end_window(&mut self) {
        self.window += 1;
    }

    /// Anonymous memory of all processes as of the last look, in bytes.
    pub(super) const fn anonymous(&self) -> u64 {
        self.anonymous
    }

    /// What became resident and belongs to no page fault of the target's own, in bytes.
    pub(super) fn unattributed_bytes(&self) -> u64 {
        self.unattributed.values().sum()
    }

    /// What became resident after the last look at a process that has ended, in bytes.
    pub(super) fn unlooked_bytes(&self) -> u64 {
        let bytes = self.accounts.unlooked_bytes();
        if bytes > SLACK { bytes } else { 0 }
    }

    fn take(&mut self, image: u32, is_fork: bool, anonymous: u64, found: u64) {
        let had = *self.had.entry(image).or_insert(if is_fork {
            // Its parent's, which are no growth.
            anonymous.saturating_sub(found)
        } else {
            0
        });
        let grown = anonymous.saturating_sub(had);
        let missing = grown.saturating_sub(found);
        let missing = if missing > SLACK.max(grown / 20) {
            missing
        } else {
            0
        };
        self.unattributed.insert(image, missing);
    }
}

impl Session {
    /// Looks which of the pages that faulted are still there, of all processes that are. `None` where page faults
    /// are not what is counted. `is_last` says that no other look follows.
    pub(super) fn look_at_pages(&mut self, is_last: bool) -> Option<Look> {
        if self.source != Source::Growth {
            return None;
        }
        let begun = Instant::now();
        if let Some(had) = self.heap_at_start {
            self.pages.had.entry(FIRST_IMAGE).or_insert(had.anonymous());
        }
        let mut look = Look {
            is_last,
            ..Look::default()
        };
        let mut anonymous = 0;
        for (image, traced) in self.processes.iter() {
            let Some((has, residence)) = self.residence_of(image, traced) else {
                continue;
            };
            anonymous += has;
            self.pages
                .take(image, traced.is_fork, has, residence.bytes());
            look.images.insert(image);
            look.residence.join(residence);
        }
        if look.saw_some() {
            self.pages.anonymous = anonymous;
        }
        self.pages.last = Some((Instant::now(), begun.elapsed()));
        Some(look)
    }

    /// Anonymous bytes of a process, and what of its pages is there; `None` where it has ended.
    fn residence_of(&self, image: u32, traced: &Traced) -> Option<(u64, Residence)> {
        if traced.ended.is_some() {
            return None;
        }
        // First: what comes meanwhile is not missing.
        let anonymous = HeapUse::of(traced.pid).ok()?.anonymous();
        let map = PageMap::of(traced.pid).ok()?;
        let live = self.kernel.live(traced.heap);
        let faulted: Faulted = live
            .map(|(address, record)| FaultedPage {
                address,
                stack: record.stack,
                generation: record.generation,
            })
            .collect();
        let before = |block: u64| {
            if image == FIRST_IMAGE {
                let before = &self.pages.before;
                before.get(&block).copied().unwrap_or_default()
            } else if traced.is_fork {
                // It has its parent's pages, which are no growth.
                BlockPages::ALL
            } else {
                BlockPages::default()
            }
        };
        let residence = Residence::of(&faulted, self.pages.window, before, |block| {
            map.block(block)
        })
        .ok()?;
        // One that has ended meanwhile has no pages, and has not given them back.
        HeapUse::of(traced.pid).ok()?;
        Some((anonymous, residence))
    }

    /// Puts what a look has found into the stacks' amounts, of which the kernel side knows what came only.
    pub(super) fn settle_pages(&mut self, look: Option<&Look>, amounts: &mut [StackAmounts]) {
        let Some(look) = look else { return };
        let Pages {
            accounts, window, ..
        } = &mut self.pages;
        for amount in amounts {
            let key = amount.counters.key;
            if look.images.contains(&key.image) {
                accounts.settle(amount, &look.residence, *window, look.is_last);
            } else {
                accounts.end(amount, *window, self.processes.is_gone(&key));
            }
        }
    }

    /// The same for images that have ended, whose stacks leave the kernel's tables.
    pub(super) fn retire_pages(&mut self, amounts: &mut [StackAmounts]) {
        if self.source != Source::Growth {
            return;
        }
        self.settle_pages(Some(&Look::default()), amounts);
        for amount in amounts {
            self.pages.accounts.close(&amount.counters.key);
        }
    }

    /// Looks at the pages now and then: when a process has ended it is too late.
    pub(super) fn glance_at_pages(&mut self) {
        let rested = |(ended, took): (Instant, Duration)| ended.elapsed() >= took * REST;
        if !self.pages.last.is_none_or(rested) {
            return;
        }
        // Where the tables can't be read the end of the recording will say it.
        let Ok(mut amounts) = self.kernel.stacks() else {
            return;
        };
        let look = self.look_at_pages(false);
        self.settle_pages(look.as_ref(), &mut amounts);
    }

    /// How much anonymous memory the target has more than at the beginning, in bytes.
    pub(super) fn grown(&self) -> u64 {
        let is_first = self.processes.latest(self.who.pid);
        let is_first = is_first.is_none_or(|(image, _)| image == FIRST_IMAGE);
        // What an image had that was replaced is gone.
        let had = self.heap_at_start.filter(|_| is_first).unwrap_or_default();
        let has = HeapUse::of(self.who.pid).unwrap_or_default();
        has.anonymous().saturating_sub(had.anonymous())
    }
}
