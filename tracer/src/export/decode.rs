//! pprof messages to profiles: every id checked, everything else refused with a reason.

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost::{DecodeError, Message as _};

use super::pprof::{
    LABEL_OBJECTS_ERROR, LABEL_PEAK_OBJECTS, LABEL_PEAK_SPACE, LABEL_PID, LABEL_SPACE_ERROR,
};
use super::{Contents, ReadError, comments, proto};
use crate::profile::{
    Errors, FrameRules, Function, Labels, Line, Location, LocationIndex, Mapping, Metadata,
    Profile, Sample, ValueKind, Values, Verdict, prune,
};

/// Most top-level records (samples, locations, strings and so on) of a message. A record can be two
/// bytes long and becomes about a hundred in memory, so that the size alone is no bound.
pub(super) const MAX_RECORDS: usize = 8_000_000;

/// Decodes an uncompressed message.
pub(super) fn decode(bytes: &[u8]) -> Result<Contents, ReadError> {
    let malformed = |error: DecodeError| ReadError::Malformed(error.to_string());
    let Parts { messages, rest } = split(bytes)?;
    let message = proto::Profile::decode(rest.as_slice()).map_err(malformed)?;
    drop(rest);
    let strings = Strings(&message.string_table);
    if message.string_table.is_empty() {
        return Err(ReadError::NotAProfile);
    }
    let columns = Columns::find(&message, strings)?;

    let (mappings, mapping_ids) = indexed("mapping", &message.mapping, |mapping| {
        Ok((
            mapping.id,
            Mapping {
                start: mapping.memory_start,
                limit: mapping.memory_limit,
                file_offset: mapping.file_offset,
                path: strings.get(mapping.filename)?,
                build_id: strings.get(mapping.build_id)?,
                has_functions: mapping.has_functions,
                has_filenames: mapping.has_filenames,
                has_line_numbers: mapping.has_line_numbers,
                has_inline_frames: mapping.has_inline_frames,
            },
        ))
    })?;
    let (mut functions, function_ids) = indexed("function", &message.function, |function| {
        Ok((
            function.id,
            Function {
                name: strings.get(function.name)?,
                system_name: strings.get(function.system_name)?,
                file: strings.get(function.filename)?,
                start_line: line_number(function.start_line),
            },
        ))
    })?;
    let (locations, location_ids) = indexed("location", &message.location, |location| {
        let mut decoded = Location {
            mapping: match location.mapping_id {
                0 => None,
                id => Some(mapping_ids.get(id)?),
            },
            address: location.address,
            lines: Vec::with_capacity(location.line.len()),
            unknown: match location.unknown_reason {
                0 => None,
                index => Some(strings.get(index)?),
            },
        };
        for line in &location.line {
            decoded.lines.push(Line {
                function: function_ids.get(line.function_id)?,
                line: line_number(line.line),
            });
        }
        if decoded.lines.is_empty() {
            name_by_address(&mut decoded, &mappings, &mut functions);
        }
        Ok((location.id, decoded))
    })?;

    let mut samples = Vec::with_capacity(messages.len());
    let mut sample = proto::Sample::default();
    let mut known = HashSet::new();
    for message_of_sample in messages {
        // Into the memory of the one before: a file has many.
        sample.clear();
        sample.merge(message_of_sample).map_err(malformed)?;
        let mut locations = Vec::with_capacity(sample.location_id.len());
        for &id in &sample.location_id {
            locations.push(LocationIndex::new(location_ids.get(id)?));
        }
        let error =
            |name| label(&sample, name, strings).map(|error| error.unwrap_or(0).max(0) as f64);
        samples.push(Sample {
            locations,
            values: Values {
                peak_objects: label(&sample, LABEL_PEAK_OBJECTS, strings)?.unwrap_or(0),
                peak_space: label(&sample, LABEL_PEAK_SPACE, strings)?.unwrap_or(0),
                ..columns.values(&sample, message.sample_type.len())?
            },
            labels: labels(&sample, strings, &mut known)?,
            pid: label(&sample, LABEL_PID, strings)?.and_then(|pid| u32::try_from(pid).ok()),
            errors: Errors {
                objects: error(LABEL_OBJECTS_ERROR)?,
                space: error(LABEL_SPACE_ERROR)?,
            },
        });
    }

    let mut profile = Profile {
        metadata: Metadata {
            time_nanos: message.time_nanos,
            duration_nanos: Some(message.duration_nanos).filter(|&nanos| nanos != 0),
            period: message.period,
            ..Metadata::default()
        },
        mappings,
        functions,
        locations,
        samples,
        ..Profile::default()
    };
    profile.validate()?;
    apply_comments(profile_comments(&message, strings)?, &mut profile, || {
        let drop = strings.get(message.drop_frames).unwrap_or_default();
        let keep = strings.get(message.keep_frames).unwrap_or_default();
        (drop, keep)
    });
    let mut kinds = columns.kinds();
    if profile.peak.is_some() {
        kinds.extend(ValueKind::PEAK);
    }
    Ok(Contents { profile, kinds })
}

