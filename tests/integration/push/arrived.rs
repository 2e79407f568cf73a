//! What a request holds, by the published protocol files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::profiles::v1development::ProfilesDictionary;
use prost::Message as _;
use serde_json::Value;
use tempfile::TempDir;
use tests::go;
use tests::receiver::Received;

/// One push.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) labels: BTreeMap<String, String>,
    /// Objects and bytes allocated, objects and bytes live.
    pub(super) sums: [i64; 4],
}

impl Arrived {
    pub(super) fn of(protocol: &str, request: &Received) -> Result<Self> {
        match protocol {
            "pyroscope" => pyroscope(request),
            "parca" => parca(request),
            _ => otlp(request),
        }
    }
}

/// `push/v1/push.proto`: one series with one profile.
fn pyroscope(request: &Received) -> Result<Arrived> {
    let message = json(request)?;
    let series = only(&message["series"])?;
    let labels = labels(&series["labels"])?;
    ensure!(
        labels.get("__name__").is_some_and(|name| name == "memory")
            && labels.contains_key("service_name"),
        "{labels:?}"
    );
    let sample = only(&series["samples"])?;
    ensure!(sample["ID"].as_str().is_some_and(|id| !id.is_empty()));
    let Raw { sums, head } = raw(sample)?;
    ensure!(
        head.contains("PeriodType: space bytes") && head.contains("Duration: "),
        "{head}"
    );
    Ok(Arrived { labels, sums })
}

/// `profilestore/v1alpha1/profilestore.proto`: what is live without a duration, what was allocated with one.
fn parca(request: &Received) -> Result<Arrived> {
    let message = json(request)?;
    let series = only(&message["series"])?;
    let labels = labels(&series["labels"]["labels"])?;
    ensure!(
        labels.get("__name__").is_some_and(|name| name == "memory"),
        "{labels:?}"
    );
    let samples = series["samples"].as_array().context("no samples")?;
    ensure!(samples.len() == 2, "{} samples", samples.len());
    let (live, allocated) = (raw(&samples[0])?, raw(&samples[1])?);
    ensure!(
        !live.head.contains("Duration: ") && live.sums[..2] == [0, 0],
        "{}",
        live.head
    );
    ensure!(
        allocated.head.contains("Duration: ") && allocated.sums[2..] == [0, 0],
        "{}",
        allocated.head
    );
    let [objects, bytes] = [allocated.sums[0], allocated.sums[1]];
    Ok(Arrived {
        labels,
        sums: [objects, bytes, live.sums[2], live.sums[3]],
    })
}

fn json(request: &Received) -> Result<Value> {
    ensure!(
        request.header("content-type") == Some("application/json"),
        "{}",
        request.head
    );
    Ok(serde_json::from_slice(&request.body)?)
}

fn only(list: &Value) -> Result<&Value> {
    match list.as_array().map(Vec::as_slice) {
        Some([one]) => Ok(one),
        _ => anyhow::bail!("not one: {list}"),
    }
}

fn labels(list: &Value) -> Result<BTreeMap<String, String>> {
    let list = list.as_array().context("no labels")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    let pairs = list
        .iter()
        .map(|one| Ok((text(&one["name"])?, text(&one["value"])?)));
    let labels = pairs.collect::<Result<BTreeMap<_, _>>>()?;
    ensure!(
        labels.len() == list.len(),
        "a label is there twice: {list:?}"
    );
    Ok(labels)
}

/// A profile as Go's pprof reads it.
struct Raw {
    sums: [i64; 4],
    head: String,
}

fn raw(sample: &Value) -> Result<Raw> {
    let encoded = sample["rawProfile"].as_str().context("no profile")?;
    let folder = TempDir::new()?;
    let file = folder.path().join("pushed.pb.gz");
    fs::write(&file, STANDARD.decode(encoded)?)?;
    let ended = go::pprof(["-raw", &file.to_string_lossy()])?;
    ended.expect_code(0)?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    let (head, rest) = text.split_once("Samples:\n").context("no samples")?;
    ensure!(
        rest.starts_with(
            "alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes"
        ),
        "{rest}"
    );
    let samples = rest.split("Locations\n").next().unwrap_or_default();
    let mut sums = [0; 4];
    for line in samples.lines().skip(1) {
        let Some((values, _)) = line.split_once(':') else {
            continue;
        };
        let values: Vec<i64> = values
            .split_whitespace()
            .filter_map(|one| one.parse().ok())
            .collect();
        if let [_, _, _, _] = values.as_slice() {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value;
            }
        }
    }
    Ok(Raw {
        sums,
        head: head.to_owned(),
    })
}

/// `profiles/v1development/profiles.proto` of 1.10: one value a profile.
fn otlp(request: &Received) -> Result<Arrived> {
    ensure!(
        request.header("content-type") == Some("application/x-protobuf")
            && request.header("content-encoding") == Some("gzip"),
        "{}",
        request.head
    );
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(request.body.as_slice()).read_to_end(&mut body)?;
    let message = ExportProfilesServiceRequest::decode(body.as_slice())?;
    let tables = message.dictionary.context("no dictionary")?;
    let [resource] = message.resource_profiles.as_slice() else {
        anyhow::bail!("not one resource");
    };
    let [scope] = resource.scope_profiles.as_slice() else {
        anyhow::bail!("not one scope");
    };
    let mut sums = [0; 4];
    for profile in &scope.profiles {
        let name = string(
            &tables,
            profile.sample_type.context("no type")?.type_strindex,
        )?;
        let names = [
            "alloc_objects",
            "alloc_space",
            "inuse_objects",
            "inuse_space",
        ];
        let at = names
            .iter()
            .position(|one| *one == name)
            .with_context(|| name.to_owned())?;
        ensure!((profile.duration_nano > 0) == (at < 2), "{at}");
        for sample in &profile.samples {
            let stack = tables.stack_table.get(sample.stack_index as usize);
            for &place in &stack.context("no stack")?.location_indices {
                let place = tables
                    .location_table
                    .get(place as usize)
                    .context("no place")?;
                let line = place.lines.first().context("no line")?;
                let function = tables.function_table.get(line.function_index as usize);
                let name = function.context("no function")?.name_strindex;
                ensure!(
                    !string(&tables, name)?.is_empty(),
                    "a function without a name"
                );
            }
            sums[at] += sample.values.iter().sum::<i64>();
        }
    }
    let attributes = resource.resource.iter().flat_map(|one| &one.attributes);
    let labels = attributes.map(|attribute| {
        let value = match attribute.value.as_ref().and_then(|any| any.value.as_ref()) {
            Some(Any::StringValue(text)) => text.clone(),
            other => format!("{other:?}"),
        };
        (attribute.key.clone(), value)
    });
    Ok(Arrived {
        labels: labels.collect(),
        sums,
    })
}

fn string(tables: &ProfilesDictionary, index: i32) -> Result<&str> {
    let string = tables.string_table.get(index as usize);
    string.map(String::as_str).context("no string")
}
