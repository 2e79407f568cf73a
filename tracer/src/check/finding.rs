//! What a check found, as data that every report shows in its own way.

use serde::Serialize;

use super::evaluate::{Breach, Rule};
use super::leaks::{Lack, Leak};
use super::place::Frame;
use crate::names::{NameStyle, function_of};
use crate::profile::{Fingerprint, Peak, Profile, Values, Verdict};
use crate::report::names;

/// How a check ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything asked was judged, and nothing was found.
    NothingFound,
    /// A leak, or a limit that was exceeded.
    Found,
    /// It can't be told; never the same as nothing found.
    Inconclusive,
}

/// What a check found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// How it ends.
    pub outcome: Outcome,
    /// How the recording was made.
    pub source: String,
    /// Snapshots that were judged.
    pub snapshots: usize,
    /// Seconds between the beginning and the last of them.
    pub seconds: f64,
    /// Seconds of warm-up, where something was judged over time.
    pub warm_up_seconds: Option<f64>,
    /// Stacks that allocated.
    pub stacks: usize,
    /// The most that was live at once, where that was kept.
    pub peak: Option<Peak>,
    /// The worst verdict of what was recorded.
    pub verdict: Verdict,
    /// The rules that were judged, by their ids.
    pub rules: Vec<RuleId>,
    /// What was found, leaks first.
    pub findings: Vec<Finding>,
    /// What is worth a look and fails nothing: possible leaks, stacks nobody can judge yet.
    pub warnings: Vec<Finding>,
    /// What would have been found, but is known.
    pub suppressed: Vec<Finding>,
    /// Suppressions that matched nothing found.
    pub unused_suppressions: Vec<String>,
    /// Why it is inconclusive, one sentence each.
    pub reasons: Vec<String>,
    /// What else is worth saying, one sentence each.
    pub notes: Vec<String>,
}

/// A rule of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleId {
    /// No leaks.
    Leak,
    /// Growth of what is live.
    Growth,
    /// Most that is live at once.
    Peak,
    /// A function's budget.
    Budget,
    /// Comparison with the baseline.
    Baseline,
}

impl RuleId {
    /// All of them, in the order of the reports.
    pub const ALL: [Self; 5] = [
        Self::Leak,
        Self::Growth,
        Self::Peak,
        Self::Budget,
        Self::Baseline,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Growth => "growth",
            Self::Peak => "peak",
            Self::Budget => "budget",
            Self::Baseline => "baseline",
        }
    }

    /// What it demands, in one sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Leak => "No stack keeps more and more memory without an end in sight.",
            Self::Growth => "What is live grows no faster than allowed after the warm-up.",
            Self::Peak => "No more is live at once than allowed.",
            Self::Budget => "A function and all it calls stay within their budget.",
            Self::Baseline => "No more is live than in the baseline, beyond the tolerance.",
        }
    }
}

/// Something found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is.
    pub what: What,
    /// The stack it is about; for what is about everything, the largest contributor.
    pub stack: Option<Stack>,
    /// Of a peak, the next largest contributors.
    pub others: Vec<Stack>,
    /// The suppression it is known by.
    pub suppression: Option<String>,
    /// Who last touched the line, where that was asked for.
    pub blame: Option<Blame>,
}

/// What a finding is.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A leak; one below [`super::leaks::Confidence::Medium`] is only possible.
    Leak(Leak),
    /// A stack that grew, and nobody can tell yet whether it leaks.
    Undecided(Lack),
    /// What is live grows faster than allowed.
    Growth {
        /// Bytes by which it grows.
        bytes: f64,
        /// Most that is allowed.
        limit: i64,
        /// In which measure.
        per: Per,
    },
    /// A limit that was exceeded.
    Breach(Breach),
}

/// What growth is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// A second.
    Second,
    /// An operation.
    Operation,
}

/// A stack of a finding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stack {
    /// Its frames without the allocator's, leaf first; not all of a very deep one.
    pub frames: Vec<Frame>,
    /// Where memory is asked for: the innermost frame that is neither allocator nor standard library, wrapper or
    /// container.
    pub place: Option<usize>,
    /// The innermost frame of the program's own code.
    pub own: Option<usize>,
    /// The function it is for, where that is not the place; its full name until somebody says the short one.
    pub purpose: Option<String>,
    /// What is allocated, for people.
    pub what: Option<String>,
    /// All it allocated, and what of that is live.
    pub values: Values,
    /// Stacks with the same place that the finding is about; the frames are those of the first.
    pub stacks: usize,
    /// What it is recognised by in other recordings and builds.
    pub fingerprint: Option<Fingerprint>,
    /// It is only the largest contributor to a finding about everything.
    pub only_largest: bool,
    /// Its objects are pages, which it touched first.
    pub of_pages: bool,
}

