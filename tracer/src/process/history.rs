//! What covered each address, and since when: the pure part of [`AddressSpace`](super::AddressSpace).
//!
//! Addresses are cut where any range began or ended. Each piece has its own list of changes by time, so that a
//! look-up is two binary searches. What is announced again changes nothing. The target decides how much is
//! announced, so there is a bound: beyond it the oldest is forgotten, and what is asked about that time is then not
//! known. Nothing is ever answered that was not so.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Changes of all pieces that are kept. A program with a thousand libraries has some thousands.
const MAX_CHANGES: usize = 1 << 16;

/// Changes over time, by address.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// By first address; each reaches to the next.
    pieces: BTreeMap<u64, Vec<Change>>,
    /// In all pieces.
    changes: usize,
    /// Changes up to this time may have been forgotten.
    horizon: u64,
    /// Changes that were forgotten while they may have been of use.
    forgotten: u64,
    limit: usize,
}

/// From a time on a piece is something, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    since: u64,
    /// When it was last announced.
    last: u64,
    /// Whether `last` is known, or only the latest that it can be.
    is_exact: bool,
    /// Nobody knows what was there until `last`: announcements of that time were taken together.
    is_unknown: bool,
    what: Option<Thing>,
}

/// What may be at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thing {
    /// Its number.
    pub(super) index: usize,
    /// It has no names to lose, and is forgotten before what has.
    pub(super) is_nameless: bool,
}

impl Change {
    /// Ends it before a time, though it was announced later. Returns it from when it was there again, if that is
    /// known.
    fn split(&mut self, time: u64) -> Option<Self> {
        let again = Self {
            since: self.last,
            ..*self
        };
        let is_known = self.is_exact;
        self.last = self.since.max(time.saturating_sub(1));
        self.is_exact = false;
        is_known.then_some(again)
    }

    /// Of the same time, what was mapped comes last: the kernel unmaps what was there first.
    const fn order(&self) -> (u64, bool) {
        (self.since, self.what.is_some())
    }
}

impl Default for History {
    fn default() -> Self {
        Self::with_limit(MAX_CHANGES)
    }
}

impl History {
    fn with_limit(limit: usize) -> Self {
        Self {
            pieces: BTreeMap::new(),
            changes: 0,
            horizon: 0,
            forgotten: 0,
            limit,
        }
    }

    /// What was at an address at a time.
    pub(super) fn at(&self, address: u64, time: u64) -> Option<usize> {
        let (_, changes) = self.pieces.range(..=address).next_back()?;
        let change = before(changes, (time, true))?;
        Some(change.what?.index)
    }

    /// What is there now, by address: pieces with their first address and the one past the end.
    pub(super) fn now(&self) -> Vec<(Range<u64>, usize)> {
        let mut now: Vec<(Range<u64>, usize)> = Vec::new();
        let ends = self.pieces.keys().skip(1).copied().chain([u64::MAX]);
        for ((&start, changes), end) in self.pieces.iter().zip(ends) {
            let last = changes.last();
            let Some(Thing { index: what, .. }) = last.and_then(|change| change.what) else {
                continue;
            };
            match now.last_mut() {
                Some((piece, same)) if piece.end == start && *same == what => piece.end = end,
                _ => now.push((start..end, what)),
            }
        }
        now
    }

    /// Takes in that a range is something from a time on. Returns whether that was news: `is_same` tells whether
    /// what was there is the same.
    pub(super) fn map(
        &mut self,
        range: &Range<u64>,
        since: u64,
        what: Thing,
        is_same: impl Fn(usize) -> bool,
    ) -> bool {
        self.change(range, since, Some(what), |other| {
            other.is_some_and(|other| is_same(other.index))
        })
    }

    /// Takes in that nothing is at a range from a time on. Returns whether that was news.
    pub(super) fn unmap(&mut self, range: &Range<u64>, since: u64) -> bool {
        self.change(range, since, None, |other| other.is_none())
    }

    /// Changes that were forgotten.
    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// All that is referred to.
    pub(super) fn used(&self) -> BTreeSet<usize> {
        let changes = self.pieces.values().flatten();
        changes
            .filter_map(|change| Some(change.what?.index))
            .collect()
    }

    /// All that has been in a range, or right before it, once for each piece and change.
    pub(super) fn ever(&self, range: &Range<u64>) -> impl Iterator<Item = usize> {
        // One may begin before it and reach into it.
        let first = self.pieces.range(..range.start).next_back();
        let pieces = first.into_iter().chain(self.pieces.range(range.clone()));
        let changes = pieces.flat_map(|(_, changes)| changes);
        changes.filter_map(|change| Some(change.what?.index))
    }

