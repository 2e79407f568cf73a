//! Where what a function was called with is, at each of its instructions: followed from the entry.

use std::collections::BTreeMap;

use iced_x86::Register;

use super::effect::{Effect, Effects, Location, Overwritten, REGISTERS, ZeroFlag, index};
use super::flow::Flow;
use super::{Declined, Place};
use crate::address::FileOffset;

/// Most of the stack that a function may use, in bytes.
const MAX_FRAME: i64 = 4 << 10;
/// Bytes below the stack pointer that nobody else touches (System V, AMD64).
const RED_ZONE: i64 = 128;

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// What the register held at the entry.
    Entry(Register),
    /// The product of the first two arguments.
    Product,
    /// Where the function returns to.
    Return,
    /// The address of a byte of the stack, by its distance from where the return address lies; negative below that.
    Stack(i64),
}

/// What is known before an instruction runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The stack pointer's distance from where the return address lies; zero or negative.
    pub(super) sp: i64,
    registers: [Option<Value>; 16],
    /// Words of the stack, by the same distance.
    slots: BTreeMap<i64, Value>,
    /// The zero flag says whether this register is zero.
    pub(super) zero: Option<Register>,
}

impl State {
    fn at_entry() -> Self {
        Self {
            sp: 0,
            registers: REGISTERS.map(|register| Some(Value::Entry(register))),
            slots: BTreeMap::from([(0, Value::Return)]),
            zero: None,
        }
    }

    /// Whether the return address is still in its place.
    pub(super) fn can_return(&self) -> bool {
        self.slots.get(&0) == Some(&Value::Return)
    }

    pub(super) fn get(&self, register: Register) -> Option<Value> {
        match register {
            Register::RSP => Some(Value::Stack(self.sp)),
            _ => self.registers[index(register)?],
        }
    }

    /// The place on the stack that a register and a displacement address.
    pub(super) fn stack_address(&self, base: Register, displacement: u64) -> Option<i64> {
        match self.get(base)? {
            Value::Stack(at) => at.checked_add(displacement.cast_signed()),
            _ => None,
        }
    }

    /// Where a value is: in a register, or else on the stack.
    pub(super) fn find(&self, wanted: Value) -> Option<Place> {
        let mut registers = REGISTERS.iter().zip(&self.registers);
        let by_register = registers
            .find(|&(_, &value)| value == Some(wanted))
            .map(|(&register, _)| Place::Register(register));
        by_register.or_else(|| {
            let mut slots = self.slots.iter();
            let (&at, _) = slots.find(|&(_, &value)| value == wanted)?;
            u32::try_from(-at).ok().map(Place::Stack)
        })
    }

    fn value(&self, location: Location) -> Option<Value> {
        match location {
            Location::Register(register) => self.get(register),
            Location::Slot(at) => self.slots.get(&at).copied(),
        }
    }

    fn set(&mut self, location: Location, value: Option<Value>) {
        match location {
            Location::Register(Register::RSP) => {}
            Location::Register(register) => {
                if let Some(index) = index(register) {
                    self.registers[index] = value;
                }
            }
            Location::Slot(at) => {
                self.slots.remove(&at);
                if let Some(value) = value {
                    self.slots.insert(at, value);
                }
            }
        }
    }

    /// What is known afterwards.
    fn apply(&mut self, effect: &Effect) {
        let copied = effect.copied.map(|(from, to)| (to, self.value(from)));
        for &register in &effect.written {
            self.set(Location::Register(register), None);
            if self.zero == Some(register) {
                self.zero = None;
            }
        }
        match effect.overwritten {
            Overwritten::Nothing => {}
            Overwritten::Bytes(at, bytes) => {
                self.slots
                    .retain(|&slot, _| slot + 8 <= at || slot >= at + bytes);
            }
            // Not by those who were told where something else lies.
            Overwritten::All => self.slots.retain(|_, &mut value| value == Value::Return),
        }
        if let Some((to, value)) = copied {
            self.set(to, value);
        }
        if let Some((to, value)) = effect.made {
            self.set(Location::Register(to), Some(value));
        }
        self.sp = effect.sp;
        if let Some(below) = effect.lost_below {
            self.slots.retain(|&slot, _| slot >= below);
        }
        match effect.zero_flag {
            ZeroFlag::Kept => {}
            ZeroFlag::Of(register) => self.zero = Some(register),
            ZeroFlag::Else => self.zero = None,
        }
    }

    /// Keeps what both know. Returns whether something went.
    fn meet(&mut self, other: &Self) -> bool {
        let before = self.clone();
        for (value, other) in self.registers.iter_mut().zip(&other.registers) {
            if value != other {
                *value = None;
            }
        }
        self.slots
            .retain(|at, value| other.slots.get(at) == Some(value));
        if self.zero != other.zero {
            self.zero = None;
        }
        *self != before
    }
}

/// What is known before each instruction.
pub(super) struct Values {
    pub(super) states: Vec<State>,
    /// Others may write into the function's stack.
    pub(super) escapes: bool,
}

impl Values {
    /// Follows a function from its entry.
    pub(super) fn follow(flow: &Flow<'_>) -> Result<Self, Declined> {
        // Whether an address escapes is known at the end only; then once more, with what follows from it.
        let values = Self::follow_where(flow, false)?;
        if values.escapes {
            return Self::follow_where(flow, true);
        }
        Ok(values)
    }

    fn follow_where(flow: &Flow<'_>, escaped: bool) -> Result<Self, Declined> {
        let mut states: Vec<Option<State>> = vec![None; flow.nodes.len()];
        states[0] = Some(State::at_entry());
        let mut effects = Effects::new(escaped);
        let mut escapes = escaped;
        let stack_unknown = |at: usize| Declined::StackUnknown {
            at: FileOffset(flow.nodes[at].instruction.ip()),
        };
        let mut work = vec![0];
        while let Some(at) = work.pop() {
            let node = &flow.nodes[at];
            let Some(mut state) = states[at].clone() else {
                continue;
            };
            let effect = effects
                .of(&state, &node.instruction)
                .filter(|effect| (-MAX_FRAME..=RED_ZONE).contains(&effect.sp))
                .ok_or_else(|| stack_unknown(at))?;
            escapes |= effect.escapes;
            state.apply(&effect);
            for &(next, _) in &node.next {
                match &mut states[next] {
                    Some(known) if known.sp != state.sp => {
                        return Err(stack_unknown(next));
                    }
                    Some(known) => {
                        if known.meet(&state) {
                            work.push(next);
                        }
                    }
                    unknown @ None => {
                        *unknown = Some(state.clone());
                        work.push(next);
                    }
                }
            }
        }
        let states: Option<Vec<_>> = states.into_iter().collect();
        let states = states.ok_or(Declined::TooLong)?;
        Ok(Self { states, escapes })
    }
}
