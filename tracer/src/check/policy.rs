//! The policy of a project, `tracer.toml`:
//!
//! ```toml
//! no-leaks = true                # the default, but of one profile alone with other rules
//! allow-undecided = false        # stacks nobody can judge yet are no obstacle
//! warm-up = "10s"                # what grows before does not count; default: the first fifth
//!
//! [growth]                       # of live memory after the warm-up
//! max-per-second = "1KiB"
//! max-per-operation = "16B"
//! operations-per-second = 1000   # where the command line does not say
//!
//! [peak]
//! max-live = "512MiB"
//! max-live-objects = 1000000
//!
//! [[budget]]                     # of a function and all it calls; any number of them
//! function = "^cache::"          # regular expression, anywhere in the name
//! max-live = "64MiB"
//! max-live-objects = 100000
//! max-allocated = "1GiB"
//! max-allocated-objects = 5000000
//!
//! [baseline]
//! file = "baseline.pb.gz"
//! tolerance = "10%"              # of what a stack, or the whole, held; default 0%
//! min-growth = "64KiB"           # less is no growth; default 0B
//!
//! [suppressions]
//! leaks = ["^known_leak$"]       # LeakSanitizer's patterns
//! files = ["lsan.supp"]          # of LeakSanitizer or valgrind
//! ```
//!
//! Everything is optional; an unknown key is an error, since a limit that is misspelt is no limit.
//! Files are named as they stand: they are relative to the policy, and the caller reads them.

use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Deserializer, de};

use super::suppressions::Suppressions;
use super::units::{Bytes, Tolerance};

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
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// A leak is a breach. Where nobody says, it is, except that of one profile alone, which can't
    /// tell, only the other rules are asked.
    pub no_leaks: Option<bool>,
    /// Stacks that grew too few times, or while the load fell, to tell whether they leak do not make the
    /// result inconclusive.
    pub allow_undecided: bool,
    /// Time from the beginning of a recording after which growth counts; the first fifth of it
    /// where nobody says.
    #[serde(deserialize_with = "duration")]
    pub warm_up: Option<Duration>,
    /// Growth of live memory after the warm-up.
    pub growth: Option<Growth>,
    /// Most that may be live at once.
    pub peak: Option<Peak>,
    /// Budgets of functions.
    #[serde(rename = "budget")]
    pub budgets: Vec<Budget>,
    /// Comparison with an earlier profile.
    pub baseline: Option<Baseline>,
    /// Stacks that are known and not to be reported.
    pub suppressions: KnownLeaks,
}

/// Growth of live memory after the warm-up. In a policy file at least one limit is there.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "RawGrowth")]
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawGrowth {
    max_per_second: Option<Bytes>,
    max_per_operation: Option<Bytes>,
    operations_per_second: Option<f64>,
}

impl TryFrom<RawGrowth> for Growth {
    type Error = &'static str;

    fn try_from(raw: RawGrowth) -> Result<Self, Self::Error> {
        let rate = raw.operations_per_second;
        if raw.max_per_second.is_none() && raw.max_per_operation.is_none() {
            return Err("growth needs max-per-second or max-per-operation");
        }
        if rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err("operations-per-second must be above 0");
        }
        Ok(Self {
            max_per_second: raw.max_per_second,
            max_per_operation: raw.max_per_operation,
            operations_per_second: rate,
        })
    }
}

/// Most that may be live at once; at least one limit is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawPeak")]
pub struct Peak {
    /// Most bytes.
    pub max_live: Option<Bytes>,
    /// Most objects.
    pub max_live_objects: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawPeak {
    max_live: Option<Bytes>,
    max_live_objects: Option<u32>,
}

impl TryFrom<RawPeak> for Peak {
    type Error = &'static str;

