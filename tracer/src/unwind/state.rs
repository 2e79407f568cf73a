//! What call frame instructions say of the CFA, the return address, `rbp` and `rsp`.
//!
//! An interpreter of its own beside gimli's, which decodes: that one keeps a rule for each
//! register, and these four are all that a table row can use.

use gimli::{CallFrameInstruction, CommonInformationEntry, Register, UnwindSection, X86_64};
use tracer_common::{RbpRule, Rule, RuleKind};

use super::Slice;
use super::expression::{self, Base, Value};
use super::statistics::Unsupported;

/// An instruction that makes no sense where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wrong;

/// The canonical frame address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cfa {
    Undefined,
    /// A register plus an offset.
    Register(Register, i64),
    /// By an expression; `None` where it is of no known form.
    Expression(Option<Value>),
}

/// The caller's value of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saved {
    /// Nothing has been said.
    Unspecified,
    Undefined,
    Same,
    /// In memory at an address.
    At(Base, i64),
    /// The CFA itself, plus an offset.
    Cfa(i64),
    /// In another register, or by an expression of no known form.
    Elsewhere,
}

/// The state between two instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    cfa: Cfa,
    return_address: Saved,
    rbp: Saved,
    rsp: Saved,
    is_signal: bool,
}

impl State {
    /// The state before a CIE's first instruction.
    pub(super) fn new(cie: &CommonInformationEntry<Slice<'_>>) -> Self {
        Self {
            cfa: Cfa::Undefined,
            return_address: if cie.return_address_register() == X86_64::RA {
                Saved::Unspecified
            } else {
                Saved::Elsewhere
            },
            rbp: Saved::Unspecified,
            rsp: Saved::Unspecified,
            is_signal: cie.is_signal_trampoline(),
        }
    }

