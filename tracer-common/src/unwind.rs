//! One step up a stack by a rule compiled from call frame information, x86-64.
//!
//! The same code runs in the eBPF programs and in user space. It sees three registers and a
//! function that reads memory; which rule applies is found elsewhere. Must not panic, divide, or
//! index: the verifier has to follow every path.

/// How the caller's stack pointer, the canonical frame address (CFA), is found; the kind of a
/// [`Rule`]. The hot ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RuleKind {
    /// Nothing is known here: a gap between functions, or code without call frame information.
    None = 0,
    /// CFA = `rsp + cfa_offset`.
    CfaSp = 1,
    /// CFA = `rbp + cfa_offset`.
    CfaBp = 2,
    /// CFA = `*(rsp + cfa_offset) + second`.
    CfaDerefSp = 3,
    /// CFA = `*(rbp + cfa_offset) + second`: a function that aligned its stack.
    CfaDerefBp = 4,
    /// The linker's expression for its stubs: CFA = `rsp + cfa_offset`, and 8 more once the low
    /// four bits of `rip` have reached `second`, where the stub has pushed.
    Plt = 5,
    /// The code a signal handler returns to. All lies in the context that the kernel put on the
    /// stack: CFA = `*(rsp + cfa_offset)`, `rip` at `rsp + second`, `rbp` at `rsp + rbp_offset`.
    Signal = 6,
    /// The stack ends here: the return address or the CFA is undefined.
    Stop = 7,
    /// There is a rule, but not one that can be followed here.
    Unsupported = 8,
    /// A function that has changed to another stack, in code that keeps frame pointers: CFA =
    /// `rbp + cfa_offset`, on the stack that was left, wherever that lies.
    Switch = 9,
    /// A function that has changed to another stack: where the one lies that was left, nobody knows.
    Switched = 10,
}

impl RuleKind {
    /// The kind of a [`Rule::kind`], if it is one.
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(kind: u8) -> Option<Self> {
        Some(match kind {
            0 => Self::None,
            1 => Self::CfaSp,
            2 => Self::CfaBp,
            3 => Self::CfaDerefSp,
            4 => Self::CfaDerefBp,
            5 => Self::Plt,
            6 => Self::Signal,
            7 => Self::Stop,
            8 => Self::Unsupported,
            9 => Self::Switch,
            10 => Self::Switched,
            _ => return None,
        })
    }
}

/// Where the caller's `rbp` is; [`Rule::rbp`]. Does not matter in a [`RuleKind::Signal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RbpRule {
    /// Still in the register.
    Same = 0,
    /// At CFA + `rbp_offset`.
    AtCfa = 1,
    /// Lost. It reads as 0 from here on, which is no frame.
    Undefined = 2,
    /// At `rbp + rbp_offset`: where the CFA is found through `rbp`, so is the caller's `rbp`.
    AtBp = 3,
    /// At `rsp + rbp_offset`.
    AtSp = 4,
}

/// How to get from a function's registers to its caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Rule {
    /// A [`RuleKind`].
    pub kind: u8,
    /// An [`RbpRule`].
    pub rbp: u8,
    /// The return address is at CFA + this, nearly always −8.
    pub ra_offset: i16,
    /// First offset of the CFA, bytes.
    pub cfa_offset: i32,
    /// What else the kind needs, see [`RuleKind`].
    pub second: i32,
    /// Offset of the saved `rbp`, bytes.
    pub rbp_offset: i32,
}

impl Rule {
    /// A rule of this kind with the return address below the CFA, `rbp` unchanged, and no offsets.
    #[must_use]
    pub const fn new(kind: RuleKind) -> Self {
        Self {
            kind: kind as u8,
            rbp: RbpRule::Same as u8,
            ra_offset: -8,
            cfa_offset: 0,
            second: 0,
            rbp_offset: 0,
        }
    }

    /// Nothing known: all zero, so that empty memory says the same.
    pub const NONE: Self = Self {
        ra_offset: 0,
        ..Self::new(RuleKind::None)
    };

