//! OTLP profiles, `v1development` of proto 1.10: one value a profile, all of them by one dictionary.
//!
//! The signal is in development: a collector takes it with its feature gate `service.profilesSupport`.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::profiles::v1development::{
    ExportProfilesServiceRequest, ExportProfilesServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::profiles::v1development as otlp;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::buffer::Body;
use super::{Origin, Piece};
use crate::printable::printable;
use crate::profile::{LocationIndex, Profile, Sample, ValueKind};

/// What a server answers.
pub(super) type Answer = ExportProfilesServiceResponse;

/// Why profiles were not taken, where some were not.
pub(super) fn rejected(answer: Answer) -> Option<String> {
    let partial = answer.partial_success?;
    (partial.rejected_profiles > 0).then(|| {
        let why = printable(&partial.error_message);
        format!("{} profiles rejected: {why}", partial.rejected_profiles)
    })
}

/// A gzipped request.
pub(super) fn encode(piece: &Piece) -> Body {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    // Nothing fails that writes to memory.
    let _ = gzip.write_all(&request(piece).encode_to_vec());
    gzip.finish().unwrap_or_default().into()
}

fn request(piece: &Piece) -> ExportProfilesServiceRequest {
    let mut dictionary = Dictionary::of(&piece.profile);
    let profiles = ValueKind::ALL
        .into_iter()
        .map(|kind| dictionary.profile(piece, kind))
        .collect();
    let scope = otlp::ScopeProfiles {
        scope: Some(InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        }),
        profiles,
        ..otlp::ScopeProfiles::default()
    };
    ExportProfilesServiceRequest {
        resource_profiles: vec![otlp::ResourceProfiles {
            resource: Some(resource(&piece.origin)),
            scope_profiles: vec![scope],
            ..otlp::ResourceProfiles::default()
        }],
        dictionary: Some(dictionary.into_tables()),
    }
}

