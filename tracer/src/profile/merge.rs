//! Several profiles as one: amounts added, places of the same code put together.
//!
//! Places are the same by pprof's rules for merging: mappings by size, offset and build id (or file
//! where there is none), locations by their offset in the mapping and their frames. So nothing that
//! tells two places apart is lost; to compare across builds is what [`super::diff`] is for.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::sampled::{apart, together};
use super::{
    CounterValue, Function, FunctionIndex, Line, Location, LocationIndex, Mapping, MappingIndex,
    Metadata, Profile, Sample, Verdict,
};

/// Why profiles cannot be put together or compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// One counts more of what it sees than the other.
    #[error(
        "they were sampled differently, one {}, the other {}: record both the same way",
        sampling(*.0), sampling(*.1)
    )]
    Period(i64, i64),
}

impl Incompatible {
    /// Whether amounts of the two profiles may be compared.
    ///
    /// # Errors
    /// When not, and why.
    pub fn check(one: &Profile, other: &Profile) -> Result<(), Self> {
        let (one, other) = (one.metadata.period, other.metadata.period);
        if one == other {
            Ok(())
        } else {
            Err(Self::Period(one, other))
        }
    }
}

fn sampling(period: i64) -> String {
    match period {
        0 => "at an interval it does not tell".to_owned(),
        1 => "with every allocation counted".to_owned(),
        _ => format!("once per {period} bytes"),
    }
}

impl Profile {
    /// Puts samples with the same stack, process and labels into the first of them.
    pub fn merge_equal_samples(&mut self) {
        let mut first_of: HashMap<_, usize> = HashMap::new();
        let mut merged: Vec<Sample> = Vec::new();
        for sample in self.samples.drain(..) {
            let stack = (sample.locations.clone(), sample.pid, sample.labels.clone());
            match first_of.entry(stack) {
                Entry::Occupied(first) => {
                    let first = &mut merged[*first.get()];
                    first.values += sample.values;
                    first.errors = first.errors.plus(sample.errors);
                }
                Entry::Vacant(place) => {
                    place.insert(merged.len());
                    merged.push(sample);
                }
            }
        }
        self.samples = merged;
        let stacks = self.samples.len() as u64;
        let mut counters = self.counters.iter_mut();
        if let Some(counter) = counters.find(|counter| counter.name == "stacks") {
            counter.value = stacks;
        }
    }
}

/// The sum of profiles; stacks are told apart by process and labels, too. The worst verdict counts.
///
/// # Errors
/// When their sampling intervals differ.
pub fn merge<'a>(profiles: impl IntoIterator<Item = &'a Profile>) -> Result<Profile, Incompatible> {
    let profiles: Vec<&Profile> = profiles.into_iter().collect();
    let Some(&first) = profiles.first() else {
        return Ok(Profile::default());
    };
    let sampled = together(&profiles);
    let mut merger = Merger::starting_with(first);
    let mut sample_of = HashMap::new();
    for (nth, profile) in profiles.into_iter().enumerate() {
        Incompatible::check(first, profile)?;
        let metadata = &mut merger.profile.metadata;
        *metadata = match nth {
            0 => profile.metadata.clone(),
            _ => add_metadata(metadata, &profile.metadata),
        };
        add_counters(&mut merger.profile.counters, &profile.counters);
        merger.profile.peak = match nth {
            0 => profile.peak,
            _ => {
                let both = merger.profile.peak.zip(profile.peak);
                both.map(|(sum, other)| sum.plus(other))
            }
        };
        let verdict = std::mem::take(&mut merger.profile.verdict);
        merger.profile.verdict = verdict.worse_of(profile.verdict.clone());
        let mut adoption = merger.adopt(profile);
        for sample in &profile.samples {
            let locations = adoption.locations(sample);
            let samples = &mut adoption.merger.profile.samples;
            let index = *sample_of
                .entry((locations.clone(), sample.pid, sample.labels.clone()))
                .or_insert_with(|| {
                    samples.push(Sample {
                        locations,
                        pid: sample.pid,
                        labels: sample.labels.clone(),
                        ..Sample::default()
                    });
                    samples.len() - 1
                });
            if let Some(sum) = samples.get_mut(index) {
                sum.values = sum.values.plus(sample.values);
                if let Some((all, each)) = &sampled {
                    let had = each.get(nth).and_then(Option::as_ref);
                    sum.errors = sum.errors.plus(apart(sample, had, all));
                }
            }
        }
    }
    let mut merged = merger.profile;
    merged.sampled = sampled.map(|(all, _)| all);
    if merged.peak.is_none() {
        merged.forget_peak();
    }
    Ok(merged)
}

