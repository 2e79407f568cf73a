//! Offsets in kernel structures, from the running kernel's own BTF. aya's eBPF side has no CO-RE
//! relocations, and a few offsets do not call for them.

use std::fs::{self, File};
use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use tracer_common::{AlternateStack, ReturnProbes, TaskOffsets};

use super::BpfError;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Where the kernel keeps what the programs look up; `None` where its types don't say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offsets {
    /// A thread's alternate signal stack.
    pub(super) alternate_stack: Option<AlternateStack>,
    /// The return addresses that return probes have replaced.
    pub(super) return_probes: Option<ReturnProbes>,
    task: Option<TaskOffsets>,
    /// `vm_file` in `vm_area_struct`.
    pub(super) vm_file: Option<u32>,
}

impl Offsets {
    /// Reads them, once: it takes some milliseconds.
    pub(super) fn get() -> Self {
        static FOUND: OnceLock<Offsets> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let mapped = Mapped::new().ok();
            match &mapped {
                Some(types) => Self::read(types.bytes()),
                None => Self::read(&fs::read(VMLINUX).unwrap_or_default()),
            }
        })
    }

    fn read(types: &[u8]) -> Self {
        Structures::find(types).map_or_else(Self::default, |structures| Self {
            alternate_stack: alternate_stack(&structures),
            return_probes: return_probes(&structures),
            task: task(&structures),
            vm_file: structures.offset("vm_area_struct", "vm_file"),
        })
    }

    /// What tells a task's process, and whether that has ended.
    ///
    /// # Errors
    ///
    /// The kernel's types don't say.
    pub(super) fn task(&self) -> Result<TaskOffsets, BpfError> {
        self.task.ok_or_else(|| {
            let missing = "a member of task_struct or signal_struct was not found";
            BpfError::Btf(format!("{VMLINUX}: {missing}"))
        })
    }
}

fn alternate_stack(structures: &Structures<'_>) -> Option<AlternateStack> {
    Some(AlternateStack {
        address: structures.offset("task_struct", "sas_ss_sp")?,
        size: structures.offset("task_struct", "sas_ss_size")?,
    })
}

fn return_probes(structures: &Structures<'_>) -> Option<ReturnProbes> {
    Some(ReturnProbes {
        utask: structures.offset("task_struct", "utask")?,
        instances: structures.offset("uprobe_task", "return_instances")?,
        stack: structures.offset("return_instance", "stack")?,
        address: structures.offset("return_instance", "orig_ret_vaddr")?,
        next: structures.offset("return_instance", "next")?,
        reserved: 0,
    })
}

fn task(structures: &Structures<'_>) -> Option<TaskOffsets> {
    Some(TaskOffsets {
        tgid: structures.offset("task_struct", "tgid")?,
        mm: structures.offset("task_struct", "mm")?,
        signal: structures.offset("task_struct", "signal")?,
        live: structures.offset("signal_struct", "live")?,
        reserved: 0,
    })
}

/// The kernel's types in this process's memory, which Linux allows from 6.16 on. Reading them takes more than a
/// thousand calls: a page comes at a time.
struct Mapped {
    first: NonNull<u8>,
    len: usize,
}

impl Mapped {
    fn new() -> io::Result<Self> {
        let file = File::open(VMLINUX)?;
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let mapped = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                &file,
                0,
            )
        }?;
        let first = NonNull::new(mapped.cast()).ok_or(io::ErrorKind::Other)?;
        Ok(Self { first, len })
    }

    const fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping made in `new`, of memory that nobody changes, as long as `self`.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; no slice outlives it.
        let _ = unsafe { munmap(self.first.as_ptr().cast(), self.len) };
    }
}

/// The structures that are looked into.
const WANTED: [&str; 5] = [
    "task_struct",
    "signal_struct",
    "uprobe_task",
    "return_instance",
    "vm_area_struct",
];

/// Structures in the kernel's types, found by passing by all of them once. At each attach, and so not by a
/// crate: those that there are take in all types and their names, which takes a tenth of a second. The layout
/// is the one that the kernel documents in `Documentation/bpf/btf.rst`, in this machine's byte order.
struct Structures<'a> {
    names: &'a [u8],
    /// Name, offset and the like, of each member of those in [`WANTED`].
    members: [&'a [[u8; 12]]; WANTED.len()],
}

