//! Profiles as pprof files: gzip around `profile.proto`.
//!
//! Every frame is written; which of them a viewer hides is said by `drop_frames`. What the format
//! has no field for goes into comment lines.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;

use super::comments;
use super::proto;
use crate::profile::{DROP_FRAMES, KEEP_FRAMES, Profile, Sample, ValueKind};

/// Numeric label with the process of a sample.
pub(super) const LABEL_PID: &str = "pid";
/// Numeric label with the average size of a sample's objects, as in Go's heap profiles.
const LABEL_BYTES: &str = "bytes";

/// Numeric labels with what a sample held at the peak. Not sample types: Go's pprof before 1.21 merges and
/// compares only files with the same ones, and so no longer with those from before.
pub(super) const LABEL_PEAK_OBJECTS: &str = "peak_objects";
/// The same in bytes.
pub(super) const LABEL_PEAK_SPACE: &str = "peak_space";

/// Numeric labels with the standard error of what a sample allocated, without what all samples share.
pub(super) const LABEL_OBJECTS_ERROR: &str = "alloc_objects_error";
/// The same in bytes.
pub(super) const LABEL_SPACE_ERROR: &str = "alloc_space_error";

/// Writes the profile as a gzipped pprof file.
///
/// The same profile gives the same bytes: the gzip head carries no time.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &Profile, out: &mut impl Write) -> io::Result<()> {
    write_with_default(profile, ValueKind::default(), out)
}

/// As [`write`](fn@write); viewers show `first` before the other values.
///
/// # Errors
/// Those of the writer.
pub fn write_with_default(
    profile: &Profile,
    first: ValueKind,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut gzip = GzEncoder::new(out, Compression::default());
    // Compressed as it is made: whole, it is as large as all else that is needed for it.
    let mut encoded = Vec::with_capacity(PIECE);
    encode_in_pieces(profile, first, &mut encoded, &mut |encoded| {
        if encoded.len() >= PIECE {
            gzip.write_all(encoded)?;
            encoded.clear();
        }
        io::Result::Ok(())
    })?;
    gzip.write_all(&encoded)?;
    gzip.finish()?.flush()
}

/// Bytes that are compressed at a time, or a little more.
const PIECE: usize = 1 << 16;

/// The profile as an uncompressed `profile.proto` message.
#[must_use]
pub fn encode(profile: &Profile) -> Vec<u8> {
    let mut encoded = Vec::new();
    let first = ValueKind::default();
    let Ok(()) = encode_in_pieces(profile, first, &mut encoded, &mut |_| {
        Ok::<_, Infallible>(())
    });
    encoded
}

