//! Policies and what becomes of them: what a profile must not show, and whether it does.
//!
//! Pure over profiles: files are read, and messages printed, by the caller. What a profile missed is
//! the caller's business, too: of an inconclusive one none of this proves anything.

pub mod evaluate;
pub mod policy;
pub mod suppressions;
mod units;

pub use evaluate::{Breach, Rule};
pub use policy::{Policy, PolicyError};
pub use suppressions::{Suppression, SuppressionError, SuppressionFrame, Suppressions};
pub use units::{Bytes, Tolerance};
