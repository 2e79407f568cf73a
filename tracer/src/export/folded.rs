//! Folded stacks, the input of flame graph tools: `root;caller;leaf VALUE` a line.
//!
//! The format has no room for `drop_frames`, so the frames it hides are left out here. Nor for
//! anything else: counters and verdict do not survive it.

use std::collections::BTreeMap;
use std::io;
use std::io::Write;

use crate::profile::{FrameRules, Profile, ValueKind, prune};

/// Writes one value of every stack, sorted by stack; stacks with none of it are left out.
///
/// A `;` in a name would split the frame and becomes `:`, as in the collapse scripts of the
/// FlameGraph tools; a line break becomes a space. A stack without frames is called `[unknown]`.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &Profile, value: ValueKind, out: &mut impl Write) -> io::Result<()> {
    let profile = prune(profile, FrameRules::allocators());
    let names: Vec<String> = profile
        .functions
        .iter()
        .map(|function| clean(&function.name))
        .collect();
    let mut stacks: BTreeMap<String, i64> = BTreeMap::new();
    for sample in &profile.samples {
        let amount = sample.values.get(value);
        if amount == 0 {
            continue;
        }
        let frames: Vec<&str> = profile
            .frames(sample)
            .map(|frame| names.get(frame.function).map_or("", String::as_str))
            .collect();
        let stack = if frames.is_empty() {
            "[unknown]".to_owned()
        } else {
            frames.join(";")
        };
        let sum = stacks.entry(stack).or_default();
        *sum = sum.saturating_add(amount);
    }
    for (stack, amount) in stacks.iter().filter(|&(_, &amount)| amount != 0) {
        writeln!(out, "{stack} {amount}")?;
    }
    Ok(())
}

fn clean(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            ';' => ':',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::export::example::counter_service;
    use crate::profile::ValueKind;

    #[test]
    fn stacks_are_root_first_and_hide_the_allocator() -> std::io::Result<()> {
        let mut profile = counter_service();
        profile.functions[4].name = "counter::walk;\nagain".to_owned();
        let mut out = Vec::new();
        write(&profile, ValueKind::InuseSpace, &mut out)?;
        insta::assert_snapshot!(String::from_utf8_lossy(&out), @r"
        main;counter::handle;counter::Cache::insert 2048000
        main;counter::walk: again;counter::walk: again;counter::walk: again 1000
        main;libc.so.6+0x8f2c1 1048576
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
