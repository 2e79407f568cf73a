//! Made-up memory and made-up candidates.

use std::collections::HashMap;

use proptest::prelude::*;
use tracer_common::StackKey;

use super::glibc::{Heap, Keys, Memory, State, Unread};
use super::proofs::{Candidate, Proofs};
use crate::profile::series::Survivors;

const KEY: u64 = 0x9d3c_6f21_88a4_51e7;
const START: u64 = 0x5555_0000_0000;

/// Words by address.
#[derive(Clone, Debug, Default)]
struct Words(HashMap<u64, u64>);

impl Memory for Words {
    fn words(&self, address: u64, into: &mut [u64]) -> Result<(), Unread> {
        for (word, address) in into.iter_mut().zip((address..).step_by(8)) {
            *word = *self.0.get(&address).ok_or(Unread::Unmapped)?;
        }
        Ok(())
    }
}

impl Words {
    fn write(&mut self, address: u64, words: &[u64]) {
        for (word, address) in words.iter().zip((address..).step_by(8)) {
            self.0.insert(address, *word);
        }
    }

    /// A chunk whose block is at `address`, with the two first words of the block, and what its successor says.
    fn chunk(address: u64, size: u64, content: [u64; 2], next: u64) -> Self {
        let mut words = Self::default();
        words.write(address - 8, &[size, content[0], content[1]]);
        words.write(address - 16 + (size & !7) + 8, &[next]);
        words
    }

    fn state(&self, address: u64, asked: u64) -> State {
        let mut keys = Keys::default();
        keys.learn(&heap_with_a_cache(), START);
        assert!(!keys.is_empty());
        Heap {
            memory: self,
            keys: &keys,
        }
        .state(address, asked)
    }
}

/// A heap that begins with a thread's cache, which lists three blocks.
fn heap_with_a_cache() -> Words {
    let mut words = Words::default();
    let mut cache = vec![0; 0x280 / 8];
    cache[20] = START + 0x1000;
    cache[21] = START + 0x2000;
    cache[30] = START + 0x3000;
    // A count, and no address.
    cache[3] = 7;
    words.write(START + 8, &[0x291]);
    words.write(START + 16, &cache);
    for block in [0x1000, 0x2000, 0x3000] {
        words.write(START + block, &[0, KEY]);
    }
    words
}

#[test]
fn blocks_that_are_free_are_known() {
    let address = START + 0x4_0000;
    let used = 0x51;
    assert_eq!(
        Words::chunk(address, 0x41, [1, 2], used).state(address, 50),
        State::Used
    );
    assert_eq!(
        Words::chunk(address, 0x41, [1, 2], 0x50).state(address, 50),
        State::Binned
    );
    // Split, or merged with others.
    for size in [0x21, 0x71, 0x1001] {
        assert_eq!(
            Words::chunk(address, size, [1, 2], used).state(address, 50),
            State::Resized
        );
    }
    assert_eq!(Words::default().state(address, 50), State::Unmapped);
    // In a cache, with nothing behind, or another of its size.
    let last = address >> 12;
    assert_eq!(
        Words::chunk(address, 0x41, [last, KEY], used).state(address, 50),
        State::Cached
    );
    let mut linked = Words::chunk(
        address,
        0x41,
        [(address >> 12) ^ (START + 0x5000), KEY],
        used,
    );
    linked.write(START + 0x5000 - 8, &[0x41]);
    assert_eq!(linked.state(address, 50), State::Cached);
    // The key alone is left over where a block was given out and not written to.
    assert_eq!(
        Words::chunk(address, 0x41, [3, KEY], used).state(address, 50),
        State::Used
    );
}

#[test]
fn blocks_of_their_own_are_whole_pages() {
    let address = START + 0x10;
    let of = |size: u64, asked| Words::chunk(address, size | 2, [0, 0], 0).state(address, asked);
    assert_eq!(of(0x4_1000, 0x4_0000), State::Used);
    assert_eq!(of(0x2_1000, 0x4_0000), State::Resized);
}

#[test]
fn a_key_is_what_most_of_a_cache_has() {
    let mut keys = Keys::default();
    let mut none = heap_with_a_cache();
    none.write(START + 8, &[0x31]);
    keys.learn(&none, START);
    let mut few = heap_with_a_cache();
    few.write(START + 0x1000 + 8, &[0, 0]);
    few.write(START + 0x2000 + 8, &[0, 0]);
    keys.learn(&few, START);
    keys.learn(&Words::default(), START);
    assert!(keys.is_empty());
    keys.learn(&heap_with_a_cache(), START);
    assert!(!keys.is_empty());
    // Another arena: its own memory, and then the cache.
    let mut arena = Words::default();
    let mut own = vec![0; 512];
    own[0x130] = 0x295;
    arena.write(START, &own);
    let cache = heap_with_a_cache();
    let moved = START + 0x130 * 8 - 8;
    arena.write(
        moved + 16,
        &(0..0x50)
            .map(|n| cache.0[&(START + 16 + n * 8)])
            .collect::<Vec<_>>(),
    );
    for block in [0x1000, 0x2000, 0x3000] {
        arena.write(START + block, &[0, KEY]);
    }
    let mut of_arena = Keys::default();
    of_arena.learn_of_arena(&arena, START);
    assert_eq!(of_arena, keys);
}

