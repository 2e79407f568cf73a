//! What tells how much the target does: something that happens as often as memory is allocated, whatever the target
//! is doing. The kernel counts system calls for nothing; else it is a function that is called now and then, so that
//! a probe on it costs next to nothing.

use tracer_common::Callee;

use crate::bpf::{Calls, Work};

/// What an allocator's function may be of the allocators' calls to be a mark. In a full window these take up to four
/// times what the target does itself. A trap that only counts takes a third of what a call takes there on average: so
/// many of them slow the target down by some 8%.
const SHARE: f64 = 0.06;
/// The same of an I/O function. It takes about as much as a trap itself, so that one on each of them slows nothing down
/// by more than half, and little else does much I/O.
const IO_SHARE: f64 = 0.35;
/// What a call of the mark for each of the allocators' leaves unknown of the rate: what traps take is not known better
/// than this.
const DOUBT: f64 = 0.3;
/// What is unknown of the rate of a function's calls, beside that: it is told from windows, and was an eighth too low
/// where it could be compared.
const RATE_DOUBT: f64 = 0.1;
/// Windows that must be known before one is chosen, weighed by what was allocated in them: a function that goes by the
/// clock is to be known no sooner than one that goes with the work.
const WINDOWS: f64 = 6.0;
/// The same, weighed by the calls of the mark. With fewer, nothing is estimated.
const MARKED_WINDOWS: f64 = 4.0;
/// Calls of allocators in them.
const CALLS: f64 = 1_000.0;
/// Calls of the mark in them.
const LEAST: f64 = 20.0;
/// How well allocations per mark must be known, as a part of it: its standard error.
const UNSURE: f64 = 0.25;

/// What is counted to tell how much the target does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Calls of a function, where it is probed.
    Function(Callee),
    /// System calls that read, as the kernel counts them: `read`, `readv`, `pread`.
    Reads,
    /// System calls that write: `write`, `writev`, `pwrite`.
    Writes,
}

impl Mark {
    /// Those that the kernel counts, in the order of [`Work::io`].
    const BY_KERNEL: [Self; 2] = [Self::Reads, Self::Writes];

    /// The function that it takes a probe on.
    pub(super) const fn function(self) -> Option<Callee> {
        match self {
            Self::Function(callee) => Some(callee),
            Self::Reads | Self::Writes => None,
        }
    }

    /// How often it came. None of a function in work, none of system calls in calls.
    pub(super) fn count(self, calls: &Calls, work: Work) -> u64 {
        let [reads, writes] = work.io;
        match self {
            Self::Function(callee) => calls.of(callee),
            Self::Reads => reads,
            Self::Writes => writes,
        }
    }

    /// For people: amounts go by it.
    pub(super) fn shown(self) -> String {
        match self {
            Self::Function(callee) => format!("calls of {}", callee.name()),
            Self::Reads => "system calls that read, which the kernel counts".to_owned(),
            Self::Writes => "system calls that write, which the kernel counts".to_owned(),
        }
    }
}

/// What is known of the functions that may be marks, from full windows.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    all: Calls,
    allocations: Sums,
    /// In the order of their cookies.
    each: [Sums; Callee::COUNT],
    work: Work,
    by_kernel: [Sums; 2],
    chosen: Option<Mark>,
}

/// Of a number in each window.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    sum: f64,
    squares: f64,
    /// Of products with the allocations in the same window.
    products: f64,
}

impl Sums {
    fn add(&mut self, number: u64, allocations: u64) {
        let (number, allocations) = (number as f64, allocations as f64);
        self.sum += number;
        self.squares += number * number;
        self.products += number * allocations;
    }

    /// How many windows of equal weight would say as much (Kish).
    fn windows(&self) -> f64 {
        self.sum * self.sum / self.squares.max(f64::MIN_POSITIVE)
    }

    /// The standard error of allocations per call, as a part of it; as the estimate has it (note 32). `None` where
    /// too little is known.
    fn error(&self, allocations: &Self) -> Option<f64> {
        let (ratio, windows) = (allocations.sum / self.sum, self.windows());
        if self.sum < LEAST || windows < MARKED_WINDOWS || allocations.sum <= 0.0 {
            return None;
        }
        let squares =
            allocations.squares - 2.0 * ratio * self.products + ratio * ratio * self.squares;
        // Rounding may have made it less than nothing.
        let relative = squares.max(0.0) / (allocations.sum * allocations.sum);
        Some((relative * windows / (windows - 1.0)).sqrt())
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            all: Calls::default(),
            allocations: Sums::default(),
            each: [Sums::default(); Callee::COUNT],
            work: Work::default(),
            by_kernel: [Sums::default(); 2],
            chosen: None,
        }
    }
}

