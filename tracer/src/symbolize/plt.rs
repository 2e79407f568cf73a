//! Stubs of the procedure linkage table: an address to the imported function it jumps to.
//!
//! Stubs have no symbols. Each jumps through a slot of the global offset table, and a relocation
//! says whose address the slot gets. x86-64 only.

use super::elf::Elf;
use object::LittleEndian;
use object::elf::{EM_X86_64, R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT, Rela64, Sym64};
use std::collections::HashMap;

/// The stub sections, with the distance between stubs.
const SECTIONS: [(&str, u64); 3] = [(".plt", 16), (".plt.sec", 16), (".plt.got", 8)];

/// Names of imported functions by the slot that holds their address, and the stubs.
#[derive(Debug, Default)]
pub(super) struct Plt {
    slots: HashMap<u64, u32>,
    strings: Vec<u8>,
    stubs: Vec<Stubs>,
}

#[derive(Debug)]
struct Stubs {
    address: u64,
    step: u64,
    bytes: Vec<u8>,
}

impl Plt {
    /// Reads stubs and relocations; empty where anything is missing.
    pub(super) fn load(elf: &Elf) -> Self {
        if elf.machine != EM_X86_64 {
            return Self::default();
        }
        Self::try_load(elf).unwrap_or_default()
    }

    fn try_load(elf: &Elf) -> Option<Self> {
        let table = elf.section(".dynsym")?;
        let strings = elf.contents(elf.section_at(table.link)?).ok()?;
        let symbols = elf.contents(table).ok()?;
        let symbols = entries::<Sym64<LittleEndian>>(&symbols)?;
        let mut slots = HashMap::new();
        for name in [".rela.dyn", ".rela.plt"] {
            let Some(section) = elf.section(name) else {
                continue;
            };
            let relocations = elf.contents(section).ok()?;
            for relocation in entries::<Rela64<LittleEndian>>(&relocations)? {
                let kind = relocation.r_type(LittleEndian, false);
                let symbol = symbols.get(relocation.r_sym(LittleEndian, false) as usize);
                if let (R_X86_64_GLOB_DAT | R_X86_64_JUMP_SLOT, Some(symbol)) = (kind, symbol) {
                    slots.insert(
                        relocation.r_offset.get(LittleEndian),
                        symbol.st_name.get(LittleEndian),
                    );
                }
            }
        }
        let stubs = SECTIONS
            .iter()
            .filter_map(|&(name, step)| {
                let section = elf.section(name)?;
                Some(Stubs {
                    address: section.address,
                    step,
                    bytes: elf.contents(section).ok()?,
                })
            })
            .collect();
        Some(Self {
            slots,
            strings,
            stubs,
        })
    }

    /// The name of the function that the stub at this virtual address jumps to.
    pub(super) fn find(&self, address: u64) -> Option<&[u8]> {
        let slot = self.stubs.iter().find_map(|stubs| stubs.slot(address))?;
        let rest = self.strings.get(*self.slots.get(&slot)? as usize..)?;
        rest.split(|&byte| byte == 0)
            .next()
            .filter(|name| !name.is_empty())
    }
}

impl Stubs {
    /// The slot that the stub at this address jumps through.
    fn slot(&self, address: u64) -> Option<u64> {
        let delta = address.checked_sub(self.address)?;
        let start = delta - delta % self.step;
        let stub = self.bytes.get(usize::try_from(start).ok()?..)?;
        let mut stub = &stub[..stub.len().min(usize::try_from(self.step).ok()?)];
        let length = stub.len();
        // Before the jump there may be `endbr64`, and a `bnd` prefix.
        stub = stub.strip_prefix(&[0xf3, 0x0f, 0x1e, 0xfa]).unwrap_or(stub);
        stub = stub.strip_prefix(&[0xf2]).unwrap_or(stub);
        // jmp *displacement(%rip)
        let displacement = stub.strip_prefix(&[0xff, 0x25])?.first_chunk::<4>()?;
        let next = self.address + start + (length - stub.len()) as u64 + 6;
        Some(next.wrapping_add_signed(i64::from(i32::from_le_bytes(*displacement))))
    }
}

fn entries<T: object::Pod>(bytes: &[u8]) -> Option<&[T]> {
    object::pod::slice_from_bytes(bytes, bytes.len() / size_of::<T>())
        .ok()
        .map(|(entries, _)| entries)
}