/// What happens between two looks.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A block is seen allocated, at one of few addresses.
    Seen { address: u64, stack: u32 },
    /// Its free is seen.
    Freed { address: u64 },
    /// It is freed unseen.
    Dies { address: u64 },
    /// The window of the series ends.
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let address = || (1_u64..12).prop_map(|place| place * 64);
    let step = prop_oneof![
        4 => (address(), 0_u32..3).prop_map(|(address, stack)| Step::Seen { address, stack }),
        2 => address().prop_map(|address| Step::Freed { address }),
        2 => address().prop_map(|address| Step::Dies { address }),
        1 => Just(Step::Look),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// What is told goes up only, and what is left is what was allocated and not told to be freed; none that lives is
    /// ever told to be dead.
    #[test]
    fn the_dead_are_counted_once(steps in steps(), at_most in 1_usize..20) {
        let mut proofs = Proofs::default();
        let mut live: HashMap<u64, (Candidate, bool)> = HashMap::new();
        let (mut allocated, mut freed) = ([[0_u64; 2]; 3], [[0_u64; 2]; 3]);
        let mut told_before = [[0_u64; 2]; 3];
        let mut generation = 0;
        for step in steps.into_iter().chain([Step::Look]) {
            match step {
                Step::Seen { address, stack } => {
                    let size = 16 + u64::from(stack);
                    let new = Candidate { address, size, stack, generation };
                    if let Some((old, _)) = live.insert(address, (new, true)) {
                        let freed = &mut freed[old.stack as usize];
                        *freed = [freed[0] + 1, freed[1] + old.size];
                    }
                    let allocated = &mut allocated[stack as usize];
                    *allocated = [allocated[0] + 1, allocated[1] + size];
                }
                Step::Freed { address } => if let Some((old, _)) = live.remove(&address) {
                    let freed = &mut freed[old.stack as usize];
                    *freed = [freed[0] + 1, freed[1] + old.size];
                },
                Step::Dies { address } => if let Some((_, lives)) = live.get_mut(&address) {
                    *lives = false;
                },
                Step::Look => {
                    let candidates: Vec<_> = live.values().map(|(one, _)| *one).collect();
                    proofs.look(&candidates, at_most, |one| {
                        if live[&one.address].1 { State::Used } else { State::Binned }
                    });
                    for stack in 0..3_u32 {
                        let nth = stack as usize;
                        let mut row: Vec<Survivors> = Vec::new();
                        for (one, _) in live.values().filter(|(one, _)| one.stack == stack) {
                            let place = row.iter().position(|row| row.generation == one.generation);
                            let place = place.unwrap_or_else(|| {
                                row.push(Survivors { generation: one.generation, ..Survivors::default() });
                                row.len() - 1
                            });
                            row[place].objects += 1;
                            row[place].bytes += one.size;
                        }
                        row.sort_by_key(|one| one.generation);
                        let (told, left) = proofs.settle(
                            stack, StackKey::default(), allocated[nth], freed[nth], Some(row),
                        );
                        let left = left.expect("a row was given");
                        let sum: u64 = left.iter().map(|one| one.objects).sum();
                        prop_assert_eq!(sum, allocated[nth][0] - told[0]);
                        prop_assert!(told[0] >= told_before[nth][0] && told[1] >= told_before[nth][1]);
                        let alive = live.values().filter(|(one, lives)| one.stack == stack && *lives);
                        prop_assert!(sum >= alive.count() as u64);
                        told_before[nth] = told;
                    }
                    generation += 1;
                }
            }
        }
        prop_assert!(proofs.deaths().dead <= proofs.deaths().candidates);
    }

    /// Whatever a block in use holds, its size and its successor say that it is in use.
    #[test]
    fn nothing_in_use_is_taken_for_dead(
        asked in 0_u64..100_000, spare in 0_u64..3, content in any::<[u64; 2]>(), next in any::<u64>(),
    ) {
        let address = START + 0x4_0000;
        let chunk = (asked + 8).next_multiple_of(16).max(32) + spare * 16;
        let words = Words::chunk(address, chunk | 1, content, next | 1);
        prop_assert_eq!(words.state(address, asked), State::Used);
    }
}

#[test]
fn a_stack_that_rests_is_told_again_where_some_of_it_died() {
    let mut proofs = Proofs::default();
    let one = Candidate {
        address: 64,
        size: 10,
        stack: 0,
        generation: 0,
    };
    let row = Survivors {
        generation: 0,
        objects: 1,
        bytes: 10,
    };
    let key = StackKey::default();
    proofs.look(&[one], 9, |_| State::Used);
    assert_eq!(
        proofs.settle(0, key, [1, 10], [0, 0], Some(vec![row])),
        ([0, 0], Some(vec![row]))
    );
    assert_eq!(proofs.settle(0, key, [1, 10], [0, 0], None), ([0, 0], None));
    proofs.look(&[one], 9, |_| State::Cached);
    assert_eq!(
        proofs.settle(0, key, [1, 10], [0, 0], None),
        ([1, 10], Some(Vec::new()))
    );
    // It stays dead without another look, and leaves when the kernel side has settled it.
    proofs.look(&[one], 9, |_| State::Used);
    assert_eq!(
        proofs.settle(0, key, [1, 10], [0, 0], None),
        ([1, 10], None)
    );
    proofs.look(&[], 9, |_| State::Used);
    assert_eq!(
        proofs.settle(0, key, [1, 10], [1, 10], Some(Vec::new())),
        ([1, 10], Some(Vec::new()))
    );
    // Its number is another stack's.
    let other = StackKey {
        stack: 7,
        ..StackKey::default()
    };
    assert_eq!(
        proofs.settle(0, other, [1, 8], [0, 0], Some(vec![row])),
        ([0, 0], Some(vec![row]))
    );
}
