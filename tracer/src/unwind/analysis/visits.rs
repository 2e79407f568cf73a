//! The instructions that have been looked at, by address.

use crate::unwind::frame::FrameState;

/// An instruction on some way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    pub(super) at: u32,
    pub(super) frame: FrameState,
    /// Where the way came from.
    pub(super) entry: u32,
    pub(super) len: u32,
    /// What it calls returns to the end of the thread.
    pub(super) ends_thread: bool,
}

/// All visits, and a number for each byte of the code: where the visit is among them, from 1.
#[derive(Debug)]
pub(super) struct Visits {
    pub(super) all: Vec<Visit>,
    /// First address and numbers of each piece of the code.
    numbers: Vec<(u32, Vec<u32>)>,
}

impl Visits {
    pub(super) fn new(code: &[(u32, &[u8])]) -> Self {
        let numbers = code
            .iter()
            .map(|(start, bytes)| (*start, vec![0; bytes.len()]));
        Self {
            all: Vec::new(),
            numbers: numbers.collect(),
        }
    }

    fn number(&mut self, at: u32) -> Option<&mut u32> {
        let next = self.numbers.partition_point(|&(start, _)| start <= at);
        let (start, numbers) = self.numbers.get_mut(next.checked_sub(1)?)?;
        numbers.get_mut((at - *start) as usize)
    }

    pub(super) fn get(&self, at: u32) -> Option<&Visit> {
        let next = self.numbers.partition_point(|&(start, _)| start <= at);
        let (start, numbers) = self.numbers.get(next.checked_sub(1)?)?;
        let number = *numbers.get((at - start) as usize)?;
        self.all.get((number as usize).checked_sub(1)?)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Visit> {
        let number = *self.number(at)?;
        self.all.get_mut((number as usize).checked_sub(1)?)
    }

    /// Adds a visit, or replaces the one of the same address.
    pub(super) fn insert(&mut self, visit: Visit) {
        if let Some(known) = self.get_mut(visit.at) {
            *known = visit;
            return;
        }
        // No more than there are bytes, which 32 bits can count.
        let next = self.all.len() as u32 + 1;
        if let Some(number) = self.number(visit.at) {
            *number = next;
            self.all.push(visit);
        }
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
        for (_, numbers) in &mut self.numbers {
            numbers.fill(0);
        }
    }
}
