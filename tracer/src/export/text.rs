//! A profile on one screen: where it comes from, whether to believe it, who holds the most.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::printable::printable;
use crate::profile::{Profile, ValueKind};
use crate::report::{SitesOptions, Style, fitted, sites};

/// Rows of the table.
const ROWS: usize = 10;
/// Writes the profile's source, verdict, counters that are not 0, notes, and the largest sites.
///
/// # Errors
/// Those of the writer.
pub fn write(
    profile: &Profile,
    value: ValueKind,
    style: &Style,
    out: &mut impl Write,
) -> io::Result<()> {
    let options = SitesOptions {
        by: value,
        limit: Some(ROWS),
        names: style.names,
        rules: style.rules.clone(),
        max_width: style.max_width,
        ..SitesOptions::default()
    };
    let mut text = sites(profile, &options).to_string();
    rest(profile, &mut text);
    out.write_all(fitted(&text, style.max_width).as_bytes())
}

/// Counters and notes.
fn rest(profile: &Profile, out: &mut String) {
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
        let _ = writeln!(out, "\nCounters");
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
        let _ = writeln!(out, "  {name:<name_width$} {value:>value_width$}  {help}");
    }
    if !profile.metadata.notes.is_empty() {
        let _ = writeln!(out, "\nNotes");
    }
    for note in &profile.metadata.notes {
        let _ = writeln!(out, "  {}", printable(note));
    }
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::export::example::counter_service;
    use crate::profile::{Profile, ValueKind};
    use crate::report::Style;

    #[test]
    fn one_screen_says_whether_to_believe_it() -> std::io::Result<()> {
        let mut profile = counter_service();
        profile.counters[1].value = 0;
        let mut out = Vec::new();
        write(&profile, ValueKind::InuseSpace, &Style::default(), &mut out)?;
        insta::assert_snapshot!(String::from_utf8_lossy(&out), @"
        Source:  attach to counter-service (pid 4711) for 30.0 s
        Verdict: degraded
                 2 of 3048 allocations have no stack.
        Type:    inuse_space, total 2.95MB
        Showing 3 of 3 sites, 3024.98kB of 3024.98kB (100%)

             value  share    sum  where                   line            what
            2000kB 66.12% 66.12%  counter::Cache::insert  src/cache.rs:9
            1024kB 33.85%   100%  main                    src/main.rs:12  libc.so.6+0x8f2c1
            0.98kB 0.032%   100%  counter::walk           src/walk.rs:3

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
            &Style::default(),
            &mut out,
        )?;
        insta::assert_snapshot!(String::from_utf8_lossy(&out), @r"
        Verdict: complete
        Type:    inuse_space, total 0
        Showing 0 of 0 sites, 0 of 0 (0%)

        No stack holds any inuse_space.
        ");
        Ok(())
    }
}
