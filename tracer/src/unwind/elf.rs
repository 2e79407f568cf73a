//! Where an ELF file keeps its call frame information.
//!
//! Must not believe an offset or a size before the reader has checked it, and must not ask the
//! reader for more than the limits here.

use std::borrow::Cow;
use std::ops::Range;

use gimli::{BaseAddresses, EhFrameHdr, LittleEndian as GimliLittleEndian, Pointer};
use memchr::memmem;
use object::elf;
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _};
use object::read::{CompressedData, ReadRef};
use object::{CompressionFormat, LittleEndian};
use tracer_common::Rule;

use super::arrange::{Piece, gaps};
use super::error::UnwindError;
use super::frames::Layout;
use super::range::relative;
use super::switches::Text;

type Header = elf::FileHeader64<LittleEndian>;
type ProgramHeader = elf::ProgramHeader64<LittleEndian>;
pub(super) type SectionHeader = elf::SectionHeader64<LittleEndian>;

pub(super) const ENDIAN: LittleEndian = LittleEndian;
/// Headers of either kind beyond which a file is not taken seriously: linked files have tens.
const MAX_HEADERS: u32 = 1 << 16;
/// Executable segments. Linked files have one or two.
const MAX_CODE_SEGMENTS: usize = 64;
/// Bytes of the names of sections.
const MAX_NAMES: u64 = 1 << 20;
/// Bytes of a section, once decompressed. Chromium's have 20 MiB.
const MAX_SECTION: u64 = 256 << 20;
/// Call frame information compresses to a third; a bomb reaches 1,000.
const MAX_COMPRESSION_RATIO: u64 = 200;
const PAGE: u64 = 4096;

/// `mov $15, %rax; syscall`: what every signal trampoline of x86-64 Linux is, because debuggers
/// know it by just these bytes.
const TRAMPOLINE: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
/// Gaps that are searched for trampolines. Shorter ones are the padding between functions, of
/// which there are as many as functions; code without call frame information comes in whole
/// object files.
pub(super) const MIN_GAP: u32 = 64;
/// Bytes that are searched at most. musl has half a MiB of code; what has more and describes none
/// of it could not be walked through anyway.
const MAX_SEARCHED: u32 = 32 << 20;

/// An executable `PT_LOAD` segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Offset in the file.
    pub file_offset: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Address counted as in rows.
    pub pc: u32,
}

impl Segment {
    /// The address of a file offset, as the kernel maps it: in whole pages.
    #[must_use]
    pub fn pc_at(&self, file_offset: u64) -> Option<u32> {
        let first = page_down(self.file_offset);
        let end = self.file_offset.checked_add(self.size)?;
        let end = page_down(end.checked_add(PAGE - 1)?);
        if !(first..end).contains(&file_offset) {
            return None;
        }
        let pc = u64::from(self.pc)
            .checked_add(file_offset)?
            .checked_sub(self.file_offset)?;
        u32::try_from(pc).ok()
    }
}

/// A program or library, with the headers that matter.
pub(super) struct ElfModule<'data, R> {
    pub(super) data: R,
    base: u64,
    /// Where the kernel starts it.
    pub(super) entry: u64,
    segments: Vec<Segment>,
    program_headers: &'data [ProgramHeader],
    pub(super) sections: &'data [SectionHeader],
    section_names: &'data [u8],
}

/// An `.eh_frame`.
#[derive(Default)]
pub(super) struct EhFrameSection<'data> {
    pub(super) bytes: &'data [u8],
    pub(super) layout: Layout,
    pub(super) bases: BaseAddresses,
}