    fn change(
        &mut self,
        range: &Range<u64>,
        since: u64,
        what: Option<Thing>,
        is_same: impl Fn(Option<Thing>) -> bool,
    ) -> bool {
        if range.is_empty() {
            return false;
        }
        if self.horizon > 0 && since <= self.horizon {
            // What came after it is not known any more.
            self.forgotten += 1;
            return false;
        }
        self.cut(range.start);
        self.cut(range.end);
        let new = Change {
            since,
            last: since,
            is_exact: true,
            is_unknown: false,
            what,
        };
        let mut is_news = false;
        let mut added = 0;
        for (_, changes) in self.pieces.range_mut(range.clone()) {
            let at = changes.partition_point(|change| change.order() <= new.order());
            let Some(before) = at.checked_sub(1).map(|before| &mut changes[before]) else {
                changes.insert(at, new);
                added += 1;
                is_news = true;
                continue;
            };
            if before.is_unknown && since <= before.last {
                // True at that moment, and how long nobody knows.
                continue;
            }
            if !before.is_unknown && is_same(before.what) {
                before.is_exact |= since > before.last;
                before.last = before.last.max(since);
                continue;
            }
            is_news = true;
            if !before.is_unknown && before.last > since {
                // It was announced after this, and perhaps several times: until the last of them nobody knows.
                let unknown = Change {
                    last: before.last,
                    is_unknown: true,
                    what: None,
                    ..new
                };
                let again = before.split(since);
                changes.insert(at, unknown);
                added += 1;
                if let Some(again) = again {
                    changes.insert(at + 1, again);
                    added += 1;
                }
            } else {
                changes.insert(at, new);
                added += 1;
            }
        }
        self.changes += added;
        while self.changes > self.limit {
            self.forget();
        }
        is_news
    }

    /// Sees to it that a piece begins at an address.
    fn cut(&mut self, at: u64) {
        if self.pieces.contains_key(&at) {
            return;
        }
        let below = self.pieces.range(..at).next_back();
        let changes = below
            .map(|(_, changes)| changes.clone())
            .unwrap_or_default();
        self.changes += changes.len();
        self.pieces.insert(at, changes);
    }

    /// Forgets half of the changes: first what was replaced, then what has no names, then the oldest.
    fn forget(&mut self) {
        let rank = |changes: &[Change], at: usize| {
            let change = &changes[at];
            let is_past = at + 1 < changes.len();
            let has_names = change.what.is_some_and(|what| !what.is_nameless);
            (
                u8::from(!is_past) + u8::from(!is_past && has_names),
                change.since,
            )
        };
        let pieces = self.pieces.values();
        let mut all: Vec<_> = pieces
            .flat_map(|changes| (0..changes.len()).map(move |at| rank(changes, at)))
            .collect();
        let half = all.len() / 2;
        let (_, &mut until, _) = all.select_nth_unstable(half);
        // In each piece the ranks ascend.
        self.drop_first(|changes| {
            (0..changes.len())
                .take_while(|&at| rank(changes, at) <= until)
                .count()
        });
    }

    /// Drops as many of the first changes of each piece as it is told, and joins neighbours that do not differ
    /// any more.
    fn drop_first(&mut self, count: impl Fn(&[Change]) -> usize) {
        for changes in self.pieces.values_mut() {
            let gone = count(changes);
            if let Some(last) = gone.checked_sub(1) {
                self.horizon = self.horizon.max(changes[last].since);
            }
            self.forgotten += gone as u64;
            changes.drain(..gone);
        }
        let mut last: &[Change] = &[];
        let mut doubles = Vec::new();
        for (&start, changes) in &self.pieces {
            if changes == last {
                doubles.push(start);
            }
            last = changes;
        }
        for start in doubles {
            self.pieces.remove(&start);
        }
        self.changes = self.pieces.values().map(Vec::len).sum();
    }
}

