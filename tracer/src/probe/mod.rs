//! Whose allocator a module holds, which of its functions are probed, and on which instruction: symbols and
//! code in, [`AttachPlan`] out.
//!
//! Pure: no I/O and no aya.

mod allocators;
mod code;
mod counting;
pub mod inner;
mod placement;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use tracer_common::{AllocatorFn, IoFn};

use crate::address::FileOffset;
pub use allocators::AllocatorKind;
pub(crate) use allocators::{Marks, Naming, named_function};
use code::{Bodies, enters_another};
pub use counting::CountingProbe;

/// A function of the allocator, or of the C library, as its module has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionCode<F = AllocatorFn> {
    /// The function.
    pub function: F,
    /// Its first instruction.
    pub entry: FileOffset,
    /// Its whole body; empty where it could not be had, and then the probe goes to the entry.
    pub code: Vec<u8>,
}

/// The probes to place into one module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachPlan {
    /// Functions probed at entry and return.
    pub allocating: Vec<Probe>,
    /// Functions that give memory back, probed at entry only.
    pub freeing: Vec<Probe>,
    /// Allocating functions that may throw: probed at entry only, to count what is not followed.
    pub throwing: Vec<Probe>,
    /// Functions that are counted in windows, and not probed else.
    pub counting: Vec<CountingProbe>,
}

/// A probe: the function it is for, and the instruction it lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The function.
    pub function: AllocatorFn,
    /// The function's first instruction.
    pub entry: FileOffset,
    /// The instruction the probe lies on. Each call that matters runs it once, before it has changed
    /// anything in memory, with the arguments still in their registers, and, where the return is
    /// probed, the return address on top of the stack.
    pub point: FileOffset,
    /// That instruction; `None` where no code could be decoded.
    pub instruction: Option<String>,
    /// What is probed.
    pub kind: ProbeKind,
    /// What a hit costs.
    pub cost: Cost,
    /// Why this instruction.
    pub reason: Reason,
}

/// What of a function is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// That it is called.
    Entry,
    /// That it is called, and what it returns.
    EntryAndReturn,
    /// That it is called, which is only counted: see [`AllocatorFn::may_throw`].
    EntryCounted,
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Entry => "entry",
            Self::EntryAndReturn => "entry+return",
            Self::EntryCounted => "counted only",
        })
    }
}

/// How the kernel gets the probed instruction executed, which is most of what a hit costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// The kernel does what the instruction does: one trap.
    Emulated,
    /// A 5-byte nop: a system call instead of a trap from Linux 6.18 on, single-stepped before.
    OptimizedNop,
    /// A copy of the instruction is stepped over: a second trap, several times as expensive.
    SingleStepped,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Emulated => "emulated",
            Self::OptimizedNop => "optimized nop",
            Self::SingleStepped => "single-stepped",
        })
    }
}

/// Why a probe lies where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The function's first instruction is emulated.
    CheapEntry,
    /// The first emulated instruction; the arguments are intact, and the stack pointer where it
    /// matters.
    FirstEmulated,
    /// As before, past the check for NULL: a call with NULL never gets there.
    PastNullCheck,
    /// The entry, because nothing cheaper is safe.
    NothingCheaper(Obstacle),
    /// The entry, which is a call: emulated, but its return address does not get onto a shadow
    /// stack. A process that has one must not be probed there.
    CallAtEntry,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CheapEntry => f.write_str("the first instruction is emulated"),
            Self::FirstEmulated => f.write_str("the first emulated one; arguments intact"),
            Self::PastNullCheck => f.write_str("past the NULL check; argument intact"),
            Self::NothingCheaper(obstacle) => write!(f, "nothing cheaper: {obstacle}"),
            Self::CallAtEntry => f.write_str("a call at the entry; not safe with a shadow stack"),
        }
    }
}

