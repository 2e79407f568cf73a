//! A tracing session, from attach to profile.
//!
//! One task owns everything (kernel side, side-band, processes) and takes a closed set of wake-ups;
//! nothing else touches the maps.

mod allocator;
mod amounts;
mod calls;
mod cost;
mod doctor;
mod error;
mod frames;
mod growth;
mod placing;
mod plan;
mod privilege;
mod processes;
mod recorder;
mod residence;
mod retire;
mod roots;
mod runtimes;
mod serving;
mod snapshot;
mod table_sizes;
mod unopened;
mod unwinding;
mod verdict;
mod wake;
mod watch;
mod windows;

pub use allocator::{Allocator, Foreseen, foresee};
pub use cost::{EventCosts, Events, SUBJECT_COMMAND, be_measured};
pub use doctor::{Check, Diagnosis, Grade, examine};
pub use error::SessionError;
pub use plan::{ModulePlan, PlanReport, PlannedProbe};
pub use privilege::check_privilege;
pub use recorder::{
    AmountWords, Asked, Asking, Ended, Limit, NoSnapshot, Options, Pace, Progress, Recording,
    Session, Snapshot, Source, Status, Target, asking,
};
pub use watch::{Grown, wait_until_grown};
pub use windows::{Mark, Share, WindowsStatus};
