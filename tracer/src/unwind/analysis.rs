//! Rules for code that no call frame information describes, found by following it from the entries
//! of its functions. musl is built that way, and what starts a program often is.
//!
//! From an entry, where the return address lies on top of the stack, each way through the function is
//! followed, and what its instructions do to the stack pointer added up ([`FrameState`]). Where two ways
//! disagree, or an instruction leaves it open, there is no rule: an address gets the right one or none.

mod visits;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use foldhash::fast::RandomState;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind,
    Register,
};
use tracer_common::Rule;

use super::frame::FrameState;
use visits::{Visit, Visits};

/// Instructions to look at, beyond which code is not followed.
const MAX_VISITS: u32 = 4 << 20;
/// How often all code is followed. What the last but one finds out is rare.
const PASSES: usize = 3;
/// How far a loop may reach back to its head, for [`Explorer::is_loop_head`].
const MAX_LOOP: u64 = 4 << 10;

/// What a thread's function returns to: it hands the result to `exit(2)`, and does not get any further.
/// musl's `__clone`, the same since its first release: `mov %eax, %edi; xor %eax, %eax; mov $60, %al;
/// syscall; hlt`.
pub(super) const THREAD_END: [u8; 9] = [0x89, 0xc7, 0x31, 0xc0, 0xb0, 0x3c, 0x0f, 0x05, 0xf4];

/// Code, and what its file says of the functions in it. Addresses are counted as in rows.
#[derive(Debug, Default)]
pub(super) struct Undescribed<'data> {
    /// Sorted and disjoint.
    pub(super) code: Vec<(u32, &'data [u8])>,
    /// Where functions begin for certain.
    pub(super) functions: Vec<u32>,
    /// From where to where functions go, as far as that is known.
    pub(super) extents: Vec<Range<u32>>,
    /// Described calls that return to the end of a thread.
    pub(super) threads: Vec<Range<u32>>,
    /// Where the kernel starts the program.
    pub(super) process: Option<u32>,
}

/// Follows the code. The ranges are disjoint.
pub(super) fn analyse(mut undescribed: Undescribed<'_>) -> Vec<(Range<u32>, Rule)> {
    let mut threads = std::mem::take(&mut undescribed.threads);
    threads.sort_unstable_by_key(|call| call.start);
    threads.dedup();
    let threads = threads.into_iter().map(|call| (call, Rule::STOP));
    undescribed
        .extents
        .sort_unstable_by_key(|extent| (extent.start, extent.end));
    undescribed.extents.dedup_by_key(|extent| extent.start);
    let mut explorer = Explorer::new(&undescribed);
    // Calls lead to functions that nobody had named, and some do not return. Once that is known, no
    // function is taken for the rest of the one before it.
    for _ in 0..PASSES {
        if explorer.explore().is_none() {
            return threads.collect();
        }
        explorer.find_endless();
    }
    let mut rules = explorer.rules();
    rules.extend(threads);
    rules
}

/// A way that is yet to be followed.
#[derive(Clone, Copy, Debug)]
struct Way {
    at: u32,
    frame: FrameState,
    /// The entry it comes from.
    entry: u32,
}

struct Explorer<'a> {
    undescribed: &'a Undescribed<'a>,
    starts: HashSet<u32, RandomState>,
    pointers: HashSet<u32, RandomState>,
    visits: Visits,
    work: Vec<Way>,
    /// Functions with a way out of them.
    ending: HashSet<u32, RandomState>,
    /// Functions that go on in another one.
    handing_on: Vec<(u32, u32)>,
    /// Functions that never return.
    endless: HashSet<u32, RandomState>,
    /// Jumps through tables.
    switches: Vec<(u32, FrameState)>,
    /// The frame at these jumps, by the start of their function; `None` where they have several.
    tables: HashMap<u32, Option<FrameState>, RandomState>,
    info: InstructionInfoFactory,
    budget: u32,
}

impl<'a> Explorer<'a> {
    fn new(undescribed: &'a Undescribed<'a>) -> Self {
        let mut explorer = Self {
            undescribed,
            starts: HashSet::default(),
            pointers: HashSet::default(),
            visits: Visits::new(&undescribed.code),
            work: Vec::new(),
            ending: HashSet::default(),
            handing_on: Vec::new(),
            endless: HashSet::default(),
            switches: Vec::new(),
            tables: HashMap::default(),
            info: InstructionInfoFactory::new(),
            budget: MAX_VISITS,
        };
        for &start in &undescribed.functions {
            explorer.start(u64::from(start));
        }
        if let Some(process) = undescribed.process {
            explorer.point(u64::from(process));
        }
        explorer
    }

    /// Visits all that can be reached; `None` where that is too much.
    fn explore(&mut self) -> Option<()> {
        self.visits.clear();
        self.switches.clear();
        self.tables.clear();
        self.ending.clear();
        self.handing_on.clear();
        let entries = self.starts.iter().chain(&self.pointers);
        self.work = entries.map(|&entry| Way::into(entry)).collect();
        self.drain()?;
        while let Some((at, frame)) = self.switches.pop() {
            self.take_cases(at, frame)?;
        }
        Some(())
    }