    fn try_from(raw: RawPeak) -> Result<Self, Self::Error> {
        if raw.max_live.is_none() && raw.max_live_objects.is_none() {
            return Err("peak needs max-live or max-live-objects");
        }
        Ok(Self {
            max_live: raw.max_live,
            max_live_objects: raw.max_live_objects,
        })
    }
}

/// What a function and all it calls may hold and allocate; at least one limit is there.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawBudget")]
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawBudget {
    #[serde(deserialize_with = "regex")]
    function: Regex,
    max_live: Option<Bytes>,
    max_live_objects: Option<u32>,
    max_allocated: Option<Bytes>,
    max_allocated_objects: Option<u32>,
}

impl TryFrom<RawBudget> for Budget {
    type Error = &'static str;

    fn try_from(raw: RawBudget) -> Result<Self, Self::Error> {
        let bytes = raw.max_live.is_some() || raw.max_allocated.is_some();
        let objects = raw.max_live_objects.is_some() || raw.max_allocated_objects.is_some();
        if !bytes && !objects {
            return Err("a budget needs a limit such as max-live");
        }
        Ok(Self {
            function: raw.function,
            max_live: raw.max_live,
            max_live_objects: raw.max_live_objects,
            max_allocated: raw.max_allocated,
            max_allocated_objects: raw.max_allocated_objects,
        })
    }
}

/// Comparison with an earlier profile.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Baseline {
    /// Its file.
    pub file: PathBuf,
    /// Growth that is allowed, of what was held.
    #[serde(default)]
    pub tolerance: Tolerance,
    /// Growth below this is none.
    #[serde(default)]
    pub min_growth: Bytes,
}

/// Stacks that are known and not to be reported.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnownLeaks {
    /// Those named in the policy.
    #[serde(deserialize_with = "patterns")]
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
                reason: error.message().replace('\n', "; "),
            }
        })
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map(Some).map_err(|error| {
        de::Error::custom(format!(
            "`{text}` is not a time ({error}): say it as 10s or 1m30s"
        ))
    })
}

