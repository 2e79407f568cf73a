//! What is live of each stack by generation: the user side of [`tracer_common::GenerationCell`].
//!
//! The kernel side is never stopped for it, and no allocation is looked at.

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{Array, MapData};
use tracer_common::{
    EXACT_GENERATIONS, GENERATION_CELLS, GENERATION_RING, GenerationCell, StackCounters,
};

use super::BpfError;
use super::error::map_error;
use super::view::View;
use crate::profile::series::Survivors;

/// The generations of all stacks.
pub(super) struct Generations {
    /// Holds the cells.
    _cells: MapData,
    view: View<GenerationCell>,
    /// Number of the window, for the kernel side.
    window: Array<MapData, u64>,
    /// The same.
    current: u32,
    stacks: Vec<Reading>,
}

/// What was seen of a stack when its cells were last read.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    alloc_objects: u64,
    freed_objects: u64,
    /// Nothing had changed for a window, so that nothing can have been under way between the stack's
    /// counters and its cells.
    settled: bool,
    /// The youngest generation that is counted in the cell for older ones.
    older: u32,
}

/// A signed amount, for the time being: see [`GenerationCell`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    objects: i64,
    bytes: i64,
}

impl Generations {
    /// The tables that the loader has made, for so many stacks.
    pub(super) fn new(
        cells: MapData,
        window: Array<MapData, u64>,
        stacks: u32,
    ) -> Result<Self, BpfError> {
        let len = stacks as usize * GENERATION_CELLS as usize;
        Ok(Self {
            view: View::new("GENERATIONS", cells.fd().as_fd(), len)?,
            _cells: cells,
            window,
            current: 0,
            stacks: Vec::new(),
        })
    }

    /// The generations of a stack that live, the oldest first; `None` where it rests since it was last
    /// asked for. `counters` are the stack's own, read before.
    pub(super) fn read(&mut self, index: u32, counters: &StackCounters) -> Option<Vec<Survivors>> {
        let stack = index as usize;
        if self.stacks.len() <= stack {
            self.stacks.resize(stack + 1, Reading::default());
        }
        let reading = &mut self.stacks[stack];
        let rests = reading.alloc_objects == counters.alloc_objects
            && reading.freed_objects == counters.freed_objects;
        if rests && reading.settled {
            return None;
        }
        reading.settled = rests;
        reading.alloc_objects = counters.alloc_objects;
        reading.freed_objects = counters.freed_objects;
        let older = reading.older;
        // The oldest in the ring has its cell still, and its frees go to that of the older ones.
        let resting = self.current.checked_sub(EXACT_GENERATIONS);
        let mut oldest = (older, self.load(index, GENERATION_RING));
        if let Some(resting) = resting {
            let amount = self.load(index, resting % GENERATION_RING);
            if amount != Amount::default() {
                oldest = (resting, oldest.1.plus(amount));
            }
        }
        let mut row = [oldest; GENERATION_CELLS as usize];
        let mut len = 1;
        let first = resting.map_or(0, |resting| resting + 1);
        for generation in first..=self.current {
            row[len] = (generation, self.load(index, generation % GENERATION_RING));
            len += 1;
        }
        Some(survivors(&mut row[..len]))
    }

    /// Begins the next window: empties the cells that it needs into those of the older generations, and
    /// tells the kernel side.
    ///
    /// # Errors
    ///
    /// A map could not be written.
    pub(super) fn advance(&mut self) -> Result<(), BpfError> {
        let next = self.current + 1;
        if let Some(leaving) = next.checked_sub(GENERATION_RING) {
            for index in 0..self.stacks.len() {
                self.fold(index, leaving);
            }
        }
        self.window
            .set(0, &u64::from(next), 0)
            .map_err(|error| map_error("GENERATION", "written", &error))?;
        self.current = next;
        Ok(())
    }

    /// Moves what a generation holds to the older ones. One exchange takes it: what the kernel side adds
    /// before that moves, what it adds later stays in the cell.
    fn fold(&mut self, stack: usize, leaving: u32) {
        let (Some((objects, bytes)), Some((older_objects, older_bytes))) = (
            self.cell(stack as u32, leaving % GENERATION_RING),
            self.cell(stack as u32, GENERATION_RING),
        ) else {
            return;
        };
        let moved = objects.swap(0, Ordering::SeqCst);
        older_objects.fetch_add(moved, Ordering::SeqCst);
        older_bytes.fetch_add(bytes.swap(0, Ordering::SeqCst), Ordering::SeqCst);
        if moved != 0 {
            self.stacks[stack].older = leaving;
        }
    }

    fn load(&self, index: u32, cell: u32) -> Amount {
        self.cell(index, cell)
            .map_or(Amount::default(), |(objects, bytes)| Amount {
                objects: objects.load(Ordering::Acquire).cast_signed(),
                bytes: bytes.load(Ordering::Acquire).cast_signed(),
            })
    }

    /// Objects and bytes of a cell.
    fn cell(&self, index: u32, cell: u32) -> Option<(&AtomicU64, &AtomicU64)> {
        let entry = self
            .view
            .get(index as usize * GENERATION_CELLS as usize + cell as usize)?;
        // SAFETY: the view's pointers are valid and aligned as long as it is, and all access is atomic.
        unsafe {
            Some((
                AtomicU64::from_ptr(&raw mut (*entry).objects),
                AtomicU64::from_ptr(&raw mut (*entry).bytes),
            ))
        }
    }
}

impl Amount {
    const fn plus(self, other: Self) -> Self {
        Self {
            objects: self.objects.wrapping_add(other.objects),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }
}

/// The generations that live. One is below zero only where an event was under way for a whole window,
/// and then another has too much: so the sum stays what it is.
fn survivors(row: &mut [(u32, Amount)]) -> Vec<Survivors> {
    let mut debt = Amount::default();
    for (_, amount) in row.iter_mut().rev() {
        *amount = amount.plus(debt);
        debt = Amount {
            objects: amount.objects.min(0),
            bytes: amount.bytes.min(0),
        };
        amount.objects = amount.objects.max(0);
        amount.bytes = amount.bytes.max(0);
    }
    let lives = |(_, amount): &&(u32, Amount)| *amount != Amount::default();
    // As large as it has to be: there is one for each of a hundred thousand stacks.
    let mut living = Vec::with_capacity(row.iter().filter(lives).count());
    living.extend(
        row.iter()
            .filter(lives)
            .map(|&(generation, amount)| Survivors {
                generation,
                objects: amount.objects.cast_unsigned(),
                bytes: amount.bytes.cast_unsigned(),
            }),
    );
    living
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(amounts: &[(u32, i64)]) -> Vec<(u32, u64)> {
        let amounts = amounts.iter().map(|&(generation, objects)| {
            let bytes = objects * 8;
            (generation, Amount { objects, bytes })
        });
        let living = survivors(&mut amounts.collect::<Vec<_>>());
        assert!(living.iter().all(|one| one.bytes == one.objects * 8));
        living
            .iter()
            .map(|one| (one.generation, one.objects))
            .collect()
    }

    #[test]
    fn the_dead_are_left_out() {
        assert_eq!(row(&[(0, 0), (5, 3), (6, 0), (7, 1)]), [(5, 3), (7, 1)]);
    }

    #[test]
    fn what_is_below_zero_is_taken_from_the_older_ones() {
        assert_eq!(row(&[(4, 9), (5, 1), (6, -3), (7, 1)]), [(4, 7), (7, 1)]);
        assert_eq!(row(&[(4, -1), (5, 1)]), [(5, 1)]);
    }
}
