//! What each stack's pages amount to, look by look: numbers that only grow, as a series wants them, though pages
//! come without faults and a look is not one instant.

use std::collections::HashMap;

use tracer_common::limits::PAGE_BYTES;
use tracer_common::{EXACT_GENERATIONS, StackKey};

use super::Residence;
use crate::bpf::{Held, StackAmounts};
use crate::profile::series::Survivors;

/// The accounts of all stacks.
#[derive(Debug, Default)]
pub(in crate::session) struct Accounts(HashMap<StackKey, Account>);

/// A stack's pages.
#[derive(Debug, Default)]
struct Account {
    /// That came so far.
    came: u64,
    /// Of these, that are gone again.
    gone: u64,
    /// That are there without a fault of their own. Where they come while they are looked at, theirs is counted
    /// later: so no more than those there are now is ever added to the faults.
    neighbours: u64,
    /// That faulted and were not there at the last look, and may yet be, as their fault was not over. They count as
    /// neither come nor gone until the next look.
    absent: u64,
    /// That came after the last look at their process, which has ended.
    unlooked: u64,
    /// That are there, by the window they came in.
    survivors: Vec<Survivors>,
}

impl Accounts {
    /// Takes in what is there of a stack, and puts it into its amounts. `window` is the one under way; `is_last` says
    /// that no look follows.
    pub(in crate::session) fn settle(
        &mut self,
        amount: &mut StackAmounts,
        residence: &Residence,
        window: u32,
        is_last: bool,
    ) {
        let account = self.0.entry(amount.counters.key).or_default();
        let pages = residence.stacks.get(&amount.index);
        let (held, neighbours) = pages.map_or((0, 0), |pages| (pages.all(), pages.neighbours));
        account.neighbours = neighbours;
        account.absent = pages.map_or(0, |pages| if is_last { 0 } else { pages.absent });
        let faulted = amount.counters.alloc_objects;
        account.came = account
            .came
            .max((faulted + neighbours).saturating_sub(account.absent))
            // There before its fault was counted, or back without one.
            .max(account.gone + held);
        account.gone = account.came - held;
        account.survivors = pages.map_or_else(Vec::new, |pages| {
            survivors(
                pages
                    .generations
                    .iter()
                    .map(|(&generation, &pages)| (generation, pages)),
                window,
            )
        });
        account.tell(amount);
    }

    /// The same for a stack whose process has ended: what came since the last look counts as there until the end.
    /// Where the process went on as another program, its memory is gone.
    pub(in crate::session) fn end(
        &mut self,
        amount: &mut StackAmounts,
        window: u32,
        is_replaced: bool,
    ) {
        let account = self.0.entry(amount.counters.key).or_default();
        // Their faults are long over.
        let absent = std::mem::take(&mut account.absent);
        account.came += absent;
        account.gone += absent;
        let faulted = amount.counters.alloc_objects + account.neighbours;
        let new = faulted.saturating_sub(account.came);
        account.came += new;
        if new > 0 {
            let known = account.survivors.iter();
            let known = known.map(|one| (one.generation, one.objects));
            account.survivors = survivors(known.chain([(window, new)]), window);
        }
        account.unlooked = if is_replaced {
            0
        } else {
            account.unlooked + new
        };
        account.tell(amount);
    }

    /// Forgets a stack, of which nothing more comes. What is not known of it stays.
    pub(in crate::session) fn close(&mut self, key: &StackKey) {
        if let Some(account) = self.0.remove(key)
            && account.unlooked > 0
        {
            self.0.entry(StackKey::default()).or_default().unlooked += account.unlooked;
        }
    }

    /// Bytes that came after the last look at a process that has ended.
    pub(in crate::session) fn unlooked_bytes(&self) -> u64 {
        let accounts = self.0.values();
        accounts.map(|account| account.unlooked).sum::<u64>() * PAGE_BYTES
    }
}

