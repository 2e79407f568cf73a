//! A profile on one screen: where it comes from, whether to believe it, who holds the most.

use std::io;
use std::io::Write;

use crate::names::NameStyle;
use crate::printable::printable;
use crate::profile::{Profile, ValueKind};
use crate::report::{Sort, TopOptions, top};

/// Rows of the table.
const ROWS: usize = 10;
/// Most columns of a line.
const WIDTH: usize = 120;

/// Writes the profile's source, verdict, counters that are not 0, notes, and a short top table.
///
/// # Errors
/// Those of the writer.
pub fn write(
    profile: &Profile,
    value: ValueKind,
    names: NameStyle,
    out: &mut impl Write,
) -> io::Result<()> {
    let options = TopOptions {
        by: value,
        sort: Sort::Flat,
        limit: Some(ROWS),
        names,
        max_width: Some(WIDTH),
        ..TopOptions::default()
    };
    write!(out, "{}", top(profile, &options))?;
    let counters: Vec<[String; 3]> = profile
        .counters
        .iter()
        .filter(|counter| counter.value != 0)
        .map(|counter| {
            let value = counter.value.to_string();
            [
                printable(&counter.name).into_owned(),
                value,
                printable(&counter.help).into_owned(),
            ]
        })
        .collect();
    if !counters.is_empty() {
        writeln!(out, "\nCounters")?;
    }
    let widths = counters
        .iter()
        .fold([0, 0], |[most_name, most_value], [name, value, _]| {
            [
                most_name.max(name.chars().count()),
                most_value.max(value.len()),
            ]
        });
    for [name, value, help] in &counters {
        let [name_width, value_width] = widths;
        writeln!(out, "  {name:<name_width$} {value:>value_width$}  {help}")?;
    }
    if !profile.metadata.notes.is_empty() {
        writeln!(out, "\nNotes")?;
    }
    for note in &profile.metadata.notes {
        writeln!(out, "  {}", printable(note))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::export::example::counter_service;
    use crate::names::NameStyle;
    use crate::profile::{Profile, ValueKind};

    #[test]
    fn one_screen_says_whether_to_believe_it() -> std::io::Result<()> {
        let mut profile = counter_service();
        profile.counters[1].value = 0;
        let mut out = Vec::new();
        write(&profile, ValueKind::InuseSpace, NameStyle::Short, &mut out)?;
        insta::assert_snapshot!(String::from_utf8_lossy(&out), @r"
        Source:  attach to counter-service (pid 4711) for 30.0 s
        Verdict: degraded
                 2 of 3048 allocations have no stack.
        Type:    inuse_space, total 2.95MiB
        Showing 5 of 5 functions, 3024.98KiB of 3024.98KiB (100%)

              flat  flat%   sum%        cum   cum%
           2000KiB 66.12% 66.12%    2000KiB 66.12%  counter::Cache::insert
           1024KiB 33.85%   100%    1024KiB 33.85%  libc.so.6+0x8f2c1
           0.98KiB 0.032%   100%    0.98KiB 0.032%  counter::walk
                 0     0%   100% 3024.98KiB   100%  main
                 0     0%   100%    2000KiB 66.12%  counter::handle

        Counters
          alloc_objects    3048  Allocations counted.
          stack_unreadable    2  Stacks not read.

        Notes
          The target exited before the end.
        ");
        Ok(())
    }

    #[test]
    fn an_empty_profile_is_said_to_be_empty() -> std::io::Result<()> {
        let mut out = Vec::new();
        write(
            &Profile::default(),
            ValueKind::InuseSpace,
            NameStyle::Short,
            &mut out,
        )?;
        insta::assert_snapshot!(String::from_utf8_lossy(&out), @r"
        Verdict: complete
        Type:    inuse_space, total 0
        Showing 0 of 0 functions, 0 of 0 (0%)

        No function holds any inuse_space.
        ");
        Ok(())
    }
}
