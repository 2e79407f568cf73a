//! Which candidates are known to be dead, and what of each stack's amounts that takes.

use std::collections::HashMap;

use tracer_common::StackKey;

use super::glibc::State;
use crate::profile::series::Survivors;

/// A block that was seen allocated and not freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its address.
    pub address: u64,
    /// Bytes that were asked for.
    pub size: u64,
    /// Number of its stack.
    pub stack: u32,
    /// The window of the series in which it was allocated.
    pub generation: u32,
}

/// What was proved so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deaths {
    /// Candidates that were there at the last look.
    pub candidates: u64,
    /// Of these, looked at.
    pub looked_at: u64,
    /// Of these, dead: in a cache, free by the chunk behind, of another size, or without memory.
    pub dead: u64,
}

/// The proofs of a recording.
#[derive(Clone, Debug, Default)]
pub struct Proofs {
    /// Dead ones that the kernel side still holds to be live, by address.
    dead: HashMap<u64, Candidate>,
    stacks: HashMap<u32, Stack>,
    /// Which part of the candidates is looked at next.
    turn: u64,
    last: Deaths,
}

/// A stack as it was last told.
#[derive(Clone, Debug, Default)]
struct Stack {
    key: StackKey,
    /// What was told as freed, which only grows.
    freed: [u64; 2],
    /// The kernel side's generations, for windows in which they rest.
    row: Vec<Survivors>,
    /// The dead by generation, in their order.
    dead: Vec<Survivors>,
    /// They are others than when this was last told.
    is_changed: bool,
}

impl Proofs {
    /// Looks at all that the kernel side holds to be live, or at as many as are to be looked at one time: then at others
    /// the next time.
    pub fn look(
        &mut self,
        candidates: &[Candidate],
        at_most: usize,
        mut state: impl FnMut(&Candidate) -> State,
    ) {
        let parts = candidates.len().div_ceil(at_most.max(1)).max(1) as u64;
        self.turn = (self.turn + 1) % parts;
        let mut dead = HashMap::with_capacity(self.dead.len());
        let mut looked_at = 0;
        for candidate in candidates {
            let known = self.dead.get(&candidate.address) == Some(candidate);
            let is_dead = known || {
                // Neighbours in memory are looked at one time, so that the rest is as well.
                let is_now = (candidate.address >> 16) % parts == self.turn;
                looked_at += u64::from(is_now);
                is_now && state(candidate).is_death()
            };
            if is_dead {
                dead.insert(candidate.address, *candidate);
            }
        }
        self.dead = dead;
        self.last = Deaths {
            candidates: candidates.len() as u64,
            looked_at,
            dead: self.dead.len() as u64,
        };
        self.sum_up();
    }

    /// What was proved.
    #[must_use]
    pub const fn deaths(&self) -> Deaths {
        self.last
    }

    fn sum_up(&mut self) {
        let mut sums: HashMap<u32, Vec<Survivors>> = HashMap::new();
        for candidate in self.dead.values() {
            let stack = sums.entry(candidate.stack).or_default();
            let generation = candidate.generation;
            let place = stack.partition_point(|one| one.generation < generation);
            if stack
                .get(place)
                .is_none_or(|one| one.generation != generation)
            {
                let none = Survivors {
                    generation,
                    ..Survivors::default()
                };
                stack.insert(place, none);
            }
            stack[place].objects += 1;
            stack[place].bytes = stack[place].bytes.saturating_add(candidate.size);
        }
        for (number, stack) in &mut self.stacks {
            let now = sums.remove(number).unwrap_or_default();
            stack.is_changed |= now != stack.dead;
            stack.dead = now;
        }
        for (number, dead) in sums {
            let stack = self.stacks.entry(number).or_default();
            stack.dead = dead;
            stack.is_changed = true;
        }
    }

    /// Takes the dead from a stack's amounts: from what it has live, and from the generations that are told.
    /// `allocated` and `freed` are its objects and bytes by the kernel side, `row` its generations, oldest first; `None`
    /// where they are as they were. Returns what is told: freed, and the generations where they are others.
    pub fn settle(
        &mut self,
        number: u32,
        key: StackKey,
        allocated: [u64; 2],
        freed: [u64; 2],
        row: Option<Vec<Survivors>>,
    ) -> ([u64; 2], Option<Vec<Survivors>>) {
        let stack = self.stacks.entry(number).or_default();
        if stack.key != key {
            // Another one has its number.
            *stack = Stack {
                key,
                dead: std::mem::take(&mut stack.dead),
                is_changed: true,
                ..Stack::default()
            };
        }
        let rests = row.is_none();
        if let Some(row) = row {
            stack.row = row;
        }
        let mut told = freed;
        for one in &stack.dead {
            told[0] = told[0].saturating_add(one.objects);
            told[1] = told[1].saturating_add(one.bytes);
        }
        for ((told, before), allocated) in told.iter_mut().zip(&mut stack.freed).zip(allocated) {
            // One that was found dead and given out again meanwhile counts here or there.
            *told = (*told).max(*before).min(allocated);
            *before = *told;
        }
        if rests && !std::mem::take(&mut stack.is_changed) {
            return (told, None);
        }
        stack.is_changed = false;
        (told, Some(without(&stack.row, &stack.dead)))
    }
}

/// Generations without their dead. Old ones are merged: their dead are those of the first that is no older.
fn without(row: &[Survivors], dead: &[Survivors]) -> Vec<Survivors> {
    let mut left = row.to_vec();
    for gone in dead {
        let place = left
            .iter()
            .position(|one| one.generation >= gone.generation);
        if let Some(one) = place.and_then(|place| left.get_mut(place)) {
            one.objects = one.objects.saturating_sub(gone.objects);
            one.bytes = one.bytes.saturating_sub(gone.bytes);
        }
    }
    left.retain(|one| one.objects > 0);
    left
}
