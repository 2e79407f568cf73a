//! Offsets in kernel structures, from the running kernel's own BTF. aya's eBPF side has no CO-RE
//! relocations, and a few offsets do not call for them.

use btf_rs::{Btf, Type};
use tracer_common::{ReturnProbes, TaskOffsets};

use super::BpfError;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

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
