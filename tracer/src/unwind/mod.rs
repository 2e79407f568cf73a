//! Call frame information, compiled to a table that an eBPF program can search.
//!
//! Bytes of an ELF file in, [`UnwindTable`] out, x86-64 only. Each row of the table says from which
//! address on a [`Rule`] applies; the rules, of which even a large library has only a few
//! thousand, are in a dictionary beside it. `docs/design/0009-unwind-tables.md` has the cases.
//!
//! Must not do I/O beyond the reader it is given, and must not trust a byte of what it reads.

mod analysis;
mod arrange;
mod builder;
pub mod calls;
mod cie;
mod elf;
mod error;
mod expression;
mod frame;
mod frames;
mod go;
mod range;
mod state;
mod statistics;
mod switches;
mod symbols;
#[cfg(test)]
mod tests;
pub mod walk;

use std::ops::Range;

use gimli::{BaseAddresses, DebugFrame, EhFrame, EndianSlice, LittleEndian, UnwindSection};
use object::read::ReadRef;
use tracer_common::{Row, Rule};

use arrange::{Piece, Source};
use builder::Builder;
use cie::Cies;
use elf::ElfModule;
use frames::Layout;
use switches::Text;

pub use elf::Segment;
pub use error::UnwindError;
pub use statistics::{Statistics, Unsupported};

type Slice<'data> = EndianSlice<'data, LittleEndian>;

/// The unwind rules of a module.
#[derive(Clone, Debug, Default)]
pub struct UnwindTable {
    rows: Vec<Row>,
    rules: Vec<Rule>,
    segments: Vec<Segment>,
    base: u64,
    statistics: Statistics,
}

impl UnwindTable {
    /// Compiles what an ELF file says: `.eh_frame`, found by its section or through
    /// `PT_GNU_EH_FRAME`, and `.debug_frame` for functions that `.eh_frame` leaves out. What neither
    /// describes is followed instruction by instruction, as far as that leads.
    ///
    /// `data` is the whole file, as a slice or as a [`ReadCache`](object::read::ReadCache), of
    /// which only the parts that matter are read. A file without any of it makes an empty table.
    ///
    /// # Errors
    /// The file is not a program or library for x86-64, its headers are damaged, or it claims
    /// more than the limits here allow. Damage within the call frame information is no error: it
    /// is counted, and what can be read is used.
    pub fn from_elf<'data, R: ReadRef<'data>>(data: R) -> Result<Self, UnwindError> {
        let module = ElfModule::parse(data)?;
        let eh_frame = module.eh_frame()?;
        let (debug_frame, debug_frame_damaged) = module.debug_frame()?;
        let sections = Sections {
            eh_frame: eh_frame.bytes,
            eh_frame_layout: eh_frame.layout,
            debug_frame: &debug_frame,
            bases: eh_frame.bases,
        };
        let mut statistics = Statistics::default();
        statistics.damaged += u64::from(debug_frame_damaged);
        let code = module.code();
        let look = |pieces: &mut Vec<Piece>, statistics: &mut Statistics| {
            let found = module.trampolines(pieces);
            statistics.trampolines = found.len() as u64;
            arrange::insert(pieces, found);
            let found = analysis::analyse(module.undescribed(pieces));
            statistics.ranges_by_code = found.len() as u64;
            arrange::insert(pieces, found);
        };
        let (mut table, pieces) = compile(&sections, module.base(), &code, statistics, look)?;
        let texts = module.texts(switches::MAX_SEARCHED);
        let is_go = module.is_go();
        if is_go {
            go::add_frame_pointers(
                &mut table.rows,
                &mut table.rules,
                &pieces,
                &texts,
                number_of,
            );
        }
        table.mark_switches(&pieces, &texts, is_go);
        table.segments = module.into_segments();
        Ok(table)
    }

    /// Compiles the bytes of an `.eh_frame` that lies at `address`, for code that lies at `code`:
    /// what a compiler at run time hands out, where there is no ELF file.
    ///
    /// # Errors
    /// The section or its table is beyond the limits here.
    pub fn from_eh_frame(
        bytes: &[u8],
        address: u64,
        code: Range<u64>,
    ) -> Result<Self, UnwindError> {
        elf::check_size(".eh_frame", bytes.len() as u64)?;
        let sections = Sections {
            eh_frame: bytes,
            eh_frame_layout: Layout::EhFrame,
            debug_frame: &[],
            bases: BaseAddresses::default().set_eh_frame(address),
        };
        let base = elf::page_down(code.start);
        let code = range::relative(base, &code).into_iter().collect::<Vec<_>>();
        let (table, _) = compile(&sections, base, &code, Statistics::default(), |_, _| ())?;
        Ok(table)
    }

