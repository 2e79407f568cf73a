//! A heap of size classes: what is freed last is given out first, and nothing is given back.

use std::collections::HashMap;

/// Bytes of the chunk for so many.
fn class(size: u64) -> u64 {
    (size + 8).next_multiple_of(16).max(32)
}

#[derive(Debug, Default)]
pub(super) struct Heap {
    free: HashMap<u64, Vec<u64>>,
    top: u64,
    used: HashMap<u64, u64>,
    mapped: u64,
}

impl Heap {
    pub(super) fn allocate(&mut self, size: u64) -> u64 {
        let class = class(size);
        let address = self
            .free
            .entry(class)
            .or_default()
            .pop()
            .unwrap_or_else(|| {
                self.top += class;
                self.top
            });
        self.used.insert(address, class);
        address
    }

    pub(super) fn free(&mut self, address: u64) {
        if let Some(class) = self.used.remove(&address) {
            self.free.entry(class).or_default().push(address);
        }
    }

    /// Beside the heap.
    pub(super) fn map(&mut self, bytes: u64) {
        self.mapped += bytes;
    }

    pub(super) fn is_used(&self, address: u64) -> bool {
        self.used.contains_key(&address)
    }

    /// Bytes that are resident, in pages.
    pub(super) fn resident(&self) -> u64 {
        (1 << 20) + self.mapped + self.top.next_multiple_of(4_096)
    }
}
