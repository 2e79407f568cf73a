//! Verdicts: which stacks of a series leak, and whether a profile keeps to a policy.
//!
//! Pure over profiles: files are read, and messages printed, by the caller. What a profile missed is
//! the caller's business, too: of an inconclusive one none of this proves anything.

pub mod evaluate;
pub mod leaks;
pub mod policy;
pub mod suppressions;
mod units;

pub use evaluate::{Breach, Rule};
pub use policy::{Policy, PolicyError};
pub use suppressions::{Suppression, SuppressionError, SuppressionFrame, Suppressions};
pub use units::{Bytes, Tolerance};
