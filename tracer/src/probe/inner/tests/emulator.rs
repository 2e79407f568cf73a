//! Runs a function on ways chosen at random, with values that differ, and holds the points against what happens.
//!
//! Shares with the analysis the decoder and which calls return, and nothing else.

use std::collections::HashMap;

use iced_x86::{
    ConditionCode, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register,
    RflagsBits,
};
use tracer_common::AllocatorFn;

use crate::address::FileOffset;
use crate::probe::inner::effect::{CHANGED_BY_CALLS, index, is_written};
use crate::probe::inner::flow::{Flow, Way, is_return};
use crate::probe::inner::{Cut, Place, Sees, When};

/// Where the return address lies.
const TOP: u64 = 0x7fff_0000_0000;
const RETURN_ADDRESS: u64 = 0x1234_5678;
const STACK: std::ops::Range<u64> = TOP - (64 << 10)..TOP + (64 << 10);
/// Instructions of one run.
const MAX_STEPS: usize = 3_000;

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// With a return, all as the points said.
    Agreed,
    /// Without a return: too long, a trap, or something that is not emulated.
    Open,
}

/// Numbers that look random (xorshift).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn coin(&mut self) -> bool {
        self.next() & 0x100 != 0
    }

    /// What memory and other functions give: often zero, and never an address on the stack.
    fn word(&mut self) -> u64 {
        match self.next() {
            word if word % 4 == 0 => 0,
            word => word & 0xffff_ffff_ffff,
        }
    }
}

pub(super) struct Emulator<'a> {
    flow: &'a Flow<'a>,
    places: HashMap<u64, usize>,
    random: &'a mut Random,
    info: InstructionInfoFactory,
    registers: [u64; 16],
    memory: HashMap<u64, u64>,
    zero: Option<bool>,
}

/// What the points have said so far.
#[derive(Default)]
struct Said {
    noted: Option<u64>,
    results: Vec<u64>,
}

impl<'a> Emulator<'a> {
    pub(super) fn new(flow: &'a Flow<'a>, random: &'a mut Random) -> Self {
        let nodes = flow.nodes.iter().enumerate();
        let mut registers = [0; 16];
        for register in &mut registers {
            // None is zero, and no two are the same.
            *register = random.next() | 1;
        }
        let places = nodes
            .map(|(at, node)| (node.instruction.ip(), at))
            .collect();
        let mut emulator = Self {
            flow,
            places,
            random,
            info: InstructionInfoFactory::new(),
            registers,
            memory: HashMap::from([(TOP, RETURN_ADDRESS)]),
            zero: None,
        };
        emulator.set(Register::RSP, TOP);
        emulator
    }

    fn get(&self, register: Register) -> u64 {
        index(register.full_register()).map_or(0, |at| self.registers[at])
    }

    fn set(&mut self, register: Register, value: u64) {
        if let Some(at) = index(register.full_register()) {
            self.registers[at] = value;
        }
    }

    fn load(&mut self, address: u64) -> u64 {
        let word = self.random.word();
        match STACK.contains(&address) {
            true => *self.memory.entry(address).or_insert(word),
            false => word,
        }
    }

    /// Writes some bytes, which are random where they are not a whole word.
    fn store(&mut self, address: u64, bytes: usize, value: Option<u64>) {
        if !STACK.contains(&address) {
            return;
        }
        for word in address.saturating_sub(7)..address + bytes as u64 {
            let random = self.random.word();
            self.memory.insert(word, random);
        }
        if let Some(value) = value {
            self.memory.insert(address, value);
        }
    }