impl Marks {
    /// Takes in a full window. The first choice stays: what was counted of another is of no use for it.
    pub(super) fn take(&mut self, calls: &Calls, work: Work) {
        let allocations = calls.allocations();
        self.all.add(calls);
        self.allocations.add(allocations, allocations);
        for (sums, callee) in self.each.iter_mut().zip(Callee::all()) {
            sums.add(calls.of(callee), allocations);
        }
        self.work = self.work.and(work);
        for (sums, count) in self.by_kernel.iter_mut().zip(work.io) {
            sums.add(count, allocations);
        }
        self.chosen = self.chosen.or_else(|| self.choose());
    }

    /// The mark, once there is one.
    pub(super) const fn chosen(&self) -> Option<Mark> {
        self.chosen
    }

    /// What is best where a recording ends before one is chosen: of what the kernel counts, since a function would have
    /// to have been counted between the windows, too.
    pub(super) fn at_last(&self) -> Option<Mark> {
        let best = self.counted().min_by(|a, b| a.0.total_cmp(&b.0));
        self.chosen.or_else(|| best.map(|(_, mark)| mark))
    }

    /// How often it came in full windows, those before it was chosen included.
    pub(super) fn known(&self) -> u64 {
        self.chosen
            .map_or(0, |mark| mark.count(&self.all, self.work))
    }

    /// Whether a function is to be probed in full windows. Those that can't be marks are not: they cost a breakpoint
    /// each, and a trap a call.
    pub(super) fn wants(&self, callee: Callee) -> bool {
        match (callee, self.chosen) {
            (Callee::Allocator(_), _) => true,
            (_, Some(mark)) => Some(callee) == mark.function(),
            (_, None) if self.is_young() => true,
            (_, None) => {
                let calls = self.all.of(callee);
                calls > 0 && self.share(callee) <= IO_SHARE
            }
        }
    }

    fn is_young(&self) -> bool {
        self.allocations.windows() < WINDOWS || (self.all.of_allocators() as f64) < CALLS
    }

    /// Its calls, as a share of the allocators'.
    fn share(&self, callee: Callee) -> f64 {
        self.all.of(callee) as f64 / self.all.of_allocators().max(1) as f64
    }

    /// Of what the kernel counts, and of the functions that are rarely called, the one by which allocations are known
    /// best.
    fn choose(&self) -> Option<Mark> {
        if self.is_young() {
            return None;
        }
        let known = self.each.iter().zip(Callee::all());
        let candidates = known.filter_map(|(sums, callee)| {
            let most = match callee {
                Callee::Allocator(_) => SHARE,
                Callee::Io(_) => IO_SHARE,
            };
            let share = self.share(callee);
            let error = sums.error(&self.allocations)?;
            let rate = RATE_DOUBT.hypot(DOUBT * share);
            (share <= most && error <= UNSURE)
                .then_some((error.hypot(rate), Mark::Function(callee)))
        });
        let best = candidates
            .chain(self.counted())
            .min_by(|a, b| a.0.total_cmp(&b.0));
        best.map(|(_, mark)| mark)
    }

    /// What the kernel counts and allocations go with, and how well they are known by it.
    fn counted(&self) -> impl Iterator<Item = (f64, Mark)> + '_ {
        let by_kernel = self.by_kernel.iter().zip(Mark::BY_KERNEL);
        by_kernel
            .filter_map(|(sums, mark)| Some((sums.error(&self.allocations)?, mark)))
            .filter(|&(error, _)| error <= UNSURE)
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::{AllocatorFn, IoFn};

    use super::*;

    const MALLOC: Callee = Callee::Allocator(AllocatorFn::Malloc);
    const FREE: Callee = Callee::Allocator(AllocatorFn::Free);
    const REALLOC: Callee = Callee::Allocator(AllocatorFn::Realloc);
    const WRITE: Callee = Callee::Io(IoFn::Write);
    const READ: Callee = Callee::Io(IoFn::Read);
    const CLOSE: Callee = Callee::Io(IoFn::Close);

    fn calls(each: &[(Callee, u64)]) -> Calls {
        let mut calls = Calls::default();
        for (callee, value) in Callee::all().zip(&mut calls.by_function) {
            *value = each.iter().find(|(f, _)| *f == callee).map_or(0, |c| c.1);
        }
        calls
    }

    /// The mark after windows in which so much was done, by what a window has of each function then.
    fn mark(work: &[u64], window: impl Fn(u64) -> Vec<(Callee, u64)>) -> Marks {
        let mut marks = Marks::default();
        for &work in work {
            marks.take(&calls(&window(work)), Work::default());
        }
        marks
    }

    const WORK: [u64; 8] = [100, 180, 20, 140, 90, 110, 60, 130];

    #[test]
    fn one_that_is_proportional_beats_one_that_is_frequent_but_comes_in_bursts() {
        let marks = mark(&WORK, |work| {
            vec![
                (MALLOC, work * 17),
                (FREE, work * 17),
                (WRITE, work),
                // More of them, and none where least is done.
                (READ, if work > 100 { work * 2 } else { work }),
            ]
        });
        assert_eq!(marks.chosen(), Some(Mark::Function(WRITE)));
        assert_eq!(marks.known(), WORK.iter().sum::<u64>());
    }

