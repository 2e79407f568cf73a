//! What the errors of all stacks have in common, and what each has of its own.

use super::estimates::{Estimates, StackEstimate};
use super::value::Estimate;

/// An error that all stacks share, as a part of their amounts: where one is too large by it, so are the others.
///
/// Together with errors of their own, which know nothing of each other, it gives the error of any sum of stacks: the
/// root of the own squares and of the square of the shared part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shared {
    /// For objects.
    pub objects: f64,
    /// For bytes.
    pub bytes: f64,
}

impl<K> Estimates<K> {
    /// The error that all stacks share: that of the clock, and what they go up and down together, so that the
    /// sum of all stacks has the error of [`Self::total`].
    #[must_use]
    pub fn shared(&self) -> Shared {
        Shared {
            objects: self.shared_of(|stack| &stack.objects),
            bytes: self.shared_of(|stack| &stack.bytes),
        }
    }

    fn shared_of(&self, of: fn(&StackEstimate) -> &Estimate) -> f64 {
        let total = of(&self.total);
        if total.value <= 0.0 {
            return 0.0;
        }
        let clock = |estimate: &Estimate| (self.clock_error * estimate.unseen()).powi(2);
        let stacks = self.stacks.iter().map(|(_, stack)| of(stack));
        let own: f64 = stacks
            .map(|stack| (stack.standard_error.powi(2) - clock(stack)).max(0.0))
            .sum();
        let all = total.standard_error.powi(2);
        // No less than the clock's, where stacks make up for each other.
        (all - own).max(clock(total)).sqrt() / total.value
    }
}

impl Shared {
    /// What is left of the error of one stack's objects and bytes, in their units.
    #[must_use]
    pub fn own(&self, stack: &StackEstimate) -> [f64; 2] {
        let own = |estimate: &Estimate, shared: f64| {
            let shared = (shared * estimate.value).powi(2);
            (estimate.standard_error.powi(2) - shared).max(0.0).sqrt()
        };
        [
            own(&stack.objects, self.objects),
            own(&stack.bytes, self.bytes),
        ]
    }
}
