//! Profiles as the text that Go shows at `?debug=1`. pprof reads it, too.

use std::io::{self, Write};

use super::comments;
use crate::profile::{Profile, Sample, ValueKind};

/// Writes the samples, most live bytes first, each with its frames by name.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &Profile, out: &mut impl Write) -> io::Result<()> {
    let of = |sample: &Sample, kind| sample.values.get(kind);
    let sum = |kind| -> i64 { profile.samples.iter().map(|one| of(one, kind)).sum() };
    let amounts = |of: &dyn Fn(ValueKind) -> i64| {
        format!(
            "{}: {} [{}: {}] @",
            of(ValueKind::InuseObjects),
            of(ValueKind::InuseSpace),
            of(ValueKind::AllocObjects),
            of(ValueKind::AllocSpace)
        )
    };
    // Twice the mean distance of samples, which is 1: nothing is to be scaled.
    writeln!(out, "heap profile: {} heap/2", amounts(&sum))?;
    let mut samples: Vec<_> = profile.samples.iter().collect();
    samples.sort_by_key(|one| {
        let values = [ValueKind::InuseSpace, ValueKind::AllocSpace];
        std::cmp::Reverse(values.map(|kind| of(one, kind)))
    });
    for sample in samples {
        write!(out, "{}", amounts(&|kind| of(sample, kind)))?;
        let locations = || {
            let locations = sample.locations.iter();
            locations.filter_map(|&index| profile.location(index))
        };
        // What stands for no place has no address.
        for location in locations().filter(|location| location.address != 0) {
            // Return addresses, as pprof expects them.
            write!(out, " {:#x}", location.address + 1)?;
        }
        writeln!(out)?;
        for location in locations() {
            for line in &location.lines {
                let Some(function) = profile.functions.get(line.function) else {
                    continue;
                };
                let name = crate::printable::printable(&function.name);
                let file = crate::printable::printable(&function.file);
                writeln!(
                    out,
                    "#\t{:#x}\t{name}\t{file}:{}",
                    location.address + 1,
                    line.line
                )?;
            }
        }
        writeln!(out)?;
    }
    for line in comments::write(profile) {
        if !line.starts_with('#') {
            writeln!(out, "# {line}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::example::counter_service;

    #[test]
    fn text_as_go_has_it() -> Result<(), Box<dyn std::error::Error>> {
        let profile = counter_service();
        let mut text = Vec::new();
        write(&profile, &mut text)?;
        let text = String::from_utf8(text)?;
        let mut lines = text.lines();
        let expected = [
            "heap profile: 2011: 3097576 [3048: 4125276] @ heap/2",
            "2000: 2048000 [3000: 3072000] @ 0x555555557001 0x555555556001 0x555555555001",
            // Two frames at one address, the innermost first.
            "#\t0x555555557001\talloc::alloc::alloc\talloc.rs:95",
            "#\t0x555555557001\tcounter::Cache::insert\tsrc/cache.rs:9",
            "#\t0x555555556001\tcounter::handle\tsrc/main.rs:44",
            "#\t0x555555555001\tmain\tsrc/main.rs:12",
            "",
            "1: 1048576 [1: 1048576] @ 0x7ffff7c8f2c2 0x555555555001",
        ];
        for line in expected {
            assert_eq!(lines.next(), Some(line), "{text}");
        }
        let verdict = "# tracer: verdict: degraded";
        assert!(lines.any(|line| line == verdict), "{text}");
        Ok(())
    }
}
