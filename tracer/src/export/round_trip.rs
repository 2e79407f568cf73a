//! Tests of reading: what was written comes back, and damage does no harm.

use proptest::prelude::*;

use super::{Format, pprof, read, write};
use crate::names::NameStyle;
use crate::profile::{
    CounterClass, CounterValue, Errors, Filter, Function, Line, Location, LocationIndex, Mapping,
    Metadata, Peak, Profile, Sample, Sampled, SampledBy, ValueKind, Values, Verdict,
};
use crate::report::{
    PeekOptions, SitesOptions, Style, TopOptions, TreeOptions, peek, sites, top, tree,
};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z:<> ]{0,12}",
        any::<String>(),
        Just("tracer: verdict: complete".to_owned())
    ]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    (
        any::<i64>(),
        proptest::option::of(1..=i64::MAX),
        any::<i64>(),
        text(),
        proptest::collection::vec(any::<u32>(), 0..3),
        proptest::collection::vec(text(), 0..3),
    )
        .prop_map(
            |(time_nanos, duration_nanos, period, source, pids, notes)| Metadata {
                time_nanos,
                duration_nanos,
                period,
                source,
                pids,
                notes,
            },
        )
}

fn mapping() -> impl Strategy<Value = Mapping> {
    (
        any::<[u64; 3]>(),
        text(),
        "[0-9a-f]{0,40}",
        any::<[bool; 4]>(),
    )
        .prop_map(|(addresses, path, build_id, has)| Mapping {
            start: addresses[0],
            limit: addresses[1],
            file_offset: addresses[2],
            path,
            build_id,
            has_functions: has[0],
            has_filenames: has[1],
            has_line_numbers: has[2],
            has_inline_frames: has[3],
        })
}

fn function() -> impl Strategy<Value = Function> {
    (text(), text(), text(), any::<u32>()).prop_map(|(name, system_name, file, start_line)| {
        Function {
            name,
            system_name,
            file,
            start_line,
        }
    })
}

fn location(mappings: usize, functions: usize) -> impl Strategy<Value = Location> {
    (
        (0..=mappings).prop_map(|index| index.checked_sub(1)),
        any::<u64>(),
        proptest::collection::vec((0..functions, any::<u32>()), 1..4),
        proptest::option::of("[a-z\n]{1,10}"),
    )
        .prop_map(|(mapping, address, lines, unknown)| Location {
            mapping,
            address,
            lines: lines
                .into_iter()
                .map(|(function, line)| Line { function, line })
                .collect(),
            unknown,
        })
}

fn sample(locations: usize) -> impl Strategy<Value = Sample> {
    (
        proptest::collection::vec((0..locations).prop_map(LocationIndex::new), 0..6),
        any::<[i64; 6]>(),
        proptest::option::of(any::<u32>()),
        any::<[u32; 2]>(),
        proptest::collection::btree_map("[a-z_]{1,3}", "\\PC{1,3}", 0..3),
    )
        .prop_map(
            |(locations, values, pid, [objects, space], labels)| Sample {
                locations,
                values: Values {
                    alloc_objects: values[0],
                    alloc_space: values[1],
                    inuse_objects: values[2],
                    inuse_space: values[3],
                    peak_objects: values[4],
                    peak_space: values[5],
                },
                pid,
                labels: labels.into(),
                errors: Errors {
                    objects: f64::from(objects),
                    space: f64::from(space),
                },
            },
        )
}

fn counters() -> impl Strategy<Value = Vec<CounterValue>> {
    let class = prop_oneof![
        Just(CounterClass::Traffic),
        Just(CounterClass::Note),
        Just(CounterClass::AttributionLoss),
        Just(CounterClass::AmountLoss)
    ];
    // Names are those of an enum: each once. Zeros are not written.
    proptest::collection::btree_map("[a-z_]{1,9}", (1..=u64::MAX, class, text()), 0..4).prop_map(
        |counters| {
            counters
                .into_iter()
                .map(|(name, (value, class, help))| CounterValue {
                    name,
                    value,
                    class,
                    help,
                })
                .collect()
        },
    )
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let reasons = || proptest::collection::vec(text(), 0..3);
    prop_oneof![
        Just(Verdict::Complete),
        reasons().prop_map(|reasons| Verdict::Degraded { reasons }),
        reasons().prop_map(|reasons| Verdict::Sampled { reasons }),
        reasons().prop_map(|reasons| Verdict::Inconclusive { reasons }),
    ]
}