/// The last change up to a place in the order.
fn before(changes: &[Change], order: (u64, bool)) -> Option<&Change> {
    let after = changes.partition_point(|change| change.order() <= order);
    changes.get(after.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What may happen; `what` is a kind of thing, so that the same is announced again.
    #[derive(Clone, Debug)]
    enum Event {
        Map(u64, u64, usize),
        Unmap(u64, u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        let map = (0..24_u64, 1..12_u64, 0..4_usize);
        prop_oneof![
            6 => map.prop_map(|(start, len, what)| Event::Map(start, len, what)),
            2 => (0..24_u64, 1..12_u64).prop_map(|(start, len)| Event::Unmap(start, len)),
        ]
    }

    /// All that happened, looked through from the end.
    #[derive(Default)]
    struct Naive(Vec<(u64, Event)>);

    impl Naive {
        fn at(&self, address: u64, time: u64) -> Option<usize> {
            let mut past: Vec<_> = self.0.iter().filter(|(at, _)| *at <= time).collect();
            past.sort_by_key(|(at, event)| (*at, matches!(event, Event::Map(..))));
            past.iter().rev().find_map(|(_, event)| match *event {
                Event::Map(start, len, what) => (start..start + len)
                    .contains(&address)
                    .then_some(Some(what)),
                Event::Unmap(start, len) => (start..start + len).contains(&address).then_some(None),
            })?
        }
    }

    /// Odd ones have no names.
    const fn thing(index: usize) -> Thing {
        Thing {
            index,
            is_nameless: index % 2 == 1,
        }
    }

    fn take(history: &mut History, time: u64, event: &Event) {
        match *event {
            Event::Map(start, len, what) => {
                history.map(&(start..start + len), time, thing(what), |other| {
                    other == what
                });
            }
            Event::Unmap(start, len) => {
                history.unmap(&(start..start + len), time);
            }
        }
    }

    fn check_shape(history: &History) {
        let sum: usize = history.pieces.values().map(Vec::len).sum();
        assert_eq!(sum, history.changes);
        for changes in history.pieces.values() {
            assert!(changes.is_sorted_by_key(Change::order), "{changes:?}");
        }
    }

    proptest! {
        /// In order: the same as a list of all that happened, at each address and time.
        #[test]
        fn what_was_there_is_found(events in vec(event(), 0..40)) {
            let mut history = History::default();
            let mut naive = Naive::default();
            for (time, event) in (1..).zip(events) {
                take(&mut history, time, &event);
                naive.0.push((time, event));
            }
            check_shape(&history);
            for time in 0..=naive.0.len() as u64 + 1 {
                for address in 0..40 {
                    prop_assert_eq!(history.at(address, time), naive.at(address, time), "{} at {}", address, time);
                }
            }
            let now: Vec<_> = history.now();
            for address in 0..40 {
                let piece = now.iter().find(|(range, _)| range.contains(&address));
                prop_assert_eq!(piece.map(|(_, what)| *what), history.at(address, u64::MAX));
            }
        }

        /// In any order: never another than was there. It may be unknown.
        #[test]
        fn late_news_makes_nothing_false(events in vec((event(), 1..30_u64), 0..40)) {
            let mut history = History::default();
            let mut naive = Naive::default();
            let mut times = std::collections::HashSet::new();
            for (event, time) in events {
                if !times.insert(time) {
                    continue;
                }
                take(&mut history, time, &event);
                naive.0.push((time, event));
            }
            check_shape(&history);
            for time in 0..32 {
                for address in 0..40 {
                    let found = history.at(address, time);
                    prop_assert!(found.is_none() || found == naive.at(address, time), "{} at {}", address, time);
                }
            }
        }

        /// With a small bound: what is still known is true, and the bound holds.
        #[test]
        fn what_is_forgotten_is_unknown(events in vec(event(), 0..120)) {
            let mut history = History::with_limit(24);
            let mut naive = Naive::default();
            for (time, event) in (1..).zip(events) {
                take(&mut history, time, &event);
                naive.0.push((time, event));
                prop_assert!(history.changes <= 24);
                prop_assert!(history.pieces.len() <= 2 * 24 + 2);
            }
            check_shape(&history);
            for time in 0..=naive.0.len() as u64 + 1 {
                for address in 0..40 {
                    let found = history.at(address, time);
                    prop_assert!(found.is_none() || found == naive.at(address, time), "{} at {}", address, time);
                }
            }
        }
    }

    #[test]
    fn what_is_announced_again_takes_nothing() {
        let mut history = History::default();
        assert!(history.map(&(1..9), 1, thing(0), |_| false));
        let before = history.clone();
        for time in 2..10_000 {
            assert!(!history.map(&(1..9), time, thing(0), |other| other == 0));
            assert!(!history.map(&(3..5), time, thing(0), |other| other == 0));
        }
        assert_eq!(history.pieces.len(), before.pieces.len() + 2);
        assert_eq!(history.at(4, 10_000), Some(0));
    }

    #[test]
    fn what_has_names_is_kept_longest() {
        let mut history = History::with_limit(100);
        history.map(&(1..2), 0, thing(0), |_| false);
        for time in 1..1_000 {
            history.map(&(2 * time..2 * time + 1), time, thing(1), |_| false);
            history.map(&(5_000..5_001), time, thing(2), |_| false);
        }
        assert_eq!(history.at(1, 1_000), Some(0));
        assert_eq!(history.at(5_000, 1_000), Some(2));
        assert_eq!(history.at(2 * 999, 1_000), Some(1));
        assert_eq!(history.at(2, 1_000), None);
        assert!(history.forgotten() > 1_000);
    }
}