    /// Runs once. Panics where a point is wrong.
    pub(super) fn run(mut self, function: AllocatorFn, cut: &Cut) -> Run {
        let (first, second) = (self.get(Register::RDI), self.get(Register::RSI));
        let size = match function {
            AllocatorFn::Calloc => first.wrapping_mul(second),
            AllocatorFn::AlignedAlloc | AllocatorFn::Memalign => second,
            _ => first,
        };
        let frame_pointer = self.get(Register::RBP);
        let mut said = Said::default();
        let mut at = 0;
        for _ in 0..MAX_STEPS {
            let node = &self.flow.nodes[at];
            let instruction = node.instruction;
            let way = self.way(&instruction);
            self.probe(&instruction, way, cut, size, frame_pointer, &mut said);
            if is_return(&instruction) {
                assert_eq!(self.get(Register::RSP), TOP, "the stack pointer at the end");
                let returned = self.get(Register::RAX);
                assert_eq!(said.results, [returned], "the results that points saw");
                return Run::Agreed;
            }
            let Some(&(next, _)) = node.next.iter().find(|&&(_, one)| one == way) else {
                return Run::Open;
            };
            debug_assert_eq!(
                self.places.get(&self.flow.nodes[next].instruction.ip()),
                Some(&next)
            );
            if self.step(&instruction).is_none() {
                return Run::Open;
            }
            at = next;
        }
        Run::Open
    }

    fn way(&mut self, instruction: &Instruction) -> Way {
        if instruction.flow_control() != FlowControl::ConditionalBranch {
            return Way::Only;
        }
        let taken = match (instruction.condition_code(), self.zero) {
            (ConditionCode::e, Some(zero)) => zero,
            (ConditionCode::ne, Some(zero)) => !zero,
            _ => self.random.coin(),
        };
        if taken { Way::Taken } else { Way::NotTaken }
    }

    /// Does what a probe would do.
    fn probe(
        &mut self,
        instruction: &Instruction,
        way: Way,
        cut: &Cut,
        size: u64,
        frame_pointer: u64,
        said: &mut Said,
    ) {
        for point in &cut.points {
            let counts = match point.when {
                When::Always => true,
                When::Taken => way == Way::Taken,
                When::NotTaken => way == Way::NotTaken,
            };
            if point.point != FileOffset(instruction.ip()) || !counts {
                continue;
            }
            let top = self.get(Register::RSP) + u64::from(point.frame);
            assert_eq!(top, TOP, "where the return address lies");
            assert_eq!(self.memory.get(&top), Some(&RETURN_ADDRESS));
            assert_eq!(self.read(top, point.frame_pointer), frame_pointer);
            match point.sees {
                Sees::Call {
                    size: place,
                    result,
                } => {
                    assert_eq!(self.read(top, place), size, "the size");
                    said.results.push(self.get(result));
                }
                Sees::Failure => said.results.push(0),
                Sees::Request { size: place } => said.noted = Some(self.read(top, place)),
                Sees::Result { result } => {
                    assert_eq!(said.noted.take(), Some(size), "the size that was noted");
                    said.results.push(self.get(result));
                }
            }
        }
    }

    fn read(&self, top: u64, place: Place) -> u64 {
        match place {
            Place::Register(register) => self.get(register),
            Place::Stack(below) => {
                let word = self.memory.get(&(top - u64::from(below)));
                word.copied().unwrap_or(0)
            }
        }
    }

    fn address(&self, instruction: &Instruction) -> Option<u64> {
        if matches!(instruction.segment_prefix(), Register::FS | Register::GS) {
            return None;
        }
        if instruction.is_ip_rel_memory_operand() {
            return None;
        }
        let part = |register| match register {
            Register::None => 0,
            register => self.get(register),
        };
        let index = part(instruction.memory_index());
        Some(
            part(instruction.memory_base())
                .wrapping_add(index.wrapping_mul(u64::from(instruction.memory_index_scale())))
                .wrapping_add(instruction.memory_displacement64()),
        )
    }

