//! How a recording stands, in words: all live displays say it alike.

use indicatif::HumanCount;

use super::{Source, Status};

/// What amounts are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmountWords {
    /// What is there: `live`.
    pub inuse: &'static str,
    /// What has come: `allocated`.
    pub alloc: &'static str,
    /// What it comes in: `objects`.
    pub unit: &'static str,
}

impl AmountWords {
    /// Of what was told from a source; in windows, and whether what was allocated is estimated from these.
    #[must_use]
    pub const fn of(source: Source, in_windows: bool, is_estimated: bool) -> Self {
        match (source, in_windows) {
            (Source::Probes, true) => Self {
                inuse: "perhaps live",
                alloc: match is_estimated {
                    true => "allocated",
                    false => "allocated in windows",
                },
                unit: "objects",
            },
            (Source::Probes, false) => Self {
                inuse: "live",
                alloc: "allocated",
                unit: "objects",
            },
            (Source::Growth, _) => Self {
                inuse: "still resident",
                alloc: "became resident",
                unit: "pages",
            },
        }
    }
}

impl Status {
    /// What was lost: `nothing lost`, `3 lost, 5 with cut stacks`.
    #[must_use]
    pub fn losses_in_words(&self) -> String {
        let (lost, cut) = (HumanCount(self.losses), HumanCount(self.cut));
        match (self.losses, self.cut) {
            (0, 0) => "nothing lost".to_owned(),
            (0, _) => format!("{cut} with cut stacks"),
            (_, 0) => format!("{lost} lost"),
            (_, _) => format!("{lost} lost, {cut} with cut stacks"),
        }
    }

    /// What the tracing takes from the target: `costs 1.2% of a CPU`, in windows `takes 1.87%`; `None` while that is
    /// not known.
    #[must_use]
    pub fn cost_in_words(&self) -> Option<String> {
        match (self.windows, self.cost) {
            (Some(windows), _) => Some(format!("takes {:.2}%", windows.share * 100.0)),
            (None, Some(share)) => Some(format!("costs {:.1}% of a CPU", share * 100.0)),
            (None, None) => None,
        }
    }
}
