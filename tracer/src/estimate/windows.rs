//! What was counted in windows, kept as sums.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::ratio::{Base, Sums};

/// A time in which calls were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// How long it was.
    pub elapsed: Duration,
    /// The part of it that was the target's own: less the time that the probes took. Of progress windows CPU time, where
    /// that is known to be what the target had outside.
    pub exposure: Duration,
    /// Calls of the mark in it; of what the kernel counts, as many as belong to it.
    pub marks: f64,
}

/// What was allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Number of objects.
    pub objects: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// What tells how much the target did outside of full windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Calls of the mark, whose rate is counted in progress windows.
    Marks,
    /// Time. Right only where a full window does not slow the target down.
    Wall,
}

/// What was counted in windows and in exact phases, by stack.
///
/// Memory goes with the number of stacks, not with that of windows.
#[derive(Clone, Debug)]
pub struct Windows<K> {
    pub(super) stacks: HashMap<K, Stack, RandomState>,
    /// All stacks together.
    pub(super) total: Stack,
    /// Time of exact phases.
    pub(super) exact: Duration,
    pub(super) full: Kind,
    pub(super) progress: Kind,
}

impl<K> Default for Windows<K> {
    fn default() -> Self {
        Self {
            stacks: HashMap::default(),
            total: Stack::default(),
            exact: Duration::ZERO,
            full: Kind::default(),
            progress: Kind::default(),
        }
    }
}

impl<K: Copy + Eq + Hash> Windows<K> {
    /// Adds a time in which everything was counted, and that stands for nothing else.
    pub fn exact(&mut self, time: Duration, amounts: impl IntoIterator<Item = (K, Amount)>) {
        self.exact = self.exact.saturating_add(time);
        for (stack, amount) in amounts {
            self.stacks.entry(stack).or_default().add_exact(amount);
            self.total.add_exact(amount);
        }
    }

    /// Adds a window in which all allocator functions were probed. A stack must come once at most, since
    /// its squares are summed.
    pub fn full(&mut self, window: &Window, amounts: impl IntoIterator<Item = (K, Amount)>) {
        self.full.add(window);
        let mut all = Amount::default();
        for (stack, amount) in amounts {
            self.stacks.entry(stack).or_default().add(window, amount);
            all.objects = all.objects.saturating_add(amount.objects);
            all.bytes = all.bytes.saturating_add(amount.bytes);
        }
        self.total.add(window, all);
    }

    /// Takes a stack and another for one from now on. They must not have been in one window, since squares are summed.
    pub fn join(&mut self, stack: K, other: K) {
        if stack != other
            && let Some(sums) = self.stacks.remove(&other)
        {
            self.stacks.entry(stack).or_default().join(&sums);
        }
    }

    /// Adds a window in which only the mark was probed.
    pub fn progress(&mut self, window: &Window) {
        self.progress.add(window);
    }
}

/// What is kept of a stack, whatever the number of windows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stack {
    pub(super) objects: Quantity,
    pub(super) bytes: Quantity,
    /// Full windows in which it was seen.
    pub(super) windows: u64,
}

impl Stack {
    fn add(&mut self, window: &Window, amount: Amount) {
        self.objects.add(window, amount.objects);
        self.bytes.add(window, amount.bytes);
        self.windows += u64::from(amount != Amount::default());
    }

    fn join(&mut self, other: &Self) {
        self.objects.join(&other.objects);
        self.bytes.join(&other.bytes);
        self.windows += other.windows;
    }

    fn add_exact(&mut self, amount: Amount) {
        self.objects.known += amount.objects as f64;
        self.bytes.known += amount.bytes as f64;
    }
}

/// The sums of one amount: of objects, or of bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quantity {
    /// Counted, in full windows and exact phases.
    pub(super) known: f64,
    /// Counted in full windows.
    sum: f64,
    /// Of squares.
    squares: f64,
    /// Of products with the window's marks.
    by_marks: f64,
    /// Of products with the window's exposure, in seconds.
    by_exposure: f64,
}

impl Quantity {
    fn add(&mut self, window: &Window, amount: u64) {
        let amount = amount as f64;
        self.known += amount;
        self.sum += amount;
        self.squares += amount * amount;
        self.by_marks += amount * window.marks;
        self.by_exposure += amount * window.exposure.as_secs_f64();
    }

    fn join(&mut self, other: &Self) {
        self.known += other.known;
        self.sum += other.sum;
        self.squares += other.squares;
        self.by_marks += other.by_marks;
        self.by_exposure += other.by_exposure;
    }

    pub(super) const fn sums(&self, clock: Clock) -> Sums {
        Sums {
            sum: self.sum,
            squares: self.squares,
            products: match clock {
                Clock::Marks => self.by_marks,
                Clock::Wall => self.by_exposure,
            },
        }
    }
}

/// All windows of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kind {
    pub(super) windows: u64,
    pub(super) elapsed: Duration,
    /// The same in seconds.
    pub(super) length: Base,
    /// In seconds.
    pub(super) exposure: Base,
    pub(super) marks: Base,
    /// Products of marks and exposure, and of marks and length.
    products: f64,
    by_length: f64,
}

impl Kind {
    fn add(&mut self, window: &Window) {
        let exposure = window.exposure.as_secs_f64();
        let marks = window.marks;
        self.windows += 1;
        self.elapsed = self.elapsed.saturating_add(window.elapsed);
        let length = window.elapsed.as_secs_f64();
        self.length.add(length);
        self.by_length += length * marks;
        self.exposure.add(exposure);
        self.marks.add(marks);
        self.products += exposure * marks;
    }

    pub(super) const fn base(&self, clock: Clock) -> &Base {
        match clock {
            Clock::Marks => &self.marks,
            Clock::Wall => &self.exposure,
        }
    }

    /// The marks, to be held against the length.
    pub(super) const fn marks_by_length(&self) -> Sums {
        Sums {
            sum: self.marks.sum,
            squares: self.marks.squares,
            products: self.by_length,
        }
    }

    /// The marks, to be held against the exposure.
    pub(super) const fn marks_by_exposure(&self) -> Sums {
        Sums {
            sum: self.marks.sum,
            squares: self.marks.squares,
            products: self.products,
        }
    }
}