    /// Lets an instruction run; `None` where the stack pointer is not known then.
    fn step(&mut self, instruction: &Instruction) -> Option<()> {
        let to = instruction.op0_register();
        let is_word = |operand| {
            instruction.op_kind(operand) == OpKind::Register
                && index(instruction.op_register(operand)).is_some()
        };
        let is_memory = |operand| instruction.op_kind(operand) == OpKind::Memory;
        let sp = self.get(Register::RSP);
        let address = self.address(instruction);
        match (instruction.mnemonic(), instruction.flow_control()) {
            (_, FlowControl::Call | FlowControl::IndirectCall) => {
                for register in CHANGED_BY_CALLS {
                    let word = self.random.word();
                    self.set(register, word);
                }
                self.store(sp - 8, 8, None);
                self.zero = None;
            }
            (Mnemonic::Push, _) if is_word(0) => {
                let value = self.get(to);
                self.store(sp - 8, 8, Some(value));
                self.set(Register::RSP, sp - 8);
            }
            (Mnemonic::Pop, _) if is_word(0) => {
                let value = self.load(sp);
                self.set(Register::RSP, sp + 8);
                self.set(to, value);
            }
            (Mnemonic::Leave, _) => {
                let frame = self.get(Register::RBP);
                let value = self.load(frame);
                self.set(Register::RBP, value);
                self.set(Register::RSP, frame.wrapping_add(8));
            }
            (Mnemonic::Mov, _) if is_word(0) && is_word(1) => {
                self.set(to, self.get(instruction.op1_register()));
            }
            (Mnemonic::Mov, _) if is_word(0) && is_memory(1) => {
                let value = match address {
                    Some(address) => self.load(address),
                    None => self.random.word(),
                };
                self.set(to, value);
            }
            (Mnemonic::Mov, _) if is_memory(0) && is_word(1) => {
                let value = self.get(instruction.op1_register());
                self.store(address.unwrap_or(0), 8, Some(value));
            }
            (Mnemonic::Mov, _) if is_word(0) => {
                self.set(to, instruction.try_immediate(1).ok()?);
            }
            (Mnemonic::Lea, _) if is_word(0) => {
                let value = address.unwrap_or_else(|| self.random.word());
                self.set(to, value);
            }
            (Mnemonic::Add, _) if to == Register::RSP => {
                self.set(to, sp.wrapping_add(instruction.try_immediate(1).ok()?));
                self.zero = None;
            }
            (Mnemonic::Sub, _) if to == Register::RSP => {
                self.set(to, sp.wrapping_sub(instruction.try_immediate(1).ok()?));
                self.zero = None;
            }
            (Mnemonic::Xor, _) if to == instruction.op1_register() && to.size() >= 4 => {
                self.set(to, 0);
                self.zero = Some(true);
            }
            (Mnemonic::Test, _) if is_word(0) && to == instruction.op1_register() => {
                self.zero = Some(self.get(to) == 0);
            }
            (Mnemonic::Cmp, _) if is_word(0) && instruction.try_immediate(1).is_ok() => {
                self.zero = Some(self.get(to) == instruction.try_immediate(1).ok()?);
            }
            (Mnemonic::Mul, _) if is_word(0) => {
                let product = u128::from(self.get(Register::RAX)) * u128::from(self.get(to));
                self.set(Register::RAX, product as u64);
                self.set(Register::RDX, (product >> 64) as u64);
                self.zero = None;
            }
            _ => return self.anything(instruction),
        }
        Some(())
    }

    /// Whatever an instruction is told to write becomes random.
    fn anything(&mut self, instruction: &Instruction) -> Option<()> {
        let info = self.info.info(instruction);
        let written = info.used_registers().iter();
        let written: Vec<_> = written
            .filter(|used| is_written(used.access()))
            .map(|used| used.register().full_register())
            .collect();
        let memory = info.used_memory().iter();
        let memory: Vec<_> = memory
            .filter(|used| is_written(used.access()))
            .map(|used| {
                let base = index(used.base()).map_or(0, |at| self.registers[at]);
                let by = index(used.index()).map_or(0, |at| self.registers[at]);
                let by = by.wrapping_mul(u64::from(used.scale()));
                let at = base.wrapping_add(by).wrapping_add(used.displacement());
                (at, used.memory_size().size().max(1))
            })
            .collect();
        if written.contains(&Register::RSP) {
            return None;
        }
        for register in written {
            let word = self.random.word();
            self.set(register, word);
        }
        for (at, bytes) in memory {
            self.store(at, bytes, None);
        }
        if instruction.rflags_modified() & RflagsBits::ZF != 0 {
            self.zero = None;
        }
        Some(())
    }
}
