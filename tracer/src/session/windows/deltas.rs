//! What each stack has allocated in a window: the difference of two readings.

use std::collections::HashMap;

use tracer_common::StackKey;

use crate::bpf::StackAmounts;

/// A stack, as long as the recording goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::session) enum Stack {
    /// As the kernel knows it.
    Known(StackKey),
    /// All of ended images that became this sample of the profile.
    Ended(u32),
}

/// What was allocated under a stack in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StackDelta {
    /// The stack.
    pub(super) stack: Stack,
    /// Objects.
    pub(super) objects: u64,
    /// Bytes.
    pub(super) bytes: u64,
}

/// The reading before.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    /// By the number of a stack, which may be another's later.
    before: HashMap<u32, (StackKey, u64, u64)>,
}

impl Deltas {
    /// Of the stacks that have allocated since the last reading.
    pub(super) fn since<'a>(
        &mut self,
        amounts: impl IntoIterator<Item = &'a StackAmounts>,
    ) -> Vec<StackDelta> {
        let mut deltas = Vec::new();
        for amount in amounts {
            let counters = &amount.counters;
            let now = (counters.key, counters.alloc_objects, counters.alloc_bytes);
            let before = self.before.insert(amount.index, now);
            let (objects, bytes) = match before {
                Some((key, objects, bytes)) if key == counters.key => (objects, bytes),
                _ => (0, 0),
            };
            let delta = StackDelta {
                stack: Stack::Known(counters.key),
                objects: counters.alloc_objects.saturating_sub(objects),
                bytes: counters.alloc_bytes.saturating_sub(bytes),
            };
            if delta.objects > 0 {
                deltas.push(delta);
            }
        }
        deltas
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::StackCounters;

    use super::*;
    use crate::bpf::Held;

    fn reading(index: u32, stack: u64, objects: u64) -> StackAmounts {
        StackAmounts {
            index,
            counters: StackCounters {
                key: StackKey {
                    stack,
                    ..StackKey::default()
                },
                alloc_objects: objects,
                alloc_bytes: objects * 10,
                ..StackCounters::default()
            },
            at_peak: Held::default(),
            now: Held::default(),
            survivors: None,
        }
    }

    #[test]
    fn a_window_has_what_came_in_it() {
        let mut deltas = Deltas::default();
        deltas.since(&[reading(1, 100, 5), reading(2, 200, 7)]);
        let came = deltas.since(&[reading(1, 100, 9), reading(2, 200, 7), reading(3, 300, 1)]);
        let expected = [(100, 4, 40), (300, 1, 10)];
        let hash = |stack| match stack {
            Stack::Known(key) => key.stack,
            Stack::Ended(_) => 0,
        };
        let found: Vec<_> = came
            .iter()
            .map(|delta| (hash(delta.stack), delta.objects, delta.bytes))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_number_that_is_another_stacks_begins_anew() {
        let mut deltas = Deltas::default();
        deltas.since(&[reading(1, 100, 50)]);
        let came = deltas.since(&[reading(1, 101, 60)]);
        assert_eq!(came.len(), 1);
        assert_eq!(came[0].objects, 60);
    }
}
