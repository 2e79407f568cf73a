//! What was seen, and nothing concluded from it: until there are estimates.

use std::time::Duration;

use super::{Closed, Estimator, StackDelta};

/// Sums over the windows whose length is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Objects allocated in them.
    pub(super) objects: u64,
    /// Bytes.
    pub(super) bytes: u64,
}

impl Estimator for Sums {
    fn take(&mut self, window: &Closed<'_>) {
        for stack in window.stacks {
            self.objects += stack.objects;
            self.bytes += stack.bytes;
        }
    }

    fn take_exact(&mut self, _elapsed: Duration, stacks: &[StackDelta]) {
        for stack in stacks {
            self.objects += stack.objects;
            self.bytes += stack.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::{Calls, WindowKind};

    #[test]
    fn windows_add_up() {
        let mut sums = Sums::default();
        for objects in [3, 4] {
            let stacks = [1, 2].map(|index| StackDelta {
                index,
                objects,
                bytes: objects * 10,
            });
            sums.take(&Closed {
                kind: WindowKind::Full,
                begun: Duration::ZERO,
                exposure: Duration::from_millis(1),
                slowed: Duration::ZERO,
                calls: &Calls::default(),
                stacks: &stacks,
            });
        }
        assert_eq!((sums.objects, sums.bytes), (14, 140));
    }
}
