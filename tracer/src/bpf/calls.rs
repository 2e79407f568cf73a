//! Calls in windows: those that were counted, and those that have not returned.

use aya::maps::{HashMap, MapData};
use tracer_common::{Callee, PendingCall, ThreadCalls};

use super::BpfError;
use super::error::map_error;

/// What the program of windows has counted since it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Nanoseconds that it ran.
    pub ran_ns: u64,
    /// Calls of each function that were entered in windows, in the order of their cookies.
    pub by_function: [u64; Callee::COUNT],
    /// Calls at its breakpoints outside windows.
    pub outside: u64,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            ran_ns: 0,
            by_function: [0; Callee::COUNT],
            outside: 0,
        }
    }
}

impl Calls {
    /// Of one function.
    #[must_use]
    pub fn of(&self, callee: Callee) -> u64 {
        self.sum_of(|known| known == callee)
    }

    /// Of all allocators' functions.
    #[must_use]
    pub fn of_allocators(&self) -> u64 {
        self.sum_of(|callee| matches!(callee, Callee::Allocator(_)))
    }

    /// Of those that allocate.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.sum_of(|callee| matches!(callee, Callee::Allocator(function) if !function.is_free()))
    }

    fn sum_of(&self, counts: impl Fn(Callee) -> bool) -> u64 {
        let all = Callee::all().zip(&self.by_function);
        all.filter(|(callee, _)| counts(*callee))
            .map(|(_, calls)| calls)
            .sum()
    }

    /// Adds others.
    pub fn add(&mut self, others: &Self) {
        self.ran_ns += others.ran_ns;
        self.outside += others.outside;
        for (calls, more) in self.by_function.iter_mut().zip(&others.by_function) {
            *calls += more;
        }
    }

    /// What has come since.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut by_function = self.by_function;
        for (calls, before) in by_function.iter_mut().zip(&before.by_function) {
            *calls = calls.saturating_sub(*before);
        }
        Self {
            ran_ns: self.ran_ns.saturating_sub(before.ran_ns),
            by_function,
            outside: self.outside.saturating_sub(before.outside),
        }
    }
}

/// Calls that have not returned.
pub(super) struct PendingCalls {
    pending: HashMap<MapData, u32, ThreadCalls>,
    suspended: HashMap<MapData, u64, PendingCall>,
}

impl PendingCalls {
    pub(super) const fn new(
        pending: HashMap<MapData, u32, ThreadCalls>,
        suspended: HashMap<MapData, u64, PendingCall>,
    ) -> Self {
        Self { pending, suspended }
    }

    /// Takes them out.
    pub(super) fn take(&mut self) -> Result<Vec<PendingCall>, BpfError> {
        let mut left = Vec::new();
        let mut gone = Vec::new();
        for entry in self.pending.iter() {
            let (tid, thread) = entry.map_err(|error| map_error("PENDING", "read", &error))?;
            if thread.call.sp != 0 || thread.depth != 0 {
                left.extend((thread.call.sp != 0).then_some(thread.call));
                gone.push((tid, thread.depth, thread.deepest));
            }
        }
        for (tid, depth, deepest) in gone {
            for place in 0..deepest {
                let key = u64::from(tid) << 32 | u64::from(place);
                let call = self.suspended.get(&key, 0).ok();
                left.extend(call.filter(|_| place < depth));
                let _ = self.suspended.remove(&key);
            }
            // Its thread may have ended meanwhile.
            let _ = self.pending.remove(&tid);
        }
        Ok(left)
    }
}