/// From the first beginning to the last end.
fn add_metadata(sum: &Metadata, other: &Metadata) -> Metadata {
    let start = |metadata: &Metadata| {
        let duration = metadata.duration_nanos?;
        Some(metadata.time_nanos.saturating_sub(duration))
    };
    let time_nanos = sum.time_nanos.max(other.time_nanos);
    let mut source = sum.source.clone();
    if !source.is_empty() && !other.source.is_empty() {
        source.push_str("; ");
    }
    source.push_str(&other.source);
    let mut pids = sum.pids.clone();
    pids.extend(other.pids.iter().filter(|pid| !sum.pids.contains(pid)));
    let mut notes = sum.notes.clone();
    notes.extend(
        other
            .notes
            .iter()
            .filter(|note| !sum.notes.contains(note))
            .cloned(),
    );
    Metadata {
        time_nanos,
        duration_nanos: start(sum)
            .zip(start(other))
            .map(|(one, other)| time_nanos.saturating_sub(one.min(other))),
        period: sum.period,
        source,
        pids,
        notes,
    }
}

/// Adds counters of the same name.
pub(super) fn add_counters(sum: &mut Vec<CounterValue>, other: &[CounterValue]) {
    for counter in other {
        match sum.iter_mut().find(|known| known.name == counter.name) {
            Some(known) => known.value = known.value.saturating_add(counter.value),
            None => sum.push(counter.clone()),
        }
    }
}

impl Verdict {
    /// The worse of two verdicts, with the reasons of both.
    #[must_use]
    pub fn worse_of(self, other: Self) -> Self {
        let mut all = self.reasons().to_vec();
        for reason in other.reasons() {
            if !all.contains(reason) {
                all.push(reason.clone());
            }
        }
        match (self, other) {
            (Self::Complete, Self::Complete) => Self::Complete,
            (Self::Inconclusive { .. }, _) | (_, Self::Inconclusive { .. }) => {
                Self::Inconclusive { reasons: all }
            }
            (Self::Sampled { .. }, _) | (_, Self::Sampled { .. }) => Self::Sampled { reasons: all },
            _ => Self::Degraded { reasons: all },
        }
    }
}

/// Size in pages, offset, and build id or path: what makes two mappings the same.
#[derive(PartialEq, Eq, Hash)]
struct MappingKey(u64, u64, String);

impl MappingKey {
    fn of(mapping: &Mapping) -> Self {
        const PAGE: u64 = 0x1000;
        let size = mapping.limit.wrapping_sub(mapping.start);
        let name = if mapping.build_id.is_empty() {
            &mapping.path
        } else {
            &mapping.build_id
        };
        Self(size.div_ceil(PAGE), mapping.file_offset, name.clone())
    }
}

/// A profile that takes in the places of others, each once.
#[derive(Default)]
pub(super) struct Merger {
    pub(super) profile: Profile,
    mappings: HashMap<MappingKey, MappingIndex>,
    functions: HashMap<Function, FunctionIndex>,
    locations: HashMap<Location, LocationIndex>,
}

impl Merger {
    /// Begins with all places of a profile, as they are.
    pub(super) fn starting_with(profile: &Profile) -> Self {
        let mut merger = Self {
            profile: Profile {
                mappings: profile.mappings.clone(),
                functions: profile.functions.clone(),
                locations: profile.locations.clone(),
                ..Profile::default()
            },
            ..Self::default()
        };
        let mappings = profile.mappings.iter().enumerate();
        for (index, mapping) in mappings {
            let key = MappingKey::of(mapping);
            merger.mappings.entry(key).or_insert(index);
        }
        for (index, function) in profile.functions.iter().enumerate() {
            merger.functions.entry(function.clone()).or_insert(index);
        }
        for (index, location) in profile.locations.iter().enumerate() {
            let index = LocationIndex::new(index);
            merger.locations.entry(location.clone()).or_insert(index);
        }
        merger
    }