/// The process, by OpenTelemetry's names where it has some.
fn resource(origin: &Origin) -> Resource {
    let named = [
        ("service.name", text(&origin.service)),
        ("process.pid", Value::IntValue(origin.pid.into())),
    ];
    // The process is always told.
    let asked_for = origin.labels.iter().filter(|(key, _)| *key != "pid");
    let asked_for = asked_for.map(|(key, value)| {
        let key = match key {
            "host" => "host.name",
            "container_id" => "container.id",
            other => other,
        };
        (key, text(value))
    });
    Resource {
        attributes: named
            .into_iter()
            .chain(asked_for)
            .map(|(key, value)| KeyValue {
                key: key.to_owned(),
                value: any(value),
                ..KeyValue::default()
            })
            .collect(),
        ..Resource::default()
    }
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "as the messages have it")]
fn any(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

/// A table of a dictionary: each entry once, the first one stands for none.
struct Table<T> {
    entries: Vec<T>,
    indices: HashMap<T, i32>,
}

impl<T: Clone + Default + Eq + Hash> Table<T> {
    fn new() -> Self {
        Self {
            entries: vec![T::default()],
            indices: HashMap::from([(T::default(), 0)]),
        }
    }

    fn add(&mut self, entry: T) -> i32 {
        let next = index(self.entries.len());
        *self.indices.entry(entry).or_insert_with_key(|entry| {
            self.entries.push(entry.clone());
            next
        })
    }
}

/// Positions in tables; there are no profiles of 2³¹ places.
fn index(position: usize) -> i32 {
    i32::try_from(position).unwrap_or(0)
}

/// The tables that all profiles of a request share.
struct Dictionary {
    strings: Table<String>,
    mappings: Vec<otlp::Mapping>,
    functions: Vec<otlp::Function>,
    locations: Vec<otlp::Location>,
    stacks: Table<otlp::Stack>,
    attributes: Vec<otlp::KeyValueAndUnit>,
    attribute_indices: HashMap<(String, String), i32>,
}

impl Dictionary {
    /// With all places of a profile.
    fn of(profile: &Profile) -> Self {
        let mut dictionary = Self {
            strings: Table::new(),
            mappings: vec![otlp::Mapping::default()],
            functions: vec![otlp::Function::default()],
            locations: vec![otlp::Location::default()],
            stacks: Table::new(),
            attributes: vec![otlp::KeyValueAndUnit::default()],
            attribute_indices: HashMap::new(),
        };
        for mapping in &profile.mappings {
            let build_id = (!mapping.build_id.is_empty()).then(|| {
                dictionary.attribute("process.executable.build_id.gnu", &mapping.build_id)
            });
            dictionary.mappings.push(otlp::Mapping {
                memory_start: mapping.start,
                memory_limit: mapping.limit,
                file_offset: mapping.file_offset,
                filename_strindex: dictionary.strings.add(mapping.path.clone()),
                attribute_indices: build_id.into_iter().collect(),
            });
        }
        for function in &profile.functions {
            dictionary.functions.push(otlp::Function {
                name_strindex: dictionary.strings.add(function.name.clone()),
                system_name_strindex: dictionary.strings.add(function.system_name.clone()),
                filename_strindex: dictionary.strings.add(function.file.clone()),
                start_line: function.start_line.into(),
            });
        }
        let native = dictionary.attribute("profile.frame.type", "native");
        for location in &profile.locations {
            let lines = location.lines.iter().map(|line| otlp::Line {
                function_index: index(line.function + 1),
                line: line.line.into(),
                column: 0,
            });
            dictionary.locations.push(otlp::Location {
                mapping_index: location.mapping.map_or(0, |mapping| index(mapping + 1)),
                address: location.address,
                lines: lines.collect(),
                attribute_indices: vec![native],
            });
        }
        dictionary
    }

    fn attribute(&mut self, key: &str, value: &str) -> i32 {
        let next = index(self.attributes.len());
        let pair = (key.to_owned(), value.to_owned());
        *self.attribute_indices.entry(pair).or_insert_with(|| {
            self.attributes.push(otlp::KeyValueAndUnit {
                key_strindex: self.strings.add(key.to_owned()),
                value: any(text(value)),
                unit_strindex: 0,
            });
            next
        })
    }

    fn stack(&mut self, locations: &[LocationIndex]) -> i32 {
        let locations = locations.iter();
        let location_indices = locations.map(|one| index(one.position() + 1)).collect();
        self.stacks.add(otlp::Stack { location_indices })
    }

    fn sample(&mut self, sample: &Sample, kind: ValueKind) -> otlp::Sample {
        let labels = sample.labels.iter();
        let attribute_indices = labels
            .map(|(key, value)| self.attribute(key, value))
            .collect();
        otlp::Sample {
            stack_index: self.stack(&sample.locations),
            attribute_indices,
            values: vec![sample.values.get(kind)],
            ..otlp::Sample::default()
        }
    }

    /// One of the values: what was allocated in the time since the last profile, or what is live at its end.
    fn profile(&mut self, piece: &Piece, kind: ValueKind) -> otlp::Profile {
        let metadata = &piece.profile.metadata;
        let length = match kind {
            ValueKind::AllocObjects | ValueKind::AllocSpace => metadata.duration_nanos.unwrap_or(0),
            _ => 0,
        };
        let samples = piece.profile.samples.iter();
        let samples = samples.filter(|sample| sample.values.get(kind) != 0);
        otlp::Profile {
            sample_type: Some(self.value_type(kind.name(), kind.unit())),
            samples: samples.map(|sample| self.sample(sample, kind)).collect(),
            time_unix_nano: u64::try_from(metadata.time_nanos - length).unwrap_or(0),
            duration_nano: u64::try_from(length).unwrap_or(0),
            period_type: Some(self.value_type("space", "bytes")),
            period: metadata.period,
            profile_id: fastrand::u128(..).to_be_bytes().to_vec(),
            attribute_indices: vec![self.attribute("tracer.verdict", piece.profile.verdict.name())],
            ..otlp::Profile::default()
        }
    }

    fn value_type(&mut self, name: &str, unit: &str) -> otlp::ValueType {
        otlp::ValueType {
            type_strindex: self.strings.add(name.to_owned()),
            unit_strindex: self.strings.add(unit.to_owned()),
        }
    }

    fn into_tables(self) -> otlp::ProfilesDictionary {
        otlp::ProfilesDictionary {
            mapping_table: self.mappings,
            location_table: self.locations,
            function_table: self.functions,
            link_table: vec![otlp::Link::default()],
            string_table: self.strings.entries,
            attribute_table: self.attributes,
            stack_table: self.stacks.entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::export::example::counter_service;

    #[test]
    fn each_value_is_a_profile_and_tables_begin_with_none() {
        let mut profile = counter_service();
        profile.metadata.duration_nanos = Some(5);
        profile.samples[0].labels = [("thread", "main")].into_iter().collect();
        let piece = Piece {
            profile: profile.clone(),
            origin: Arc::new(Origin {
                service: "shop".to_owned(),
                pid: 7,
                labels: [("host", "a")].into_iter().collect(),
            }),
        };
        let request = request(&piece);
        let tables = request.dictionary.unwrap_or_default();
        assert_eq!(tables.string_table[0], "");
        assert_eq!(tables.stack_table[0], otlp::Stack::default());
        let string = |index: i32| tables.string_table[index as usize].as_str();
        let resource = &request.resource_profiles[0];
        let profiles = &resource.scope_profiles[0].profiles;
        let sums: BTreeMap<_, _> = profiles
            .iter()
            .map(|one| {
                let name = string(one.sample_type.unwrap_or_default().type_strindex);
                let sum: i64 = one.samples.iter().flat_map(|sample| &sample.values).sum();
                (name, (sum, one.duration_nano))
            })
            .collect();
        for kind in ValueKind::ALL {
            let samples = profile.samples.iter();
            let sum: i64 = samples.map(|sample| sample.values.get(kind)).sum();
            let length = if kind.name().starts_with("alloc") {
                5
            } else {
                0
            };
            assert_eq!(sums.get(kind.name()), Some(&(sum, length)));
        }
        let keys: Vec<_> = resource
            .resource
            .iter()
            .flat_map(|resource| &resource.attributes)
            .map(|attribute| attribute.key.as_str())
            .collect();
        assert_eq!(keys, ["service.name", "process.pid", "host.name"]);
        // The first sample's leaf.
        let sample = &profiles[0].samples[0];
        let stack = &tables.stack_table[sample.stack_index as usize];
        let leaf = &tables.location_table[stack.location_indices[0] as usize];
        let function = &tables.function_table[leaf.lines[0].function_index as usize];
        let location = &profile.locations[profile.samples[0].locations[0].position()];
        let expected = &profile.functions[location.lines[0].function].name;
        assert_eq!(string(function.name_strindex), expected);
        let labelled = &tables.attribute_table[sample.attribute_indices[0] as usize];
        assert_eq!(string(labelled.key_strindex), "thread");
    }
}
