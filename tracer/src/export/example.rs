//! A small profile that the tests of exports and reports share.

use crate::profile::{
    CounterClass, CounterValue, Errors, Function, Line, Location, LocationIndex, Mapping, Metadata,
    Profile, Sample, Sampled, SampledBy, Values, Verdict,
};

/// A service with a cache, an inlined allocation, a recursion and a frame without a name.
pub(crate) fn counter_service() -> Profile {
    let function = |name: &str, system_name: &str, file: &str, start_line| Function {
        name: name.to_owned(),
        system_name: system_name.to_owned(),
        file: file.to_owned(),
        start_line,
    };
    let location = |mapping, address, lines: &[(usize, u32)]| Location {
        mapping: Some(mapping),
        address,
        lines: lines
            .iter()
            .map(|&(function, line)| Line { function, line })
            .collect(),
        unknown: None,
    };
    let sample = |locations: &[usize], values: [i64; 4]| Sample {
        locations: locations.iter().copied().map(LocationIndex::new).collect(),
        values: Values {
            alloc_objects: values[0],
            alloc_space: values[1],
            inuse_objects: values[2],
            inuse_space: values[3],
            ..Values::default()
        },
        pid: Some(4711),
        ..Sample::default()
    };
    let counter = |name: &str, value, class, help: &str| CounterValue {
        name: name.to_owned(),
        value,
        class,
        help: help.to_owned(),
    };
    Profile {
        metadata: Metadata {
            time_nanos: 1_700_000_000_000_000_000,
            duration_nanos: None,
            period: 1,
            source: "attach to counter-service (pid 4711) for 30.0 s".to_owned(),
            pids: vec![4711],
            notes: vec!["The target exited before the end.".to_owned()],
        },
        mappings: vec![
            Mapping {
                start: 0x5555_5555_4000,
                limit: 0x5555_5565_4000,
                file_offset: 0,
                path: "/usr/bin/counter-service".to_owned(),
                build_id: "8f3a02".to_owned(),
                has_functions: true,
                has_filenames: true,
                has_line_numbers: true,
                has_inline_frames: true,
            },
            Mapping {
                start: 0x7fff_f7c0_0000,
                limit: 0x7fff_f7e0_0000,
                file_offset: 0x2_8000,
                path: "/usr/lib/libc.so.6".to_owned(),
                ..Mapping::default()
            },
        ],
        functions: vec![
            function("main", "main", "src/main.rs", 10),
            function("counter::handle", "_ZN7counter6handleE", "src/main.rs", 40),
            function(
                "counter::Cache::insert",
                "_ZN7counter5Cache6insertE",
                "src/cache.rs",
                5,
            ),
            function(
                "alloc::alloc::alloc",
                "_ZN5alloc5alloc5allocE",
                "alloc.rs",
                80,
            ),
            function("counter::walk", "_ZN7counter4walkE", "src/walk.rs", 1),
            function("libc.so.6+0x8f2c1", "libc.so.6+0x8f2c1", "", 0),
        ],
        locations: vec![
            location(0, 0x5555_5555_5000, &[(0, 12)]),
            location(0, 0x5555_5555_6000, &[(1, 44)]),
            // The allocator's function is inlined into its caller.
            location(0, 0x5555_5555_7000, &[(3, 95), (2, 9)]),
            location(0, 0x5555_5555_8000, &[(4, 3)]),
            Location {
                unknown: Some("no symbols in the file".to_owned()),
                ..location(1, 0x7fff_f7c8_f2c1, &[(5, 0)])
            },
        ],
        samples: vec![
            sample(&[2, 1, 0], [3000, 3_072_000, 2000, 2_048_000]),
            sample(&[3, 3, 3, 0], [40, 4_000, 10, 1_000]),
            sample(&[4, 1, 0], [7, 700, 0, 0]),
            sample(&[4, 0], [1, 1_048_576, 1, 1_048_576]),
        ],
        peak: None,
        sampled: None,
        counters: vec![
            counter(
                "alloc_objects",
                3048,
                CounterClass::Traffic,
                "Allocations counted.",
            ),
            counter(
                "unknown_frees",
                12,
                CounterClass::Note,
                "Frees of memory from before.",
            ),
            counter(
                "stack_unreadable",
                2,
                CounterClass::AttributionLoss,
                "Stacks not read.",
            ),
        ],
        verdict: Verdict::Degraded {
            reasons: vec!["2 of 3048 allocations have no stack.".to_owned()],
        },
    }
}

/// The same as if only windows of it had been seen: a stack whose error is small, one that is rough, and one
/// between.
pub(crate) fn estimated() -> Profile {
    let mut profile = counter_service();
    profile.verdict = Verdict::Sampled {
        reasons: vec!["Only windows were seen.".to_owned()],
    };
    profile.sampled = Some(Sampled {
        by: SampledBy::Marks,
        windows: 45,
        nanos: 200_000_000,
        progress_windows: 40,
        progress_nanos: 700_000_000,
        share_seen: 0.006_7,
        share_taken: 0.019,
        shared_objects: 0.02,
        shared_space: 0.03,
        degrees: 38.5,
        may_be_low: false,
    });
    for (sample, part) in profile.samples.iter_mut().zip([0.02, 0.7, 0.2, 0.1]) {
        sample.errors = Errors {
            objects: (sample.values.alloc_objects as f64 * part).ceil(),
            space: (sample.values.alloc_space as f64 * part).ceil(),
        };
    }
    profile
}