impl<'data, R: ReadRef<'data>> ElfModule<'data, R> {
    /// Reads the headers.
    pub(super) fn parse(data: R) -> Result<Self, UnwindError> {
        let ident = data.read_bytes_at(0, 6).map_err(|()| UnwindError::NotElf)?;
        if ident.get(..4) != Some(&elf::ELFMAG) {
            return Err(UnwindError::NotElf);
        }
        if ident.get(4..6) != Some(&[elf::ELFCLASS64.0, elf::ELFDATA2LSB.0]) {
            return Err(UnwindError::NotX86_64);
        }
        let header = Header::parse(data).map_err(|_| UnwindError::Damaged("file header"))?;
        if header.e_machine(ENDIAN) != elf::EM_X86_64 {
            return Err(UnwindError::NotX86_64);
        }
        if ![elf::ET_EXEC, elf::ET_DYN].contains(&header.e_type(ENDIAN)) {
            return Err(UnwindError::NotLoadable);
        }
        if header.phnum(ENDIAN, data).is_ok_and(|n| n > MAX_HEADERS) {
            return Err(UnwindError::Damaged("number of program headers"));
        }
        let program_headers = header
            .program_headers(ENDIAN, data)
            .map_err(|_| UnwindError::Damaged("program headers"))?;
        let loaded = || {
            program_headers
                .iter()
                .filter(|header| header.p_type(ENDIAN) == elf::PT_LOAD)
        };
        let base = loaded()
            .map(|header| page_down(header.p_vaddr(ENDIAN)))
            .min()
            .ok_or(UnwindError::NotLoadable)?;
        let executable = || loaded().filter(|header| header.p_flags(ENDIAN).contains(elf::PF_X));
        if executable().count() > MAX_CODE_SEGMENTS {
            return Err(UnwindError::Damaged("number of executable segments"));
        }
        let segments = executable()
            .filter_map(|header| {
                Some(Segment {
                    file_offset: header.p_offset(ENDIAN),
                    size: header.p_filesz(ENDIAN),
                    pc: u32::try_from(header.p_vaddr(ENDIAN) - base).ok()?,
                })
            })
            .collect();

        // Sections are optional at run time: without them, there is still `PT_GNU_EH_FRAME`.
        let sections = match header.shnum(ENDIAN, data) {
            Ok(1..=MAX_HEADERS) => header.section_headers(ENDIAN, data).unwrap_or_default(),
            _ => &[],
        };
        let section_names = header
            .shstrndx(ENDIAN, data)
            .ok()
            .and_then(|index| sections.get(index as usize))
            .filter(|section| section.sh_size(ENDIAN) <= MAX_NAMES)
            .and_then(|section| contents(data, section).ok())
            .unwrap_or_default();
        Ok(Self {
            data,
            base,
            entry: header.e_entry(ENDIAN),
            segments,
            program_headers,
            sections,
            section_names,
        })
    }

    /// The virtual address that everything is counted from.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn into_segments(self) -> Vec<Segment> {
        self.segments
    }

    /// The executable addresses, sorted and disjoint.
    pub(super) fn code(&self) -> Vec<Range<u32>> {
        let mut code: Vec<_> = self
            .segments
            .iter()
            .filter_map(|segment| {
                let start = self.base + u64::from(segment.pc);
                relative(self.base, &(start..start.saturating_add(segment.size)))
            })
            .collect();
        code.sort_unstable_by_key(|range| range.start);
        let mut end = 0;
        code.retain_mut(|range| {
            range.start = range.start.max(end);
            end = end.max(range.end);
            range.start < range.end
        });
        code
    }

    /// The `.eh_frame`: the section of that name, or else what `PT_GNU_EH_FRAME` points to.
    pub(super) fn eh_frame(&self) -> Result<EhFrameSection<'data>, UnwindError> {
        let text = self.section(b".text");
        let got = self.section(b".got");
        let mut bases = BaseAddresses::default();
        if let Some(section) = text {
            bases = bases.set_text(section.sh_addr(ENDIAN));
        }
        if let Some(section) = got {
            bases = bases.set_got(section.sh_addr(ENDIAN));
        }
        if let Some(section) = self.section(b".eh_frame") {
            check_size(".eh_frame", section.sh_size(ENDIAN))?;
            let bytes = contents(self.data, section)
                .map_err(|()| UnwindError::Damaged(".eh_frame lies outside the file"))?;
            return Ok(EhFrameSection {
                bytes,
                layout: Layout::EhFrame,
                bases: bases.set_eh_frame(section.sh_addr(ENDIAN)),
            });
        }
        let found = self.eh_frame_through_header(&bases);
        Ok(found.unwrap_or_default())
    }

    /// Follows `PT_GNU_EH_FRAME`. How long the section is, nothing says: it ends with a zero.
    fn eh_frame_through_header(&self, bases: &BaseAddresses) -> Option<EhFrameSection<'data>> {
        let segment = self
            .program_headers
            .iter()
            .find(|header| header.p_type(ENDIAN) == elf::PT_GNU_EH_FRAME)?;
        // Version, three encodings, and the first of two values is what is needed here.
        let size = segment.p_filesz(ENDIAN).min(64);
        let header = self
            .data
            .read_bytes_at(segment.p_offset(ENDIAN), size)
            .ok()?;
        let bases = bases.clone().set_eh_frame_hdr(segment.p_vaddr(ENDIAN));
        let header = EhFrameHdr::new(header, GimliLittleEndian)
            .parse(&bases, 8)
            .ok()?;
        let Pointer::Direct(address) = header.eh_frame_ptr() else {
            return None;
        };
        let bytes = self.program_headers.iter().find_map(|header| {
            if header.p_type(ENDIAN) != elf::PT_LOAD {
                return None;
            }
            let delta = address.checked_sub(header.p_vaddr(ENDIAN))?;
            let size = header.p_filesz(ENDIAN).checked_sub(delta)?.min(MAX_SECTION);
            let offset = header.p_offset(ENDIAN).checked_add(delta)?;
            self.data.read_bytes_at(offset, size).ok()
        })?;
        Some(EhFrameSection {
            bytes,
            layout: Layout::EhFrameUntilZero,
            bases: bases.set_eh_frame(address),
        })
    }

    /// The `.debug_frame`, decompressed, and whether there is one that cannot be read.
    pub(super) fn debug_frame(&self) -> Result<(Cow<'data, [u8]>, bool), UnwindError> {
        for (name, is_old) in [
            (b".debug_frame".as_slice(), false),
            (b".zdebug_frame", true),
        ] {
            let Some(section) = self.section(name) else {
                continue;
            };
            check_size(".debug_frame", section.sh_size(ENDIAN))?;
            let Ok(bytes) = contents(self.data, section) else {
                return Ok((Cow::default(), true));
            };
            let Some(data) = compressed(section, bytes, is_old) else {
                return Ok((Cow::default(), true));
            };
            check_size(".debug_frame", data.uncompressed_size)?;
            let compressed_size = data.data.len() as u64;
            if data.uncompressed_size > compressed_size.saturating_mul(MAX_COMPRESSION_RATIO) {
                return Ok((Cow::default(), true));
            }
            return Ok(match data.decompress() {
                Ok(bytes) => (bytes, false),
                Err(_) => (Cow::default(), true),
            });
        }
        Ok((Cow::default(), false))
    }

    /// Signal trampolines in code that nothing describes: musl's has no call frame information.
    /// The byte before belongs to it, since a handler's return address is looked up there.
    pub(super) fn trampolines(&self, pieces: &[Piece]) -> Vec<(Range<u32>, Rule)> {
        let finder = memmem::Finder::new(&TRAMPOLINE);
        let mut found = Vec::new();
        let mut budget = MAX_SEARCHED;
        for gap in gaps(&self.code(), pieces) {
            let size = gap.end - gap.start;
            if !(MIN_GAP..=budget).contains(&size) {
                continue;
            }
            budget -= size;
            let Some(bytes) = self.bytes_at(&gap) else {
                continue;
            };
            for at in finder.find_iter(bytes) {
                // Within the gap, whose ends are 32 bits wide.
                let start = gap.start + at as u32;
                let end = start + TRAMPOLINE.len() as u32;
                let range = start.saturating_sub(1).max(gap.start)..end;
                found.push((range, Rule::SIGNAL));
            }
        }
        found
    }

    /// The bytes of addresses that lie in one segment.
    pub(super) fn bytes_at(&self, range: &Range<u32>) -> Option<&'data [u8]> {
        self.segments.iter().find_map(|segment| {
            let delta = u64::from(range.start.checked_sub(segment.pc)?);
            let size = u64::from(range.end - range.start);
            if delta.checked_add(size)? > segment.size {
                return None;
            }
            let offset = segment.file_offset.checked_add(delta)?;
            self.data.read_bytes_at(offset, size).ok()
        })
    }

    /// The code of a module, up to so many bytes.
    pub(super) fn texts(&self, most: u32) -> Vec<Text<'data>> {
        let mut budget = most;
        let mut texts = Vec::new();
        for code in self.code() {
            let size = (code.end - code.start).min(budget);
            budget -= size;
            let range = code.start..code.start + size;
            if let Some(bytes) = self.bytes_at(&range).filter(|bytes| !bytes.is_empty()) {
                texts.push(Text {
                    start: code.start,
                    bytes,
                });
            }
        }
        texts
    }

    /// Whether Go's linker has made it: then its code keeps frame pointers, that in assembly included.
    pub(super) fn is_go(&self) -> bool {
        let names: [&[u8]; 2] = [b".note.go.buildid", b".gopclntab"];
        names.iter().any(|name| self.section(name).is_some())
    }

    /// The first section of that name with contents in this file.
    fn section(&self, name: &[u8]) -> Option<&'data SectionHeader> {
        self.sections.iter().find(|section| {
            let rest = self
                .section_names
                .get(section.sh_name(ENDIAN) as usize..)
                .unwrap_or_default();
            rest.strip_prefix(name)
                .is_some_and(|rest| rest.first() == Some(&0))
                && ![elf::SHT_NOBITS, elf::SHT_NULL].contains(&section.sh_type(ENDIAN))
        })
    }
}

