//! A series of snapshots of one recording: growing counters per stack and window, and which
//! generations of allocations still live.
//!
//! A *window* is the time between two snapshots; a *generation* is what was allocated in one window
//! and has its number. Stacks are opaque ids here, their frames live elsewhere. Only what changes
//! from one window to the next is kept, so that a stack which rests costs nothing.
//!
//! Pure: whoever takes the snapshots brings the times.

mod merged;

use serde::{Deserialize, Serialize};

use super::Invalid;

/// Names a stack within one series.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct StackId(pub u64);

/// What a stack has allocated and freed since the recording began. Each number only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Objects allocated.
    pub alloc_objects: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Objects of these that were freed.
    pub freed_objects: u64,
    /// Bytes of these.
    pub freed_bytes: u64,
}

impl Counters {
    /// Objects live now.
    #[must_use]
    pub const fn live_objects(&self) -> u64 {
        self.alloc_objects.saturating_sub(self.freed_objects)
    }

    /// Bytes live now.
    #[must_use]
    pub const fn live_bytes(&self) -> u64 {
        self.alloc_bytes.saturating_sub(self.freed_bytes)
    }

    /// Whether no number is smaller than it was in `earlier`.
    const fn grew_from(&self, earlier: &Self) -> bool {
        self.alloc_objects >= earlier.alloc_objects
            && self.alloc_bytes >= earlier.alloc_bytes
            && self.freed_objects >= earlier.freed_objects
            && self.freed_bytes >= earlier.freed_bytes
    }
}

/// What of one generation still lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivors {
    /// The window it was allocated in. Where old generations are merged, the youngest of them.
    pub generation: u32,
    /// Objects.
    pub objects: u64,
    /// Bytes.
    pub bytes: u64,
}

/// One stack at the end of a window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackWindow {
    /// The stack.
    pub stack: StackId,
    /// Its counters.
    pub counters: Counters,
    /// Its generations that still live, the oldest first; those left out are dead. Empty also
    /// where generations are not known, see [`Series::new`].
    pub survivors: Vec<Survivors>,
}

/// A snapshot. Stacks that are left out are as they were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// When it ends.
    pub mark: Mark,
    /// The stacks that changed, or all of them.
    pub stacks: Vec<StackWindow>,
}

/// The end of a window, and what was counted until then for the process as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Seconds since the recording began.
    pub seconds: f64,
    /// Operations (requests, say) since then, where someone counts them.
    pub operations: Option<u64>,
    /// Frees since then of memory that is older than the recording.
    pub unknown_frees: u64,
    /// Anonymous memory that the target has as a whole, in bytes; only where memory is told from page faults, and
    /// objects are pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident: Option<u64>,
    /// What was seen of the target until then; only where that is not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// What is known at the end of a window of a series where the target is seen in windows of some milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Seconds in which every call was seen, since the recording began.
    pub exposure: f64,
    /// Anonymous memory that the target has as a whole, in bytes; none where that could not be read.
    pub anonymous: Option<u64>,
}

impl Mark {
    /// Whether it may come after the one before it.
    fn check(&self, last: Option<&Self>, window: u32) -> Result<(), Invalid> {
        let backwards = last.is_some_and(|last| {
            self.seconds <= last.seconds
                || self.operations < last.operations
                || self.unknown_frees < last.unknown_frees
        });
        if backwards || !self.seconds.is_finite() || self.seconds < 0.0 {
            return Err(Invalid::WindowOrder { window });
        }
        Ok(())
    }
}

/// A stack's counters from one window on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The window at whose end they were first seen so.
    pub window: u32,
    /// The counters.
    pub counters: Counters,
}

/// A generation's survivors from one window on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The window at whose end they were first seen so.
    pub window: u32,
    /// The survivors; none any more where its numbers are 0.
    pub survivors: Survivors,
}

/// One stack over all windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StackHistory {
    points: Vec<Point>,
    changes: Vec<Change>,
    /// The generations that live now, for the next window's differences.
    row: Vec<Survivors>,
}

