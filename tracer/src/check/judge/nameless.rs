//! Stacks that differ only in how often code without a name is on them: an interpreter's compiler makes as many
//! frames of one script as it likes. They are judged as one, or each would grow too rarely to tell.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Recorded;
use crate::profile::series::StackId;
use crate::profile::{Fingerprint, Mapping, Profile, Sample};

/// The recording with such stacks put together, where there are some.
pub(super) fn together(recorded: &Recorded) -> Cow<'_, Recorded> {
    let profile = &recorded.profile;
    let has_some = profile.samples.iter().any(|one| is_nameless(profile, one));
    if !has_some {
        return Cow::Borrowed(recorded);
    }
    let fingerprints = profile.fingerprints();
    let mut firsts: HashMap<Fingerprint, StackId> = HashMap::new();
    let mut into: HashMap<StackId, StackId> = HashMap::new();
    // In the order of the ids, so that the first is always the same.
    for (stack, _) in recorded.series.stacks() {
        let sample = recorded
            .samples
            .get(&stack)
            .and_then(|samples| samples.first());
        let Some(&index) = sample else {
            continue;
        };
        let nameless = profile
            .samples
            .get(index)
            .is_some_and(|one| is_nameless(profile, one));
        if let (true, Some(&fingerprint)) = (nameless, fingerprints.get(index)) {
            into.insert(stack, *firsts.entry(fingerprint).or_insert(stack));
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
        profile: profile.clone(),
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
    use super::together;
    use crate::check::Recorded;
    use crate::profile::Invalid;
    use crate::profile::series::{Counters, Series, StackId, StackWindow, Window};
    use crate::sites::tests::profile;

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
        let mut series = Series::new(0);
        series.push(Window {
            stacks: (0..3)
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
        let recorded =
            Recorded::by_sample(series, profile("/usr/bin/node", &[&one, &three, &none]));
        let grouped = together(&recorded);
        let counts: Vec<_> = grouped
            .series
            .stacks()
            .map(|(id, history)| (id.0, history.counters().alloc_objects))
            .collect();
        assert_eq!(counts, [(0, 3), (2, 3)]);
        assert_eq!(grouped.samples.get(&StackId(0)), Some(&vec![0, 1]));
        Ok(())
    }
}