fn profile_comments(
    message: &proto::Profile,
    strings: Strings<'_>,
) -> Result<comments::Comments, ReadError> {
    let lines = message
        .comment
        .iter()
        .map(|&index| strings.get(index))
        .collect::<Result<Vec<String>, _>>()?;
    Ok(comments::parse(lines.iter().map(String::as_str)))
}

/// Fills in what the comments say. Where they show that the file is another tool's, its frames are
/// hidden for good (a profile has no place for foreign rules) and its losses are called unknown.
fn apply_comments(
    comments: comments::Comments,
    profile: &mut Profile,
    rules: impl FnOnce() -> (String, String),
) {
    profile.metadata.source = comments.source;
    profile.metadata.pids = comments.pids;
    profile.metadata.notes = comments.notes;
    profile.counters = comments.counters;
    // Where several were merged, their labels are those of one or the other.
    match comments.peaks.as_slice() {
        &[peak] => profile.peak = Some(peak),
        _ => profile.forget_peak(),
    }
    match comments.sampled.as_slice() {
        &[sampled] => profile.sampled = Some(sampled),
        _ => profile.forget_errors(),
    }
    if let Some(verdict) = comments.verdict {
        profile.verdict = verdict;
        return;
    }
    if profile.metadata.source.is_empty() {
        profile.metadata.source = "a heap profile written by another tool".to_owned();
    }
    profile.verdict = Verdict::Degraded {
        reasons: vec!["Not recorded by tracer: what was missed is not known.".to_owned()],
    };
    let (drop, keep) = rules();
    if drop.is_empty() {
        return;
    }
    match FrameRules::new(&drop, &keep) {
        Ok(rules) => {
            let pruned = prune(profile, &rules).into_owned();
            *profile = pruned;
        }
        // pprof, too, shows every frame then.
        Err(_) => profile.metadata.notes.push(
            "The file's drop_frames is not a regular expression: no frame is hidden.".to_owned(),
        ),
    }
}

/// A place without a frame gets one that says where it is: viewers drop frames without lines.
fn name_by_address(location: &mut Location, mappings: &[Mapping], functions: &mut Vec<Function>) {
    let mapping = location.mapping.and_then(|index| mappings.get(index));
    let name = match mapping {
        Some(mapping) if !mapping.path.is_empty() && location.address >= mapping.start => {
            let module = mapping.path.rsplit('/').next().unwrap_or_default();
            let offset = (location.address - mapping.start).wrapping_add(mapping.file_offset);
            format!("{module}+{offset:#x}")
        }
        _ => format!("{:#x}", location.address),
    };
    location.lines.push(Line {
        function: functions.len(),
        line: 0,
    });
    functions.push(Function {
        system_name: name.clone(),
        name,
        ..Function::default()
    });
    location
        .unknown
        .get_or_insert_with(|| "not symbolized in the file".to_owned());
}

