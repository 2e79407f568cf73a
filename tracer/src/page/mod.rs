//! What the page shows: profiles in, data for the browser out, and the files of the page itself.
//!
//! Pure: whoever serves the page brings profiles and times. Sites, names, differences and verdicts are those of the
//! reports for the terminal (`docs/design/0038-page.md`). Amounts are numbers; text is fit to be shown as text, and
//! never as HTML.

mod assets;
mod change;
mod flame;
mod history;
mod kept;
mod moment;
mod points;
mod suspects;

use serde::Serialize;

pub use assets::{Asset, CONTENT_SECURITY_POLICY, asset};
pub use change::{ChangedSite, Changes, changes};
pub use flame::{Flame, FrameName};
pub use history::{Bounds, History, KeptTime, interval};
pub use kept::Kept;
pub use moment::{Loss, Moment, SiteOfMoment, ValueOfMoment, moment};
pub use points::{Course, Point};
pub use suspects::{GrowingSite, Suspect, Suspects, suspects};

use crate::profile::ValueKind;

/// The values that the page shows, in the order of its switch.
pub const KINDS: [ValueKind; 4] = [
    ValueKind::InuseSpace,
    ValueKind::InuseObjects,
    ValueKind::AllocSpace,
    ValueKind::AllocObjects,
];

/// What the page shows at its top, and its time line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// The process, or the file that is viewed.
    pub name: String,
    /// The process's id; `None` for saved profiles.
    pub pid: Option<u32>,
    /// There is more to come.
    pub is_live: bool,
    /// The version of this program.
    pub version: &'static str,
    /// The time line.
    pub course: Course,
    /// The moments of which there are profiles, the oldest first.
    pub moments: Vec<KeptTime>,
    /// What is not shown, for people.
    pub remarks: Vec<String>,
}
