//! Common information entries (CIEs): each is read once, and its initial instructions are run once,
//! however many functions share it.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use gimli::{
    BaseAddresses, CallFrameInstruction, CommonInformationEntry, FrameDescriptionEntry,
    UnwindOffset, UnwindSection,
};

use super::Slice;
use super::builder::Builder;
use super::error::UnwindError;
use super::state::{State, Wrong};
use super::statistics::Unsupported;

/// CIEs of a section. Linkers merge those of `.eh_frame` to a few; `.debug_frame` has one for each
/// compiled file.
const MAX_CIES: usize = 1 << 18;
/// Bytes of a CIE. Real ones have tens; since they may overlap, each has to be short for all to be
/// read in reasonable time.
const MAX_CIE_SIZE: usize = 1 << 10;
/// Saved states within a function. Compilers nest them two or three deep.
const MAX_REMEMBERED: usize = 32;

type Cie<'data> = CommonInformationEntry<Slice<'data>>;
type Fde<'data> = FrameDescriptionEntry<Slice<'data>>;

/// The CIEs of one section.
pub(super) struct Cies<'a, 'data, S> {
    section: &'a S,
    bases: &'a BaseAddresses,
    list: Vec<gimli::Result<ReadCie<'data>>>,
    by_offset: HashMap<usize, usize, RandomState>,
    /// The last one asked for: as a rule it is asked for again.
    last: Option<(usize, usize)>,
    remembered: Vec<State>,
}

struct ReadCie<'data> {
    cie: Cie<'data>,
    initial: Result<State, Wrong>,
}

/// A CIE together with what running its functions takes.
pub(super) struct Program<'b, 'data, S> {
    section: &'b S,
    bases: &'b BaseAddresses,
    known: &'b ReadCie<'data>,
    remembered: &'b mut Vec<State>,
}

impl<'a, 'data, S> Cies<'a, 'data, S>
where
    S: UnwindSection<Slice<'data>>,
{
    pub(super) fn new(section: &'a S, bases: &'a BaseAddresses) -> Self {
        Self {
            section,
            bases,
            list: Vec::new(),
            by_offset: HashMap::default(),
            last: None,
            remembered: Vec::new(),
        }
    }

    /// The FDE at an offset of the section, with its CIE.
    pub(super) fn fde(
        &mut self,
        offset: u32,
    ) -> gimli::Result<(Fde<'data>, Program<'_, 'data, S>)> {
        let (section, bases) = (self.section, self.bases);
        let mut index = 0;
        let fde =
            section.fde_from_offset(bases, S::Offset::from(offset as usize), |_, _, at| {
                index = self.index_of(at)?;
                match self.list.get(index) {
                    Some(Ok(known)) => Ok(known.cie.clone()),
                    Some(Err(error)) => Err(*error),
                    None => Err(gimli::Error::NotCieId(0)),
                }
            })?;
        let Some(Ok(known)) = self.list.get(index) else {
            return Err(gimli::Error::NotCieId(0));
        };
        let program = Program {
            section,
            bases,
            known,
            remembered: &mut self.remembered,
        };
        Ok((fde, program))
    }

    fn index_of(&mut self, at: S::Offset) -> gimli::Result<usize> {
        let offset = UnwindOffset::into(at);
        if let Some((last, index)) = self.last
            && last == offset
        {
            return Ok(index);
        }
        let index = match self.by_offset.get(&offset) {
            Some(&index) => index,
            None if self.list.len() == MAX_CIES => return Err(gimli::Error::NotCieId(0)),
            None => {
                let index = self.list.len();
                self.list.push(self.read(at));
                self.by_offset.insert(offset, index);
                index
            }
        };
        self.last = Some((offset, index));
        Ok(index)
    }

    fn read(&self, at: S::Offset) -> gimli::Result<ReadCie<'data>> {
        let cie = self.section.cie_from_offset(self.bases, at)?;
        if cie.entry_len() > MAX_CIE_SIZE {
            return Err(gimli::Error::OffsetOutOfBounds(0));
        }
        let mut state = State::new(&cie);
        let mut instructions = cie.instructions(self.section, self.bases);
        let initial = loop {
            match instructions.next() {
                Ok(Some(instruction)) => {
                    if let Err(wrong) = state.apply(&instruction, None, &cie, self.section) {
                        break Err(wrong);
                    }
                }
                Ok(None) => break Ok(state),
                Err(_) => break Err(Wrong),
            }
        };
        Ok(ReadCie { cie, initial })
    }
}

impl<'data, S> Program<'_, 'data, S>
where
    S: UnwindSection<Slice<'data>>,
{
    /// Runs the instructions of a function; each state goes to the builder.
    pub(super) fn evaluate(
        self,
        fde: &Fde<'data>,
        builder: &mut Builder,
    ) -> Result<(), UnwindError> {
        let cie = &self.known.cie;
        let mut pc = fde.initial_address();
        let Ok(initial) = &self.known.initial else {
            return builder.push_unsupported(pc, Unsupported::Instruction);
        };
        let mut state = *initial;
        self.remembered.clear();
        let mut instructions = fde.instructions(self.section, self.bases);
        loop {
            let next = match instructions.next() {
                Ok(Some(CallFrameInstruction::AdvanceLoc { delta })) => u64::from(delta)
                    .checked_mul(cie.code_alignment_factor())
                    .and_then(|delta| pc.checked_add(delta)),
                Ok(Some(CallFrameInstruction::SetLoc { address })) => {
                    Some(address).filter(|address| *address >= pc)
                }
                Ok(Some(CallFrameInstruction::RememberState))
                    if self.remembered.len() < MAX_REMEMBERED =>
                {
                    self.remembered.push(state);
                    continue;
                }
                Ok(Some(CallFrameInstruction::RestoreState)) => match self.remembered.pop() {
                    Some(saved) => {
                        state = saved;
                        continue;
                    }
                    None => None,
                },
                Ok(Some(instruction)) => {
                    match state.apply(&instruction, Some(initial), cie, self.section) {
                        Ok(()) => continue,
                        Err(Wrong) => None,
                    }
                }
                Ok(None) => return builder.push(pc, &state),
                Err(_) => None,
            };
            let Some(next) = next else {
                return builder.push_unsupported(pc, Unsupported::Instruction);
            };
            if next > pc {
                builder.push(pc, &state)?;
                if builder.is_behind(next) {
                    return Ok(());
                }
            }
            pc = next;
        }
    }
}