    #[test]
    fn an_allocator_s_function_will_do_as_well() {
        let marks = mark(&WORK, |work| {
            vec![
                (MALLOC, work * 20),
                (FREE, work * 21),
                (REALLOC, work),
                (CLOSE, 3),
            ]
        });
        assert_eq!(marks.chosen(), Some(Mark::Function(REALLOC)));
    }

    #[test]
    fn none_where_all_are_too_rare_or_too_frequent() {
        let marks = mark(&WORK, |work| {
            vec![
                (MALLOC, work),
                (FREE, work),
                (WRITE, work),
                (REALLOC, work / 6),
                (CLOSE, work / 70),
            ]
        });
        assert_eq!(marks.chosen(), None);
        assert!(marks.wants(CLOSE) && !marks.wants(WRITE) && !marks.wants(READ));
        assert!(marks.wants(MALLOC) && marks.wants(REALLOC));
    }

    #[test]
    fn where_little_is_allocated_for_each_answer_that_is_a_mark_too() {
        let marks = mark(&WORK, |work| {
            vec![
                (MALLOC, work * 5),
                (FREE, work * 5),
                (READ, work * 2),
                (WRITE, work),
            ]
        });
        assert_eq!(marks.chosen(), Some(Mark::Function(WRITE)));
    }

    #[test]
    fn none_by_which_nothing_is_known() {
        // By the clock, while the target is now busy and now not.
        let work = [1, 2_000, 3, 2, 4_000, 1, 2, 3].repeat(5);
        let marks = mark(&work, |work| {
            vec![(MALLOC, work * 10), (FREE, work * 10), (READ, 5)]
        });
        assert_eq!(marks.chosen(), None);
        assert!(!marks.is_young());
    }

    #[test]
    fn none_before_some_windows_are_known_and_the_same_ever_after() {
        let work = |work| vec![(MALLOC, work * 17), (FREE, work * 17), (WRITE, work)];
        let mut marks = mark(&WORK[..4], work);
        assert_eq!(marks.chosen(), None);
        assert!(marks.wants(READ) && marks.wants(WRITE));
        for more in [90, 95, 99, 103] {
            marks.take(&calls(&work(more)), Work::default());
        }
        assert_eq!(marks.chosen(), Some(Mark::Function(WRITE)));
        assert!(marks.wants(WRITE) && !marks.wants(READ));
        for _ in 0..50 {
            let calls = calls(&[(MALLOC, 3_000), (FREE, 3_000), (REALLOC, 50)]);
            marks.take(&calls, Work::default());
        }
        assert_eq!(marks.chosen(), Some(Mark::Function(WRITE)));
    }

    #[test]
    fn what_the_kernel_counts_is_better_than_a_probe() {
        let mut marks = Marks::default();
        for work in WORK {
            let calls = calls(&[(MALLOC, work * 17), (FREE, work * 17), (WRITE, work)]);
            // Reads come in bursts.
            let io = [if work > 100 { work * 2 } else { work }, work];
            marks.take(
                &calls,
                Work {
                    io,
                    ..Work::default()
                },
            );
        }
        assert_eq!(marks.chosen(), Some(Mark::Writes));
        assert_eq!(marks.at_last(), Some(Mark::Writes));
        assert_eq!(marks.known(), WORK.iter().sum::<u64>());
        assert!(!marks.wants(WRITE) && marks.wants(MALLOC));
    }

    #[test]
    fn a_short_recording_goes_by_what_the_kernel_counts() {
        let mut marks = Marks::default();
        for work in [100, 110, 90, 105, 95] {
            let calls = calls(&[(MALLOC, work * 17), (FREE, work * 17), (WRITE, work)]);
            let io = [0, work];
            marks.take(
                &calls,
                Work {
                    io,
                    ..Work::default()
                },
            );
        }
        assert_eq!(marks.chosen(), None);
        assert_eq!(marks.at_last(), Some(Mark::Writes));
    }

    #[test]
    fn what_goes_by_the_clock_is_none_though_the_kernel_counts_it() {
        let mut marks = Marks::default();
        for work in [1, 2_000, 3, 2, 4_000, 1, 2, 3].repeat(5) {
            let calls = calls(&[(MALLOC, work * 10), (FREE, work * 10)]);
            let io = [5, 5];
            marks.take(
                &calls,
                Work {
                    io,
                    ..Work::default()
                },
            );
        }
        assert_eq!(marks.chosen(), None);
    }

    #[test]
    fn windows_in_which_nothing_is_done_say_nothing() {
        let work: Vec<u64> = [0; 20].into_iter().chain([100; 3]).collect();
        let marks = mark(&work, |work| {
            vec![(MALLOC, work * 17), (FREE, work * 17), (WRITE, work)]
        });
        assert_eq!(marks.chosen(), None);
        assert!(marks.wants(READ));
    }
}