/// The commit that last touched a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blame {
    /// Its id.
    pub commit: String,
    /// Its author.
    pub author: String,
    /// The day, `2026-11-24`.
    pub date: String,
    /// Its first line.
    pub summary: String,
}

impl Finding {
    /// The rule it is about.
    #[must_use]
    pub const fn rule(&self) -> RuleId {
        match &self.what {
            What::Leak(_) | What::Undecided(_) => RuleId::Leak,
            What::Growth { .. } => RuleId::Growth,
            What::Breach(breach) => match breach.rule {
                Rule::Peak => RuleId::Peak,
                Rule::Budget(_) => RuleId::Budget,
                Rule::BaselineTotal | Rule::BaselineStack(_) => RuleId::Baseline,
            },
        }
    }

    /// Takes in another finding, if both are leaks of one site, or undecided for the same reason: many ways through
    /// a program lead to the line that is to be mended. Gives it back if not.
    pub(super) fn take_in(&mut self, other: Self) -> Option<Self> {
        let at = |finding: &Self| {
            let frame = finding.place()?;
            let purpose = finding
                .stack
                .as_ref()
                .and_then(|stack| stack.purpose.clone());
            Some((
                frame.function.clone(),
                frame.file.clone(),
                frame.line,
                purpose,
            ))
        };
        let same = at(self).is_some() && at(self) == at(&other);
        if !same || self.suppression != other.suppression {
            return Some(other);
        }
        let (Some(stack), Some(added)) = (&mut self.stack, &other.stack) else {
            return Some(other);
        };
        let (leak, more) = match (&mut self.what, &other.what) {
            (What::Leak(leak), What::Leak(more)) => (leak, more),
            (What::Undecided(lack), What::Undecided(more)) => {
                if !lack.take_in(more) {
                    return Some(other);
                }
                stack.values += added.values;
                stack.stacks += added.stacks;
                return None;
            }
            _ => return Some(other),
        };
        let together = |one: Option<f64>, other: Option<f64>| Some(one? + other?);
        let rate = |seconds: Option<f64>| seconds.map(|seconds| 1.0 / seconds);
        leak.seconds_to_limit = rate(together(
            rate(leak.seconds_to_limit),
            rate(more.seconds_to_limit),
        ));
        leak.bytes_per_operation = together(leak.bytes_per_operation, more.bytes_per_operation);
        leak.bytes_per_second += more.bytes_per_second;
        leak.objects_per_second += more.objects_per_second;
        leak.since_seconds = leak.since_seconds.min(more.since_seconds);
        // The first is the surest: its confidence and caveats stay.
        stack.values += added.values;
        stack.stacks += added.stacks;
        None
    }

    /// Where memory is asked for.
    #[must_use]
    pub fn place(&self) -> Option<&Frame> {
        let stack = self.stack.as_ref()?;
        stack.frames.get(stack.place?)
    }

    /// The frame of the program's own code, for annotations of its lines; where there is none, the place.
    #[must_use]
    pub fn own_place(&self) -> Option<&Frame> {
        let stack = self.stack.as_ref()?;
        stack.frames.get(stack.own.or(stack.place)?)
    }

    /// Bytes a second, of a leak.
    #[must_use]
    pub const fn rate(&self) -> f64 {
        match &self.what {
            What::Leak(leak) => leak.bytes_per_second,
            _ => 0.0,
        }
    }
}

impl Judgement {
    /// All findings, the suppressed and the uncertain ones as well.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Finding> {
        self.findings
            .iter_mut()
            .chain(&mut self.warnings)
            .chain(&mut self.suppressed)
    }

    /// Says of each frame what people call its function in a profile.
    pub fn name_functions(&mut self, profile: &Profile, style: NameStyle) {
        let names = names([profile], style);
        for finding in self.all_mut() {
            for stack in finding.stack.iter_mut().chain(&mut finding.others) {
                for frame in &mut stack.frames {
                    let short = names.show(&frame.function);
                    frame.short = (short != frame.function).then(|| short.to_owned());
                }
                if style == NameStyle::Short {
                    stack.purpose = stack.purpose.as_ref().map(|name| function_of(name, ""));
                }
            }
        }
    }
}