fn profile() -> impl Strategy<Value = Profile> {
    let tables = (
        proptest::collection::vec(mapping(), 0..3),
        proptest::collection::vec(function(), 1..5),
    );
    let stacks = tables.prop_flat_map(|(mappings, functions)| {
        (
            proptest::collection::vec(location(mappings.len(), functions.len()), 1..5),
            Just((mappings, functions)),
        )
    });
    let samples = stacks.prop_flat_map(|(locations, tables)| {
        (
            proptest::collection::vec(sample(locations.len()), 0..6),
            Just((locations, tables)),
        )
    });
    let kept = (peak(), sampled());
    (samples, kept, metadata(), counters(), verdict()).prop_map(
        |((samples, (locations, (mappings, functions))), kept, metadata, counters, verdict)| {
            let (peak, sampled) = kept;
            let mut profile = Profile {
                metadata,
                mappings,
                functions,
                locations,
                samples,
                peak,
                sampled,
                counters,
                verdict,
            };
            if peak.is_none() {
                profile.forget_peak();
            }
            if sampled.is_none() {
                profile.forget_errors();
            }
            profile
        },
    )
}

fn peak() -> impl Strategy<Value = Option<Peak>> {
    proptest::option::of((any::<[i64; 2]>(), any::<Option<i64>>()).prop_map(
        |([bytes, objects], after_nanos)| Peak {
            bytes,
            objects,
            after_nanos,
        },
    ))
}

fn sampled() -> impl Strategy<Value = Option<Sampled>> {
    let facts = (
        proptest::sample::select(SampledBy::ALL.as_slice()),
        any::<[u64; 4]>(),
        // Numbers that end in binary: JSON's last digit may go another way.
        proptest::array::uniform5(0..=1024_u16),
        any::<bool>(),
    );
    proptest::option::of(
        facts
            .prop_map(|(by, counts, parts, may_be_low)| {
                (
                    by,
                    counts,
                    parts.map(|part| f64::from(part) / 1024.0),
                    may_be_low,
                )
            })
            .prop_map(|(by, counts, parts, may_be_low)| Sampled {
                by,
                windows: counts[0],
                nanos: counts[1],
                progress_windows: counts[2],
                progress_nanos: counts[3],
                share_seen: parts[0],
                share_taken: parts[1],
                shared_objects: parts[2],
                shared_space: parts[3],
                degrees: 3.0 + parts[4] * 1024.0,
                may_be_low,
            }),
    )
}

/// Everything that can be made of a profile.
fn use_it(profile: &Profile) -> Result<(), TestCaseError> {
    for format in Format::ALL {
        write(
            profile,
            format,
            ValueKind::InuseSpace,
            &Style::default(),
            &mut Vec::new(),
        )?;
    }
    let pattern = regex::Regex::new("")?;
    let options = PeekOptions {
        pattern,
        by: ValueKind::AllocSpace,
        show_allocator: true,
        filter: Filter::default(),
        names: NameStyle::Short,
        max_width: Some(3),
    };
    let _ = peek(profile, &options).to_string();
    let _ = top(profile, &TopOptions::default()).to_string();
    let _ = tree(profile, &TreeOptions::default()).to_string();
    let _ = sites(profile, &SitesOptions::default()).to_string();
    Ok(())
}

proptest! {
    #[test]
    fn pprof_gives_back_what_it_got(profile in profile()) {
        let plain = pprof::encode(&profile);
        prop_assert_eq!(&read(&plain)?, &profile);
        let mut zipped = Vec::new();
        pprof::write(&profile, &mut zipped)?;
        prop_assert_eq!(&read(&zipped)?, &profile);
        use_it(&profile)?;
    }

    #[test]
    fn json_gives_back_what_it_got(profile in profile()) {
        let mut out = Vec::new();
        write(
            &profile,
            Format::Json,
            ValueKind::InuseSpace,
            &Style::default(),
            &mut out,
        )?;
        prop_assert_eq!(read(&out)?, profile);
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(profile) = read(&bytes) {
            use_it(&profile)?;
        }
    }

    #[test]
    fn no_damage_does_harm(
        profile in profile(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        for format in [Format::Pprof, Format::Json] {
            let mut bytes = Vec::new();
            match format {
                Format::Pprof => bytes = pprof::encode(&profile),
                _ => write(
                    &profile,
                    format,
                    ValueKind::InuseSpace,
                    &Style::default(),
                    &mut bytes,
                )?,
            }
            for (place, byte) in &edits {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            if let Ok(profile) = read(&bytes) {
                use_it(&profile)?;
            }
            bytes.truncate(cut.index(bytes.len()));
            if let Ok(profile) = read(&bytes) {
                use_it(&profile)?;
            }
        }
    }
}
