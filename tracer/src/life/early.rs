//! What the side-band tells of processes that nobody has heard of yet: it may overtake the news of their
//! birth. Most of it belongs to processes that have nothing to do with the target, and is forgotten soon.

use std::collections::HashMap;
use std::collections::VecDeque;

/// Events kept at most.
pub(super) const MAX_KEPT: usize = 16_384;
/// Children that are waited for at most.
pub(super) const MAX_EXPECTED: usize = 16_384;
/// How many times [`Early::settle`] is called before an event of a process that is not expected is forgotten.
const ROUNDS: u64 = 2;
/// And before a child is expected no more: one of vfork is not heard of until it calls exec.
const EXPECTED_ROUNDS: u64 = 4_096;

/// What the side-band tells of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What<M> {
    Replacing,
    Map(M),
}

#[derive(Debug)]
struct Kept<M> {
    pid: u32,
    time_ns: u64,
    what: What<M>,
    round: u64,
}

#[derive(Debug)]
pub(super) struct Early<M> {
    kept: VecDeque<Kept<M>>,
    /// Children of followed processes, with the round in which that became known.
    expected: HashMap<u32, u64>,
    round: u64,
}

impl<M> Default for Early<M> {
    fn default() -> Self {
        Self {
            kept: VecDeque::new(),
            expected: HashMap::new(),
            round: 0,
        }
    }
}

impl<M> Early<M> {
    /// Keeps an event. Returns how many were lost for it that somebody may ask for.
    pub(super) fn keep(&mut self, pid: u32, time_ns: u64, what: What<M>) -> u64 {
        let mut lost = 0;
        if self.kept.len() >= MAX_KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            lost = u64::from(self.is_expected(oldest.pid));
        }
        self.kept.push_back(Kept {
            pid,
            time_ns,
            what,
            round: self.round,
        });
        lost
    }

    /// A process will be heard of.
    pub(super) fn expect(&mut self, pid: u32) {
        if self.expected.len() >= MAX_EXPECTED {
            // Those that have waited longest are children that have ended without exec.
            let oldest = self.expected.values().copied().min().unwrap_or(0);
            self.expected.retain(|_, round| *round > oldest);
        }
        self.expected.insert(pid, self.round);
    }

    pub(super) fn is_expected(&self, pid: u32) -> bool {
        self.expected.contains_key(&pid)
    }

    /// Takes out what there is of a process.
    pub(super) fn take(&mut self, pid: u32) -> Vec<(u64, What<M>)> {
        self.expected.remove(&pid);
        if !self.kept.iter().any(|kept| kept.pid == pid) {
            return Vec::new();
        }
        let (its, others) = std::mem::take(&mut self.kept)
            .into_iter()
            .partition::<Vec<_>, _>(|kept| kept.pid == pid);
        self.kept = others.into();
        its.into_iter()
            .map(|kept| (kept.time_ns, kept.what))
            .collect()
    }

    /// A process has ended.
    pub(super) fn forget(&mut self, pid: u32) {
        drop(self.take(pid));
    }

    /// Ends a round.
    pub(super) fn settle(&mut self) {
        self.round += 1;
        let round = self.round;
        self.expected
            .retain(|_, since| *since + EXPECTED_ROUNDS > round);
        let expected = &self.expected;
        self.kept
            .retain(|kept| kept.round + ROUNDS > round || expected.contains_key(&kept.pid));
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len() + self.expected.len()
    }
}