    /// Replaces what call frame information says of functions behind the point where they change to
    /// another stack, which it does not know of.
    fn mark_switches(&mut self, pieces: &[Piece], texts: &[Text<'_>], is_go: bool) {
        let found = switches::find(&self.rows, &self.rules, pieces, texts);
        if found.is_empty() {
            return;
        }
        let ranges: Vec<_> = found
            .into_iter()
            .map(|(range, source)| {
                let rule = match source {
                    // C code in the same module has an `.eh_frame`.
                    Source::DebugFrame(_) if is_go => Rule::SWITCH,
                    _ => Rule::SWITCHED,
                };
                (range, number_of(&mut self.rules, rule))
            })
            .collect();
        self.rows = switches::replace(&self.rows, &self.rules, &ranges);
        self.statistics.switches = ranges.len() as u64;
        self.statistics.rows = self.rows.len() as u64;
        self.statistics.rules = self.rules.len() as u64;
    }

    /// The rows, sorted by address, no two of one address. What lies before the first has no rule.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rules that the rows refer to. The first is [`Rule::NONE`].
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The virtual address in the file that rows count from: that of the first `PT_LOAD` segment,
    /// rounded down to a page.
    #[must_use]
    pub fn base_address(&self) -> u64 {
        self.base
    }

    /// What went into the table, and what did not.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Where the executable segments lie.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The address, counted as in rows, of what lies at this offset of the file, where an
    /// executable segment maps it. For the start of a mapping, the offset that /proc shows.
    #[must_use]
    pub fn pc_at(&self, file_offset: u64) -> Option<u32> {
        self.segments
            .iter()
            .find_map(|segment| segment.pc_at(file_offset))
    }

    /// The rule that covers an address counted as in rows; [`Rule::NONE`] where nothing is known.
    #[must_use]
    pub fn rule_at(&self, pc: u32) -> Rule {
        self.rule_of_row(self.next_row(pc).checked_sub(1))
    }

    /// The rule for a frame whose instruction pointer or return address is at `pc`, counted as in
    /// rows.
    ///
    /// A return address belongs to the instruction before it. If there is none, because a function
    /// begins there behind a gap, no call has put it onto the stack: it was made by hand, and the
    /// stack begins with it. So do glibc's coroutines, whose first return address is the first
    /// byte of `__start_context`.
    #[must_use]
    pub fn rule_for(&self, pc: u32, is_return_address: bool) -> Rule {
        let Some(address) = pc.checked_sub(u32::from(is_return_address)) else {
            return Rule::NONE;
        };
        let next = self.next_row(address);
        let rule = self.rule_of_row(next.checked_sub(1));
        let is_function = || self.rows.get(next).is_some_and(|row| row.pc == pc);
        if rule == Rule::NONE && is_return_address && is_function() {
            return Rule::STOP;
        }
        rule
    }

    fn next_row(&self, pc: u32) -> usize {
        self.rows.partition_point(|row| row.pc <= pc)
    }

    fn rule_of_row(&self, index: Option<usize>) -> Rule {
        index
            .and_then(|index| self.rows.get(index))
            .and_then(|row| self.rules.get(usize::from(row.rule)))
            .copied()
            .unwrap_or(Rule::NONE)
    }
}

/// The number of a rule in a dictionary. Where that is full, it is one that is not followed.
fn number_of(rules: &mut Vec<Rule>, rule: Rule) -> u16 {
    let known = rules.iter().position(|&other| other == rule);
    let number = u16::try_from(known.unwrap_or(rules.len()));
    let Ok(number) = number else {
        return builder::UNSUPPORTED;
    };
    if known.is_none() {
        rules.push(rule);
    }
    number
}

/// Call frame information, and the addresses that its pointers are relative to.
struct Sections<'data> {
    eh_frame: &'data [u8],
    eh_frame_layout: Layout,
    debug_frame: &'data [u8],
    bases: BaseAddresses,
}

/// Lists the entries of both sections, settles which covers what, and evaluates each in order of
/// addresses, so that the table is written once and never sorted.
fn compile(
    sections: &Sections<'_>,
    base: u64,
    code: &[Range<u32>],
    mut statistics: Statistics,
    look_at_code: impl FnOnce(&mut Vec<Piece>, &mut Statistics),
) -> Result<(UnwindTable, Vec<Piece>), UnwindError> {
    let eh_section = EhFrame::new(sections.eh_frame, LittleEndian);
    let mut debug_section = DebugFrame::new(sections.debug_frame, LittleEndian);
    debug_section.set_address_size(8);
    let mut eh_cies = Cies::new(&eh_section, &sections.bases);
    let mut debug_cies = Cies::new(&debug_section, &sections.bases);

    let place = frames::ModuleCode { base, code };
    let eh_fdes = frames::list(
        sections.eh_frame,
        sections.eh_frame_layout,
        &mut eh_cies,
        &place,
        &mut statistics,
    )?;
    let debug_fdes = frames::list(
        sections.debug_frame,
        Layout::DebugFrame,
        &mut debug_cies,
        &place,
        &mut statistics,
    )?;
    let mut pieces = arrange::arrange(eh_fdes, debug_fdes, &mut statistics);
    look_at_code(&mut pieces, &mut statistics);

    let mut builder = Builder::new(base, pieces.len(), statistics);
    for piece in &pieces {
        builder.begin(piece)?;
        match piece.source {
            Source::EhFrame(offset) => evaluate(&mut eh_cies, offset, &mut builder)?,
            Source::DebugFrame(offset) => evaluate(&mut debug_cies, offset, &mut builder)?,
            Source::Code(rule) => builder.push_here(rule)?,
        }
    }
    Ok((builder.finish()?, pieces))
}

fn evaluate<'data, S>(
    cies: &mut Cies<'_, 'data, S>,
    offset: u32,
    builder: &mut Builder,
) -> Result<(), UnwindError>
where
    S: UnwindSection<Slice<'data>>,
{
    match cies.fde(offset) {
        Ok((fde, cie)) => cie.evaluate(&fde, builder),
        // Cannot be: it was read before, when the entries were listed.
        Err(_) => builder.push_unsupported_here(Unsupported::Instruction),
    }
}
