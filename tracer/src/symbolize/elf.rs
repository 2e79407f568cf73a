//! An ELF file read piece by piece: headers at once, section contents when asked for.
//!
//! Must not map the file, or believe a size before it is checked against what the file holds.

use super::Unknown;
use crate::extents::ReadBudget;
use object::elf;
use object::read::elf::{FileHeader as _, NoteIterator, ProgramHeader as _, SectionHeader as _};
use object::read::{CompressedData, ReadCache, ReadCacheOps};
use object::{CompressionFormat, LittleEndian};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

type Header = elf::FileHeader64<LittleEndian>;

/// Headers of either kind beyond which a file is not taken seriously: linked files have tens.
const MAX_HEADERS: u32 = 1 << 16;
/// A build id is 20 bytes as a rule, and its note sits among a few others.
const MAX_NOTES_SIZE: u64 = 1 << 16;
const MAX_BUILD_ID: usize = 64;
/// Bytes of one section in memory. The largest `.debug_info` in the wild are about 2 GiB.
const MAX_SECTION_SIZE: u64 = 4 << 30;
/// Debug sections compress to a third, strings and line tables to a tenth; a bomb reaches 1,000.
const MAX_COMPRESSION_RATIO: u64 = 200;

/// The bytes of an ELF file, wherever they are.
#[derive(Debug)]
pub(super) enum Image {
    File(File, ReadBudget),
    Memory(Arc<[u8]>),
}

impl From<File> for Image {
    fn from(file: File) -> Self {
        let budget = ReadBudget::of(&file);
        Self::File(file, budget)
    }
}

impl Image {
    fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file, _) => {
                let metadata = file.metadata()?;
                if !metadata.is_file() {
                    return Err(io::Error::other("not a regular file"));
                }
                Ok(metadata.len())
            }
            Self::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Reads at an offset; fewer bytes than asked for only at the end.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File(file, budget) => {
                let count = file.read_at(buffer, offset)?;
                budget.take(count as u64)?;
                Ok(count)
            }
            Self::Memory(bytes) => {
                let rest = usize::try_from(offset)
                    .ok()
                    .and_then(|offset| bytes.get(offset..))
                    .unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
        }
    }

    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// An executable `PT_LOAD` segment.
#[derive(Clone, Copy, Debug)]
struct Segment {
    offset: u64,
    size: u64,
    address: u64,
}

/// A section header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    name: u32,
    kind: elf::SectionType,
    flags: elf::SectionFlags,
    /// Virtual address.
    pub(super) address: u64,
    offset: u64,
    /// Bytes in memory and, unless the section has none there, in the file.
    pub(super) size: u64,
    /// Index of the string table of a symbol table.
    pub(super) link: u32,
}

impl Section {
    /// Holds code, in this file or in the one it was split from.
    pub(super) fn is_executable(&self) -> bool {
        self.flags.contains(elf::SHF_ALLOC) && self.flags.contains(elf::SHF_EXECINSTR)
    }

    /// Has contents in this file: not so for the code sections of a separate debug file.
    pub(super) fn has_contents(&self) -> bool {
        self.kind != elf::SHT_NOBITS && self.kind != elf::SHT_NULL && self.size > 0
    }
}

/// An ELF file with its headers read.
#[derive(Debug)]
pub(super) struct Elf {
    image: Image,
    len: u64,
    /// Machine, to tell whether x86 instructions can be expected.
    pub(super) machine: elf::Machine,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    section_names: Vec<u8>,
    build_id: Option<Vec<u8>>,
}

