//! Stacks that are judged as one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;

use super::Recorded;
use crate::check::place;
use crate::check::policy::Policy;
use crate::check::suppressions::frames;
use crate::profile::series::StackId;
use crate::profile::{Mapping, Profile, Sample};
use crate::sites::Sites;

/// The recording with stacks as one that differ only in how often code without a name is on them: an interpreter's
/// compiler makes as many frames of one script as it likes, and each stack would grow too rarely to tell.
pub(super) fn without_nameless(recorded: &Recorded) -> Cow<'_, Recorded> {
    let profile = &recorded.profile;
    let has_some = profile.samples.iter().any(|one| is_nameless(profile, one));
    if !has_some {
        return Cow::Borrowed(recorded);
    }
    let fingerprints = profile.fingerprints();
    grouped(recorded, |index| {
        let sample = profile.samples.get(index)?;
        is_nameless(profile, sample).then(|| fingerprints.get(index).copied())?
    })
}

/// The recording with the stacks of each site as one, but for those that other suppressions match: windows see little of
/// each of the ways that lead to a line, such as those of a service's threads.
pub(super) fn by_site<'a>(recorded: &'a Recorded, policy: &Policy) -> Cow<'a, Recorded> {
    let profile = &recorded.profile;
    let sites = Sites::new(profile, &policy.sites);
    grouped(recorded, |index| {
        let sample = profile.samples.get(index)?;
        let located = place::stack(&sites, sample);
        let at = located.frames.get(located.place?)?;
        let stack = frames(profile, sample);
        let known: Vec<usize> = policy.suppressions.leaks.positions(&stack).collect();
        Some((
            at.function.clone(),
            at.file.clone(),
            at.line,
            located.purpose,
            known,
        ))
    })
}

/// The recording with stacks as one whose samples have the same key; those without a key stay as they are.
fn grouped<K: Eq + Hash>(
    recorded: &Recorded,
    key: impl Fn(usize) -> Option<K>,
) -> Cow<'_, Recorded> {
    let mut firsts: HashMap<K, StackId> = HashMap::new();
    let mut into: HashMap<StackId, StackId> = HashMap::new();
    // In the order of the ids, so that the first is always the same.
    for (stack, _) in recorded.series.stacks() {
        let samples = recorded.samples.get(&stack);
        let sample = samples.and_then(|samples| samples.first());
        if let Some(key) = sample.and_then(|&index| key(index)) {
            into.insert(stack, *firsts.entry(key).or_insert(stack));
        }
    }
    if into.iter().all(|(stack, first)| stack == first) {
        return Cow::Borrowed(recorded);
    }
    let one = |stack: StackId| into.get(&stack).copied().unwrap_or(stack);
    let mut samples: HashMap<StackId, Vec<usize>> = HashMap::new();
    for (stack, own) in &recorded.samples {
        samples.entry(one(*stack)).or_default().extend(own);
    }
    for own in samples.values_mut() {
        own.sort_unstable();
    }
    Cow::Owned(Recorded {
        series: recorded.series.merged(one),
        profile: recorded.profile.clone(),
        samples,
    })
}

/// Whether code that lies in no file is on a stack.
fn is_nameless(profile: &Profile, sample: &Sample) -> bool {
    let mut locations = sample.locations.iter().filter_map(|&l| profile.location(l));
    locations.any(|location| {
        let mapping = location
            .mapping
            .and_then(|index| profile.mappings.get(index));
        location.unknown.is_some() && mapping.is_none_or(is_anonymous)
    })
}

fn is_anonymous(mapping: &Mapping) -> bool {
    let path = mapping.path.as_str();
    path != "[vdso]" && (path.is_empty() || path.starts_with('[') || path.starts_with("//anon"))
}

#[cfg(test)]
mod tests {
    use super::{by_site, without_nameless};
    use crate::check::Recorded;
    use crate::check::policy::Policy;
    use crate::profile::Invalid;
    use crate::profile::series::{Counters, Series, StackId, StackWindow, Window};
    use crate::sites::tests::profile;

    /// A recording of stacks, the nth of which has allocated n objects.
    fn recorded(program: &str, stacks: &[&[(&str, &str, &str)]]) -> Result<Recorded, Invalid> {
        let mut series = Series::new(0);
        series.push(Window {
            stacks: (0..stacks.len() as u64)
                .map(|id| StackWindow {
                    stack: StackId(id),
                    counters: Counters {
                        alloc_objects: 1 + id,
                        ..Counters::default()
                    },
                    ..StackWindow::default()
                })
                .collect(),
            ..Window::default()
        })?;
        Ok(Recorded::by_sample(series, profile(program, stacks)))
    }

    fn objects(recorded: &Recorded) -> Vec<(u64, u64)> {
        let stacks = recorded.series.stacks();
        stacks
            .map(|(id, history)| (id.0, history.counters().alloc_objects))
            .collect()
    }

    #[test]
    fn runs_of_nameless_code_are_one_frame() -> Result<(), Invalid> {
        let made = ("0x1", "", "JIT");
        let stack = |frames: usize| {
            let mut stack = vec![("node::Buffer::New", "", "")];
            stack.extend(std::iter::repeat_n(made, frames));
            stack.push(("main", "", ""));
            stack
        };
        let (one, three, none) = (stack(1), stack(3), stack(0));
        let recorded = recorded("/usr/bin/node", &[&one, &three, &none])?;
        let grouped = without_nameless(&recorded);
        assert_eq!(objects(&grouped), [(0, 3), (2, 3)]);
        assert_eq!(grouped.samples.get(&StackId(0)), Some(&vec![0, 1]));
        Ok(())
    }

    #[test]
    fn ways_to_one_line_are_one_unless_they_are_known_apart() -> Result<(), Invalid> {
        let way = |line, worker| {
            [
                ("shop::keep", line, ""),
                (worker, "src/main.rs:70", ""),
                ("main", "src/main.rs:90", ""),
            ]
        };
        let stacks = [
            way("src/main.rs:49", "shop::first"),
            way("src/main.rs:49", "shop::second"),
            way("src/main.rs:50", "shop::first"),
        ];
        let recorded = recorded("/usr/bin/shop", &[&stacks[0], &stacks[1], &stacks[2]])?;
        let grouped = by_site(&recorded, &Policy::default());
        assert_eq!(objects(&grouped), [(0, 3), (2, 3)]);
        let policy = Policy::parse("suppressions.leaks = [\"shop::second\"]");
        let known = by_site(&recorded, &policy.unwrap_or_default());
        assert_eq!(objects(&known), [(0, 1), (1, 2), (2, 3)]);
        Ok(())
    }
}