impl<'a> Structures<'a> {
    /// Finds those in [`WANTED`]; the others have no members. `None` where these are no types.
    fn find(types: &'a [u8]) -> Option<Self> {
        let size = |at| usize::try_from(word(types, at)?).ok();
        // Magic, version and flags; then the header's length, and where types and names are behind it.
        let body = types.get(size(4)?..)?;
        let records = body.get(size(8)?..)?.get(..size(12)?)?;
        let names = body.get(size(16)?..)?.get(..size(20)?)?;
        let mut found = Self {
            names,
            members: [&[]; WANTED.len()],
        };
        let mut at = 0;
        while let (Some(name), Some(info)) = (word(records, at), word(records, at + 4)) {
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            at += 12;
            // Where there are several of a name, the first.
            if kind == KIND_STRUCT
                && let Some(wanted) = WANTED
                    .iter()
                    .position(|&wanted| found.is_called(name, wanted))
            {
                let (members, _) = records.get(at..at + count * 12)?.as_chunks();
                if found.members[wanted].is_empty() {
                    found.members[wanted] = members;
                }
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
        Some(found)
    }

    /// Byte offset of a member.
    fn offset(&self, structure: &str, member: &str) -> Option<u32> {
        let place = WANTED.iter().position(|&wanted| wanted == structure)?;
        let found = self.members[place]
            .iter()
            .find(|found| word(*found, 0).is_some_and(|name| self.is_called(name, member)))?;
        // The upper byte is the size of a bit field.
        Some((word(found, 8)? & 0x00ff_ffff) / 8)
    }

    fn is_called(&self, name: u32, wanted: &str) -> bool {
        let rest = usize::try_from(name).ok();
        rest.and_then(|at| self.names.get(at..))
            .and_then(|rest| rest.strip_prefix(wanted.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

const KIND_STRUCT: u32 = 4;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use btf_rs::{Btf, Type};

    use super::*;

    /// A structure `uprobe_task` with members `b` and `c`, behind an integer and a structure of another name.
    fn types() -> Vec<u8> {
        let names = b"\0a\0uprobe_task\0b\0c\0";
        let records: Vec<u32> = [
            // Name, kind and number of members, size; then what the kind has.
            [1, 1 << 24, 4, 32].as_slice(),
            [1, 4 << 24 | 1, 4, 15, 1, 0].as_slice(),
            [3, 4 << 24 | 2, 16, 15, 1, 64, 17, 1, 3 << 24 | 96].as_slice(),
            [17, 2 << 24, 1].as_slice(),
        ]
        .concat();
        let header: [u32; 6] = [0x0001_eb9f, 24, 0, 88, 88, 19];
        let words = header.iter().chain(&records);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(names);
        bytes
    }

    #[test]
    fn members_are_found_by_name() {
        let types = types();
        let offset = |structure, member| Structures::find(&types)?.offset(structure, member);
        assert_eq!(offset("uprobe_task", "c"), Some(12));
        assert_eq!(offset("uprobe_task", "b"), Some(8));
        assert_eq!(offset("uprobe_task", "a"), None);
        assert_eq!(offset("task_struct", "b"), None);
        for end in 0..types.len() {
            assert!(Structures::find(&types[..end]).is_none(), "{end}");
        }
    }

    /// Against the crate that takes all in.
    #[test]
    fn the_kernels_own_types_say_the_same() -> Result<(), Box<dyn std::error::Error>> {
        let Ok(types) = fs::read(VMLINUX) else {
            return Ok(());
        };
        let btf = Btf::from_file(VMLINUX)?;
        let structures = Structures::find(&types).ok_or("no types")?;
        for (structure, member) in [
            ("task_struct", "sas_ss_sp"),
            ("task_struct", "sas_ss_size"),
            ("task_struct", "utask"),
            ("task_struct", "tgid"),
            ("task_struct", "mm"),
            ("task_struct", "signal"),
            ("signal_struct", "live"),
            ("uprobe_task", "return_instances"),
            ("return_instance", "stack"),
            ("return_instance", "orig_ret_vaddr"),
            ("return_instance", "next"),
            ("vm_area_struct", "vm_file"),
        ] {
            let found = btf.resolve_types_by_name(structure)?;
            let expected = found
                .iter()
                .filter_map(|found| match found {
                    Type::Struct(found) => Some(&found.members),
                    _ => None,
                })
                .flatten()
                .find(|found| btf.resolve_name(*found).is_ok_and(|name| name == member))
                .map(|found| found.bit_offset() / 8);
            assert!(expected.is_some(), "{structure}.{member}");
            assert_eq!(
                structures.offset(structure, member),
                expected,
                "{structure}.{member}"
            );
        }
        Ok(())
    }
}