impl Elf {
    /// Reads the headers.
    pub(super) fn parse(image: Image) -> Result<Self, Unknown> {
        let unreadable = |error: io::Error| Unknown::FileUnreadable(error.to_string().into());
        let len = image.len().map_err(unreadable)?;
        let mut ident = [0; 6];
        match image.read_exact_at(&mut ident, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Unknown::NotElf);
            }
            Err(error) => return Err(unreadable(error)),
        }
        if ident[..4] != elf::ELFMAG {
            return Err(Unknown::NotElf);
        }
        if ident[4] != elf::ELFCLASS64.0 {
            return Err(Unknown::UnsupportedElf("not 64-bit"));
        }
        if ident[5] != elf::ELFDATA2LSB.0 {
            return Err(Unknown::UnsupportedElf("not little-endian"));
        }

        let cache = ReadCache::new(Cursor {
            image: &image,
            len,
            position: 0,
        });
        let data = &cache;
        let endian = LittleEndian;
        let header = Header::parse(data).map_err(|_| Unknown::DamagedElf("file header"))?;
        if header.phnum(endian, data).is_ok_and(|n| n > MAX_HEADERS) {
            return Err(Unknown::DamagedElf("number of program headers"));
        }
        let program_headers = header
            .program_headers(endian, data)
            .map_err(|_| Unknown::DamagedElf("program headers"))?;
        let segments = program_headers
            .iter()
            .filter(|header| {
                header.p_type(endian) == elf::PT_LOAD && header.p_flags(endian).contains(elf::PF_X)
            })
            .map(|header| Segment {
                offset: header.p_offset(endian),
                size: header.p_filesz(endian),
                address: header.p_vaddr(endian),
            })
            .collect();

        // Sections are optional at run time: without them there are segments and a build id left.
        let section_headers = match header.shnum(endian, data) {
            Ok(1..=MAX_HEADERS) => header.section_headers(endian, data).unwrap_or_default(),
            _ => &[],
        };
        let sections: Vec<_> = section_headers
            .iter()
            .map(|header| Section {
                name: header.sh_name(endian),
                kind: header.sh_type(endian),
                flags: header.sh_flags(endian),
                address: header.sh_addr(endian),
                offset: header.sh_offset(endian),
                size: header.sh_size(endian),
                link: header.sh_link(endian),
            })
            .collect();

        let notes = section_headers
            .iter()
            .filter(|header| header.sh_type(endian) == elf::SHT_NOTE)
            .map(|header| {
                let place = (header.sh_offset(endian), header.sh_size(endian));
                (place, header.sh_addralign(endian))
            });
        let note_segments = program_headers
            .iter()
            .filter(|header| header.p_type(endian) == elf::PT_NOTE)
            .map(|header| {
                let place = (header.p_offset(endian), header.p_filesz(endian));
                (place, header.p_align(endian))
            });
        // Sections first: the segments of a separate debug file still describe the file it was
        // split from. Where section headers were cut off, segments are what is left.
        let build_id = notes
            .chain(note_segments)
            .take(MAX_HEADERS as usize)
            .find_map(|((offset, size), align)| read_build_id(&image, offset, size, align));

        let names_index = header.shstrndx(endian, data).unwrap_or(0);
        let (machine, segments) = (header.e_machine(endian), segments);
        drop(cache);
        let mut elf = Self {
            image,
            len,
            machine,
            segments,
            sections,
            section_names: Vec::new(),
            build_id,
        };
        elf.section_names = elf
            .section_at(names_index)
            .and_then(|section| elf.raw_contents(section).ok())
            .unwrap_or_default();
        Ok(elf)
    }

    /// GNU build id.
    pub(super) fn build_id(&self) -> Option<&[u8]> {
        self.build_id.as_deref()
    }

    /// Bytes of the file.
    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    /// Length of the file in bytes when it was opened.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The virtual address an executable segment gives to a file offset.
    pub(super) fn address_of(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let delta = offset.checked_sub(segment.offset)?;
            // `u64::MAX` is never code, and an address one can add 1 to saves checks elsewhere.
            (delta < segment.size)
                .then(|| segment.address.checked_add(delta))
                .flatten()
                .filter(|&address| address < u64::MAX)
        })
    }

    /// Whether an executable segment covers a virtual address.
    pub(super) fn is_code(&self, address: u64) -> bool {
        self.segments.iter().any(|segment| {
            address
                .checked_sub(segment.address)
                .is_some_and(|delta| delta < segment.size)
        })
    }

    /// All sections.
    pub(super) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// A section by its index.
    pub(super) fn section_at(&self, index: u32) -> Option<&Section> {
        self.sections.get(index as usize)
    }

    /// The first section of a name.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections
            .iter()
            .find(|section| self.section_name(section) == name.as_bytes())
    }

    fn section_name(&self, section: &Section) -> &[u8] {
        let rest = self
            .section_names
            .get(section.name as usize..)
            .unwrap_or_default();
        rest.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// A section's contents, decompressed; empty where it has none in this file.
    ///
    /// # Errors
    /// The reason, for people, when the contents are out of bounds or do not decompress.
    pub(super) fn contents(&self, section: &Section) -> Result<Vec<u8>, String> {
        let raw = self.raw_contents(section)?;
        let (format, header_size, size) = if section.flags.contains(elf::SHF_COMPRESSED) {
            let (header, _) =
                object::pod::from_bytes::<elf::CompressionHeader64<LittleEndian>>(&raw)
                    .map_err(|()| "compression header is cut off".to_owned())?;
            let format = match header.ch_type.get(LittleEndian) {
                elf::ELFCOMPRESS_ZLIB => CompressionFormat::Zlib,
                elf::ELFCOMPRESS_ZSTD => CompressionFormat::Zstandard,
                _ => return Err("unknown compression".to_owned()),
            };
            let size = header.ch_size.get(LittleEndian);
            (format, size_of_val(header), size)
        } else if self.section_name(section).starts_with(b".zdebug_") {
            match raw.first_chunk::<12>() {
                Some([b'Z', b'L', b'I', b'B', size @ ..]) => {
                    (CompressionFormat::Zlib, 12, u64::from_be_bytes(*size))
                }
                _ => return Err("compression header is cut off".to_owned()),
            }
        } else {
            return Ok(raw);
        };
        let data = raw.get(header_size..).unwrap_or_default();
        let most = (data.len() as u64)
            .saturating_mul(MAX_COMPRESSION_RATIO)
            .min(MAX_SECTION_SIZE);
        if size > most {
            return Err(format!(
                "compressed section claims {size} bytes out of {}",
                data.len()
            ));
        }
        CompressedData {
            format,
            data,
            uncompressed_size: size,
        }
        .decompress()
        .map(std::borrow::Cow::into_owned)
        .map_err(|error| error.to_string())
    }

    fn raw_contents(&self, section: &Section) -> Result<Vec<u8>, String> {
        if !section.has_contents() {
            return Ok(Vec::new());
        }
        self.read(section.offset, section.size)
    }

    fn read(&self, offset: u64, size: u64) -> Result<Vec<u8>, String> {
        let in_file = offset.checked_add(size).is_some_and(|end| end <= self.len);
        if !in_file {
            return Err("section lies outside the file".to_owned());
        }
        if size > MAX_SECTION_SIZE {
            return Err(format!("section of {size} bytes is too large"));
        }
        read_vec(&self.image, offset, size).map_err(|error| error.to_string())
    }
}