    /// Prepares to take in places of another profile.
    pub(super) fn adopt<'a>(&'a mut self, from: &'a Profile) -> Adoption<'a> {
        // All mappings, in their order: the first is the program.
        let mappings = from
            .mappings
            .iter()
            .map(|mapping| self.mapping(mapping))
            .collect();
        Adoption {
            functions: vec![None; from.functions.len()],
            locations: vec![None; from.locations.len()],
            mappings,
            merger: self,
            from,
        }
    }

    fn mapping(&mut self, mapping: &Mapping) -> MappingIndex {
        let known = &mut self.profile.mappings;
        let index = *self
            .mappings
            .entry(MappingKey::of(mapping))
            .or_insert_with(|| {
                known.push(mapping.clone());
                known.len() - 1
            });
        if let Some(known) = known.get_mut(index) {
            known.has_functions |= mapping.has_functions;
            known.has_filenames |= mapping.has_filenames;
            known.has_line_numbers |= mapping.has_line_numbers;
            known.has_inline_frames |= mapping.has_inline_frames;
        }
        index
    }
}

/// Where the places of one profile are in the merged one.
pub(super) struct Adoption<'a> {
    pub(super) merger: &'a mut Merger,
    from: &'a Profile,
    mappings: Vec<MappingIndex>,
    functions: Vec<Option<FunctionIndex>>,
    locations: Vec<Option<LocationIndex>>,
}

impl Adoption<'_> {
    /// A sample's stack in the merged profile.
    pub(super) fn locations(&mut self, sample: &Sample) -> Vec<LocationIndex> {
        let locations = sample.locations.iter();
        locations
            .filter_map(|&location| self.location(location))
            .collect()
    }

    fn location(&mut self, index: LocationIndex) -> Option<LocationIndex> {
        if let &known @ Some(_) = self.locations.get(index.position())? {
            return known;
        }
        let from = self.from;
        let location = from.location(index)?;
        let mapping = location
            .mapping
            .and_then(|index| Some((from.mappings.get(index)?, *self.mappings.get(index)?)));
        let mut lines = Vec::with_capacity(location.lines.len());
        for line in &location.lines {
            lines.push(Line {
                function: self.function(line.function)?,
                line: line.line,
            });
        }
        let adopted = Location {
            mapping: mapping.map(|(_, to)| to),
            // The same code lies elsewhere in the merged profile's address space.
            address: match mapping.and_then(|(from, to)| {
                let to = self.merger.profile.mappings.get(to)?;
                Some(to.start.wrapping_sub(from.start))
            }) {
                Some(shift) => location.address.wrapping_add(shift),
                None => location.address,
            },
            lines,
            unknown: location.unknown.clone(),
        };
        let merger = &mut *self.merger;
        let profile = &mut merger.profile;
        let to = *merger
            .locations
            .entry(adopted)
            .or_insert_with_key(|location| profile.add_location(location.clone()));
        *self.locations.get_mut(index.position())? = Some(to);
        Some(to)
    }

    fn function(&mut self, index: FunctionIndex) -> Option<FunctionIndex> {
        if let &known @ Some(_) = self.functions.get(index)? {
            return known;
        }
        let function = self.from.functions.get(index)?;
        let merger = &mut *self.merger;
        let known = &mut merger.profile.functions;
        let to = match merger.functions.get(function) {
            Some(&to) => to,
            None => {
                known.push(function.clone());
                merger.functions.insert(function.clone(), known.len() - 1);
                known.len() - 1
            }
        };
        *self.functions.get_mut(index)? = Some(to);
        Some(to)
    }
}

#[cfg(test)]
mod tests {
    use super::{Incompatible, merge};
    use crate::export::example::counter_service;
    use crate::profile::{Profile, Values, Verdict};

    fn total(profile: &Profile) -> Values {
        let samples = profile.samples.iter();
        samples.fold(Values::default(), |sum, sample| sum.plus(sample.values))
    }

    #[test]
    fn of_one_profile_nothing_changes() -> Result<(), Incompatible> {
        let profile = counter_service();
        assert_eq!(merge([&profile])?, profile);
        assert_eq!(merge([])?, Profile::default());
        Ok(())
    }

