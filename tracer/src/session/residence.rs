//! Whose resident memory is: pages that faulted, each with its stack, against those that are there now.
//!
//! Pure: pages in, amounts out. `docs/design/0029-growth.md` has the rules.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use tracer_common::limits::PAGE_BYTES;

use crate::bpf::{Held, StackAmounts};
use crate::process::{BLOCK_BYTES, BLOCK_PAGES, BlockPages};

/// Pages that faulted and have not been touched anew: address and number of the stack.
#[derive(Debug, Default)]
pub(super) struct Faulted(BTreeMap<u64, u32>);

impl FromIterator<(u64, u32)> for Faulted {
    fn from_iter<T: IntoIterator<Item = (u64, u32)>>(pages: T) -> Self {
        Self(pages.into_iter().collect())
    }
}

/// What is resident, by the number of the stack.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Residence {
    stacks: HashMap<u32, Pages>,
}

/// Pages of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pages {
    /// That faulted and are still there.
    own: u64,
    /// That came with one of those: of a huge page only one faults.
    neighbours: u64,
}

impl Residence {
    /// Adds a process: what faulted, what it had at first, and what it has now, each by its block.
    pub(super) fn add<E>(
        &mut self,
        faulted: &Faulted,
        before: impl Fn(u64) -> BlockPages,
        mut now: impl FnMut(u64) -> Result<BlockPages, E>,
    ) -> Result<(), E> {
        let mut next = 0;
        while let Some((&page, _)) = faulted.0.range(next..).next() {
            let block = page & !(BLOCK_BYTES - 1);
            next = block + BLOCK_BYTES;
            self.add_block(faulted, block..=next - 1, before(block), now(block)?);
        }
        Ok(())
    }

    fn add_block(
        &mut self,
        faulted: &Faulted,
        block: RangeInclusive<u64>,
        before: BlockPages,
        now: BlockPages,
    ) {
        let mut owners = faulted.0.range(block.clone()).peekable();
        // What lies before the first that faulted came with that one.
        let mut last = owners.peek().map(|&(_, &stack)| stack);
        for number in 0..BLOCK_PAGES {
            let address = block.start() + number as u64 * PAGE_BYTES;
            let own = owners.next_if(|&(&page, _)| page == address);
            last = own.map(|(_, &stack)| stack).or(last);
            let (true, Some(stack)) = (now.has(number), last) else {
                continue;
            };
            if own.is_none() && before.has(number) {
                continue;
            }
            let pages = self.stacks.entry(stack).or_default();
            if own.is_some() {
                pages.own += 1;
            } else {
                pages.neighbours += 1;
            }
        }
    }

    /// Bytes of all stacks.
    pub(super) fn bytes(&self) -> u64 {
        let pages = self.stacks.values();
        pages.map(|pages| pages.own + pages.neighbours).sum::<u64>() * PAGE_BYTES
    }

    /// Puts what is resident into the stacks' amounts, of which the kernel side knows what came only.
    pub(super) fn settle(&self, amounts: &mut [StackAmounts]) {
        for amount in amounts {
            let Pages { own, neighbours } =
                self.stacks.get(&amount.index).copied().unwrap_or_default();
            let counters = &mut amount.counters;
            counters.alloc_objects += neighbours;
            counters.alloc_bytes += neighbours * PAGE_BYTES;
            let held = Held {
                objects: own + neighbours,
                bytes: (own + neighbours) * PAGE_BYTES,
            };
            counters.freed_objects = counters.alloc_objects.saturating_sub(held.objects);
            counters.freed_bytes = counters.alloc_bytes.saturating_sub(held.bytes);
            amount.now = held;
            amount.at_peak = Held::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tracer_common::StackCounters;

    use super::*;

    const BLOCK: u64 = 64 * BLOCK_BYTES;

    fn block(pages: impl IntoIterator<Item = usize>) -> BlockPages {
        let mut block = BlockPages::default();
        for page in pages {
            block.add(page);
        }
        block
    }

    fn residence(faulted: &[(usize, u32)], before: BlockPages, now: BlockPages) -> Residence {
        let faulted = faulted
            .iter()
            .map(|&(page, stack)| (BLOCK + page as u64 * PAGE_BYTES, stack))
            .collect();
        let mut residence = Residence::default();
        let Ok(()) = residence.add(
            &faulted,
            |_| before,
            |at| {
                Ok::<_, Infallible>(if at == BLOCK {
                    now
                } else {
                    BlockPages::default()
                })
            },
        );
        residence
    }

    fn pages(residence: &Residence, stack: u32) -> (u64, u64) {
        let pages = residence.stacks.get(&stack).copied().unwrap_or_default();
        (pages.own, pages.neighbours)
    }

    #[test]
    fn pages_that_are_gone_are_not_held() {
        let found = residence(
            &[(3, 1), (4, 1), (5, 2)],
            BlockPages::default(),
            block([4, 5]),
        );
        assert_eq!(pages(&found, 1), (1, 0));
        assert_eq!(pages(&found, 2), (1, 0));
        assert_eq!(found.bytes(), 2 * PAGE_BYTES);
    }

    #[test]
    fn a_huge_page_is_whose_fault_it_was() {
        let found = residence(&[(17, 1)], BlockPages::default(), BlockPages::ALL);
        assert_eq!(pages(&found, 1), (1, 511));
    }

    #[test]
    fn what_was_there_before_is_nobodys() {
        let found = residence(&[(17, 1)], block(0..17), block(0..18));
        assert_eq!(pages(&found, 1), (1, 0));
        // But a page that was there, was given back and faulted again has an owner.
        let found = residence(&[(16, 1)], block(0..17), block(0..17));
        assert_eq!(pages(&found, 1), (1, 0));
    }

    #[test]
    fn neighbours_go_with_the_fault_before_them() {
        let found = residence(
            &[(8, 1), (16, 2)],
            BlockPages::default(),
            block((6..10).chain(16..20)),
        );
        assert_eq!(pages(&found, 1), (1, 3));
        assert_eq!(pages(&found, 2), (1, 3));
    }

    #[test]
    fn amounts_are_what_came_and_what_is_there() {
        let found = residence(&[(1, 7)], BlockPages::default(), block([1, 2]));
        let mut amounts = [StackAmounts {
            index: 7,
            counters: StackCounters {
                alloc_objects: 3,
                alloc_bytes: 3 * PAGE_BYTES,
                freed_objects: 1,
                freed_bytes: PAGE_BYTES,
                ..StackCounters::default()
            },
            at_peak: Held::default(),
            now: Held::default(),
            survivors: None,
        }];
        found.settle(&mut amounts);
        let counters = amounts[0].counters;
        assert_eq!((counters.alloc_objects, counters.freed_objects), (4, 2));
        assert_eq!(counters.alloc_bytes - counters.freed_bytes, 2 * PAGE_BYTES);
        assert_eq!(amounts[0].now.objects, 2);
    }
}