fn read_vec(image: &Image, offset: u64, size: u64) -> io::Result<Vec<u8>> {
    if let Image::File(_, budget) = image {
        // Before there is memory for it.
        budget.check(size)?;
    }
    let size = usize::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(size)
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.resize(size, 0);
    image.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn read_build_id(image: &Image, offset: u64, size: u64, align: u64) -> Option<Vec<u8>> {
    if size > MAX_NOTES_SIZE {
        return None;
    }
    let data = read_vec(image, offset, size).ok()?;
    let mut notes = NoteIterator::<Header>::new(LittleEndian, align, &data).ok()?;
    while let Ok(Some(note)) = notes.next() {
        if note.name() == elf::ELF_NOTE_GNU
            && note.n_type(LittleEndian) == elf::NT_GNU_BUILD_ID
            && (1..=MAX_BUILD_ID).contains(&note.desc().len())
        {
            return Some(note.desc().to_vec());
        }
    }
    None
}

/// Lets `object` read headers without moving the descriptor's own offset.
struct Cursor<'a> {
    image: &'a Image,
    len: u64,
    position: u64,
}

impl ReadCacheOps for Cursor<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        Ok(self.len)
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        self.position = position;
        Ok(position)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        let count = self.image.read_at(buffer, self.position).map_err(|_| ())?;
        self.position += count as u64;
        Ok(count)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        self.image
            .read_exact_at(buffer, self.position)
            .map_err(|_| ())?;
        self.position += buffer.len() as u64;
        Ok(())
    }
}