impl Account {
    fn tell(&self, amount: &mut StackAmounts) {
        let counters = &mut amount.counters;
        counters.alloc_objects = self.came;
        counters.alloc_bytes = self.came * PAGE_BYTES;
        counters.freed_objects = self.gone;
        counters.freed_bytes = self.gone * PAGE_BYTES;
        // These are for the peak, which nobody knows.
        amount.now = Held::default();
        amount.at_peak = Held::default();
        amount.survivors = Some(self.survivors.clone());
    }
}

/// Pages by generation, told as the kernel side tells objects: the oldest merged, and none younger than the window.
fn survivors(pages: impl Iterator<Item = (u32, u64)>, window: u32) -> Vec<Survivors> {
    let mut merged: Vec<Survivors> = Vec::new();
    for (generation, objects) in pages {
        // One that came since the window ended counts in it, as there.
        let generation = generation.min(window);
        let is_old = |generation: u32| generation + EXACT_GENERATIONS <= window;
        let bytes = objects * PAGE_BYTES;
        match merged.last_mut() {
            Some(last) if last.generation == generation || is_old(generation) => {
                last.generation = generation;
                last.objects += objects;
                last.bytes += bytes;
            }
            _ => merged.push(Survivors {
                generation,
                objects,
                bytes,
            }),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use tracer_common::StackCounters;

    use super::super::tests::{block, residence};
    use super::*;
    use crate::process::BlockPages;

    const KEY: StackKey = StackKey {
        stack: 5,
        image: 1,
        thread: 0,
    };

    /// Amounts as the kernel side has them, of stack 7.
    fn faulted(pages: u64) -> StackAmounts {
        StackAmounts {
            index: 7,
            counters: StackCounters {
                key: KEY,
                alloc_objects: pages,
                alloc_bytes: pages * PAGE_BYTES,
                ..StackCounters::default()
            },
            at_peak: Held::default(),
            now: Held::default(),
            survivors: None,
        }
    }

    /// Came, gone, and by generation what is there, after a look at which these pages are there.
    fn look(
        accounts: &mut Accounts,
        pages: &[(usize, u32, u32)],
        now: BlockPages,
        counted: u64,
        window: u32,
    ) -> (u64, u64, Vec<(u32, u64)>) {
        let mut amount = faulted(counted);
        let found = residence(pages, window, BlockPages::default(), now);
        accounts.settle(&mut amount, &found, window, false);
        told(&amount)
    }

    fn told(amount: &StackAmounts) -> (u64, u64, Vec<(u32, u64)>) {
        let counters = &amount.counters;
        let row = amount.survivors.iter().flatten();
        assert_eq!(counters.alloc_bytes, counters.alloc_objects * PAGE_BYTES);
        assert_eq!(counters.freed_bytes, counters.freed_objects * PAGE_BYTES);
        (
            counters.alloc_objects,
            counters.freed_objects,
            row.map(|one| (one.generation, one.objects)).collect(),
        )
    }

    #[test]
    fn amounts_are_what_came_and_what_is_there() {
        let mut accounts = Accounts::default();
        let found = look(&mut accounts, &[(1, 7, 0)], block([1, 2]), 3, 0);
        assert_eq!(found, (4, 2, vec![(0, 2)]));
    }

    #[test]
    fn numbers_only_grow_though_neighbours_go() {
        let mut accounts = Accounts::default();
        let pages = [(0, 7, 0)];
        let found = look(&mut accounts, &pages, BlockPages::ALL, 1, 0);
        assert_eq!(found, (512, 0, vec![(0, 512)]));
        let found = look(&mut accounts, &pages, block(0..10), 1, 1);
        assert_eq!(found, (512, 502, vec![(0, 10)]));
        // Back again, without a fault.
        let found = look(&mut accounts, &pages, block(0..12), 1, 2);
        assert_eq!(found, (514, 502, vec![(0, 12)]));
    }

    #[test]
    fn pages_that_come_while_they_are_looked_at_are_nobodys_neighbours_later() {
        let mut accounts = Accounts::default();
        let found = look(&mut accounts, &[(1, 7, 0)], block(1..10), 3, 0);
        assert_eq!(found, (11, 2, vec![(0, 9)]));
        let pages: Vec<_> = (1..10).map(|page| (page, 7, 0)).collect();
        let found = look(&mut accounts, &pages, block(1..10), 11, 0);
        assert_eq!(found, (11, 2, vec![(0, 9)]));
    }

    #[test]
    fn what_is_there_before_it_is_counted_counts_once() {
        let mut accounts = Accounts::default();
        let pages = [(1, 7, 0), (2, 7, 1)];
        let found = look(&mut accounts, &pages, block([1, 2]), 1, 0);
        assert_eq!(found, (2, 0, vec![(0, 2)]));
        let found = look(&mut accounts, &pages, block([1, 2]), 2, 1);
        assert_eq!(found, (2, 0, vec![(0, 1), (1, 1)]));
    }

    #[test]
    fn a_fault_that_is_not_over_does_not_count_as_come_and_gone() {
        let mut accounts = Accounts::default();
        let pages = [(17, 7, 1)];
        let found = look(&mut accounts, &pages, BlockPages::default(), 1, 1);
        assert_eq!(found, (0, 0, vec![]));
        let found = look(&mut accounts, &pages, BlockPages::ALL, 1, 2);
        assert_eq!(found, (512, 0, vec![(1, 512)]));
        // What is not there in a later window was.
        let found = look(&mut accounts, &pages, BlockPages::default(), 1, 3);
        assert_eq!(found, (512, 512, vec![]));
    }

    #[test]
    fn what_is_absent_at_the_last_look_is_gone() {
        let mut accounts = Accounts::default();
        let mut amount = faulted(1);
        let found = residence(
            &[(17, 7, 0)],
            0,
            BlockPages::default(),
            BlockPages::default(),
        );
        accounts.settle(&mut amount, &found, 0, true);
        assert_eq!(told(&amount), (1, 1, vec![]));
        let mut accounts = Accounts::default();
        look(&mut accounts, &[(17, 7, 0)], BlockPages::default(), 1, 0);
        let mut amount = faulted(1);
        accounts.end(&mut amount, 0, false);
        assert_eq!(told(&amount), (1, 1, vec![]));
        assert_eq!(accounts.unlooked_bytes(), 0);
    }

    #[test]
    fn old_generations_are_merged() {
        let pages: Vec<_> = (0..20).map(|page| (page, 7, page as u32)).collect();
        let mut accounts = Accounts::default();
        let (_, _, row) = look(&mut accounts, &pages, BlockPages::ALL, 20, 19);
        assert_eq!(row.len(), EXACT_GENERATIONS as usize + 1);
        assert_eq!(
            row[0],
            (19 - EXACT_GENERATIONS, 20 - u64::from(EXACT_GENERATIONS))
        );
    }

    #[test]
    fn what_came_after_the_last_look_counts_as_there_and_is_told() {
        let mut accounts = Accounts::default();
        let pages = [(1, 7, 0), (2, 7, 0)];
        look(&mut accounts, &pages, block([2]), 2, 0);
        let mut amount = faulted(5);
        accounts.end(&mut amount, 3, false);
        assert_eq!(told(&amount), (5, 1, vec![(0, 1), (3, 3)]));
        assert_eq!(accounts.unlooked_bytes(), 3 * PAGE_BYTES);
        // Told again it stays.
        let mut amount = faulted(5);
        accounts.end(&mut amount, 4, false);
        assert_eq!(told(&amount), (5, 1, vec![(0, 1), (3, 3)]));
        accounts.close(&KEY);
        assert_eq!(accounts.unlooked_bytes(), 3 * PAGE_BYTES);
    }

    #[test]
    fn memory_that_a_new_program_has_replaced_is_no_loss() {
        let mut accounts = Accounts::default();
        accounts.end(&mut faulted(5), 0, true);
        assert_eq!(accounts.unlooked_bytes(), 0);
    }
}