    fn drain(&mut self) -> Option<()> {
        while let Some(way) = self.work.pop() {
            self.follow(way)?;
        }
        Some(())
    }

    /// Which functions never return, as far as can be told: no way leads out of them.
    fn find_endless(&mut self) {
        // From the functions that return, back to those that go on in them: each is looked at once.
        self.handing_on.sort_unstable_by_key(|&(_, to)| to);
        let mut found: Vec<_> = self.ending.iter().copied().collect();
        while let Some(ending) = found.pop() {
            let first = self.handing_on.partition_point(|&(_, to)| to < ending);
            let callers = self.handing_on.iter().skip(first);
            for &(from, _) in callers.take_while(|&&(_, to)| to == ending) {
                if self.ending.insert(from) {
                    found.push(from);
                }
            }
        }
        let endless = self
            .starts
            .iter()
            .filter(|start| !self.ending.contains(start));
        self.endless = endless.copied().collect();
    }

    /// The bytes from an address on, as far as the code goes.
    fn bytes(&self, at: u32) -> &'a [u8] {
        let code = &self.undescribed.code;
        let next = code.partition_point(|&(start, _)| start <= at);
        next.checked_sub(1)
            .and_then(|index| code.get(index))
            .and_then(|(start, bytes)| bytes.get((at - start) as usize..))
            .unwrap_or_default()
    }

    /// The function around an address, if its extent is known.
    fn extent(&self, at: u32) -> Option<&'a Range<u32>> {
        let extents = &self.undescribed.extents;
        let next = extents.partition_point(|extent| extent.start <= at);
        let extent = extents.get(next.checked_sub(1)?)?;
        extent.contains(&at).then_some(extent)
    }

    /// Where a target lies in this code, if it does.
    fn inside(&self, target: u64) -> Option<u32> {
        let target = u32::try_from(target).ok()?;
        (!self.bytes(target).is_empty()).then_some(target)
    }

    /// A function begins there.
    fn start(&mut self, target: u64) {
        if let Some(target) = self.inside(target)
            && self.starts.insert(target)
        {
            self.work.push(Way::into(target));
        }
    }

    /// The address of this is taken: of a function, unless it is known to lie within one. Not to be
    /// relied on, should a way lead there as well.
    fn point(&mut self, target: u64) {
        if let Some(target) = self.inside(target)
            && self
                .extent(target)
                .is_none_or(|extent| extent.start == target)
            && self.pointers.insert(target)
        {
            self.work.push(Way::into(target));
        }
    }

    fn decoder(&self, at: u32) -> Decoder<'a> {
        Decoder::with_ip(64, self.bytes(at), u64::from(at), DecoderOptions::NONE)
    }

    /// Follows one way, as far as it leads to anything new.
    fn follow(&mut self, way: Way) -> Option<()> {
        let Way {
            mut at,
            mut frame,
            entry,
        } = way;
        let mut decoder = self.decoder(at);
        let end = self.extent(at).map(|extent| extent.end);
        let mut has_loaded_offset = false;
        loop {
            if at != entry && self.starts.contains(&at) {
                // It runs into the next function; or has called one that does not return.
                self.handing_on.push((entry, at));
                return Some(());
            }
            if let Some(visit) = self.visits.get_mut(at) {
                if visit.entry != entry {
                    self.handing_on.push((entry, visit.entry));
                }
                let merged = visit.frame.merge(frame);
                if merged == visit.frame {
                    return Some(());
                }
                visit.frame = merged;
                frame = merged;
            }
            self.budget = self.budget.checked_sub(1)?;
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                return Some(());
            }
            let is_call = instruction.is_call_near() || instruction.is_call_near_indirect();
            // Within 32 bits, as all of the code.
            let next = instruction.next_ip() as u32;
            let visit = Visit {
                at,
                frame,
                entry,
                len: instruction.len() as u32,
                ends_thread: is_call && self.bytes(next).starts_with(&THREAD_END),
            };
            self.visits.insert(visit);
            if instruction.mnemonic() == Mnemonic::Lea && instruction.is_ip_rel_memory_operand() {
                self.point(instruction.ip_rel_memory_address());
            }
            has_loaded_offset |= is_offset_load(&instruction);
            match instruction.flow_control() {
                FlowControl::ConditionalBranch => {
                    self.jump(&instruction, frame, entry);
                }
                FlowControl::UnconditionalBranch => {
                    self.jump(&instruction, frame, entry);
                    return Some(());
                }
                FlowControl::IndirectBranch => {
                    self.ending.insert(entry);
                    if has_loaded_offset || is_through_table(&instruction) {
                        self.switches.push((at, frame));
                    }
                    return Some(());
                }
                FlowControl::Return => {
                    self.ending.insert(entry);
                    return Some(());
                }
                FlowControl::Exception => return Some(()),
                _ if instruction.mnemonic() == Mnemonic::Hlt => return Some(()),
                _ => {}
            }
            if instruction.is_call_near() {
                let target = instruction.near_branch_target();
                self.start(target);
                if u32::try_from(target).is_ok_and(|target| self.endless.contains(&target)) {
                    return Some(());
                }
            }
            if end == Some(next) || (is_call && end.is_none() && self.is_end(next)?) {
                return Some(());
            }
            frame.pass(&instruction, &mut self.info);
            at = next;
        }
    }

    fn jump(&mut self, instruction: &Instruction, frame: FrameState, entry: u32) {
        match self.inside(instruction.near_branch_target()) {
            None => {
                self.ending.insert(entry);
            }
            Some(at) if self.starts.contains(&at) => {
                // To another function, or to its own beginning.
                self.handing_on.push((entry, at));
            }
            Some(at) => self.work.push(Way { at, frame, entry }),
        }
    }

    /// Whether a function ends with the call before this address: one that does not return, with
    /// padding behind it. The head of a loop may be padded as well; the loop then comes back to it.
    fn is_end(&mut self, at: u32) -> Option<bool> {
        let mut decoder = self.decoder(at);
        let mut instruction = decoder.decode();
        if !is_padding(&instruction) {
            return Some(false);
        }
        while is_padding(&instruction) {
            self.budget = self.budget.checked_sub(1)?;
            instruction = decoder.decode();
        }
        let head = instruction.ip();
        while !instruction.is_invalid() && instruction.ip() - head < MAX_LOOP {
            self.budget = self.budget.checked_sub(1)?;
            let is_jump = instruction.is_jcc_short_or_near() || instruction.is_jmp_short_or_near();
            if is_jump && instruction.near_branch_target() == head {
                return Some(false);
            }
            instruction = decoder.decode();
        }
        Some(true)
    }

    /// What no way has led to in a function whose extent is known is reached through its table: with
    /// the frame as it was at the jump. With several tables and several frames, nobody knows.
    fn take_cases(&mut self, at: u32, frame: FrameState) -> Option<()> {
        let Some(extent) = self.extent(at) else {
            return Some(());
        };
        match self.tables.get(&extent.start) {
            Some(&known) if known == Some(frame) => return Some(()),
            Some(_) => {
                self.tables.insert(extent.start, None);
                return Some(());
            }
            None => self.tables.insert(extent.start, Some(frame)),
        };
        let mut at = extent.start;
        while at < extent.end && !self.bytes(at).is_empty() {
            self.budget = self.budget.checked_sub(1)?;
            if self.visits.get(at).is_none() {
                let entry = extent.start;
                self.work.push(Way { at, frame, entry });
                self.drain()?;
            }
            at += self.visits.get(at).map_or(1, |visit| visit.len);
        }
        Some(())
    }

    /// Whether it is open how parts of the function around an address are reached.
    fn is_unsure(&self, at: u32) -> bool {
        self.extent(at)
            .is_some_and(|extent| self.tables.get(&extent.start) == Some(&None))
    }

    /// The rules, by the frames found.
    fn rules(&self) -> Vec<(Range<u32>, Rule)> {
        let mut visits: Vec<_> = self.visits.all.iter().collect();
        visits.sort_unstable_by_key(|visit| visit.at);
        let mut rules: Vec<(Range<u32>, Rule)> = Vec::new();
        let process = self.process_start();
        for visit in visits {
            let at = visit.at;
            let is_root = visit.ends_thread || process.contains(&at);
            let rule = if is_root {
                Some(Rule::STOP)
            } else {
                visit.frame.rule()
            };
            let Some(rule) = rule.filter(|_| !self.is_unsure(at)) else {
                continue;
            };
            let end = at + visit.len;
            match rules.last_mut() {
                Some((range, last)) if range.end >= at && *last == rule => {
                    range.end = range.end.max(end);
                }
                Some((range, _)) => {
                    range.end = range.end.min(at);
                    rules.push((at..end, rule));
                }
                None => rules.push((at..end, rule)),
            }
        }
        rules
    }

    /// The code that the kernel starts a program with: up to its first jump or the next function.
    /// Nobody has called it.
    fn process_start(&self) -> Range<u32> {
        let Some(start) = self.undescribed.process else {
            return 0..0;
        };
        let mut end = start;
        while let Some(visit) = self.visits.get(end) {
            if end > start && self.starts.contains(&end) {
                break;
            }
            end += visit.len;
        }
        start..end
    }
}

impl Way {
    fn into(entry: u32) -> Self {
        Self {
            at: entry,
            frame: FrameState::ENTRY,
            entry,
        }
    }
}

/// Padding between functions, and in front of loops.
fn is_padding(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)
        || (instruction.mnemonic() == Mnemonic::Xchg
            && instruction.op0_register() == instruction.op1_register())
}

/// The load of an offset from a table, to be added to the table's address.
fn is_offset_load(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Movsxd && instruction.op1_kind() == OpKind::Memory
}

/// A jump to an address in a table.
fn is_through_table(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::Memory
        && instruction.memory_index() != Register::None
        && instruction.memory_index_scale() == 8
}