impl StackHistory {
    /// The counters, wherever they changed, in the order of the windows.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The generations' survivors, wherever they changed, in the order of the windows.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The counters at the end of the series.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.points
            .last()
            .map(|point| point.counters)
            .unwrap_or_default()
    }

    /// The generations that live at the end of the series, the oldest first.
    #[must_use]
    pub fn survivors(&self) -> &[Survivors] {
        &self.row
    }

    fn validate(&self, stack: u64, windows: usize) -> Result<(), Invalid> {
        let mut last = Point {
            window: 0,
            counters: Counters::default(),
        };
        for point in &self.points {
            let window = point.window;
            if !point.counters.grew_from(&last.counters) {
                return Err(Invalid::CounterFell { window, stack });
            }
            if window < last.window || window as usize >= windows {
                return Err(Invalid::WindowOrder { window });
            }
            last = *point;
        }
        let mut last = 0;
        for change in &self.changes {
            let window = change.window;
            if window < last || window as usize >= windows {
                return Err(Invalid::WindowOrder { window });
            }
            if change.survivors.generation > window {
                return Err(Invalid::Generation { window, stack });
            }
            last = window;
        }
        Ok(())
    }

    fn push(&mut self, window: u32, stack: StackWindow) -> Result<(), Invalid> {
        let StackWindow {
            stack: StackId(id),
            counters,
            survivors,
        } = stack;
        let last = self.counters();
        if !counters.grew_from(&last) {
            return Err(Invalid::CounterFell { window, stack: id });
        }
        let ascending = survivors
            .windows(2)
            .all(|pair| pair[0].generation < pair[1].generation);
        let newest = survivors.last().map_or(0, |youngest| youngest.generation);
        if !ascending || newest > window {
            return Err(Invalid::Generation { window, stack: id });
        }
        if counters != last {
            push_tight(&mut self.points, Point { window, counters });
        }
        self.note_changes(window, &survivors);
        self.row = survivors;
        self.row.retain(|one| one.objects > 0 || one.bytes > 0);
        Ok(())
    }

    /// Notes what differs between two rows, both in the order of their generations.
    fn note_changes(&mut self, window: u32, survivors: &[Survivors]) {
        let mut old = self.row.iter().peekable();
        let mut note = |survivors| push_tight(&mut self.changes, Change { window, survivors });
        let dead = |generation| Survivors {
            generation,
            ..Survivors::default()
        };
        for &new in survivors {
            while let Some(gone) = old.next_if(|one| one.generation < new.generation) {
                note(dead(gone.generation));
            }
            let before = old.next_if(|one| one.generation == new.generation);
            if before.copied().unwrap_or(dead(new.generation)) != new {
                note(new);
            }
        }
        for gone in old {
            note(dead(gone.generation));
        }
    }
}

/// Pushes without much room to spare: most of a hundred thousand stacks change once or twice.
fn push_tight<T>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 2 + 1);
    }
    list.push(item);
}

/// A series of snapshots.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    exact_generations: u32,
    marks: Vec<Mark>,
    /// In the order of their ids.
    #[serde(with = "as_map")]
    stacks: Vec<(StackId, StackHistory)>,
}

/// In a file, the histories are a map from the stacks' ids.
mod as_map {
    use std::collections::BTreeMap;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::{StackHistory, StackId};

    type Histories = Vec<(StackId, StackHistory)>;

