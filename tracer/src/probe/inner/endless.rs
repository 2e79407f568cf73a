//! Which functions never return: those with no way to a return that can be followed. Where in doubt, they return.
//!
//! glibc's failed assertions go to a function that returns or not by its first argument, so constants are followed.

use std::collections::{BTreeMap, HashMap};

use iced_x86::{
    ConditionCode, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register,
    RflagsBits,
};

use super::effect::{CHANGED_BY_CALLS, index, is_written};
use super::flow::{Text, Way, direct_call, is_return, ways};

/// Calls within calls that are followed: glibc's failed assertion is three deep.
const MAX_DEPTH: u32 = 6;
/// Instructions that are followed of one function, and in all, each time anew.
const MAX_BODY: usize = 1 << 10;
const MAX_LOOKED_AT: usize = 32 << 10;

pub(super) struct Endless<'data> {
    text: Text<'data>,
    known: BTreeMap<(u64, Option<u64>), bool>,
    info: InstructionInfoFactory,
    budget: usize,
}

/// What is known of the lower halves of registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Constants {
    registers: [Option<u32>; 16],
    /// The zero flag, where it is known.
    zero: Option<bool>,
}

impl<'data> Endless<'data> {
    pub(super) fn new(text: Text<'data>) -> Self {
        Self {
            text,
            known: BTreeMap::new(),
            info: InstructionInfoFactory::new(),
            budget: MAX_LOOKED_AT,
        }
    }

    /// Whether a function never returns, where its first argument is this `int`.
    pub(super) fn never_returns(&mut self, entry: u64, argument: Option<u64>) -> bool {
        self.look(entry, argument, 0)
    }

    fn look(&mut self, entry: u64, argument: Option<u64>, depth: u32) -> bool {
        if let Some(&known) = self.known.get(&(entry, argument)) {
            return known;
        }
        // Until it is known, and where it calls itself.
        self.known.insert((entry, argument), false);
        let never = self.follow(entry, argument, depth).unwrap_or(false);
        self.known.insert((entry, argument), never);
        never
    }

    /// `None` where not all can be followed.
    fn follow(&mut self, entry: u64, argument: Option<u64>, depth: u32) -> Option<bool> {
        if depth == MAX_DEPTH {
            return None;
        }
        let mut first = Constants::default();
        first.set(Register::RDI, argument.map(|value| value as u32));
        let mut seen = HashMap::from([(entry, first)]);
        let mut work = vec![entry];
        let mut calls = Vec::new();
        loop {
            // What can be reached without the return of another call comes first: most functions are done then.
            let Some(at) = work.pop() else {
                let Some((callee, next, constants)) = calls.pop() else {
                    return Some(true);
                };
                if !self.look(callee, None, depth + 1) && note(&mut seen, next, constants) {
                    work.push(next);
                }
                continue;
            };
            self.budget = self.budget.checked_sub(1)?;
            if seen.len() > MAX_BODY {
                return None;
            }
            let (instruction, _) = self.text.instruction(at)?;
            if is_return(&instruction) {
                return Some(false);
            }
            let mut constants = *seen.get(&at)?;
            let branch = constants.branch(&instruction);
            constants.step(&instruction, &mut self.info);
            for (to, way) in ways(&instruction)? {
                if branch.is_some_and(|branch| branch != way) {
                    continue;
                }
                if let Some(callee) = direct_call(&instruction) {
                    calls.push((callee, to, constants));
                } else if note(&mut seen, to, constants) {
                    work.push(to);
                }
            }
        }
    }
}

/// Notes what is known at an instruction. Returns whether it must be looked at, again or for the first time.
fn note(seen: &mut HashMap<u64, Constants>, at: u64, constants: Constants) -> bool {
    let Some(known) = seen.get_mut(&at) else {
        seen.insert(at, constants);
        return true;
    };
    let before = *known;
    for (known, other) in known.registers.iter_mut().zip(constants.registers) {
        if *known != other {
            *known = None;
        }
    }
    if known.zero != constants.zero {
        known.zero = None;
    }
    *known != before
}

impl Constants {
    fn get(&self, register: Register) -> Option<u32> {
        let is_whole = register.size() >= 4;
        self.registers[index(register.full_register())?].filter(|_| is_whole)
    }

    fn set(&mut self, register: Register, value: Option<u32>) {
        if let Some(index) = index(register.full_register()) {
            self.registers[index] = value;
        }
    }

    /// Which way a conditional jump goes.
    fn branch(&self, instruction: &Instruction) -> Option<Way> {
        let is_taken = match instruction.condition_code() {
            ConditionCode::e => self.zero?,
            ConditionCode::ne => !self.zero?,
            _ => return None,
        };
        let is_jump = instruction.is_jcc_short_or_near();
        is_jump.then_some(if is_taken { Way::Taken } else { Way::NotTaken })
    }

    fn step(&mut self, instruction: &Instruction, info: &mut InstructionInfoFactory) {
        if matches!(
            instruction.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall
        ) {
            for register in CHANGED_BY_CALLS {
                self.set(register, None);
            }
            self.zero = None;
            return;
        }
        let to = instruction.op0_register();
        let operand = if instruction.op1_kind() == OpKind::Register {
            self.get(instruction.op1_register())
        } else {
            instruction.try_immediate(1).ok().map(|value| value as u32)
        };
        let is_word = instruction.op0_kind() == OpKind::Register && to.size() == 4;
        let made = match instruction.mnemonic() {
            Mnemonic::Mov if is_word => operand,
            Mnemonic::And if is_word => self.get(to).zip(operand).map(|(a, b)| a & b),
            Mnemonic::Xor if is_word && instruction.op1_register() == to => Some(0),
            _ => None,
        };
        let zero = match instruction.mnemonic() {
            Mnemonic::Test if is_word => self.get(to).zip(operand).map(|(a, b)| a & b == 0),
            Mnemonic::And if is_word => made.map(|value| value == 0),
            _ => None,
        };
        if instruction.rflags_modified() & RflagsBits::ZF != 0 {
            self.zero = zero;
        }
        for used in info.info(instruction).used_registers() {
            if is_written(used.access()) {
                self.set(used.register(), None);
            }
        }
        if made.is_some() {
            self.set(to, made);
        }
    }
}
