//! The policy file as it is written: its keys are the names of the options of `tracer check`.
//!
//! Keys that earlier versions had are read as well, with a note that says what they are called now.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, de};

use super::{Baseline, Budget, Growth, KnownLeaks, MaxGrowth, Peak, Policy};
use crate::check::suppressions::Suppressions;
use crate::check::units::{Bytes, Tolerance, time};
use crate::sites::Rules;

/// All keys.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PolicyFile {
    no_leaks: Option<bool>,
    allow_leaks: Option<bool>,
    allow_undecided: bool,
    #[serde(deserialize_with = "duration")]
    warm_up: Option<Duration>,
    #[serde(deserialize_with = "one_or_more")]
    max_growth: Vec<MaxGrowth>,
    #[serde(deserialize_with = "rate")]
    operations_per_second: Option<f64>,
    max_peak: Option<Bytes>,
    max_peak_objects: Option<u32>,
    memory_limit: Option<Bytes>,
    #[serde(deserialize_with = "baseline")]
    baseline: Option<Baseline>,
    tolerance: Option<Tolerance>,
    min_growth: Option<Bytes>,
    #[serde(deserialize_with = "suppressions")]
    suppressions: KnownLeaks,
    budget: Vec<Budget>,
    #[serde(deserialize_with = "sites")]
    sites: Rules,
    // As earlier versions had them.
    growth: Option<GrowthTable>,
    peak: Option<PeakTable>,
}

impl TryFrom<PolicyFile> for Policy {
    type Error = &'static str;

    fn try_from(file: PolicyFile) -> Result<Self, Self::Error> {
        if file.no_leaks.is_some() && file.allow_leaks.is_some() {
            return Err("no-leaks and allow-leaks say the same thing twice: leave one out");
        }
        let mut notes = Vec::new();
        let mut growth = Growth::default();
        let mut peak = Peak::default();
        if let Some(old) = file.growth {
            notes.push(
                "the table [growth] is read as before; write max-growth = [\"1kB/s\", \"16B/op\"] and \
                 operations-per-second at the top instead"
                    .to_owned(),
            );
            growth = old.into();
        }
        if let Some(old) = file.peak {
            notes.push(
                "the table [peak] is read as before; write max-peak and max-peak-objects at the top instead"
                    .to_owned(),
            );
            peak = old.into();
        }
        for limit in file.max_growth {
            limit.apply(&mut growth);
        }
        growth.operations_per_second = file.operations_per_second.or(growth.operations_per_second);
        peak.max_live = file.max_peak.or(peak.max_live);
        peak.max_live_objects = file.max_peak_objects.or(peak.max_live_objects);
        Ok(Self {
            no_leaks: file.no_leaks.or(file.allow_leaks.map(|allowed| !allowed)),
            allow_undecided: file.allow_undecided,
            warm_up: file.warm_up,
            growth: (growth != Growth::default()).then_some(growth),
            peak: (peak != Peak::default()).then_some(peak),
            budgets: file.budget,
            baseline: file.baseline.map(|baseline| Baseline {
                tolerance: file.tolerance.unwrap_or(baseline.tolerance),
                min_growth: file.min_growth.unwrap_or(baseline.min_growth),
                ..baseline
            }),
            tolerance: file.tolerance,
            min_growth: file.min_growth,
            memory_limit: file.memory_limit,
            sites: file.sites,
            suppressions: file.suppressions,
            notes,
        })
    }
}

/// Patterns of code.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct SitesTable {
    own: Vec<String>,
    wrappers: Vec<String>,
}

fn sites<'de, D: Deserializer<'de>>(from: D) -> Result<Rules, D::Error> {
    let table = SitesTable::deserialize(from)?;
    let compiled = |patterns: Vec<String>| -> Result<Vec<Regex>, D::Error> {
        let patterns = patterns.iter().map(|pattern| Regex::new(pattern));
        patterns
            .collect::<Result<_, _>>()
            .map_err(de::Error::custom)
    };
    Ok(Rules::new(compiled(table.own)?, compiled(table.wrappers)?))
}

#[derive(Deserialize)]
#[serde(
    try_from = "GrowthKeys",
    expecting = "a table with max-per-second or max-per-operation"
)]
struct GrowthTable(GrowthKeys);

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table with max-per-second or max-per-operation"
)]
struct GrowthKeys {
    max_per_second: Option<Bytes>,
    max_per_operation: Option<Bytes>,
    #[serde(default, deserialize_with = "rate")]
    operations_per_second: Option<f64>,
}

impl TryFrom<GrowthKeys> for GrowthTable {
    type Error = &'static str;

    fn try_from(keys: GrowthKeys) -> Result<Self, Self::Error> {
        if keys.max_per_second.is_none() && keys.max_per_operation.is_none() {
            return Err("growth needs max-per-second or max-per-operation");
        }
        Ok(Self(keys))
    }
}

