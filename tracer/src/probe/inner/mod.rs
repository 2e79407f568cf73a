//! Points inside an allocating function at which one probe sees the whole call: the result is there already, and what
//! was asked for is there still.
//!
//! From the function's code come the ways through it ([`flow`]), where its arguments are ([`values`]), and where the
//! value is that will be returned ([`returned`]). From that a [`Cut`] is chosen: points such that every call that
//! returns passes exactly one. Proved, or declined: `docs/design/0042-inner-points.md`.

mod cut;
mod effect;
mod endless;
mod flow;
mod returned;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;

use iced_x86::Register;
use tracer_common::AllocatorFn;

use super::Cost;
use crate::address::FileOffset;
pub use flow::Text;

/// Points of a function: every call that returns passes exactly one of those with a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Sorted by place.
    pub points: Vec<InnerPoint>,
}

/// A point, and where a probe there finds what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerPoint {
    /// The instruction.
    pub point: FileOffset,
    /// The same as text.
    pub instruction: String,
    /// What a hit costs.
    pub cost: Cost,
    /// Which of the hits count.
    pub when: When,
    /// What is known there.
    pub sees: Sees,
    /// Bytes from the stack pointer up to the return address.
    pub frame: u32,
    /// Where the caller's frame pointer is.
    pub frame_pointer: Place,
}

/// Which hits of a point count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// All.
    Always,
    /// Those in which the conditional jump is taken.
    Taken,
    /// Those in which it is not taken.
    NotTaken,
}

/// What is known at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// The whole call.
    Call {
        /// Where the size is that was asked for.
        size: Place,
        /// The register with the address that will be returned.
        result: Register,
    },
    /// That the call will return NULL.
    Failure,
    /// What was asked for, to be noted: what becomes of it is seen at a later point.
    Request {
        /// Where the size is.
        size: Place,
    },
    /// What becomes of a call that was noted.
    Result {
        /// The register with the address that will be returned.
        result: Register,
    },
}

/// Where a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a register.
    Register(Register),
    /// On the stack, so many bytes below the return address.
    Stack(u32),
}

/// Why a function has no cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declined {
    /// What it does must be known before it does it.
    NeededAtEntry,
    /// Where the result goes can't be read from a register.
    ResultInMemory,
    /// There is more code than is followed.
    TooLong,
    /// Bytes that are no instruction.
    NoInstruction {
        /// Where.
        at: FileOffset,
    },
    /// A jump whose target is not in the code.
    Leaves {
        /// Where.
        at: FileOffset,
    },
    /// The stack pointer is not known there.
    StackUnknown {
        /// Where.
        at: FileOffset,
    },
    /// On the way to this return there is no point.
    NoPoint {
        /// Where.
        at: FileOffset,
    },
    /// The size is lost on each way: two probes would be needed for each call.
    SizeLost,
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeededAtEntry => f.write_str("the old block must be known at the entry"),
            Self::ResultInMemory => f.write_str("the result goes to memory"),
            Self::TooLong => f.write_str("too much code to follow"),
            Self::NoInstruction { at } => write!(f, "the code ends at {:#x}", at.0),
            Self::Leaves { at } => write!(f, "the jump at {:#x} may lead anywhere", at.0),
            Self::StackUnknown { at } => {
                write!(f, "the stack pointer is not known at {:#x}", at.0)
            }
            Self::NoPoint { at } => {
                write!(f, "no point on the way to the return at {:#x}", at.0)
            }
            Self::SizeLost => f.write_str("the size is lost before the result is known"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register(register) => f.write_str(&format!("{register:?}").to_lowercase()),
            Self::Stack(bytes) => write!(f, "stack-{bytes}"),
        }
    }
}

impl fmt::Display for InnerPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sees {
            Sees::Call { size, result } => {
                write!(f, "size in {size}, result in {}", Place::Register(result))?;
            }
            Sees::Failure => f.write_str("returns NULL")?,
            Sees::Request { size } => write!(f, "size in {size}, noted")?,
            Sees::Result { result } => {
                write!(f, "result in {}, size noted", Place::Register(result))?;
            }
        }
        match self.when {
            When::Always => Ok(()),
            When::Taken => f.write_str("; where it jumps"),
            When::NotTaken => f.write_str("; where it does not jump"),
        }
    }
}

/// Looks for the points of a function, whose body is `bytes` long.
///
/// # Errors
///
/// Why there are none.
pub fn cut(
    function: AllocatorFn,
    entry: FileOffset,
    bytes: u64,
    text: Text<'_>,
) -> Result<Cut, Declined> {
    let wanted = wanted(function)?;
    let flow = flow::Flow::read(text, entry)?;
    let values = values::Values::follow(&flow)?;
    let returned = returned::follow(&flow, &values);
    let body = entry.0..entry.0.saturating_add(bytes);
    cut::Chooser {
        flow: &flow,
        values: &values,
        returned: &returned,
        body,
        wanted,
        must: function.may_throw(),
    }
    .choose()
}

/// The value that is the size.
fn wanted(function: AllocatorFn) -> Result<values::Value, Declined> {
    use AllocatorFn as F;
    Ok(match function {
        F::Malloc | F::Valloc | F::Pvalloc | F::Mallocx | F::OperatorNew => {
            values::Value::Entry(Register::RDI)
        }
        F::AlignedAlloc | F::Memalign => values::Value::Entry(Register::RSI),
        F::Calloc => values::Value::Product,
        F::PosixMemalign => return Err(Declined::ResultInMemory),
        F::Realloc | F::Reallocarray | F::Rallocx | F::Xallocx => {
            return Err(Declined::NeededAtEntry);
        }
        F::Free | F::Cfree | F::FreeSized | F::FreeAlignedSized | F::Dallocx | F::Sdallocx => {
            return Err(Declined::NeededAtEntry);
        }
    })
}
