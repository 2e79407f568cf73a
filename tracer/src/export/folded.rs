//! Folded stacks, the input of flame graph tools: `root;caller;leaf VALUE` a line.
//!
//! The format has no room for `drop_frames`, so the frames it hides are left out here. Nor for
//! anything else: counters and verdict do not survive it.
//!
//! Names are the full ones. Programs read this, and set one file against another: a short name depends on what
//! else is in the profile.

use std::collections::BTreeMap;
use std::io;
use std::io::Write;

use crate::names::NameStyle;
use crate::printable::printable;
use crate::profile::{Diff, FrameRules, Profile, Sample, ValueKind, prune};
use crate::report::names;

/// Writes one value of every stack, sorted by stack; stacks with none of it are left out.
///
/// A `;` in a name would split the frame and becomes `:`, as in the collapse scripts of the
/// FlameGraph tools; a line break is escaped. A stack without frames is called `[unknown]`.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &Profile, value: ValueKind, out: &mut impl Write) -> io::Result<()> {
    for (stack, amount) in amounts(profile, value, NameStyle::Full) {
        writeln!(out, "{stack} {amount}")?;
    }
    Ok(())
}

/// One value of every stack, sorted by stack; without those that have none of it.
pub(super) fn amounts(
    profile: &Profile,
    value: ValueKind,
    names: NameStyle,
) -> BTreeMap<String, i64> {
    let profile = prune(profile, FrameRules::allocators());
    let names = Cleaned::of(&profile, names);
    let mut stacks: BTreeMap<String, i64> = BTreeMap::new();
    for sample in &profile.samples {
        let amount = sample.values.get(value);
        if amount == 0 {
            continue;
        }
        let sum = stacks.entry(names.stack(&profile, sample)).or_default();
        *sum = sum.saturating_add(amount);
    }
    stacks.retain(|_, amount| *amount != 0);
    stacks
}

/// Writes one value of every stack in A and in B: `root;caller;leaf BEFORE AFTER` a line, as
/// differential flame graphs take it. Stacks with none of it in both are left out.
///
/// # Errors
/// Those of the writer.
pub fn write_diff(diff: &Diff, value: ValueKind, out: &mut dyn Write) -> io::Result<()> {
    for (stack, [before, after]) in difference(diff, value, NameStyle::Full) {
        writeln!(out, "{stack} {before} {after}")?;
    }
    Ok(())
}

/// One value of every stack in A and in B, sorted by stack.
pub(super) fn difference(
    diff: &Diff,
    value: ValueKind,
    names: NameStyle,
) -> BTreeMap<String, [i64; 2]> {
    // Pruning keeps the samples and their order.
    let profile = prune(&diff.profile, FrameRules::allocators());
    let names = Cleaned::of(&profile, names);
    let mut stacks: BTreeMap<String, [i64; 2]> = BTreeMap::new();
    for (sample, change) in profile.samples.iter().zip(&diff.stacks) {
        let amounts = [change.before.get(value), change.after.get(value)];
        if amounts == [0, 0] {
            continue;
        }
        let sums = stacks.entry(names.stack(&profile, sample)).or_default();
        for (sum, amount) in sums.iter_mut().zip(amounts) {
            *sum = sum.saturating_add(amount);
        }
    }
    stacks
}

/// Function names as they stand in a line.
struct Cleaned(Vec<String>);

impl Cleaned {
    fn of(profile: &Profile, style: NameStyle) -> Self {
        let names = names([profile], style);
        let functions = profile.functions.iter();
        let shown = functions.map(|function| clean(names.show(&function.name)));
        Self(shown.collect())
    }

    fn stack(&self, profile: &Profile, sample: &Sample) -> String {
        let frames: Vec<&str> = profile
            .frames(sample)
            .map(|frame| self.0.get(frame.function).map_or("", String::as_str))
            .collect();
        if frames.is_empty() {
            "[unknown]".to_owned()
        } else {
            frames.join(";")
        }
    }
}

pub(super) fn clean(name: &str) -> String {
    printable(name).replace(';', ":")
}

#[cfg(test)]
mod tests {
    use super::{write, write_diff};
    use crate::export::example::counter_service;
    use crate::profile::{ValueKind, diff};

    #[test]
    fn stacks_are_root_first_and_hide_the_allocator() -> std::io::Result<()> {
        let mut profile = counter_service();
        profile.functions[4].name = "counter::walk;\nagain".to_owned();
        let mut out = Vec::new();
        write(&profile, ValueKind::InuseSpace, &mut out)?;
        insta::assert_snapshot!(String::from_utf8_lossy(&out), @r"
        main;counter::handle;counter::Cache::insert 2048000
        main;counter::walk:\nagain;counter::walk:\nagain;counter::walk:\nagain 1000
        main;libc.so.6+0x8f2c1 1048576
        ");
        Ok(())
    }

    #[test]
    fn a_difference_has_both_values() -> Result<(), Box<dyn std::error::Error>> {
        let before = counter_service();
        let mut after = counter_service();
        after.samples[0].values.inuse_space += 64;
        after.samples[1].values.inuse_space = 0;
        let mut out = Vec::new();
        write_diff(&diff(&before, &after)?, ValueKind::InuseSpace, &mut out)?;
        insta::assert_snapshot!(String::from_utf8_lossy(&out), @r"
        main;counter::handle;counter::Cache::insert 2048000 2048064
        main;counter::walk;counter::walk;counter::walk 1000 0
        main;libc.so.6+0x8f2c1 1048576 1048576
        ");
        Ok(())
    }

    #[test]
    fn what_stands_for_the_same_stack_is_one_line() -> std::io::Result<()> {
        let mut profile = counter_service();
        let mut of_another_process = profile.samples[1].clone();
        of_another_process.pid = Some(4712);
        profile.samples.push(of_another_process);
        let mut without_frames = profile.samples[1].clone();
        without_frames.locations.clear();
        profile.samples = profile.samples.split_off(4);
        profile.samples.push(profile.samples[0].clone());
        profile.samples.push(without_frames);
        let mut out = Vec::new();
        write(&profile, ValueKind::InuseObjects, &mut out)?;
        insta::assert_snapshot!(String::from_utf8_lossy(&out), @r"
        [unknown] 10
        main;counter::walk;counter::walk;counter::walk 20
        ");
        Ok(())
    }
}
