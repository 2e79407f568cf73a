//! Verdicts: which stacks of a series leak, and whether a profile keeps to a policy.
//!
//! Pure over profiles: files are read, and messages printed, by the caller. What a profile missed is
//! the caller's business, too: of an inconclusive one none of this proves anything.

pub mod evaluate;
mod finding;
mod growth;
mod judge;
pub mod leaks;
mod place;
pub mod policy;
pub mod report;
mod saved;
pub mod suppressions;
mod units;

pub use evaluate::{Breach, Live, Rule};
pub use finding::{Blame, Finding, Judgement, Outcome, Per, RuleId, Stack, What};
pub use judge::{Recorded, judge, unjudgeable_by_pages};
pub use place::Frame;
pub use policy::{Policy, PolicyError};
pub use saved::{NotASeries, SavedSeries};
pub use suppressions::{Suppression, SuppressionError, SuppressionFrame, Suppressions};
pub use units::{Bytes, Tolerance, time};
