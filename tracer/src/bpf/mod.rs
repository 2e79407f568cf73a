//! The kernel side: loading the eBPF object, attaching it, reading its maps and events.
//!
//! The only room that uses aya or bpf(2). It knows addresses and offsets, never symbol names.

mod btf;
mod calls;
mod copies;
mod error;
mod events;
mod faults;
mod generations;
mod holder;
mod inherited;
mod kernel;
mod ladder;
mod live;
mod log;
mod probes;
mod run_time;
mod stacks;
mod sys;
mod to_the_end;
mod tracefs;
mod unwind;
mod uprobe_session;
mod versions;
mod view;
mod window;
mod work;

pub use calls::Calls;
pub use copies::start as start_process;
pub use error::BpfError;
pub use events::{Change, KernelEvent, NewImage, ProcessChange, StackCopy, StackSeen};
pub use inherited::{Heirs, Threads};
pub use kernel::{FIRST_HEAP, FIRST_IMAGE, Kernel, Limits, LoadOptions, StackAmounts};
pub use ladder::{MayWindow, ProbeKind};
pub use log::LogOptions;
pub use probes::{Probed, Probes, Scope};
pub use run_time::{RunTimes, Taken};
pub use stacks::{Held, KernelPeak};
pub use tracer_common::LogLevel;
pub use unwind::{LoadedTable, MAX_TABLE_BYTES, UnwindMaps};
pub use window::{Held as HeldWindow, Site, Window, WindowKind, Windows};
pub use work::{Gauge, Work, own_time};
