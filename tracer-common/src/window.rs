//! Windows: times in which the target's calls are seen, where it is not probed all the time.

use crate::Callee;

/// What the programs do with a call that begins: the first word of the map `GATE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Gate {
    /// Nothing: it is between two windows.
    Closed = 0,
    /// All that is done with a call.
    Open = 1,
    /// They count it as a call of its function, no more.
    Marks = 2,
}

/// Where in the map `GATE` the gate is.
pub const GATE_STATE: u32 = 0;
/// Where it says until when the gate counts as open, in nanoseconds of `CLOCK_MONOTONIC`: who closes it may be late.
pub const GATE_UNTIL: u32 = 1;
/// Words of `GATE`.
pub const GATE_WORDS: u32 = 2;

/// Where in the map `WINDOW` it says for how many nanoseconds the program ran. From here on to
/// [`WINDOW_OUTSIDE`] are, by the cookies of functions, the calls that were entered in windows.
pub const WINDOW_RAN_NS: u32 = 0;
/// Calls that began while the gate was closed, or after its time.
pub const WINDOW_OUTSIDE: u32 = Callee::COUNT as u32 + 1;
/// Words of `WINDOW`, each one of each CPU.
pub const WINDOW_WORDS: u32 = WINDOW_OUTSIDE + 1;
