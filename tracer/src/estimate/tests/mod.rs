//! Tests by hand, and of what holds for any input.

mod numbers;
mod properties;
