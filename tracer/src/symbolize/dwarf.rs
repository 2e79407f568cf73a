//! DWARF of one module: an address to frames, through addr2line.
//!
//! Keeps the debug sections in memory beside the parser that borrows them. A module's DWARF is
//! parsed unit by unit as addresses ask for it.

use super::demangle::MAX_NAME;
use super::elf::Elf;
use super::reader::{BoundedReader, Budget};
use addr2line::gimli::{self, AbbreviationsCacheStrategy, DwarfSections, Reader as _, SectionId};
use self_cell::self_cell;

type Context<'a> = addr2line::Context<BoundedReader<'a>>;

/// Bytes of debug sections of one module in memory, its supplementary file's included.
const MAX_DEBUG_SIZE: u64 = 4 << 30;

struct Sections {
    main: DwarfSections<Vec<u8>>,
    supplementary: Option<DwarfSections<Vec<u8>>>,
    budget: Budget,
}

self_cell!(
    struct Parsed {
        owner: Sections,
        #[not_covariant]
        dependent: Context,
    }
);

/// A frame as DWARF has it.
#[derive(Debug)]
pub(super) struct DwarfFrame {
    /// Linkage name, or the plain one where there is no other.
    pub(super) name: Option<Vec<u8>>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
}

/// The debug information of one module.
pub(super) struct DebugInfo {
    parsed: Parsed,
}

impl DebugInfo {
    /// Loads the debug sections, and finds the units in them.
    ///
    /// # Errors
    /// Why they cannot be used, for people.
    pub(super) fn load(elf: &Elf, supplementary: Option<&Elf>) -> Result<Self, String> {
        let mut size = 0;
        let main = load_sections(elf, &mut size)?;
        let supplementary = supplementary
            .map(|elf| load_sections(elf, &mut size))
            .transpose()?;
        let sections = Sections {
            main,
            supplementary,
            budget: Budget::for_size(size),
        };
        let parsed = Parsed::try_new(sections, |sections| {
            let budget = &sections.budget;
            budget.enter();
            let mut dwarf = sections
                .main
                .borrow_with_sup(sections.supplementary.as_ref(), |bytes| {
                    BoundedReader::new(bytes, budget)
                });
            dwarf.populate_abbreviations_cache(AbbreviationsCacheStrategy::Duplicates);
            Context::from_dwarf(dwarf).map_err(|error| reason(error, budget))
        })?;
        Ok(Self { parsed })
    }

    /// The frames at a virtual address, the innermost inlined one first; none where the debug
    /// information does not cover it. `is_code` says whether an address can hold code.
    ///
    /// # Errors
    /// Why it cannot be told, for people.
    pub(super) fn frames(
        &self,
        address: u64,
        is_code: impl Fn(u64) -> bool,
    ) -> Result<Vec<DwarfFrame>, String> {
        self.parsed.with_dependent(|sections, context| {
            sections.budget.enter();
            frames(context, address, is_code).map_err(|error| reason(error, &sections.budget))
        })
    }
}

fn frames(
    context: &Context<'_>,
    address: u64,
    is_code: impl Fn(u64) -> bool,
) -> gimli::Result<Vec<DwarfFrame>> {
    let mut iter = context.find_frames(address).skip_all_loads()?;
    let mut frames = Vec::new();
    let mut outermost = None;
    while let Some(frame) = iter.next()? {
        outermost = frame.dw_die_offset;
        let location = frame.location.as_ref();
        frames.push(DwarfFrame {
            name: frame
                .function
                .map(|function| owned(function.name))
                .transpose()?,
            file: location.and_then(|location| location.file.map(str::to_owned)),
            line: location.and_then(|location| location.line),
        });
    }
    match outermost {
        Some(entry) if is_discarded(context, address, entry, is_code)? => Ok(Vec::new()),
        _ => Ok(frames),
    }
}

/// Copies a name, no more of it than is shown.
fn owned(mut name: BoundedReader<'_>) -> gimli::Result<Vec<u8>> {
    name.truncate(name.len().min(MAX_NAME + 1))?;
    name.to_slice().map(std::borrow::Cow::into_owned)
}

/// Whether the function at an address is one the linker threw away. Linkers leave its entry and
/// move it to address 0, where a large one reaches into the code that is really there.
fn is_discarded(
    context: &Context<'_>,
    address: u64,
    entry: gimli::UnitOffset<usize>,
    is_code: impl Fn(u64) -> bool,
) -> gimli::Result<bool> {
    let Some(unit) = context.find_dwarf_and_unit(address).skip_all_loads() else {
        return Ok(false);
    };
    let entry = unit.entry(entry)?;
    let mut ranges = unit.die_ranges(&entry)?;
    while let Some(range) = ranges.next()? {
        if (range.begin..range.end).contains(&address) {
            return Ok(!is_code(range.begin));
        }
    }
    Ok(false)
}

fn load_sections(elf: &Elf, total: &mut u64) -> Result<DwarfSections<Vec<u8>>, String> {
    DwarfSections::load(|id| {
        // The others hold variables, types, macros and indexes: nothing about addresses of code.
        let wanted = matches!(
            id,
            SectionId::DebugAbbrev
                | SectionId::DebugAddr
                | SectionId::DebugAranges
                | SectionId::DebugInfo
                | SectionId::DebugLine
                | SectionId::DebugLineStr
                | SectionId::DebugRanges
                | SectionId::DebugRngLists
                | SectionId::DebugStr
                | SectionId::DebugStrOffsets
        );
        if !wanted {
            return Ok(Vec::new());
        }
        let Some(section) = debug_section(elf, id.name()) else {
            return Ok(Vec::new());
        };
        let bytes = elf
            .contents(section)
            .map_err(|error| format!("{}: {error}", id.name()))?;
        *total += bytes.len() as u64;
        if *total > MAX_DEBUG_SIZE {
            return Err("debug sections are too large".to_owned());
        }
        Ok(bytes)
    })
}

/// A debug section by its name, or by the name it has in the older compressed form.
fn debug_section<'a>(elf: &'a Elf, name: &str) -> Option<&'a super::elf::Section> {
    elf.section(name)
        .or_else(|| elf.section(&name.replacen(".debug_", ".zdebug_", 1)))
        .filter(|section| section.has_contents())
}

/// Whether a file has debug information of its own.
pub(super) fn has_debug_info(elf: &Elf) -> bool {
    debug_section(elf, ".debug_info").is_some()
}

fn reason(error: gimli::Error, budget: &Budget) -> String {
    if budget.exceeded() {
        "it asks for more work than its size is worth".to_owned()
    } else {
        error.to_string()
    }
}