/// How the contents of a section are compressed, if they are; `None` where the header is damaged.
fn compressed<'data>(
    section: &SectionHeader,
    bytes: &'data [u8],
    is_old: bool,
) -> Option<CompressedData<'data>> {
    let (format, data, uncompressed_size) = if is_old {
        let (header, data) = bytes.split_first_chunk::<12>()?;
        let size = header.strip_prefix(b"ZLIB")?;
        (
            CompressionFormat::Zlib,
            data,
            u64::from_be_bytes(size.try_into().ok()?),
        )
    } else if section.sh_flags(ENDIAN).contains(elf::SHF_COMPRESSED) {
        let (header, data) =
            object::pod::from_bytes::<elf::CompressionHeader64<LittleEndian>>(bytes).ok()?;
        let format = match header.ch_type.get(ENDIAN) {
            elf::ELFCOMPRESS_ZLIB => CompressionFormat::Zlib,
            elf::ELFCOMPRESS_ZSTD => CompressionFormat::Zstandard,
            _ => return None,
        };
        (format, data, header.ch_size.get(ENDIAN))
    } else {
        return Some(CompressedData::none(bytes));
    };
    Some(CompressedData {
        format,
        data,
        uncompressed_size,
    })
}

pub(super) fn contents<'data, R: ReadRef<'data>>(
    data: R,
    section: &SectionHeader,
) -> Result<&'data [u8], ()> {
    data.read_bytes_at(section.sh_offset(ENDIAN), section.sh_size(ENDIAN))
}

/// Holds a section against the limit.
pub(super) fn check_size(what: &'static str, amount: u64) -> Result<(), UnwindError> {
    if amount > MAX_SECTION {
        return Err(UnwindError::TooLarge {
            what,
            amount,
            limit: MAX_SECTION,
        });
    }
    Ok(())
}

/// Where the page of an address begins.
pub(super) fn page_down(address: u64) -> u64 {
    address & !(PAGE - 1)
}