    #[test]
    fn equal_samples_become_one() {
        let mut profile = counter_service();
        let (before, stacks) = (total(&profile), profile.samples.len());
        let mut of_another_process = profile.samples[1].clone();
        of_another_process.pid = Some(7);
        profile.samples.push(profile.samples[1].clone());
        profile.samples.push(of_another_process);
        let sum = total(&profile);
        profile.merge_equal_samples();
        assert_eq!(total(&profile), sum);
        assert_ne!(sum, before);
        assert_eq!(profile.samples.len(), stacks + 1);
        assert_eq!(profile.validate(), Ok(()));
    }

    #[test]
    fn the_same_code_at_another_address_is_one_place() -> Result<(), Incompatible> {
        let one = counter_service();
        let mut other = counter_service();
        for mapping in &mut other.mappings {
            mapping.start += 0x7000;
            mapping.limit += 0x7000;
        }
        for location in &mut other.locations {
            location.address += 0x7000;
        }
        let merged = merge([&one, &other])?;
        assert_eq!(merged.validate(), Ok(()));
        assert_eq!(merged.mappings, one.mappings);
        assert_eq!(merged.functions, one.functions);
        assert_eq!(merged.locations, one.locations);
        assert_eq!(merged.samples.len(), one.samples.len());
        assert_eq!(total(&merged), total(&one).plus(total(&other)));
        assert_eq!(merged.counters[2].value, 4);
        assert_eq!(merged.metadata.pids, [4711]);
        assert_eq!(merged.metadata.notes, one.metadata.notes);
        Ok(())
    }

    #[test]
    fn other_code_processes_and_lines_stay_apart() -> Result<(), Incompatible> {
        let one = counter_service();
        let changes: [fn(&mut Profile); 3] = [
            |profile| profile.mappings[0].build_id = "77".to_owned(),
            |profile| profile.samples.iter_mut().for_each(|s| s.pid = Some(7)),
            |profile| profile.locations[0].lines[0].line += 1,
        ];
        for change in changes {
            let mut other = counter_service();
            change(&mut other);
            let merged = merge([&one, &other])?;
            assert_eq!(merged.validate(), Ok(()));
            assert_eq!(merged.samples.len(), 2 * one.samples.len());
            assert_eq!(total(&merged), total(&one).plus(total(&other)));
        }
        Ok(())
    }

    #[test]
    fn a_window_reaches_from_the_first_beginning_to_the_last_end() -> Result<(), Incompatible> {
        let window = |time_nanos, duration_nanos| {
            let mut profile = Profile::default();
            profile.metadata.time_nanos = time_nanos;
            profile.metadata.duration_nanos = duration_nanos;
            profile
        };
        let metadata = merge([&window(200, Some(50)), &window(100, Some(30))])?.metadata;
        assert_eq!(
            (metadata.time_nanos, metadata.duration_nanos),
            (200, Some(130))
        );
        let metadata = merge([&window(200, Some(50)), &window(100, None)])?.metadata;
        assert_eq!(metadata.duration_nanos, None);
        Ok(())
    }

    #[test]
    fn the_worst_verdict_counts() {
        let degraded = |reason: &str| Verdict::Degraded {
            reasons: vec![reason.to_owned()],
        };
        let inconclusive = Verdict::Inconclusive {
            reasons: vec!["c".to_owned()],
        };
        let complete = Verdict::Complete;
        assert_eq!(complete.clone().worse_of(complete.clone()), complete);
        assert_eq!(complete.worse_of(degraded("a")), degraded("a"));
        assert_eq!(degraded("a").worse_of(degraded("a")), degraded("a"));
        assert_eq!(
            inconclusive.worse_of(degraded("a")),
            Verdict::Inconclusive {
                reasons: vec!["c".to_owned(), "a".to_owned()]
            }
        );
        let sampled = Verdict::Sampled {
            reasons: vec!["s".to_owned()],
        };
        assert_eq!(Verdict::Complete.worse_of(sampled.clone()), sampled);
        assert_eq!(degraded("a").worse_of(sampled.clone()).name(), "sampled");
        let inconclusive = Verdict::Inconclusive { reasons: vec![] };
        assert_eq!(sampled.worse_of(inconclusive).name(), "inconclusive");
    }

    #[test]
    fn different_sampling_is_refused() {
        let mut sampled = counter_service();
        sampled.metadata.period = 524_288;
        let error = merge([&counter_service(), &sampled]);
        assert_eq!(error, Err(Incompatible::Period(1, 524_288)));
    }
}
