//! Offsets in kernel structures, from the running kernel's own BTF. aya's eBPF side has no CO-RE
//! relocations, and one offset does not call for them.

use btf_rs::{Btf, Type};

use super::BpfError;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Byte offset of `tgid` in `struct task_struct`.
pub(super) fn task_tgid_offset() -> Result<u32, BpfError> {
    let fail = |what: String| BpfError::Btf(what);
    let btf = Btf::from_file(VMLINUX).map_err(|error| fail(format!("{VMLINUX}: {error}")))?;
    let types = btf
        .resolve_types_by_name("task_struct")
        .map_err(|error| fail(format!("task_struct: {error}")))?;
    for candidate in types {
        let Type::Struct(task) = candidate else {
            continue;
        };
        for member in &task.members {
            if btf.resolve_name(member).is_ok_and(|name| name == "tgid") {
                return Ok(member.bit_offset() / 8);
            }
        }
    }
    Err(fail("task_struct has no tgid".to_owned()))
}