    /// Runs an instruction that neither moves on nor saves or restores the whole state.
    /// `initial` is what single registers are restored to; a CIE has none.
    pub(super) fn apply<'data, S>(
        &mut self,
        instruction: &CallFrameInstruction<usize>,
        initial: Option<&Self>,
        cie: &CommonInformationEntry<Slice<'data>>,
        section: &S,
    ) -> Result<(), Wrong>
    where
        S: UnwindSection<Slice<'data>>,
    {
        use CallFrameInstruction as I;
        let factored = |offset: i64| offset.wrapping_mul(cie.data_alignment_factor());
        let value = |expression: &gimli::UnwindExpression<usize>, start| {
            let expression = expression.get(section).ok()?;
            expression::value(expression, cie.encoding(), start)
        };
        match instruction {
            I::DefCfa { register, offset } => {
                self.cfa = Cfa::Register(*register, signed(*offset)?);
            }
            I::DefCfaSf {
                register,
                factored_offset,
            } => self.cfa = Cfa::Register(*register, factored(*factored_offset)),
            I::DefCfaRegister { register } => match &mut self.cfa {
                Cfa::Register(current, _) => *current = *register,
                Cfa::Undefined | Cfa::Expression(_) => return Err(Wrong),
            },
            I::DefCfaOffset { offset } => self.set_cfa_offset(signed(*offset)?)?,
            I::DefCfaOffsetSf { factored_offset } => {
                self.set_cfa_offset(factored(*factored_offset))?;
            }
            I::DefCfaExpression { expression } => {
                self.cfa = Cfa::Expression(value(expression, None));
            }
            I::Undefined { register } => self.set(*register, || Saved::Undefined),
            I::SameValue { register } => self.set(*register, || Saved::Same),
            I::Offset {
                register,
                factored_offset,
            } => {
                let offset = factored(signed(*factored_offset)?);
                self.set(*register, || Saved::At(Base::Cfa, offset));
            }
            I::OffsetExtendedSf {
                register,
                factored_offset,
            } => self.set(*register, || {
                Saved::At(Base::Cfa, factored(*factored_offset))
            }),
            I::ValOffset {
                register,
                factored_offset,
            } => {
                let offset = factored(signed(*factored_offset)?);
                self.set(*register, || Saved::Cfa(offset));
            }
            I::ValOffsetSf {
                register,
                factored_offset,
            } => self.set(*register, || Saved::Cfa(factored(*factored_offset))),
            I::Register { dest_register, .. } => self.set(*dest_register, || Saved::Elsewhere),
            I::Expression {
                register,
                expression,
            } => self.set(*register, || match value(expression, Some(Base::Cfa)) {
                Some(Value::Offset(base, offset)) => Saved::At(base, offset),
                _ => Saved::Elsewhere,
            }),
            I::ValExpression {
                register,
                expression,
            } => self.set(*register, || match value(expression, Some(Base::Cfa)) {
                Some(Value::Offset(Base::Cfa, offset)) => Saved::Cfa(offset),
                _ => Saved::Elsewhere,
            }),
            I::Restore { register } => {
                let initial = initial.ok_or(Wrong)?;
                match *register {
                    X86_64::RA => self.return_address = initial.return_address,
                    X86_64::RBP => self.rbp = initial.rbp,
                    X86_64::RSP => self.rsp = initial.rsp,
                    _ => {}
                }
            }
            I::ArgsSize { .. } | I::Nop => {}
            // Moves and saved states are the caller's; the rest is for other machines.
            _ => return Err(Wrong),
        }
        Ok(())
    }

    fn set_cfa_offset(&mut self, offset: i64) -> Result<(), Wrong> {
        match &mut self.cfa {
            Cfa::Register(_, current) => {
                *current = offset;
                Ok(())
            }
            Cfa::Undefined | Cfa::Expression(_) => Err(Wrong),
        }
    }

    /// Sets the rule of a register, if it is one that matters; only then is the rule made.
    fn set(&mut self, register: Register, saved: impl FnOnce() -> Saved) {
        match register {
            X86_64::RA => self.return_address = saved(),
            X86_64::RBP => self.rbp = saved(),
            X86_64::RSP => self.rsp = saved(),
            _ => {}
        }
    }

    /// The table's rule for this state, and whether the caller's `rbp` is lost in it though it is
    /// somewhere.
    pub(super) fn rule(&self) -> Result<(Rule, bool), Unsupported> {
        if self.return_address == Saved::Undefined || self.cfa == Cfa::Undefined {
            return Ok((Rule::STOP, false));
        }
        if self.is_signal {
            return self.signal_rule();
        }
        match self.rsp {
            Saved::Unspecified | Saved::Cfa(0) => {}
            _ => return Err(Unsupported::StackPointer),
        }
        let Saved::At(Base::Cfa, ra_offset) = self.return_address else {
            return Err(Unsupported::ReturnAddress);
        };
        let (kind, cfa_offset, second) = self.cfa_rule()?;
        let (rbp, rbp_offset, is_lost) = self.rbp_rule()?;
        let rule = Rule {
            kind: kind as u8,
            rbp: rbp as u8,
            ra_offset: i16::try_from(ra_offset).map_err(|_| Unsupported::Offset)?,
            cfa_offset: narrow(cfa_offset)?,
            second: narrow(second)?,
            rbp_offset: narrow(rbp_offset)?,
        };
        Ok((rule, is_lost))
    }

    fn cfa_rule(&self) -> Result<(RuleKind, i64, i64), Unsupported> {
        Ok(match self.cfa {
            Cfa::Register(X86_64::RSP, offset) => (RuleKind::CfaSp, offset, 0),
            Cfa::Register(X86_64::RBP, offset) => (RuleKind::CfaBp, offset, 0),
            Cfa::Register(..) => return Err(Unsupported::CfaRegister),
            Cfa::Expression(Some(Value::Offset(Base::Sp, offset))) => (RuleKind::CfaSp, offset, 0),
            Cfa::Expression(Some(Value::Offset(Base::Bp, offset))) => (RuleKind::CfaBp, offset, 0),
            Cfa::Expression(Some(Value::Deref(Base::Sp, offset, second))) => {
                (RuleKind::CfaDerefSp, offset, second)
            }
            Cfa::Expression(Some(Value::Deref(Base::Bp, offset, second))) => {
                (RuleKind::CfaDerefBp, offset, second)
            }
            Cfa::Expression(Some(Value::Plt { offset, threshold })) => {
                (RuleKind::Plt, offset, threshold)
            }
            Cfa::Expression(_) | Cfa::Undefined => return Err(Unsupported::CfaExpression),
        })
    }

    fn rbp_rule(&self) -> Result<(RbpRule, i64, bool), Unsupported> {
        Ok(match self.rbp {
            Saved::Unspecified | Saved::Same => (RbpRule::Same, 0, false),
            Saved::Undefined => (RbpRule::Undefined, 0, false),
            Saved::At(Base::Cfa, offset) => (RbpRule::AtCfa, offset, false),
            Saved::At(Base::Bp, offset) => (RbpRule::AtBp, offset, false),
            Saved::At(Base::Sp, offset) => (RbpRule::AtSp, offset, false),
            Saved::Cfa(_) | Saved::Elsewhere => (RbpRule::Undefined, 0, true),
        })
    }

    /// All registers of a signal frame lie in one context, to which `rsp` points.
    fn signal_rule(&self) -> Result<(Rule, bool), Unsupported> {
        let Cfa::Expression(Some(Value::Deref(Base::Sp, cfa_offset, 0))) = self.cfa else {
            return Err(Unsupported::SignalFrame);
        };
        let Saved::At(Base::Sp, ip_offset) = self.return_address else {
            return Err(Unsupported::SignalFrame);
        };
        let rsp_is_cfa = match self.rsp {
            Saved::Unspecified | Saved::Cfa(0) => true,
            Saved::At(Base::Sp, offset) => offset == cfa_offset,
            _ => false,
        };
        if !rsp_is_cfa {
            return Err(Unsupported::SignalFrame);
        }
        let (rbp, rbp_offset, is_lost) = self.rbp_rule()?;
        let rule = Rule {
            kind: RuleKind::Signal as u8,
            rbp: rbp as u8,
            ra_offset: 0,
            cfa_offset: narrow(cfa_offset)?,
            second: narrow(ip_offset)?,
            rbp_offset: narrow(rbp_offset)?,
        };
        Ok((rule, is_lost))
    }
}

fn signed(offset: u64) -> Result<i64, Wrong> {
    i64::try_from(offset).map_err(|_| Wrong)
}

fn narrow(offset: i64) -> Result<i32, Unsupported> {
    i32::try_from(offset).map_err(|_| Unsupported::Offset)
}