    /// The end of a stack. What else is known there does not matter, so there is only this one.
    pub const STOP: Self = Self {
        ra_offset: 0,
        ..Self::new(RuleKind::Stop)
    };

    /// A function that keeps a frame pointer.
    pub const FRAME_POINTER: Self = Self {
        rbp: RbpRule::AtCfa as u8,
        cfa_offset: 16,
        rbp_offset: -16,
        ..Self::new(RuleKind::CfaBp)
    };

    /// A rule that cannot be followed.
    pub const UNSUPPORTED: Self = Self {
        ra_offset: 0,
        ..Self::new(RuleKind::Unsupported)
    };

    /// A function on another stack, whose caller the frame pointer leads to.
    pub const SWITCH: Self = Self {
        kind: RuleKind::Switch as u8,
        ..Self::FRAME_POINTER
    };

    /// A function on another stack, whose caller nothing leads to.
    pub const SWITCHED: Self = Self {
        ra_offset: 0,
        ..Self::new(RuleKind::Switched)
    };

    /// The signal frame of x86-64 Linux, whose layout the kernel's ABI fixes: `uc_mcontext` begins
    /// 40 bytes into the context that `rsp` points to.
    pub const SIGNAL: Self = Self {
        ra_offset: 0,
        cfa_offset: 160,
        second: 168,
        rbp: RbpRule::AtSp as u8,
        rbp_offset: 120,
        ..Self::new(RuleKind::Signal)
    };
}

/// From where on a rule applies. Rows are sorted by `pc`; each is valid until the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Row {
    /// Bytes from the module's lowest address, which is its first loadable segment's, rounded
    /// down to a page.
    pub pc: u32,
    /// Index of the [`Rule`] in the module's dictionary.
    pub rule: u16,
    /// Padding.
    pub reserved: u16,
}

const _: () = {
    assert!(size_of::<Rule>() == 16);
    assert!(size_of::<Row>() == 8);
};

/// The registers that a walk carries from frame to frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Instruction pointer, or return address.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// `rbp`, whether it is a frame pointer or not.
    pub bp: u64,
}

impl Registers {
    /// The address whose rule applies. A return address may already lie in the next function, if
    /// the call was the last instruction.
    #[inline(always)]
    #[must_use]
    pub const fn rule_address(&self, is_return_address: bool) -> u64 {
        self.ip.wrapping_sub(is_return_address as u64)
    }
}

/// Why a step could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepFailure {
    /// No rule covers the address.
    NoRule,
    /// The rule is one that is not followed here.
    UnsupportedRule,
    /// Memory that the rule points to could not be read.
    Unreadable,
    /// The caller's frame would lie below its callee's.
    NotRising,
    /// The caller's stack pointer would not be a multiple of 8.
    Misaligned,
    /// The function has changed to another stack, and nothing leads back.
    StackSwitched,
}

impl StepFailure {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NoRule,
        Self::UnsupportedRule,
        Self::Unreadable,
        Self::NotRising,
        Self::Misaligned,
        Self::StackSwitched,
    ];

    /// A short name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRule => "no rule",
            Self::UnsupportedRule => "unsupported rule",
            Self::Unreadable => "unreadable memory",
            Self::NotRising => "stack pointer not rising",
            Self::Misaligned => "misaligned stack pointer",
            Self::StackSwitched => "stack switched",
        }
    }
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The caller.
    Caller {
        /// Its registers.
        registers: Registers,
        /// Whether its `ip` is a return address. Not so where a signal has interrupted it.
        is_return_address: bool,
        /// The address that `ip` was read from.
        ip_at: u64,
        /// The address that `bp` was read from; 0 where it was not read.
        bp_at: u64,
    },
    /// There is no caller: the first frame of a thread.
    Root {
        /// The address where a return address of 0 was read; 0 where the rule says that it is the first.
        ip_at: u64,
    },
    /// There may be one, but it was not found.
    Failed(StepFailure),
}