/// The value of a numeric label.
fn label(
    sample: &proto::Sample,
    name: &str,
    strings: Strings<'_>,
) -> Result<Option<i64>, ReadError> {
    for label in &sample.label {
        if label.str == 0 && strings.bytes(label.key)? == name.as_bytes() {
            return Ok(Some(label.num));
        }
    }
    Ok(None)
}

/// The labels of a sample that have text, each set once.
fn labels(
    sample: &proto::Sample,
    strings: Strings<'_>,
    known: &mut HashSet<Labels>,
) -> Result<Labels, ReadError> {
    let mut labels = BTreeMap::new();
    for label in &sample.label {
        if label.str != 0 {
            labels.insert(strings.get(label.key)?, strings.get(label.str)?);
        }
    }
    let labels = Labels::from(labels);
    match known.get(&labels) {
        Some(known) => Ok(known.clone()),
        None => {
            known.insert(labels.clone());
            Ok(labels)
        }
    }
}

/// A line number; nonsense is "not known".
fn line_number(line: i64) -> u32 {
    u32::try_from(line).unwrap_or(0)
}

/// Which column of a sample's values is which kind.
struct Columns([Option<usize>; 4]);

impl Columns {
    fn find(message: &proto::Profile, strings: Strings<'_>) -> Result<Self, ReadError> {
        let mut names = Vec::new();
        let mut columns = [None; 4];
        for (column, sample_type) in message.sample_type.iter().enumerate() {
            let name = strings.get(sample_type.r#type)?;
            let unit = strings.get(sample_type.unit)?;
            let kind = ValueKind::ALL.iter().position(|&kind| {
                // gperftools' and V8's heap profiles call live memory just that.
                let short = match kind {
                    ValueKind::InuseObjects => "objects",
                    ValueKind::InuseSpace => "space",
                    _ => kind.name(),
                };
                (name == kind.name() || name == short) && unit == kind.unit()
            });
            if let Some(place) = kind.and_then(|kind| columns.get_mut(kind))
                && place.is_none()
            {
                *place = Some(column);
            }
            names.push(format!("{name}/{unit}"));
        }
        if columns.iter().all(Option::is_none) {
            return Err(ReadError::NotAHeapProfile(names));
        }
        Ok(Self(columns))
    }

    /// The kinds that are there.
    fn kinds(&self) -> Vec<ValueKind> {
        let kinds = ValueKind::ALL.into_iter().zip(self.0);
        kinds
            .filter_map(|(kind, column)| column.map(|_| kind))
            .collect()
    }

    fn values(&self, sample: &proto::Sample, types: usize) -> Result<Values, ReadError> {
        if sample.value.len() != types {
            return Err(ReadError::Malformed(format!(
                "a sample has {} values for {types} sample types",
                sample.value.len()
            )));
        }
        let [alloc_objects, alloc_space, inuse_objects, inuse_space] = self.0.map(|column| {
            let value = column.and_then(|column| sample.value.get(column));
            value.copied().unwrap_or(0)
        });
        Ok(Values {
            alloc_objects,
            alloc_space,
            inuse_objects,
            inuse_space,
            ..Values::default()
        })
    }
}

#[derive(Clone, Copy)]
struct Strings<'a>(&'a [Vec<u8>]);

impl<'a> Strings<'a> {
    fn bytes(self, index: i64) -> Result<&'a [u8], ReadError> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.0.get(index))
            .map(Vec::as_slice)
            .ok_or_else(|| ReadError::Malformed(format!("string {index} is not there")))
    }

    fn get(self, index: i64) -> Result<String, ReadError> {
        Ok(String::from_utf8_lossy(self.bytes(index)?).into_owned())
    }
}

/// Where each id of one kind of record ended up.
struct Ids {
    kind: &'static str,
    /// How many ids at the beginning are 1, 2, 3 and so on, as nearly all writers number their records:
    /// these need no look-up.
    counted: u64,
    /// The others.
    indices: HashMap<u64, usize, RandomState>,
}

