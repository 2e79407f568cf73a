//! How long programs run, in the target itself, as the kernel counts it where it is asked to.

use std::io;
use std::os::fd::OwnedFd;

use aya::sys::{Stats, enable_stats};

use super::sys::program_runs;

/// The programs that run when the target allocates or frees.
pub struct RunTimes {
    allocation: Vec<Timed>,
    free: Timed,
}

/// What the programs took while that was counted. The kernel's own looks at its clock are in it, some 20 ns for each
/// run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taken {
    /// By an allocation, in nanoseconds; `None` where there was none.
    pub allocation: Option<f64>,
    /// By a free.
    pub free: Option<f64>,
}

/// A program, and how often it runs for one event.
struct Timed {
    program: OwnedFd,
    runs_per_event: f64,
}

/// Sums since the program was loaded, of the times that the kernel counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    pub(super) nanoseconds: u64,
    pub(super) runs: u64,
}

impl Timed {
    /// Nanoseconds of an event.
    fn taken(&self, before: Runs) -> io::Result<Option<f64>> {
        let after = program_runs(&self.program)?;
        let nanoseconds = after.nanoseconds.saturating_sub(before.nanoseconds);
        let runs = after.runs.saturating_sub(before.runs);
        Ok((runs > 0).then(|| nanoseconds as f64 / runs as f64 * self.runs_per_event))
    }
}

impl RunTimes {
    /// `allocation`: what runs at entry and return of allocating functions, one program for both or one each.
    pub(super) fn new(allocation: Vec<OwnedFd>, free: OwnedFd) -> Self {
        let runs_per_event = 2.0 / allocation.len().max(1) as f64;
        let timed = |program, runs_per_event| Timed {
            program,
            runs_per_event,
        };
        Self {
            allocation: allocation
                .into_iter()
                .map(|program| timed(program, runs_per_event))
                .collect(),
            free: timed(free, 1.0),
        }
    }

    /// Has the kernel count while something goes on. All programs of the machine are slower by two looks at a clock
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// The kernel refuses to count, or to tell.
    pub fn during<T>(&self, something: impl FnOnce() -> T) -> io::Result<(T, Taken)> {
        let before = self
            .allocation
            .iter()
            .map(|timed| program_runs(&timed.program))
            .collect::<io::Result<Vec<_>>>()?;
        let freed_before = program_runs(&self.free.program)?;
        let counting = enable_stats(Stats::RunTime).map_err(io::Error::other)?;
        let result = something();
        drop(counting);
        let mut allocation = Some(0.0);
        for (timed, before) in self.allocation.iter().zip(before) {
            let taken = timed.taken(before)?;
            allocation = allocation.zip(taken).map(|(sum, taken)| sum + taken);
        }
        let free = self.free.taken(freed_before)?;
        Ok((result, Taken { allocation, free }))
    }
}
