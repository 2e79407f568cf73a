//! Offsets in kernel structures, from the running kernel's own BTF. aya's eBPF side has no CO-RE
//! relocations, and a few offsets do not call for them.

use std::fs;
use std::sync::OnceLock;

use btf_rs::{Btf, Type};
use tracer_common::{AlternateStack, ReturnProbes, TaskOffsets};

use super::BpfError;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Where `task_struct` tells a thread's alternate signal stack; `None` where the types don't say. Looked up
/// once, as reading the types takes some milliseconds.
pub(super) fn alternate_stack() -> Option<AlternateStack> {
    static FOUND: OnceLock<Option<AlternateStack>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let types = fs::read(VMLINUX).ok()?;
        let [address, size] = member_offsets(&types, "task_struct", ["sas_ss_sp", "sas_ss_size"])?;
        Some(AlternateStack { address, size })
    })
}

/// Byte offsets of members of a structure. At each attach, and so not by [`KernelTypes`], which takes in all
/// types and their names: this only passes by them, in a few milliseconds. The layout is the one that the
/// kernel documents in `Documentation/bpf/btf.rst`, in this machine's byte order.
fn member_offsets<const N: usize>(
    types: &[u8],
    structure: &str,
    members: [&str; N],
) -> Option<[u32; N]> {
    let word = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let size = |at| usize::try_from(word(types, at)?).ok();
    // Magic, version and flags; then the header's length, and where types and names are behind it.
    let body = types.get(size(4)?..)?;
    let records = body.get(size(8)?..)?.get(..size(12)?)?;
    let names = body.get(size(16)?..)?.get(..size(20)?)?;
    let is_called = |name: u32, wanted: &str| {
        let rest = usize::try_from(name).ok().and_then(|at| names.get(at..));
        rest.and_then(|rest| rest.strip_prefix(wanted.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    };
    let mut at = 0;
    loop {
        let (name, info) = (word(records, at)?, word(records, at + 4)?);
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        at += 12;
        if kind == KIND_STRUCT && is_called(name, structure) {
            let (fields, _) = records.get(at..at + count * 12)?.as_chunks::<12>();
            let offset = |wanted: &str| {
                let field = fields
                    .iter()
                    .find(|field| word(*field, 0).is_some_and(|name| is_called(name, wanted)))?;
                // The upper byte is the size of a bit field.
                Some((word(field.as_slice(), 8)? & 0x00ff_ffff) / 8)
            };
            let mut offsets = [0; N];
            for (place, member) in offsets.iter_mut().zip(members) {
                *place = offset(member)?;
            }
            return Some(offsets);
        }
        at += match kind {
            // An integer, a variable, a declaration's tag.
            1 | 14 | 17 => 4,
            // An array.
            3 => 12,
            // A union, a section, an enumeration of 64 bits.
            KIND_STRUCT | 5 | 15 | 19 => count * 12,
            // An enumeration, a function's signature.
            6 | 13 => count * 8,
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None,
        };
    }
}

const KIND_STRUCT: u32 = 4;

/// The kernel's types. Reading them takes a tenth of a second.
pub(super) struct KernelTypes(Btf);

impl KernelTypes {
    /// Reads them.
    pub(super) fn read() -> Result<Self, BpfError> {
        Btf::from_file(VMLINUX)
            .map(Self)
            .map_err(|error| BpfError::Btf(format!("{VMLINUX}: {error}")))
    }

    /// What tells a task's process, and whether that has ended.
    pub(super) fn task(&self) -> Result<TaskOffsets, BpfError> {
        Ok(TaskOffsets {
            tgid: self.offset("task_struct", "tgid")?,
            mm: self.offset("task_struct", "mm")?,
            signal: self.offset("task_struct", "signal")?,
            live: self.offset("signal_struct", "live")?,
            reserved: 0,
        })
    }

    /// Where return addresses are that return probes have replaced.
    pub(super) fn return_probes(&self) -> Result<ReturnProbes, BpfError> {
        Ok(ReturnProbes {
            utask: self.offset("task_struct", "utask")?,
            instances: self.offset("uprobe_task", "return_instances")?,
            stack: self.offset("return_instance", "stack")?,
            address: self.offset("return_instance", "orig_ret_vaddr")?,
            next: self.offset("return_instance", "next")?,
            reserved: 0,
        })
    }

    /// Byte offset of a member of a structure.
    fn offset(&self, structure: &str, member: &str) -> Result<u32, BpfError> {
        let Self(btf) = self;
        let types = btf
            .resolve_types_by_name(structure)
            .map_err(|error| BpfError::Btf(format!("{structure}: {error}")))?;
        types
            .iter()
            .filter_map(|candidate| match candidate {
                Type::Struct(found) => Some(&found.members),
                _ => None,
            })
            .flatten()
            .find(|found| btf.resolve_name(*found).is_ok_and(|name| name == member))
            .map(|found| found.bit_offset() / 8)
            .ok_or_else(|| BpfError::Btf(format!("{structure} has no {member}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure `b` with members `b` and `c`, behind an integer and a structure of another name.
    fn types() -> Vec<u8> {
        let names = b"\0a\0b\0c\0";
        let records: Vec<u32> = [
            // Name, kind and number of members, size; then what the kind has.
            [1, 1 << 24, 4, 32].as_slice(),
            [1, 4 << 24 | 1, 4, 3, 1, 0].as_slice(),
            [3, 4 << 24 | 2, 16, 3, 1, 64, 5, 1, 3 << 24 | 96].as_slice(),
            [5, 2 << 24, 1].as_slice(),
        ]
        .concat();
        let header: [u32; 6] = [0x0001_eb9f, 24, 0, 88, 88, 7];
        let words = header.iter().chain(&records);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(names);
        bytes
    }

    #[test]
    fn members_are_found_by_name() {
        assert_eq!(member_offsets(&types(), "b", ["c", "b"]), Some([12, 8]));
        assert_eq!(member_offsets(&types(), "b", ["a"]), None);
        assert_eq!(member_offsets(&types(), "c", ["a"]), None);
        for end in 0..types().len() {
            assert_eq!(member_offsets(&types()[..end], "b", ["c"]), None, "{end}");
        }
    }

    /// Against the crate that takes all in.
    #[test]
    fn the_kernels_own_types_say_the_same() -> Result<(), BpfError> {
        let Ok(bytes) = fs::read(VMLINUX) else {
            return Ok(());
        };
        let types = KernelTypes::read()?;
        let members = ["sas_ss_sp", "sas_ss_size"];
        let expected = [
            types.offset("task_struct", members[0])?,
            types.offset("task_struct", members[1])?,
        ];
        assert_eq!(
            member_offsets(&bytes, "task_struct", members),
            Some(expected)
        );
        Ok(())
    }
}
