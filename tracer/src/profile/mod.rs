//! The heap profile in memory, as every exporter and report sees it.
//!
//! Pure: no I/O, no clocks, no kernel. The shape follows pprof's `profile.proto` (mappings,
//! functions, locations, samples), so that the pprof export is a renaming and nothing is lost on
//! the way there and back.

mod diff;
mod filter;
mod fingerprint;
mod frames;
mod labels;
mod merge;
mod model;
mod peak;
mod prune;
mod sampled;
pub mod series;
mod validate;

pub use diff::{Diff, StackChange, diff};
pub use filter::{Filter, FilterMatches};
pub use fingerprint::Fingerprint;
pub use frames::Frame;
pub use labels::{Labels, TagFilter};
pub use merge::{Incompatible, merge};
pub use model::{
    CounterClass, CounterValue, Function, FunctionIndex, Line, Location, LocationIndex, Mapping,
    MappingIndex, Metadata, PAGES_COUNTED, Profile, Sample, ValueKind, Values, Verdict,
};
pub use peak::Peak;
pub use prune::{DROP_FRAMES, FrameRules, KEEP_FRAMES, prune};
pub use sampled::{Errors, Sampled, SampledBy};
pub use validate::Invalid;
