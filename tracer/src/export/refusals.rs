//! Tests of reading: what other tools wrote, what is damaged, and what never was a profile.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;

use super::decode::MAX_RECORDS;
use super::example::counter_service;
use super::{Contents, MAX_INFLATED, ReadError, pprof, proto, read, read_contents};
use crate::profile::{ValueKind, Values};

fn zip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes)?;
    gzip.finish()
}

#[test]
fn every_cut_is_seen() -> std::io::Result<()> {
    let plain = pprof::encode(&counter_service());
    let mut whole = 0;
    for length in 0..plain.len() {
        match read(&plain[..length]) {
            Err(ReadError::Empty) => assert_eq!(length, 0),
            Err(ReadError::Truncated | ReadError::Malformed(_) | ReadError::NotAProfile) => {}
            // The string table is not the last field: a cut between two fields behind it leaves a
            // whole message, which only the gzip around it can tell.
            Ok(_) => whole += 1,
            Err(error) => panic!("cut at {length}: {error}"),
        }
    }
    assert!(whole < 20, "{whole} cuts went unseen");

    let mut zipped = Vec::new();
    pprof::write(&counter_service(), &mut zipped)?;
    for length in 2..zipped.len() {
        assert!(
            matches!(read(&zipped[..length]), Err(ReadError::Truncated)),
            "cut at {length}"
        );
    }
    Ok(())
}

#[test]
fn other_files_are_named_for_what_they_are() -> std::io::Result<()> {
    assert!(matches!(read(b""), Err(ReadError::Empty)));
    assert!(matches!(read(&zip(b"")?), Err(ReadError::Empty)));
    for text in ["hello\n", "#!/bin/sh\n", "\x7fELF\x02\x01", "main;f 12\n"] {
        assert!(
            matches!(read(text.as_bytes()), Err(ReadError::NotAProfile)),
            "{text:?}"
        );
    }
    assert!(matches!(
        read(b"heap_v2/524288\n  t*: 28106: 56637512 [0: 0]\n"),
        Err(ReadError::TextHeap)
    ));
    let mut damaged = zip(b"hello")?;
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert!(matches!(read(&damaged), Err(ReadError::Gzip(_))));
    Ok(())
}

#[test]
fn a_bomb_does_not_go_off() -> std::io::Result<()> {
    // Empty samples, two bytes each: far below the limit of bytes, above that of records.
    let records = [0x12, 0x00].repeat(MAX_RECORDS + 1);
    assert!(matches!(read(&records), Err(ReadError::TooLarge)));

    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![0; 1 << 20];
    for _ in 0..=(MAX_INFLATED >> 20) {
        gzip.write_all(&zeros)?;
    }
    assert!(matches!(read(&gzip.finish()?), Err(ReadError::TooLarge)));
    Ok(())
}

/// A file as another tool would write it.
fn foreign(types: &[(&str, &str)], values: &[i64]) -> proto::Profile {
    let mut table = vec![""];
    let sample_type = types
        .iter()
        .map(|(name, unit)| {
            table.extend([name, unit]);
            let unit = table.len() as i64 - 1;
            proto::ValueType {
                r#type: unit - 1,
                unit,
            }
        })
        .collect();
    let next = table.len() as i64;
    table.extend(["main", "grab", "gra.*", "/usr/bin/app", "thread", "seven"]);
    let function = |id, name| proto::Function {
        id,
        name,
        system_name: name,
        ..proto::Function::default()
    };
    let location = |id, function_id| proto::Location {
        id,
        address: 0x1000 + id,
        line: vec![proto::Line {
            function_id,
            line: -3,
        }],
        ..proto::Location::default()
    };
    proto::Profile {
        sample_type,
        sample: vec![proto::Sample {
            location_id: vec![900, 77, 78],
            value: values.to_vec(),
            label: vec![proto::Label {
                key: next + 4,
                str: next + 5,
                ..proto::Label::default()
            }],
        }],
        mapping: vec![proto::Mapping {
            id: 5,
            memory_start: 0x40_0000,
            memory_limit: 0x50_0000,
            file_offset: 0x100,
            filename: next + 3,
            ..proto::Mapping::default()
        }],
        location: vec![
            location(900, 31),
            location(77, 30),
            // Not symbolized.
            proto::Location {
                id: 78,
                mapping_id: 5,
                address: 0x40_0020,
                ..proto::Location::default()
            },
        ],
        function: vec![function(30, next), function(31, next + 1)],
        drop_frames: next + 2,
        string_table: table.iter().map(|s| s.as_bytes().to_vec()).collect(),
        ..proto::Profile::default()
    }
}

#[test]
fn other_tools_files_are_read_by_name() -> Result<(), ReadError> {
    let file = foreign(
        &[
            ("space", "bytes"),
            ("cpu", "nanoseconds"),
            ("objects", "count"),
        ],
        &[640, 1, 10],
    );
    let Contents { profile, kinds } = read_contents(&file.encode_to_vec())?;
    assert_eq!(kinds, [ValueKind::InuseObjects, ValueKind::InuseSpace]);
    assert_eq!(profile.verdict.name(), "degraded");
    let sample = &profile.samples[0];
    assert_eq!(
        sample.values,
        Values {
            inuse_objects: 10,
            inuse_space: 640,
            ..Values::default()
        }
    );
    let names: Vec<&str> = profile
        .frames(sample)
        .map(|frame| profile.functions[frame.function].name.as_str())
        .collect();
    assert_eq!(names, ["app+0x120", "main"], "grab is hidden by the file");
    assert_eq!(profile.locations[0].lines[0].line, 0);
    assert!(profile.locations[2].unknown.is_some());
    Ok(())
}

#[test]
fn a_cpu_profile_is_refused_by_name() {
    let file = foreign(&[("samples", "count"), ("cpu", "nanoseconds")], &[1, 2]);
    let error = read(&file.encode_to_vec())
        .map(|_| ())
        .map_err(|e| e.to_string());
    assert_eq!(
        error,
        Err("not a heap profile: it holds samples/count, cpu/nanoseconds".to_owned())
    );
}

#[test]
fn contradictions_are_refused() {
    let good = foreign(&[("inuse_space", "bytes")], &[640]);
    assert!(read(&good.encode_to_vec()).is_ok());
    type Mutation = fn(&mut proto::Profile);
    let mutations: [(&str, Mutation); 8] = [
        ("location 1 is not there", |p| {
            p.sample[0].location_id[0] = 1
        }),
        ("function 9 is not there", |p| {
            p.location[0].line[0].function_id = 9
        }),
        ("mapping 9 is not there", |p| p.location[0].mapping_id = 9),
        ("string 99 is not there", |p| p.function[0].name = 99),
        ("string -1 is not there", |p| p.function[0].name = -1),
        ("function 30 is there twice or has no id", |p| {
            p.function[1].id = 30
        }),
        ("location 0 is there twice or has no id", |p| {
            p.location[0].id = 0
        }),
        ("a sample has 2 values for 1 sample types", |p| {
            p.sample[0].value.push(1)
        }),
    ];
    for (message, mutate) in mutations {
        let mut bad = good.clone();
        mutate(&mut bad);
        let error = read(&bad.encode_to_vec())
            .map(|_| ())
            .map_err(|e| e.to_string());
        assert_eq!(error, Err(format!("the profile is malformed: {message}")));
    }
}