    pub(super) fn serialize<S: Serializer>(stacks: &Histories, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(stacks.iter().map(|(id, history)| (id, history)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Histories, D::Error> {
        Ok(BTreeMap::deserialize(from)?.into_iter().collect())
    }
}

impl Series {
    /// An empty series. At the end of each window at least the `exact_generations` youngest
    /// generations, the window's own among them, are told apart; older ones may be merged into the
    /// youngest of them. 0 says that generations are not known, as in a series of saved profiles.
    #[must_use]
    pub fn new(exact_generations: u32) -> Self {
        Self {
            exact_generations,
            ..Self::default()
        }
    }

    /// Whether memory was told from page faults: objects are pages then, by who touched them first.
    #[must_use]
    pub fn counts_pages(&self) -> bool {
        self.marks.iter().any(|mark| mark.resident.is_some())
    }

    /// The same by another clock than time, which must not go back.
    #[must_use]
    pub fn by(&self, clock: impl Fn(&Mark) -> f64) -> Self {
        let mut series = self.clone();
        for mark in &mut series.marks {
            mark.seconds = clock(mark);
        }
        series
    }

    /// Adds the next snapshot.
    ///
    /// # Errors
    /// Time or a counter went backwards, or a generation is out of order or from a later window.
    /// The series is then not to be used any further.
    pub fn push(&mut self, window: Window) -> Result<(), Invalid> {
        let Window { mark, stacks } = window;
        let index = u32::try_from(self.marks.len()).unwrap_or(u32::MAX);
        mark.check(self.marks.last(), index)?;
        self.marks.push(mark);
        let known = self.stacks.last().map(|(id, _)| *id);
        let new = stacks.iter().filter(|stack| known < Some(stack.stack));
        // Exactly: there may be a hundred thousand.
        self.stacks.reserve_exact(new.count());
        for stack in stacks {
            let id = stack.stack;
            // New ones mostly have the highest ids.
            let place = match self.stacks.last() {
                Some((last, _)) if *last >= id => self.stacks.binary_search_by_key(&id, |s| s.0),
                _ => Err(self.stacks.len()),
            };
            let place = place.unwrap_or_else(|place| {
                self.stacks.insert(place, (id, StackHistory::default()));
                place
            });
            self.stacks[place].1.push(index, stack)?;
        }
        Ok(())
    }

    /// Whether the series holds together: for one that was not built by [`Self::push`].
    ///
    /// # Errors
    /// As for that.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut last = None;
        for (window, mark) in (0..).zip(&self.marks) {
            mark.check(last, window)?;
            last = Some(mark);
        }
        for (StackId(stack), history) in &self.stacks {
            let stack = *stack;
            history.validate(stack, self.marks.len())?;
        }
        Ok(())
    }

    /// How many of the youngest generations are told apart in each window.
    #[must_use]
    pub const fn exact_generations(&self) -> u32 {
        self.exact_generations
    }

    /// The ends of the windows.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The stacks in the order of their ids.
    pub fn stacks(&self) -> impl ExactSizeIterator<Item = (StackId, &StackHistory)> {
        self.stacks.iter().map(|(id, history)| (*id, history))
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    fn window(seconds: f64, freed: u64, survivors: &[(u32, u64)]) -> Window {
        let survivors = survivors.iter().map(|&(generation, objects)| Survivors {
            generation,
            objects,
            bytes: objects * 10,
        });
        Window {
            mark: Mark {
                seconds,
                ..Mark::default()
            },
            stacks: vec![StackWindow {
                stack: StackId(7),
                counters: Counters {
                    alloc_objects: 100,
                    alloc_bytes: 1_000,
                    freed_objects: freed,
                    freed_bytes: freed * 10,
                },
                survivors: survivors.collect(),
            }],
        }
    }

    #[test]
    fn only_differences_are_kept() -> Result<(), Invalid> {
        let mut series = Series::new(u32::MAX);
        series.push(window(1.0, 0, &[(0, 100)]))?;
        series.push(window(2.0, 0, &[(0, 100)]))?;
        series.push(window(3.0, 40, &[(0, 50), (2, 10)]))?;
        // The two generations are merged and nothing died; then all of them do.
        series.push(window(4.0, 40, &[(2, 60)]))?;
        series.push(window(5.0, 100, &[]))?;
        let (id, history) = series.stacks().next().expect("the stack is there");
        assert_eq!(id, StackId(7));
        let points: Vec<_> = history.points().iter().map(|point| point.window).collect();
        assert_eq!(points, [0, 2, 4]);
        let changes: Vec<_> = history
            .changes()
            .iter()
            .map(|change| {
                let Survivors {
                    generation,
                    objects,
                    ..
                } = change.survivors;
                (change.window, generation, objects)
            })
            .collect();
        assert_eq!(
            changes,
            [
                (0, 0, 100),
                (2, 0, 50),
                (2, 2, 10),
                (3, 0, 0),
                (3, 2, 60),
                (4, 2, 0)
            ]
        );
        assert_eq!(history.counters().live_objects(), 0);
        assert!(history.survivors().is_empty());
        Ok(())
    }

    #[test]
    fn what_goes_backwards_is_refused() -> Result<(), Invalid> {
        let mut series = Series::new(u32::MAX);
        series.push(window(1.0, 5, &[(0, 95)]))?;
        let refused = |window| series.clone().push(window).err();
        assert_eq!(
            refused(window(1.0, 5, &[])),
            Some(Invalid::WindowOrder { window: 1 })
        );
        assert_eq!(
            refused(window(f64::NAN, 5, &[])),
            Some(Invalid::WindowOrder { window: 1 })
        );
        assert_eq!(
            refused(window(2.0, 4, &[])),
            Some(Invalid::CounterFell {
                window: 1,
                stack: 7
            })
        );
        for generations in [&[(2, 1)][..], &[(1, 1), (0, 1)]] {
            assert_eq!(
                refused(window(2.0, 5, generations)),
                Some(Invalid::Generation {
                    window: 1,
                    stack: 7
                })
            );
        }
        Ok(())
    }
}
