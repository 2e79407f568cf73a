//! The traced process as the system shows it: who it is, what it has mapped, what its files say.
//!
//! Reads /proc, ELF files and perf's side-band; knows nothing of eBPF.

mod address_space;
mod container;
mod elf;
mod error;
mod file_id;
mod files;
mod find;
mod heap;
mod held;
mod history;
mod identity;
mod launch;
mod limits;
mod link_map;
mod maps;
mod memory;
mod pages;
mod pidfd;
mod privilege;
mod reader;
mod sideband;
mod status;
mod threads;
mod translators;
mod user;
mod vdso;

pub use address_space::{AddressSpace, Mapped, MappedAddress};
pub use container::container_id;
pub use elf::{ElfKind, ModuleSymbols, code_segments, elf_kind, interpreter, module_symbols};
pub use error::{GROWTH_INSTEAD, ProcessError};
pub use file_id::FileId;
pub use files::Root;
pub use find::find_process;
pub use heap::{HeapStarts, Words};
pub use held::{FileKey, MappedFile, NotOpened};
pub use identity::{Comm, Identity, check_traceable, command_line, has_shadow_stack};
pub use launch::{Program, Waiting, find_program, script_interpreter};
pub use limits::raise_descriptor_limit;
pub use link_map::load_order;
pub use memory::{HeapUse, LimitedGroup, MemoryUse, available_memory, stack_start};
pub use pages::{BLOCK_BYTES, BLOCK_PAGES, BlockPages, PageMap, pages_of};
pub use pidfd::Pidfd;
pub use privilege::{
    Capability, KEPT, bpf_disabled, give_up_all_as, keep_recording_capabilities,
    missing_capabilities, pid_namespace, spawn_unprivileged,
};
pub use reader::{ElfReader, read_elf};
pub use sideband::{MappingEvent, Sideband};
pub use threads::{IoCalls, cpu_time, has_first_thread, shown_as, threads_of};
pub use translators::translator;
pub use user::User;
pub(crate) use vdso::vdso;
