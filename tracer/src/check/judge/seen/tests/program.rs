//! A program made of kinds of stacks, and what windows see of it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use tracer_common::StackKey;

use super::heap::Heap;
use crate::profile::series::{
    Counters, Mark, Seen, Series, StackId, StackWindow, Survivors, Window,
};
use crate::survivors::{Candidate, Proofs, State};

const SECONDS: u64 = 60;

/// What a stack does. Rates are per second, lives in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Blocks that live for a fraction of a millisecond.
    Requests {
        rate: f64,
        objects: u32,
    },
    Sessions {
        rate: f64,
        lifetime: f64,
    },
    /// The oldest goes when a new one comes, once it is full.
    Cache {
        rate: f64,
        bound: usize,
    },
    /// Kept, and all freed at the end of each period.
    Waves {
        rate: f64,
        period: f64,
    },
    OneOff {
        at: f64,
        objects: u32,
    },
    /// A ring of blocks, each replaced in turn: always occupied.
    Dense {
        slots: usize,
        rate: f64,
    },
    Leak {
        rate: f64,
        size: u64,
    },
    /// Mapped, and no allocator asked.
    Mapped {
        rate: f64,
        bytes: u64,
    },
    /// A share is kept, the rest lives for milliseconds.
    LeakSome {
        rate: f64,
        share: f64,
        size: u64,
    },
}

/// What windows see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// Seconds of a window, and between two on average.
    window: f64,
    gap: f64,
    /// The part of what it does otherwise that the target does in a window.
    pace: f64,
    /// The part of the free blocks that the allocator's memory tells of.
    told: f64,
}

impl Sight {
    pub(super) const EVEN: Self = Self {
        window: 0.005,
        gap: 0.2,
        pace: 1.0,
        told: 0.8,
    };
    /// A target that has nothing to spare.
    pub(super) const SLOWED: Self = Self {
        pace: 0.2,
        ..Self::EVEN
    };
}

pub(super) struct Program {
    kinds: Vec<Kind>,
    sight: Sight,
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// What happens next, by its time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Allocate(usize),
    Free(u64),
    FreeAll(usize),
    Open,
    Close,
    Look,
}

/// What the kernel side has.
#[derive(Default)]
struct Table {
    live: HashMap<u64, Candidate>,
    counters: Vec<Counters>,
    rows: Vec<Vec<Survivors>>,
}

impl Table {
    fn take(&mut self, address: u64) {
        if let Some(gone) = self.live.remove(&address) {
            let stack = gone.stack as usize;
            self.counters[stack].freed_objects += 1;
            self.counters[stack].freed_bytes += gone.size;
            let row = self.rows[stack].iter_mut();
            if let Some(row) = row
                .into_iter()
                .find(|row| row.generation == gone.generation)
            {
                row.objects -= 1;
                row.bytes -= gone.size;
            }
        }
    }

    fn put(&mut self, new: Candidate) {
        self.take(new.address);
        let stack = new.stack as usize;
        self.counters[stack].alloc_objects += 1;
        self.counters[stack].alloc_bytes += new.size;
        let row = &mut self.rows[stack];
        if row
            .last()
            .is_none_or(|last| last.generation != new.generation)
        {
            row.push(Survivors {
                generation: new.generation,
                ..Survivors::default()
            });
        }
        if let Some(last) = row.last_mut() {
            last.objects += 1;
            last.bytes += new.size;
        }
        self.live.insert(new.address, new);
    }
}

impl Program {
    pub(super) const fn new(kinds: Vec<Kind>, sight: Sight) -> Self {
        Self { kinds, sight }
    }

    /// The series of a minute, and the share of what it did that was seen.
    pub(super) fn recorded(&self, seed: u64) -> (Series, f64) {
        let run = Run {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            heap: Heap::default(),
            table: Table {
                counters: vec![Counters::default(); self.kinds.len()],
                rows: vec![Vec::new(); self.kinds.len()],
                ..Table::default()
            },
            proofs: Proofs::default(),
            kept: vec![VecDeque::new(); self.kinds.len()],
            agenda: BinaryHeap::new(),
            series: Series::new(10),
            exposure: 0.0,
            is_open: false,
            done: [0, 0],
            generation: 0,
        };
        run.go(self)
    }
}

struct Run {
    random: Random,
    heap: Heap,
    table: Table,
    proofs: Proofs,
    kept: Vec<VecDeque<u64>>,
    agenda: BinaryHeap<Reverse<(u64, Event)>>,
    series: Series,
    exposure: f64,
    is_open: bool,
    /// Allocations, and those that were seen.
    done: [u64; 2],
    generation: u32,
}

impl Run {
    fn at(&mut self, seconds: f64, event: Event) {
        self.agenda.push(Reverse(((seconds * 1e9) as u64, event)));
    }

    fn go(mut self, program: &Program) -> (Series, f64) {
        for (stack, kind) in program.kinds.iter().enumerate() {
            let first = match *kind {
                Kind::OneOff { at, .. } => at,
                _ => self.random.wait(0.01),
            };
            self.at(first, Event::Allocate(stack));
            if let Kind::Waves { period, .. } = *kind {
                self.at(period, Event::FreeAll(stack));
            }
        }
        self.at(0.1, Event::Open);
        self.at(1.0, Event::Look);
        while let Some(Reverse((nanos, event))) = self.agenda.pop() {
            let now = nanos as f64 / 1e9;
            if now > SECONDS as f64 + 0.5 {
                break;
            }
            self.step(program, now, event);
        }
        (
            self.series,
            self.done[1] as f64 / self.done[0].max(1) as f64,
        )
    }

