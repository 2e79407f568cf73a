//! Whose resident memory is: pages that faulted, each with its stack, against those that are there now.
//!
//! Pure: pages in, amounts out. `docs/design/0029-growth.md` has the rules.

mod accounts;

use std::collections::{BTreeMap, HashMap};

use tracer_common::limits::PAGE_BYTES;

pub(super) use self::accounts::Accounts;
use crate::process::{BLOCK_BYTES, BLOCK_PAGES, BlockPages};

/// A page that faulted and has not been touched anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FaultedPage {
    pub(super) address: u64,
    /// Number of the stack.
    pub(super) stack: u32,
    /// Number of the window in which it faulted.
    pub(super) generation: u32,
}

/// Such pages of a process, by address.
#[derive(Debug, Default)]
pub(super) struct Faulted(Vec<FaultedPage>);

impl FromIterator<FaultedPage> for Faulted {
    fn from_iter<T: IntoIterator<Item = FaultedPage>>(pages: T) -> Self {
        let mut pages: Vec<_> = pages.into_iter().collect();
        pages.sort_unstable_by_key(|page| page.address);
        Self(pages)
    }
}

/// What is resident, by the number of the stack.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Residence {
    stacks: HashMap<u32, StackPages>,
}

/// Pages of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct StackPages {
    /// That faulted and are still there.
    own: u64,
    /// That came with one of those: of a huge page only one faults.
    neighbours: u64,
    /// That faulted in the window under way and are not there: gone again, or their fault is not over.
    absent: u64,
    /// All of them that are there, by the window in which they came.
    generations: BTreeMap<u32, u64>,
}

impl StackPages {
    const fn all(&self) -> u64 {
        self.own + self.neighbours
    }
}

impl Residence {
    /// That of a process in a window: what faulted, what it had at first, and what it has now, each by its block.
    ///
    /// # Errors
    ///
    /// Those of `now`.
    pub(super) fn of<E>(
        faulted: &Faulted,
        window: u32,
        before: impl Fn(u64) -> BlockPages,
        mut now: impl FnMut(u64) -> Result<BlockPages, E>,
    ) -> Result<Self, E> {
        let mut residence = Self::default();
        let block_of = |page: &FaultedPage| page.address & !(BLOCK_BYTES - 1);
        for pages in faulted.0.chunk_by(|a, b| block_of(a) == block_of(b)) {
            let Some(block) = pages.first().map(block_of) else {
                continue;
            };
            residence.add_block(block, pages, window, before(block), now(block)?);
        }
        Ok(residence)
    }

    fn add_block(
        &mut self,
        block: u64,
        faulted: &[FaultedPage],
        window: u32,
        before: BlockPages,
        now: BlockPages,
    ) {
        let mut owners = faulted.iter().peekable();
        // What lies before the first that faulted came with that one.
        let mut last = owners.peek().copied();
        for number in 0..BLOCK_PAGES {
            let address = block + number as u64 * PAGE_BYTES;
            let own = owners.next_if(|page| page.address == address);
            last = own.or(last);
            if let Some(own) = own
                && own.generation >= window
                && !now.has(number)
            {
                self.stacks.entry(own.stack).or_default().absent += 1;
            }
            let (true, Some(owner)) = (now.has(number), last) else {
                continue;
            };
            if own.is_none() && before.has(number) {
                continue;
            }
            let pages = self.stacks.entry(owner.stack).or_default();
            if own.is_some() {
                pages.own += 1;
            } else {
                pages.neighbours += 1;
            }
            *pages.generations.entry(owner.generation).or_default() += 1;
        }
    }

    /// Takes in that of another process, whose stacks are others.
    pub(super) fn join(&mut self, other: Self) {
        self.stacks.extend(other.stacks);
    }

    /// Bytes of all stacks.
    pub(super) fn bytes(&self) -> u64 {
        self.stacks.values().map(StackPages::all).sum::<u64>() * PAGE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    pub(super) const BLOCK: u64 = 64 * BLOCK_BYTES;

    pub(super) fn block(pages: impl IntoIterator<Item = usize>) -> BlockPages {
        let mut block = BlockPages::default();
        for page in pages {
            block.add(page);
        }
        block
    }

    /// From pages that faulted: number in the block, stack, generation.
    pub(super) fn residence(
        faulted: &[(usize, u32, u32)],
        window: u32,
        before: BlockPages,
        now: BlockPages,
    ) -> Residence {
        let faulted = faulted
            .iter()
            .map(|&(page, stack, generation)| FaultedPage {
                address: BLOCK + page as u64 * PAGE_BYTES,
                stack,
                generation,
            })
            .collect();
        let Ok(residence) = Residence::of(
            &faulted,
            window,
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
        let pages = residence.stacks.get(&stack);
        pages.map_or((0, 0), |pages| (pages.own, pages.neighbours))
    }

    #[test]
    fn pages_that_are_gone_are_not_held() {
        let found = residence(
            &[(3, 1, 0), (4, 1, 0), (5, 2, 0)],
            0,
            BlockPages::default(),
            block([4, 5]),
        );
        assert_eq!(pages(&found, 1), (1, 0));
        assert_eq!(pages(&found, 2), (1, 0));
        assert_eq!(found.bytes(), 2 * PAGE_BYTES);
    }

    #[test]
    fn a_huge_page_is_whose_fault_it_was() {
        let found = residence(&[(17, 1, 3)], 3, BlockPages::default(), BlockPages::ALL);
        assert_eq!(pages(&found, 1), (1, 511));
        assert_eq!(found.stacks[&1].generations, [(3, 512)].into());
    }

    #[test]
    fn what_was_there_before_is_nobodys() {
        let found = residence(&[(17, 1, 0)], 0, block(0..17), block(0..18));
        assert_eq!(pages(&found, 1), (1, 0));
        // But a page that was there, was given back and faulted again has an owner.
        let found = residence(&[(16, 1, 0)], 0, block(0..17), block(0..17));
        assert_eq!(pages(&found, 1), (1, 0));
    }

    #[test]
    fn neighbours_go_with_the_fault_before_them() {
        let found = residence(
            &[(8, 1, 0), (16, 2, 0)],
            0,
            BlockPages::default(),
            block((6..10).chain(16..20)),
        );
        assert_eq!(pages(&found, 1), (1, 3));
        assert_eq!(pages(&found, 2), (1, 3));
    }

    #[test]
    fn each_page_is_of_the_window_in_which_it_came() {
        let found = residence(
            &[(1, 7, 0), (2, 7, 2), (3, 7, 2), (4, 7, 1)],
            2,
            BlockPages::default(),
            block([1, 2, 3]),
        );
        assert_eq!(found.stacks[&7].generations, [(0, 1), (2, 2)].into());
    }
}
