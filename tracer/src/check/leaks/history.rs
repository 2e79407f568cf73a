//! One stack's history laid out window by window, as the tests for a trend want it.

use crate::profile::series::StackHistory;

/// The levels of one stack at the end of each window. The buffers are used again for every stack.
#[derive(Clone, Debug, Default)]
pub(super) struct Levels {
    /// Objects live.
    pub(super) live_objects: Vec<f64>,
    /// Bytes live.
    pub(super) live_bytes: Vec<f64>,
    /// Objects live that are `age` windows old or older.
    pub(super) old_objects: Vec<f64>,
    /// Bytes of these.
    pub(super) old_bytes: Vec<f64>,
    /// Objects that came to be that old, all windows so far together.
    pub(super) aged_objects: Vec<f64>,
    /// Objects allocated so far.
    pub(super) alloc_objects: Vec<f64>,
    /// Bytes allocated so far.
    pub(super) alloc_bytes: Vec<f64>,
    /// What lives of each generation, while the windows are gone through.
    row: Vec<(u64, u64)>,
}

impl Levels {
    /// Lays out a stack over `windows` windows. `age` is at least 1, and less than the number of
    /// generations that are told apart; without generations nothing is old.
    pub(super) fn fill(&mut self, history: &StackHistory, windows: usize, age: Option<usize>) {
        self.fill_counters(history, windows);
        for levels in [
            &mut self.old_objects,
            &mut self.old_bytes,
            &mut self.aged_objects,
        ] {
            levels.clear();
            levels.resize(windows, 0.0);
        }
        if let Some(age) = age {
            self.fill_old(history, windows, age);
        }
    }

    fn fill_counters(&mut self, history: &StackHistory, windows: usize) {
        self.live_objects.clear();
        self.live_bytes.clear();
        self.alloc_objects.clear();
        self.alloc_bytes.clear();
        let mut points = history.points().iter().peekable();
        let mut counters = Default::default();
        for window in 0..windows {
            while let Some(point) = points.next_if(|point| point.window as usize <= window) {
                counters = point.counters;
            }
            self.live_objects.push(counters.live_objects() as f64);
            self.live_bytes.push(counters.live_bytes() as f64);
            self.alloc_objects.push(counters.alloc_objects as f64);
            self.alloc_bytes.push(counters.alloc_bytes as f64);
        }
    }

    /// Generations come of age one a window; after that, each change of theirs counts. Sums are all
    /// that is taken of what has come of age, so it may be merged by then.
    fn fill_old(&mut self, history: &StackHistory, windows: usize, age: usize) {
        self.row.clear();
        self.row.resize(windows, (0, 0));
        let mut changes = history.changes().iter().peekable();
        let (mut objects, mut bytes, mut aged) = (0_u64, 0_u64, 0_u64);
        for window in 0..windows {
            while let Some(change) = changes.next_if(|change| change.window as usize <= window) {
                let generation = change.survivors.generation as usize;
                let Some(before) = self.row.get_mut(generation) else {
                    continue;
                };
                if generation + age < window {
                    objects = (objects + change.survivors.objects).saturating_sub(before.0);
                    bytes = (bytes + change.survivors.bytes).saturating_sub(before.1);
                }
                *before = (change.survivors.objects, change.survivors.bytes);
            }
            if let Some(&(of_age, of_age_bytes)) = window
                .checked_sub(age)
                .and_then(|generation| self.row.get(generation))
            {
                objects += of_age;
                bytes += of_age_bytes;
                aged += of_age;
            }
            self.old_objects[window] = objects as f64;
            self.old_bytes[window] = bytes as f64;
            self.aged_objects[window] = aged as f64;
        }
    }

    /// Old objects that were freed in the windows after `from` up to `to`.
    pub(super) fn old_deaths(&self, from: usize, to: usize) -> f64 {
        let aged = self.aged_objects[to] - self.aged_objects[from];
        aged - (self.old_objects[to] - self.old_objects[from])
    }
}