    fn step(&mut self, program: &Program, now: f64, event: Event) {
        let sight = program.sight;
        match event {
            Event::Open => {
                self.is_open = true;
                self.at(now + sight.window, Event::Close);
            }
            Event::Close => {
                self.is_open = false;
                self.exposure += sight.window;
                let gap = self.random.wait(sight.gap);
                self.at(now + gap, Event::Open);
            }
            Event::Look => {
                self.look(now, sight);
                self.at(now + 1.0, Event::Look);
            }
            Event::Free(address) => self.free(address),
            Event::FreeAll(stack) => {
                for address in std::mem::take(&mut self.kept[stack]) {
                    self.free(address);
                }
                if let Kind::Waves { period, .. } = program.kinds[stack] {
                    self.at(now + period, Event::FreeAll(stack));
                }
            }
            Event::Allocate(stack) => self.allocate(program.kinds[stack], stack, now, sight),
        }
    }

    fn allocate(&mut self, kind: Kind, stack: usize, now: f64, sight: Sight) {
        // Sizes that stacks share, so that they give each other their blocks.
        let size = [24, 56, 100, 200][stack % 4];
        let rate = match kind {
            Kind::Requests { rate, objects } => {
                for _ in 0..objects {
                    let block = self.new_block(stack, size);
                    let life = self.random.wait(0.0003);
                    self.at(now + life, Event::Free(block));
                }
                rate
            }
            Kind::Sessions { rate, lifetime } => {
                let block = self.new_block(stack, size);
                let life = self.random.wait(lifetime);
                self.at(now + life, Event::Free(block));
                rate
            }
            Kind::Cache { rate, bound } | Kind::Dense { rate, slots: bound } => {
                if self.kept[stack].len() >= bound
                    && let Some(oldest) = self.kept[stack].pop_front()
                {
                    self.free(oldest);
                }
                let block = self.new_block(stack, size);
                self.kept[stack].push_back(block);
                rate
            }
            Kind::Waves { rate, .. } => {
                let block = self.new_block(stack, size);
                self.kept[stack].push_back(block);
                rate
            }
            Kind::OneOff { objects, .. } => {
                for _ in 0..objects {
                    self.new_block(stack, size);
                }
                return;
            }
            Kind::Leak { rate, size } => {
                self.new_block(stack, size);
                rate
            }
            Kind::Mapped { rate, bytes } => {
                self.heap.map(bytes);
                rate
            }
            Kind::LeakSome { rate, share, size } => {
                let block = self.new_block(stack, size);
                if self.random.unit() >= share {
                    let life = self.random.wait(0.003);
                    self.at(now + life, Event::Free(block));
                }
                rate
            }
        };
        let pace = if self.is_open { sight.pace } else { 1.0 };
        let wait = self.random.wait(1.0 / (rate * pace));
        self.at(now + wait, Event::Allocate(stack));
    }

    fn new_block(&mut self, stack: usize, size: u64) -> u64 {
        let address = self.heap.allocate(size);
        self.done[0] += 1;
        if self.is_open {
            self.done[1] += 1;
            self.table.put(Candidate {
                address,
                size,
                stack: stack as u32,
                generation: self.generation,
            });
        }
        address
    }

    fn free(&mut self, address: u64) {
        self.heap.free(address);
        if self.is_open {
            self.table.take(address);
        }
    }

    /// The end of a window of the series.
    fn look(&mut self, now: f64, sight: Sight) {
        let mut candidates: Vec<_> = self.table.live.values().copied().collect();
        candidates.sort_unstable_by_key(|one| one.address);
        let (heap, random) = (&self.heap, &mut self.random);
        self.proofs.look(&candidates, usize::MAX, |one| {
            if !heap.is_used(one.address) && random.unit() < sight.told {
                State::Cached
            } else {
                State::Used
            }
        });
        let stacks = self.table.counters.iter().zip(&self.table.rows).enumerate();
        let mut told = Vec::new();
        for (stack, (counters, row)) in stacks {
            let (freed, survivors) = self.proofs.settle(
                stack as u32,
                StackKey::default(),
                [counters.alloc_objects, counters.alloc_bytes],
                [counters.freed_objects, counters.freed_bytes],
                Some(row.iter().copied().filter(|one| one.objects > 0).collect()),
            );
            told.push(StackWindow {
                stack: StackId(stack as u64),
                counters: Counters {
                    freed_objects: freed[0],
                    freed_bytes: freed[1],
                    ..*counters
                },
                survivors: survivors.unwrap_or_default(),
            });
        }
        let window = Window {
            mark: Mark {
                seconds: now,
                seen: Some(Seen {
                    exposure: self.exposure,
                    anonymous: Some(self.heap.resident()),
                }),
                ..Mark::default()
            },
            stacks: told,
        };
        self.series.push(window).expect("a window");
        self.generation += 1;
    }
}
