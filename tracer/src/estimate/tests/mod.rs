//! Tests by hand, on made-up processes, and of what holds for any input.

mod choice;
mod numbers;
mod process;
mod properties;
mod simulation;