impl Ids {
    fn get(&self, id: u64) -> Result<usize, ReadError> {
        let index = match id.checked_sub(1) {
            Some(index) if index < self.counted => Some(index as usize),
            _ => self.indices.get(&id).copied(),
        };
        index.ok_or_else(|| ReadError::Malformed(format!("{} {id} is not there", self.kind)))
    }

    /// Takes in the id of the record at `index`; `false` where it is no id, or was there before.
    fn insert(&mut self, id: u64, index: usize) -> bool {
        match id.checked_sub(1) {
            None => false,
            Some(number) if number < self.counted => false,
            Some(number) if number == index as u64 && self.indices.is_empty() => {
                self.counted += 1;
                true
            }
            Some(_) => self.indices.insert(id, index).is_none(),
        }
    }
}

/// Converts records and remembers the index of each id.
fn indexed<M, T>(
    kind: &'static str,
    messages: &[M],
    mut convert: impl FnMut(&M) -> Result<(u64, T), ReadError>,
) -> Result<(Vec<T>, Ids), ReadError> {
    let mut records = Vec::with_capacity(messages.len());
    let mut ids = Ids {
        kind,
        counted: 0,
        indices: HashMap::default(),
    };
    for message in messages {
        let (id, record) = convert(message)?;
        if !ids.insert(id, records.len()) {
            return Err(ReadError::Malformed(format!(
                "{kind} {id} is there twice or has no id"
            )));
        }
        records.push(record);
    }
    Ok((records, ids))
}

/// A message in parts.
struct Parts<'a> {
    /// Of each sample its own message.
    messages: Vec<&'a [u8]>,
    /// All else.
    rest: Vec<u8>,
}

/// Walks over the top-level fields without decoding them, and so tells a file that is cut short
/// from one that never was a profile, and refuses one with too many records before they take memory.
fn split(mut bytes: &[u8]) -> Result<Parts<'_>, ReadError> {
    const SAMPLE: u32 = 2;
    let mut parts = Parts {
        messages: Vec::new(),
        rest: Vec::new(),
    };
    let mut records = 0;
    while !bytes.is_empty() {
        // A key or number that cannot be read is one that the end of the file cut, or nonsense.
        let cut = |rest: &[u8]| match rest.len() {
            0..10 if records > 0 => ReadError::Truncated,
            _ => ReadError::NotAProfile,
        };
        let record = bytes;
        let (field, wire_type) = decode_key(&mut bytes).map_err(|_| cut(record))?;
        let fits = match field {
            1..=6 | 11 => wire_type == WireType::LengthDelimited,
            7..=10 | 12 | 14 => wire_type == WireType::Varint,
            13 => matches!(wire_type, WireType::LengthDelimited | WireType::Varint),
            _ => records > 0,
        };
        if !fits {
            return Err(ReadError::NotAProfile);
        }
        let before = bytes;
        let length = match wire_type {
            WireType::Varint => {
                decode_varint(&mut bytes).map_err(|_| cut(before))?;
                0
            }
            WireType::LengthDelimited => decode_varint(&mut bytes).map_err(|_| cut(before))?,
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::StartGroup | WireType::EndGroup => return Err(ReadError::NotAProfile),
        };
        let (value, after) = usize::try_from(length)
            .ok()
            .and_then(|length| bytes.split_at_checked(length))
            .ok_or(if records > 0 {
                ReadError::Truncated
            } else {
                ReadError::NotAProfile
            })?;
        bytes = after;
        if field == SAMPLE {
            parts.messages.push(value);
        } else {
            let whole = record.len() - after.len();
            parts.rest.extend_from_slice(&record[..whole]);
        }
        records += 1;
        if records > MAX_RECORDS {
            return Err(ReadError::TooLarge);
        }
    }
    Ok(parts)
}
