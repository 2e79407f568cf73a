//! The heap profile in memory, as every exporter and report sees it.
//!
//! Pure: no I/O, no clocks, no kernel. The shape follows pprof's `profile.proto` (mappings,
//! functions, locations, samples), so that the pprof export is a renaming and nothing is lost on
//! the way there and back.

mod frames;
mod model;
mod prune;
mod validate;

pub use frames::Frame;
pub use model::{
    CounterClass, CounterValue, Function, FunctionIndex, Line, Location, LocationIndex, Mapping,
    MappingIndex, Metadata, Profile, Sample, ValueKind, Values, Verdict,
};
pub use prune::{DROP_FRAMES, FrameRules, KEEP_FRAMES, prune};
pub use validate::Invalid;
