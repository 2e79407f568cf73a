//! The ledger a workload keeps of itself, and its comparison with a profile.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tracer::profile::{Profile, Values};

use crate::profile;

/// Everything a workload has done since its gate opened.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Ledger {
    /// Calls of allocator functions.
    pub calls: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls of free with NULL.
    pub null_frees: u64,
    /// All parts together.
    pub total: Amount,
    /// By the function below which the block was allocated.
    pub parts: BTreeMap<String, Amount>,
    /// How often each special case was met.
    pub cases: BTreeMap<String, u64>,
}

/// What has been allocated, and how much of that freed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Amount {
    /// Objects allocated.
    pub alloc_objects: u64,
    /// Bytes asked for.
    pub alloc_bytes: u64,
    /// Objects of these that were freed.
    pub free_objects: u64,
    /// Bytes of these.
    pub free_bytes: u64,
}

impl Amount {
    /// As a profile has it.
    ///
    /// # Errors
    /// More was freed than allocated, or a number is absurd: the workload is wrong.
    pub fn values(&self) -> Result<Values> {
        let live_objects = self.alloc_objects.checked_sub(self.free_objects);
        let live_bytes = self.alloc_bytes.checked_sub(self.free_bytes);
        Ok(Values {
            alloc_objects: self.alloc_objects.try_into()?,
            alloc_space: self.alloc_bytes.try_into()?,
            inuse_objects: live_objects
                .context("freed more than allocated")?
                .try_into()?,
            inuse_space: live_bytes
                .context("freed more than allocated")?
                .try_into()?,
            ..Values::default()
        })
    }
}

/// Cases of functions that only some C libraries have.
const C23: [&str; 1] = ["free_sized"];

/// Cases of functions that only jemalloc has.
pub const JEMALLOC: [&str; 4] = ["xallocx_resized", "xallocx_refused", "dallocx", "sdallocx"];

impl Ledger {
    /// Reads the line a workload prints.
    ///
    /// # Errors
    /// The line is no ledger.
    pub fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).with_context(|| format!("not a ledger: {line}"))
    }

    /// Checks that the workload really did all it is for: each of its special cases happened.
    ///
    /// # Errors
    /// Names the cases that never happened.
    pub fn check_cases(&self) -> Result<()> {
        let is_special = |name: &String| C23.contains(&&**name) || JEMALLOC.contains(&&**name);
        let missing: Vec<_> = self
            .cases
            .iter()
            .filter(|&(name, &count)| count == 0 && !is_special(name))
            .map(|(name, _)| name.as_str())
            .collect();
        if !missing.is_empty() {
            bail!("the workload never came to: {}", missing.join(", "));
        }
        Ok(())
    }

    /// Compares everything in a profile with everything in the ledger. Right only where the tracer
    /// saw nothing but what the ledger saw, that is from before the gate to after the report.
    ///
    /// # Errors
    /// Lists every difference.
    pub fn check_totals(&self, profile: &Profile) -> Result<()> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, ours: u64, theirs: u64| {
            if ours != theirs {
                differences.push(format!("{what}: ledger {ours}, profile {theirs}"));
            }
        };
        for (name, ours) in [
            ("alloc_objects", self.total.alloc_objects),
            ("alloc_bytes", self.total.alloc_bytes),
            ("free_objects", self.total.free_objects),
            ("free_bytes", self.total.free_bytes),
            ("failed_allocs", self.failed),
            ("unknown_frees", 0),
        ] {
            compare(name, ours, profile::counter(profile, name)?);
        }
        let expected = self.total.values()?;
        let found = profile::total(profile);
        if expected != found {
            differences.push(format!("samples: ledger {expected:?}, profile {found:?}"));
        }
        report(&differences, profile)
    }

    /// Compares each part with the samples whose stack goes through the part's function. Right
    /// also where the tracer saw more than the ledger.
    ///
    /// # Errors
    /// Lists every difference.
    pub fn check_parts(&self, profile: &Profile) -> Result<()> {
        let mut differences = Vec::new();
        for (function, amount) in &self.parts {
            let expected = amount.values()?;
            let found = profile::through(profile, function);
            if expected != found {
                differences.push(format!(
                    "{function}: ledger {expected:?}, profile {found:?}"
                ));
            }
        }
        report(&differences, profile)
    }

    /// As [`Self::check_parts`], where a stack may come before the tracer knows what is mapped: right
    /// after an exec. What a part lacks must be among the stacks that say that callers are missing.
    ///
    /// # Errors
    /// Lists what a part has too much, and what is nowhere.
    pub fn check_parts_or_cut(&self, profile: &Profile) -> Result<()> {
        let mut differences = Vec::new();
        let mut missing = Values::default();
        for (function, amount) in &self.parts {
            let expected = amount.values()?;
            let found = profile::through(profile, function);
            if !profile::contains(expected, found) {
                differences.push(format!(
                    "{function}: ledger {expected:?}, profile {found:?}"
                ));
            }
            missing = missing.plus(expected.minus(found));
        }
        let cut = profile::cut(profile);
        if !profile::contains(cut, missing) {
            differences.push(format!("missing {missing:?}, cut {cut:?}"));
        }
        report(&differences, profile)
    }
}

fn report(differences: &[String], profile: &Profile) -> Result<()> {
    if differences.is_empty() {
        return Ok(());
    }
    bail!("{}\n{}", differences.join("\n"), profile::summary(profile));
}
