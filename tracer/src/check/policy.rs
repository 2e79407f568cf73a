//! The policy of a project, `tracer.toml`. Its keys are the options of `tracer check`, without the dashes:
//!
//! ```toml
//! no-leaks = true                # fail on leaks (default, except when one profile is judged by other rules)
//! allow-undecided = false        # true: don't end with 3 for stacks that can't be judged yet
//! warm-up = "10s"                # ignore growth before this; default: the first fifth
//!
//! max-growth = ["1kB/s", "16B/op"]  # of live memory after the warm-up
//! operations-per-second = 1000   # for growth per operation
//!
//! max-peak = "512MB"            # most that may be live at once
//! max-peak-objects = 1000000
//! memory-limit = "2GB"          # for the time until it is reached
//!
//! baseline = "baseline.pb.gz"    # fail if more is live than in this profile
//! tolerance = "10%"              # allow this much growth over the baseline; default 0%
//! min-growth = "64kB"           # ignore growth up to this size; default 0B
//!
//! [[budget]]                     # of a function and all it calls; any number of them
//! function = "^cache::"          # regular expression, anywhere in the name
//! max-live = "64MB"
//! max-live-objects = 100000
//! max-allocated = "1GB"
//! max-allocated-objects = 5000000
//!
//! [sites]                        # whose code is what, beyond what tracer knows
//! own = ["^mycorp::"]            # regular expressions: functions, files, modules
//! wrappers = ["^pool_get$"]      # allocate on behalf of their callers
//!
//! [suppressions]                 # or, with files alone: suppressions = ["lsan.supp"]
//! leaks = ["^known_leak$"]       # LeakSanitizer's patterns
//! files = ["lsan.supp"]          # of LeakSanitizer or valgrind
//! ```
//!
//! Everything is optional; an unknown key is an error, since a limit that is misspelt is no limit.
//! Files are named as they stand: they are relative to the policy, and the caller reads them.

mod file;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;

use super::suppressions::Suppressions;
use super::units::{Bytes, Tolerance};
use crate::sites::Rules;
use file::PolicyFile;

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct PolicyError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

/// What a program may do with memory. The default is what holds without a policy: no leaks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "PolicyFile")]
pub struct Policy {
    /// A leak is a breach. Where nobody says, it is, except that of one profile alone, which can't
    /// tell, only the other rules are asked.
    pub no_leaks: Option<bool>,
    /// Stacks that may leak, or grew too few times or while the load fell to tell, do not make the result
    /// inconclusive.
    pub allow_undecided: bool,
    /// Time from the beginning of a recording after which growth counts; the first fifth of it
    /// where nobody says.
    pub warm_up: Option<Duration>,
    /// Growth of live memory after the warm-up.
    pub growth: Option<Growth>,
    /// Most that may be live at once.
    pub peak: Option<Peak>,
    /// Budgets of functions.
    pub budgets: Vec<Budget>,
    /// Comparison with an earlier profile.
    pub baseline: Option<Baseline>,
    /// The tolerance of the file, for a baseline that is named elsewhere.
    pub tolerance: Option<Tolerance>,
    /// The least growth of the file, for a baseline that is named elsewhere.
    pub min_growth: Option<Bytes>,
    /// Memory the target may use.
    pub memory_limit: Option<Bytes>,
    /// Whose code is what, beyond the built-in table.
    pub sites: Rules,
    /// Stacks that are known and not to be reported.
    pub suppressions: KnownLeaks,
    /// What is to be said of the file, one sentence each.
    pub notes: Vec<String>,
}

/// Growth of live memory after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Growth {
    /// Most bytes a second.
    pub max_per_second: Option<Bytes>,
    /// Most bytes per operation.
    pub max_per_operation: Option<Bytes>,
    /// Operations a second; above 0.
    pub operations_per_second: Option<f64>,
}

impl Growth {
    /// Whether there is a limit.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.max_per_second.is_some() || self.max_per_operation.is_some()
    }
}

/// A limit of growth: `1kB/s` or `16B/op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxGrowth {
    /// Most bytes a second.
    PerSecond(Bytes),
    /// Most bytes per operation.
    PerOperation(Bytes),
}

impl FromStr for MaxGrowth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('/') {
            Some((bytes, "s")) => Ok(Self::PerSecond(bytes.parse()?)),
            Some((bytes, "op")) => Ok(Self::PerOperation(bytes.parse()?)),
            _ => Err(format!(
                "`{text}` is no limit of growth: say it as 1kB/s or 16B/op"
            )),
        }
    }
}

impl MaxGrowth {
    /// Puts the limit into a rule.
    pub const fn apply(self, growth: &mut Growth) {
        match self {
            Self::PerSecond(bytes) => growth.max_per_second = Some(bytes),
            Self::PerOperation(bytes) => growth.max_per_operation = Some(bytes),
        }
    }
}

/// Most that may be live at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// Most bytes.
    pub max_live: Option<Bytes>,
    /// Most objects.
    pub max_live_objects: Option<u32>,
}

/// What a function and all it calls may hold and allocate; at least one limit is there.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "file::BudgetTable")]
pub struct Budget {
    /// Matches anywhere in the names of the functions it is for.
    pub function: Regex,
    /// Most bytes live.
    pub max_live: Option<Bytes>,
    /// Most objects live.
    pub max_live_objects: Option<u32>,
    /// Most bytes allocated.
    pub max_allocated: Option<Bytes>,
    /// Most objects allocated.
    pub max_allocated_objects: Option<u32>,
}

/// Comparison with an earlier profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// Its file.
    pub file: PathBuf,
    /// Growth that is allowed, of what was held.
    pub tolerance: Tolerance,
    /// Growth up to this is ignored.
    pub min_growth: Bytes,
    /// It is written by this very check: there is nothing to compare with yet.
    pub is_first: bool,
}

impl Baseline {
    /// The profile in a file, without tolerance.
    #[must_use]
    pub fn of(file: PathBuf) -> Self {
        Self {
            file,
            tolerance: Tolerance::default(),
            min_growth: Bytes::default(),
            is_first: false,
        }
    }
}

/// Stacks that are known and not to be reported.
#[derive(Clone, Debug, Default)]
pub struct KnownLeaks {
    /// Those named in the policy.
    pub leaks: Suppressions,
    /// Files with more.
    pub files: Vec<PathBuf>,
}

impl Policy {
    /// Whether anything else than leaks is ruled.
    #[must_use]
    pub const fn has_other_rules(&self) -> bool {
        let limited = match &self.growth {
            Some(growth) => growth.is_limited(),
            None => false,
        };
        limited || self.peak.is_some() || !self.budgets.is_empty() || self.baseline.is_some()
    }

    /// Reads a policy.
    ///
    /// # Errors
    /// What is wrong first, and on which line.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            let before = text.as_bytes().get(..at).unwrap_or_default();
            PolicyError {
                line: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
                reason: reason(error.message()),
            }
        })
    }
}

/// What the parser says, on one line and in the words of whoever writes the file: there are keys, no fields.
fn reason(message: &str) -> String {
    message
        .replace('\n', "; ")
        .replace("unknown field", "unknown key")
        .replace("missing field", "missing key")
        .replace("duplicate field", "duplicate key")
}