fn regex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Regex, D::Error> {
    Regex::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// A pattern of LeakSanitizer's, without its `leak:`.
struct LeakPattern(Suppressions);

impl<'de> Deserialize<'de> for LeakPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut suppressions = Suppressions::default();
        suppressions
            .add_pattern(&String::deserialize(deserializer)?)
            .map_err(de::Error::custom)?;
        Ok(Self(suppressions))
    }
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Suppressions, D::Error> {
    let mut all = Suppressions::default();
    for LeakPattern(one) in Vec::deserialize(deserializer)? {
        all.extend(one);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Growth, Peak, Policy};
    use crate::check::{Bytes, SuppressionFrame, Tolerance};

    /// The example at the head of this file.
    fn example() -> String {
        let source = include_str!("policy.rs");
        let block = source
            .lines()
            .skip_while(|line| *line != "//! ```toml")
            .skip(1);
        let block = block.take_while(|line| *line != "//! ```");
        block
            .map(|line| line.trim_start_matches("//!").trim_start().to_owned() + "\n")
            .collect()
    }

    #[test]
    fn the_example_means_what_it_says() -> Result<(), super::PolicyError> {
        let policy = Policy::parse(&example())?;
        assert_eq!(policy.no_leaks, Some(true));
        assert!(!policy.allow_undecided);
        assert_eq!(policy.warm_up, Some(Duration::from_secs(10)));
        assert_eq!(
            policy.growth,
            Some(Growth {
                max_per_second: Some(Bytes(1024)),
                max_per_operation: Some(Bytes(16)),
                operations_per_second: Some(1000.0),
            })
        );
        assert_eq!(
            policy.peak,
            Some(Peak {
                max_live: Some(Bytes(512 << 20)),
                max_live_objects: Some(1_000_000),
            })
        );
        let budgets: Vec<_> = policy
            .budgets
            .iter()
            .map(|b| (b.function.as_str(), b.max_allocated))
            .collect();
        assert_eq!(budgets, [("^cache::", Some(Bytes(1 << 30)))]);
        let baseline = policy.baseline.as_ref();
        assert_eq!(
            baseline.map(|b| (b.tolerance, b.min_growth)),
            Some((Tolerance(0.1), Bytes(65_536)))
        );
        assert_eq!(
            baseline.map(|b| b.file.as_path()),
            Some(Path::new("baseline.pb.gz"))
        );
        assert_eq!(policy.suppressions.files, [Path::new("lsan.supp")]);
        let known = SuppressionFrame {
            function: "known_leak",
            ..SuppressionFrame::default()
        };
        assert!(policy.suppressions.leaks.matching(&[known]).is_some());
        Ok(())
    }

    #[test]
    fn an_empty_policy_is_no_leaks() -> Result<(), super::PolicyError> {
        for text in ["", "# nothing\n", "[suppressions]\n"] {
            let policy = Policy::parse(text)?;
            assert!(policy.no_leaks.is_none() && !policy.has_other_rules());
        }
        assert_eq!(Policy::parse("no-leaks = false")?.no_leaks, Some(false));
        Ok(())
    }

    #[test]
    fn errors_name_line_and_reason() {
        for (text, line, reason) in [
            (
                "no-leaks = true\nmax-live = 3\n",
                2,
                "unknown field `max-live`",
            ),
            (
                "\n[growth]\nmax-per-second = \"1kB\"\n",
                3,
                "thousands or 1024s",
            ),
            (
                "\n[growth]\noperations-per-second = 5\n",
                2,
                "growth needs max-per-second",
            ),
            (
                "[growth]\nmax-per-second = 1\noperations-per-second = 0\n",
                1,
                "must be above 0",
            ),
            ("[peak]\n", 1, "peak needs max-live"),
            ("[peak]\nmax-live-objects = -1\n", 2, "-1"),
            ("[peak]\nmax-live = -1\n", 2, "-1 is below 0"),
            ("[peak]\nmax-live = true\n", 2, "expected an amount"),
            ("[peak]\nmax-life = \"1B\"\n", 2, "unknown field `max-life`"),
            (
                "\n\n[[budget]]\nfunction = \"f\"\n",
                3,
                "a budget needs a limit",
            ),
            ("[[budget]]\nmax-live = 1\n", 1, "missing field `function`"),
            (
                "[[budget]]\nmax-live = 1\nfunction = \"(\"\n",
                3,
                "unclosed group",
            ),
            ("warm-up = \"soon\"\n", 1, "say it as 10s"),
            ("warm-up = 10\n", 1, "expected a string"),
            (
                "[baseline]\ntolerance = \"10%\"\n",
                1,
                "missing field `file`",
            ),
            (
                "[baseline]\nfile = \"a\"\ntolerance = \"10\"\n",
                3,
                "say it as 10%",
            ),
            (
                // A list is one value.
                "[suppressions]\nleaks = [\n  \"f\",\n  \"*\",\n]\n",
                2,
                "would match every leak",
            ),
            (
                "[suppressions]\nfile = [\"a\"]\n",
                2,
                "unknown field `file`",
            ),
            ("a = \nb = 1\n", 1, ""),
            ("no-leaks = true\nno-leaks = false\n", 2, "duplicate"),
        ] {
            match Policy::parse(text) {
                Ok(policy) => panic!("{text}: {policy:?}"),
                Err(error) => {
                    assert_eq!(error.line, line, "{text}: {error}");
                    assert!(error.reason.contains(reason), "{text}: {error}");
                    assert_eq!(error.to_string().lines().count(), 1, "{error}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_does_harm(text in "(\\[|\\]|=|\"|max-live|peak|budget|[ -~]|\\PC|\n){0,30}") {
            if let Err(error) = Policy::parse(&text) {
                prop_assert!((1..=text.lines().count() + 1).contains(&error.line));
            }
        }
    }
}