impl From<GrowthTable> for Growth {
    fn from(GrowthTable(keys): GrowthTable) -> Self {
        Self {
            max_per_second: keys.max_per_second,
            max_per_operation: keys.max_per_operation,
            operations_per_second: keys.operations_per_second,
        }
    }
}

#[derive(Deserialize)]
#[serde(
    try_from = "PeakKeys",
    expecting = "a table with max-live or max-live-objects"
)]
struct PeakTable(PeakKeys);

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table with max-live or max-live-objects"
)]
struct PeakKeys {
    max_live: Option<Bytes>,
    max_live_objects: Option<u32>,
}

impl TryFrom<PeakKeys> for PeakTable {
    type Error = &'static str;

    fn try_from(keys: PeakKeys) -> Result<Self, Self::Error> {
        if keys.max_live.is_none() && keys.max_live_objects.is_none() {
            return Err("peak needs max-live or max-live-objects");
        }
        Ok(Self(keys))
    }
}

impl From<PeakTable> for Peak {
    fn from(PeakTable(keys): PeakTable) -> Self {
        Self {
            max_live: keys.max_live,
            max_live_objects: keys.max_live_objects,
        }
    }
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table with function and a limit such as max-live"
)]
pub(super) struct BudgetTable {
    #[serde(deserialize_with = "regex")]
    function: Regex,
    max_live: Option<Bytes>,
    max_live_objects: Option<u32>,
    max_allocated: Option<Bytes>,
    max_allocated_objects: Option<u32>,
}

impl TryFrom<BudgetTable> for Budget {
    type Error = &'static str;

    fn try_from(keys: BudgetTable) -> Result<Self, Self::Error> {
        let bytes = keys.max_live.is_some() || keys.max_allocated.is_some();
        let objects = keys.max_live_objects.is_some() || keys.max_allocated_objects.is_some();
        if !bytes && !objects {
            return Err("a budget needs a limit such as max-live");
        }
        Ok(Self {
            function: keys.function,
            max_live: keys.max_live,
            max_live_objects: keys.max_live_objects,
            max_allocated: keys.max_allocated,
            max_allocated_objects: keys.max_allocated_objects,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct BaselineTable {
    file: PathBuf,
    #[serde(default)]
    tolerance: Tolerance,
    #[serde(default)]
    min_growth: Bytes,
}

/// The name of a file, or a table with it.
fn baseline<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Baseline>, D::Error> {
    struct Key;
    impl<'de> de::Visitor<'de> for Key {
        type Value = Baseline;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the name of a file")
        }

        fn visit_str<E: de::Error>(self, file: &str) -> Result<Baseline, E> {
            Ok(Baseline::of(file.into()))
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Baseline, A::Error> {
            let table = BaselineTable::deserialize(MapAccessDeserializer::new(map))?;
            Ok(Baseline {
                tolerance: table.tolerance,
                min_growth: table.min_growth,
                ..Baseline::of(table.file)
            })
        }
    }
    deserializer.deserialize_any(Key).map(Some)
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SuppressionsTable {
    #[serde(deserialize_with = "patterns")]
    leaks: Suppressions,
    files: Vec<PathBuf>,
}

/// Files, or a table with patterns and files.
fn suppressions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KnownLeaks, D::Error> {
    struct Key;
    impl<'de> de::Visitor<'de> for Key {
        type Value = KnownLeaks;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("names of files, or a table with leaks and files")
        }

        fn visit_str<E: de::Error>(self, file: &str) -> Result<KnownLeaks, E> {
            Ok(KnownLeaks {
                files: vec![file.into()],
                ..KnownLeaks::default()
            })
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, files: A) -> Result<KnownLeaks, A::Error> {
            Ok(KnownLeaks {
                files: Vec::deserialize(SeqAccessDeserializer::new(files))?,
                ..KnownLeaks::default()
            })
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<KnownLeaks, A::Error> {
            let table = SuppressionsTable::deserialize(MapAccessDeserializer::new(map))?;
            Ok(KnownLeaks {
                leaks: table.leaks,
                files: table.files,
            })
        }
    }
    deserializer.deserialize_any(Key)
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a time such as \"10s\"")]
enum Time {
    Seconds(f64),
    Text(String),
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = match Time::deserialize(deserializer)? {
        Time::Seconds(seconds) => seconds.to_string(),
        Time::Text(text) => text,
    };
    time(&text).map(Some).map_err(de::Error::custom)
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected growth such as \"1kB/s\" or \"16B/op\""
)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MaxGrowth>, D::Error> {
    let texts = match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(text) => vec![text],
        OneOrMore::More(texts) => texts,
    };
    let limits = texts.iter().map(|text| text.parse());
    limits
        .collect::<Result<_, String>>()
        .map_err(de::Error::custom)
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let rate = f64::deserialize(deserializer)?;
    if !rate.is_finite() || rate <= 0.0 {
        return Err(de::Error::custom("operations-per-second must be above 0"));
    }
    Ok(Some(rate))
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
