//! What a table was made of, and what could not be put into it.

use std::fmt;

/// Rules that call frame information can state and a table row cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsupported {
    /// The CFA is found through a register other than `rsp` and `rbp`.
    CfaRegister,
    /// The CFA is computed by an expression of another form than those known.
    CfaExpression,
    /// The return address is in a register, or computed.
    ReturnAddress,
    /// The caller's `rsp` is not the CFA.
    StackPointer,
    /// A signal frame of another form than Linux's.
    SignalFrame,
    /// The caller's `rbp` is in another register, or computed. The row is used: only a caller that
    /// needs `rbp` cannot be followed.
    SavedRbp,
    /// An offset that does not fit into a rule.
    Offset,
    /// An instruction that is unknown or makes no sense where it stands.
    Instruction,
    /// The dictionary of rules is full.
    Dictionary,
}

impl Unsupported {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::CfaRegister,
        Self::CfaExpression,
        Self::ReturnAddress,
        Self::StackPointer,
        Self::SignalFrame,
        Self::SavedRbp,
        Self::Offset,
        Self::Instruction,
        Self::Dictionary,
    ];

    /// A short name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CfaRegister => "CFA by another register",
            Self::CfaExpression => "CFA by an expression",
            Self::ReturnAddress => "return address elsewhere",
            Self::StackPointer => "stack pointer elsewhere",
            Self::SignalFrame => "unknown signal frame",
            Self::SavedRbp => "rbp elsewhere",
            Self::Offset => "offset out of range",
            Self::Instruction => "unreadable instruction",
            Self::Dictionary => "dictionary of rules full",
        }
    }
}

/// Counts over one module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frame description entries whose rows are in the table.
    pub fdes: u64,
    /// Entries left out: for no code of this module, empty, or hidden by another.
    pub fdes_ignored: u64,
    /// Entries that could not be read, and sections that end in the middle of one.
    pub damaged: u64,
    /// Rows of the table.
    pub rows: u64,
    /// Rules in its dictionary.
    pub rules: u64,
    /// Signal trampolines that have no entry and were found by their code.
    pub trampolines: u64,
    /// Functions that change to another stack, which their entry does not say.
    pub switches: u64,
    /// Ranges of one rule that have no entry, and whose rule was found by following the code.
    pub ranges_by_code: u64,
    unsupported: [u64; Unsupported::ALL.len()],
}

impl Statistics {
    /// Bytes of rows and rules.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.rows * size_of::<tracer_common::Row>() as u64
            + self.rules * size_of::<tracer_common::Rule>() as u64
    }

    /// Places where a rule had to be left out, by kind; kinds that did not occur included.
    pub fn unsupported(&self) -> impl Iterator<Item = (Unsupported, u64)> {
        Unsupported::ALL.into_iter().zip(self.unsupported)
    }

    pub(super) fn count(&mut self, kind: Unsupported) {
        self.unsupported[kind as usize] += 1;
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} functions, {} rows, {} rules, {} bytes",
            self.fdes,
            self.rows,
            self.rules,
            self.bytes()
        )?;
        let others = [
            ("ignored", self.fdes_ignored),
            ("damaged", self.damaged),
            ("signal trampolines by code", self.trampolines),
            ("ranges by code", self.ranges_by_code),
            ("switches of stacks", self.switches),
        ];
        let unsupported = self.unsupported().map(|(kind, count)| (kind.name(), count));
        for (name, count) in others.into_iter().chain(unsupported) {
            if count > 0 {
                write!(f, ", {name}: {count}")?;
            }
        }
        Ok(())
    }
}