const CFA_SP: u8 = RuleKind::CfaSp as u8;
const CFA_BP: u8 = RuleKind::CfaBp as u8;
const CFA_DEREF_SP: u8 = RuleKind::CfaDerefSp as u8;
const CFA_DEREF_BP: u8 = RuleKind::CfaDerefBp as u8;
const PLT: u8 = RuleKind::Plt as u8;
const SIGNAL: u8 = RuleKind::Signal as u8;
const STOP: u8 = RuleKind::Stop as u8;
const SWITCH: u8 = RuleKind::Switch as u8;
const SWITCHED: u8 = RuleKind::Switched as u8;
const NONE: u8 = RuleKind::None as u8;

const SAME: u8 = RbpRule::Same as u8;
const AT_CFA: u8 = RbpRule::AtCfa as u8;
const AT_BP: u8 = RbpRule::AtBp as u8;
const AT_SP: u8 = RbpRule::AtSp as u8;

/// Applies the rule for `registers.ip` (see [`Registers::rule_address`]). `read` reads a word of
/// the stack, at any address, and says `None` where that fails.
#[inline(always)]
pub fn step(rule: &Rule, registers: Registers, read: &mut impl FnMut(u64) -> Option<u64>) -> Step {
    let Registers { ip, sp, bp } = registers;
    let kind = rule.kind;
    let base = if kind == CFA_BP || kind == CFA_DEREF_BP || kind == SWITCH {
        bp
    } else {
        sp
    };
    let mut cfa = base.wrapping_add_signed(i64::from(rule.cfa_offset));
    if kind != CFA_SP && kind != CFA_BP {
        match kind {
            CFA_DEREF_SP | CFA_DEREF_BP | SIGNAL => {
                let Some(value) = read(cfa) else {
                    return Step::Failed(StepFailure::Unreadable);
                };
                cfa = value;
                if kind != SIGNAL {
                    cfa = cfa.wrapping_add_signed(i64::from(rule.second));
                }
            }
            PLT => {
                if i64::from(rule.second) <= (ip & 15) as i64 {
                    cfa = cfa.wrapping_add(8);
                }
            }
            SWITCH => {
                if bp == 0 {
                    return Step::Failed(StepFailure::StackSwitched);
                }
            }
            STOP => return Step::Root { ip_at: 0 },
            SWITCHED => return Step::Failed(StepFailure::StackSwitched),
            NONE => return Step::Failed(StepFailure::NoRule),
            _ => return Step::Failed(StepFailure::UnsupportedRule),
        }
    }
    if cfa & 7 != 0 {
        return Step::Failed(StepFailure::Misaligned);
    }
    // A signal handler may run on a stack of its own, and so does what was switched; all else is called
    // from above.
    let is_signal = kind == SIGNAL;
    if cfa <= sp && !is_signal && kind != SWITCH {
        return Step::Failed(StepFailure::NotRising);
    }

    let ip_at = if is_signal {
        sp.wrapping_add_signed(i64::from(rule.second))
    } else {
        cfa.wrapping_add_signed(i64::from(rule.ra_offset))
    };
    let Some(caller) = read(ip_at) else {
        return Step::Failed(StepFailure::Unreadable);
    };
    // The first frame of a stack that somebody made by hand, of a coroutine for one.
    if caller == 0 && !is_signal {
        return Step::Root { ip_at };
    }

    let mut caller_bp = bp;
    let mut bp_at = 0;
    if rule.rbp != SAME {
        let base = match rule.rbp {
            AT_CFA => cfa,
            AT_BP => bp,
            AT_SP => sp,
            _ => 0,
        };
        caller_bp = 0;
        if base != 0 {
            bp_at = base.wrapping_add_signed(i64::from(rule.rbp_offset));
            let Some(value) = read(bp_at) else {
                return Step::Failed(StepFailure::Unreadable);
            };
            caller_bp = value;
        }
    }
    Step::Caller {
        registers: Registers {
            ip: caller,
            sp: cfa,
            bp: caller_bp,
        },
        is_return_address: !is_signal,
        ip_at,
        bp_at,
    }
}

#[cfg(feature = "user")]
mod pod {
    use super::{Row, Rule};

    // SAFETY: repr(C), integers only, no padding (asserted above): every bit pattern is a value.
    unsafe impl aya::Pod for Rule {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Row {}
}

#[cfg(test)]
mod tests;
