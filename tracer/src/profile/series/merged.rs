//! Histories of several stacks as one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Counters, Series, StackHistory, StackId, StackWindow, Survivors};

impl Series {
    /// The series with stacks put together: those that `into` gives the same id are one, with that id.
    #[must_use]
    pub fn merged(&self, into: impl Fn(StackId) -> StackId) -> Self {
        let mut groups: BTreeMap<StackId, Vec<&StackHistory>> = BTreeMap::new();
        for (stack, history) in self.stacks() {
            groups.entry(into(stack)).or_default().push(history);
        }
        let stacks = groups.into_iter().map(|(stack, histories)| {
            let history = match histories.as_slice() {
                [one] => (*one).clone(),
                all => sum(stack, all),
            };
            (stack, history)
        });
        Self {
            exact_generations: self.exact_generations,
            marks: self.marks.clone(),
            stacks: stacks.collect(),
        }
    }
}

/// Where a history has got to.
struct Cursor<'a> {
    history: &'a StackHistory,
    points: usize,
    changes: usize,
    counters: Counters,
    row: BTreeMap<u32, Survivors>,
}

impl Cursor<'_> {
    /// Goes on to the end of a window.
    fn advance(&mut self, window: u32) {
        let points = self.history.points().get(self.points..).unwrap_or_default();
        for point in points.iter().take_while(|point| point.window <= window) {
            self.counters = point.counters;
            self.points += 1;
        }
        let changes = self
            .history
            .changes()
            .get(self.changes..)
            .unwrap_or_default();
        for change in changes.iter().take_while(|change| change.window <= window) {
            self.row
                .insert(change.survivors.generation, change.survivors);
            self.changes += 1;
        }
    }
}

/// The sum of histories. Each only grows, so the sum does.
fn sum(stack: StackId, histories: &[&StackHistory]) -> StackHistory {
    let mut windows = BTreeSet::new();
    for history in histories {
        windows.extend(history.points().iter().map(|point| point.window));
        windows.extend(history.changes().iter().map(|change| change.window));
    }
    let mut cursors: Vec<Cursor<'_>> = histories
        .iter()
        .map(|history| Cursor {
            history,
            points: 0,
            changes: 0,
            counters: Counters::default(),
            row: BTreeMap::new(),
        })
        .collect();
    let mut merged = StackHistory::default();
    for window in windows {
        let mut counters = Counters::default();
        let mut row: BTreeMap<u32, Survivors> = BTreeMap::new();
        for cursor in &mut cursors {
            cursor.advance(window);
            let own = &cursor.counters;
            counters.alloc_objects = counters.alloc_objects.saturating_add(own.alloc_objects);
            counters.alloc_bytes = counters.alloc_bytes.saturating_add(own.alloc_bytes);
            counters.freed_objects = counters.freed_objects.saturating_add(own.freed_objects);
            counters.freed_bytes = counters.freed_bytes.saturating_add(own.freed_bytes);
            for (generation, own) in &cursor.row {
                let sum = row.entry(*generation).or_insert(Survivors {
                    generation: *generation,
                    ..Survivors::default()
                });
                sum.objects = sum.objects.saturating_add(own.objects);
                sum.bytes = sum.bytes.saturating_add(own.bytes);
            }
        }
        let survivors = row
            .into_values()
            .filter(|one| one.objects > 0 || one.bytes > 0);
        let together = StackWindow {
            stack,
            counters,
            survivors: survivors.collect(),
        };
        // Only a series that is out of order could refuse it, and such a one is not in memory.
        if merged.push(window, together).is_err() {
            break;
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::{Counters, Series, StackId, StackWindow, Survivors};
    use crate::profile::Invalid;
    use crate::profile::series::{Mark, Window};

    fn window(nth: u32, stacks: &[(u64, u64, u64)]) -> Window {
        let stacks = stacks.iter().map(|&(id, allocated, freed)| StackWindow {
            stack: StackId(id),
            counters: Counters {
                alloc_objects: allocated,
                alloc_bytes: allocated * 10,
                freed_objects: freed,
                freed_bytes: freed * 10,
            },
            survivors: vec![Survivors {
                generation: nth,
                objects: allocated - freed,
                bytes: (allocated - freed) * 10,
            }],
        });
        Window {
            mark: Mark {
                seconds: f64::from(nth),
                ..Mark::default()
            },
            stacks: stacks.collect(),
        }
    }

    #[test]
    fn histories_add_up_at_each_window() -> Result<(), Invalid> {
        let mut series = Series::new(4);
        series.push(window(0, &[(1, 5, 0), (3, 1, 0)]))?;
        series.push(window(1, &[(2, 4, 1)]))?;
        series.push(window(2, &[(1, 9, 2), (2, 6, 1)]))?;
        let merged = series.merged(|stack| StackId(stack.0.min(2)));
        let merged = merged.merged(|stack| StackId(if stack.0 == 3 { 3 } else { 1 }));
        let stacks: Vec<_> = merged
            .stacks()
            .map(|(id, h)| (id.0, h.counters()))
            .collect();
        // 1, 2 and 3 as 1 and 2, and these as 1.
        assert_eq!(stacks.len(), 1);
        assert_eq!(
            (
                stacks[0].0,
                stacks[0].1.alloc_objects,
                stacks[0].1.freed_objects
            ),
            (1, 16, 3)
        );
        let (_, history) = merged.stacks().next().unwrap_or_else(|| panic!("no stack"));
        let points: Vec<_> = history
            .points()
            .iter()
            .map(|p| (p.window, p.counters.alloc_objects))
            .collect();
        assert_eq!(points, [(0, 6), (1, 10), (2, 16)]);
        let live: u64 = history.survivors().iter().map(|one| one.objects).sum();
        assert_eq!(live, history.counters().live_objects());
        Ok(())
    }

    #[test]
    fn what_stays_apart_stays_as_it_is() -> Result<(), Invalid> {
        let mut series = Series::new(4);
        series.push(window(0, &[(1, 5, 0), (3, 1, 0)]))?;
        assert_eq!(series.merged(|stack| stack), series);
        Ok(())
    }
}
