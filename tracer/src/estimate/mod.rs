//! Amounts of a whole recording from windows in which everything was counted: estimates with their errors.
//!
//! Pure: no I/O, no clocks, no kernel. What the windows are, the formulas, and how often the intervals
//! hold the truth are in `docs/design/0032-estimates.md`.

mod choice;
mod difference;
mod estimates;
mod quantile;
mod ratio;
mod sensitivity;
mod shared;
#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod tests;
mod value;
mod windows;

pub use choice::{Choice, Slowdown};
pub use difference::{Difference, difference};
pub use estimates::{Estimates, Impossible, StackEstimate};
pub use sensitivity::{Sensitivity, expected};
pub use shared::Shared;
pub use value::Estimate;
pub use windows::{Amount, Clock, Window, Windows};
