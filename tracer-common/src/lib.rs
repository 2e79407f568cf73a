//! Types that the eBPF programs and user space share: map keys and values, ring-buffer events,
//! counters, limits and the step up a stack.
//!
//! `no_std` and without allocation: everything here is also compiled for the BPF target. Layouts
//! are `#[repr(C)]` without implicit padding, because the verifier rejects uninitialised bytes in
//! map keys and because hash maps compare keys byte by byte.
#![no_std]

mod allocator;
mod counters;
mod events;
mod generations;
mod hash;
mod io;
mod known;
pub mod limits;
mod live;
mod peak;
mod rare;
mod records;
mod space;
mod unwind;
mod window;

pub use allocator::AllocatorFn;
pub use counters::{Counter, CounterKind};
pub use events::{EventHeader, EventKind, ProcessEvent, StackCopyEvent, StackEvent};
pub use generations::{
    EXACT_GENERATIONS, GENERATION_CELLS, GENERATION_RING, GenerationCell, generation_cell,
};
pub use hash::{StackHash, THREAD_NAME_WORDS, thread_id};
pub use io::{Callee, IoFn};
pub use known::{
    KNOWN_STACKS, KnownStack, Owner, Recognition, SHAPE_SLOTS, SHAPES, SLOTS_AT_ONCE, Shape,
    SharedShape, Trail, shape_index, slot,
};
pub use live::{
    LIVE_CROWDED, LIVE_SLOTS, LiveBucket, MAX_LIVE_SEGMENTS, address_of, bucket_of, heap_of,
    live_key, segment_buckets,
};
pub use peak::{
    Amount, Flow, LiveTotal, PeakMark, PeakWord, is_new_peak, may_be_kept, peak_shift, peak_step,
};
pub use rare::{LogLevel, RareEvent};
pub use records::{
    AlternateStack, Config, LiveRecord, PendingCall, ReturnProbes, StackCounters, StackKey,
    TargetInfo, TaskOffsets, ThreadCalls, Unwinding,
};
pub use space::{
    MAX_RULES, MAX_TABLES, PUBLICATIONS, RULE_CACHE_ENTRIES, SPACE_ENTRIES, SpaceEntry, SpaceHead,
    StackEnd, may_be_overwritten, rule_cache_key, rule_ids,
};
pub use unwind::{RbpRule, Registers, Row, Rule, RuleKind, Step, StepFailure, step};
pub use window::{
    GATE_STATE, GATE_UNTIL, GATE_WORDS, Gate, WINDOW_OUTSIDE, WINDOW_RAN_NS, WINDOW_WORDS,
};