/// Appends the message, and lets what is there be taken after each of its many parts.
fn encode_in_pieces<E>(
    profile: &Profile,
    first: ValueKind,
    encoded: &mut Vec<u8>,
    take: &mut impl FnMut(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let mut strings = Strings::new();
    let bytes = strings.add("bytes");
    // A message is its fields one after the other. The samples go one by one, since all of them at once,
    // each with lists of its own, would take many times what they become.
    append(
        encoded,
        &proto::Profile {
            sample_type: ValueKind::ALL
                .iter()
                .map(|kind| proto::ValueType {
                    r#type: strings.add(kind.name()),
                    unit: strings.add(kind.unit()),
                })
                .collect(),
            ..proto::Profile::default()
        },
    );
    for one in &profile.samples {
        append(
            encoded,
            &proto::Profile {
                sample: vec![sample(one, &mut strings, bytes)],
                ..proto::Profile::default()
            },
        );
        take(encoded)?;
    }
    let rest = proto::Profile {
        mapping: mappings(profile, &mut strings),
        location: locations(profile, &mut strings),
        function: functions(profile, &mut strings),
        drop_frames: strings.add(DROP_FRAMES),
        keep_frames: strings.add(KEEP_FRAMES),
        time_nanos: profile.metadata.time_nanos,
        duration_nanos: profile.metadata.duration_nanos.unwrap_or(0),
        period_type: Some(proto::ValueType {
            r#type: strings.add("space"),
            unit: bytes,
        }),
        period: profile.metadata.period,
        comment: comments::write(profile)
            .iter()
            .map(|line| strings.add(line))
            .collect(),
        default_sample_type: strings.add(first.name()),
        string_table: strings.table,
        ..proto::Profile::default()
    };
    append(encoded, &rest);
    Ok(())
}

fn append(encoded: &mut Vec<u8>, fields: &proto::Profile) {
    encoded.extend_from_slice(&fields.encode_to_vec());
}

fn sample(sample: &Sample, strings: &mut Strings, bytes: i64) -> proto::Sample {
    let mut label = Vec::new();
    let values = &sample.values;
    let size = values
        .alloc_space
        .checked_div(values.alloc_objects)
        .unwrap_or(0);
    if size != 0 {
        label.push(proto::Label {
            key: strings.add(LABEL_BYTES),
            num: size,
            num_unit: bytes,
            ..proto::Label::default()
        });
    }
    for (key, num, num_unit) in [
        (LABEL_PEAK_OBJECTS, values.peak_objects, 0),
        (LABEL_PEAK_SPACE, values.peak_space, bytes),
        (LABEL_OBJECTS_ERROR, whole(sample.errors.objects), 0),
        (LABEL_SPACE_ERROR, whole(sample.errors.space), bytes),
    ] {
        if num != 0 {
            label.push(proto::Label {
                key: strings.add(key),
                num,
                num_unit,
                ..proto::Label::default()
            });
        }
    }
    if let Some(pid) = sample.pid {
        label.push(proto::Label {
            key: strings.add(LABEL_PID),
            num: i64::from(pid),
            ..proto::Label::default()
        });
    }
    for (key, value) in sample.labels.iter() {
        label.push(proto::Label {
            key: strings.add(key),
            str: strings.add(value),
            ..proto::Label::default()
        });
    }
    proto::Sample {
        location_id: {
            let locations = sample.locations.iter();
            locations.map(|index| id(index.position())).collect()
        },
        value: ValueKind::ALL.iter().map(|&k| values.get(k)).collect(),
        label,
    }
}

/// An error as a label has it: not less than it is.
const fn whole(error: f64) -> i64 {
    error.ceil() as i64
}

fn mappings(profile: &Profile, strings: &mut Strings) -> Vec<proto::Mapping> {
    let mappings = profile.mappings.iter().enumerate();
    mappings
        .map(|(index, mapping)| proto::Mapping {
            id: id(index),
            memory_start: mapping.start,
            memory_limit: mapping.limit,
            file_offset: mapping.file_offset,
            filename: strings.add(&mapping.path),
            build_id: strings.add(&mapping.build_id),
            has_functions: mapping.has_functions,
            has_filenames: mapping.has_filenames,
            has_line_numbers: mapping.has_line_numbers,
            has_inline_frames: mapping.has_inline_frames,
        })
        .collect()
}

fn locations(profile: &Profile, strings: &mut Strings) -> Vec<proto::Location> {
    let locations = profile.locations.iter().enumerate();
    locations
        .map(|(index, location)| proto::Location {
            id: id(index),
            mapping_id: location.mapping.map_or(0, id),
            address: location.address,
            line: location
                .lines
                .iter()
                .map(|line| proto::Line {
                    function_id: id(line.function),
                    line: i64::from(line.line),
                })
                .collect(),
            is_folded: false,
            unknown_reason: location.unknown.as_ref().map_or(0, |why| strings.add(why)),
        })
        .collect()
}

fn functions(profile: &Profile, strings: &mut Strings) -> Vec<proto::Function> {
    let functions = profile.functions.iter().enumerate();
    functions
        .map(|(index, function)| proto::Function {
            id: id(index),
            name: strings.add(&function.name),
            system_name: strings.add(&function.system_name),
            filename: strings.add(&function.file),
            start_line: i64::from(function.start_line),
        })
        .collect()
}

/// Ids begin at 1: 0 is "none".
const fn id(index: usize) -> u64 {
    index as u64 + 1
}

/// The string table: each string once, the empty one first.
struct Strings {
    table: Vec<Vec<u8>>,
    indices: HashMap<String, i64>,
}

impl Strings {
    fn new() -> Self {
        let mut strings = Self {
            table: Vec::new(),
            indices: HashMap::new(),
        };
        strings.add("");
        strings
    }

    fn add(&mut self, string: &str) -> i64 {
        if let Some(&index) = self.indices.get(string) {
            return index;
        }
        let index = self.table.len() as i64;
        self.table.push(string.as_bytes().to_vec());
        self.indices.insert(string.to_owned(), index);
        index
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::encode;
    use crate::export::example::counter_service;
    use crate::export::proto;

    #[test]
    fn a_file_follows_the_conventions_viewers_rely_on() -> Result<(), prost::DecodeError> {
        let profile = counter_service();
        let message = proto::Profile::decode(encode(&profile).as_slice())?;
        let string = |index: i64| {
            String::from_utf8_lossy(&message.string_table[index as usize]).into_owned()
        };

        assert_eq!(string(0), "");
        let types: Vec<String> = message
            .sample_type
            .iter()
            .map(|t| format!("{}/{}", string(t.r#type), string(t.unit)))
            .collect();
        assert_eq!(
            types,
            [
                "alloc_objects/count",
                "alloc_space/bytes",
                "inuse_objects/count",
                "inuse_space/bytes"
            ]
        );
        assert_eq!(string(message.default_sample_type), "inuse_space");
        let period_type = message.period_type.unwrap_or_default();
        assert_eq!(string(period_type.r#type), "space");
        assert_eq!(string(period_type.unit), "bytes");
        assert_eq!(message.period, 1);
        assert_eq!(message.time_nanos, profile.metadata.time_nanos);
        assert_eq!(message.duration_nanos, 0, "a total has no duration");

        let main = &message.mapping[0];
        assert_eq!(main.id, 1);
        assert_eq!(string(main.filename), "/usr/bin/counter-service");
        assert!(main.has_functions && main.has_inline_frames);
        assert!(
            !message.mapping[1].has_functions,
            "libc has no symbols here"
        );

        let labels: Vec<(String, i64, String)> = message.sample[0]
            .label
            .iter()
            .map(|l| (string(l.key), l.num, string(l.num_unit)))
            .collect();
        assert_eq!(
            labels,
            [
                ("bytes".to_owned(), 1024, "bytes".to_owned()),
                ("pid".to_owned(), 4711, String::new())
            ]
        );
        let mut seen = std::collections::HashSet::new();
        assert!(
            message.string_table.iter().all(|s| seen.insert(s)),
            "each string is there once"
        );
        Ok(())
    }

    #[test]
    fn a_delta_has_a_duration() -> Result<(), prost::DecodeError> {
        let mut profile = counter_service();
        profile.metadata.duration_nanos = Some(30_000_000_000);
        let message = proto::Profile::decode(encode(&profile).as_slice())?;
        assert_eq!(message.duration_nanos, 30_000_000_000);
        Ok(())
    }
}