/// What ended the search for a cheap instruction, `at` bytes into the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no code to look at.
    NoCode,
    /// The bytes are no instruction, or the function ends.
    NoInstruction {
        /// Where.
        at: u64,
    },
    /// The walk has gone far enough.
    TooFar {
        /// Where.
        at: u64,
    },
    /// An argument is overwritten.
    ArgumentGone {
        /// Where.
        at: u64,
    },
    /// The return address is not on top of the stack any more, which the return probe needs.
    StackPointerMoved {
        /// Where.
        at: u64,
    },
    /// Memory other than the stack is written: past that, a block may already be someone else's.
    MemoryWritten {
        /// Where.
        at: u64,
    },
    /// A jump leads there: what follows may run more than once a call.
    BranchTarget {
        /// Where.
        at: u64,
    },
    /// A branch that leads away: what follows does not run in each call.
    LeadsAway {
        /// Where.
        at: u64,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCode => f.write_str("no code to look at"),
            Self::NoInstruction { at } => write!(f, "the code ends at +{at}"),
            Self::TooFar { at } => write!(f, "none up to +{at}"),
            Self::ArgumentGone { at } => write!(f, "an argument is overwritten at +{at}"),
            Self::StackPointerMoved { at } => write!(f, "the stack pointer moves at +{at}"),
            Self::MemoryWritten { at } => write!(f, "memory is written at +{at}"),
            Self::BranchTarget { at } => write!(f, "a jump leads to +{at}"),
            Self::LeadsAway { at } => write!(f, "control may leave at +{at}"),
        }
    }
}

impl AttachPlan {
    /// Plans the probes for a module's allocator functions.
    ///
    /// Aliases (`cfree` of `free`, `aligned_alloc` of `memalign`) share an entry and get one
    /// probe: two would count every call twice. The first name in [`AllocatorFn::ALL`]'s order
    /// stands for all; names that share code take the same arguments.
    ///
    /// An `operator new` that calls `malloc` (libstdc++'s, linked into the same module) or jumps to
    /// another one is left out: what it enters is probed.
    #[must_use]
    pub fn new(functions: &[FunctionCode]) -> Self {
        let bodies = Bodies::read(functions);
        let mut plan = Self::default();
        let mut taken = BTreeSet::new();
        let mut sorted: Vec<_> = functions.iter().collect();
        sorted.sort_by_key(|function| (function.function, function.entry));
        let entries: BTreeSet<_> = functions.iter().map(|function| function.entry).collect();
        for function in sorted {
            if !taken.insert(function.entry) {
                continue;
            }
            if function.function.may_throw() && enters_another(function, &entries) {
                continue;
            }
            let probe = placement::place(function, &bodies);
            match probe.kind {
                ProbeKind::Entry => plan.freeing.push(probe),
                ProbeKind::EntryAndReturn => plan.allocating.push(probe),
                ProbeKind::EntryCounted => plan.throwing.push(probe),
            }
        }
        plan
    }

    /// As [`Self::new`], with what can be counted of the C library in that module.
    #[must_use]
    pub fn with_counting(functions: &[FunctionCode], counted: &[FunctionCode<IoFn>]) -> Self {
        let mut bodies = Bodies::read(functions);
        bodies.add_all(counted);
        Self {
            counting: counting::place_all(counted, &bodies),
            ..Self::new(functions)
        }
    }

    /// Every probe that an allocator needs, those of allocating functions first.
    pub fn probes(&self) -> impl Iterator<Item = &Probe> {
        let Self {
            allocating,
            freeing,
            throwing,
            counting: _,
        } = self;
        allocating.iter().chain(freeing).chain(throwing)
    }

    /// Whether a process with a shadow stack would be harmed: see [`Reason::CallAtEntry`].
    #[must_use]
    pub fn needs_no_shadow_stack(&self) -> bool {
        self.probes()
            .any(|probe| probe.reason == Reason::CallAtEntry)
    }

    /// How many functions are probed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.probes().count()
    }

    /// Whether there is nothing to probe.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
