//! Pyroscope and Parca: pprof files in JSON, by proto3's rules for it.
//!
//! Sources: `push/v1/push.proto` of Pyroscope, `profilestore/v1alpha1/profilestore.proto` of Parca.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Piece;
use super::buffer::Body;
use crate::export::pprof;
use crate::profile::{Profile, Values};

/// What Go's heap profiles are called there.
const NAME: &str = "memory";

/// Sums what was allocated and averages what is live, by the names of the values.
pub(super) fn pyroscope(piece: &Piece) -> Body {
    let labels = labels(piece);
    let labels: Vec<_> = labels.iter().map(pair).collect();
    let id = format!("{:032x}", fastrand::u128(..));
    let samples = json!([{ "rawProfile": encoded(&piece.profile), "ID": id }]);
    body(&json!({ "series": [{ "labels": labels, "samples": samples }] }))
}

/// Takes every value of a profile with a duration for what came in that time, so that what is live goes in a profile
/// of its own without one.
pub(super) fn parca(piece: &Piece) -> Body {
    let labels = labels(piece);
    let labels: Vec<_> = labels.iter().map(pair).collect();
    let part = |keep: fn(Values) -> Values, duration| {
        let mut part = piece.profile.clone();
        part.metadata.duration_nanos = duration;
        for sample in &mut part.samples {
            sample.values = keep(sample.values);
        }
        part.samples
            .retain(|sample| sample.values != Values::default());
        json!({ "rawProfile": encoded(&part) })
    };
    let live = |values| Values {
        alloc_objects: 0,
        alloc_space: 0,
        ..values
    };
    let allocated = |values| Values {
        inuse_objects: 0,
        inuse_space: 0,
        ..values
    };
    let samples = [
        part(live, None),
        part(allocated, piece.profile.metadata.duration_nanos),
    ];
    body(&json!({ "series": [{ "labels": { "labels": labels }, "samples": samples }] }))
}

/// The labels of a series. `service_name` is what Pyroscope knows services by.
fn labels(piece: &Piece) -> BTreeMap<&str, String> {
    let origin = &piece.origin;
    let asked_for = origin.labels.iter();
    let mut labels: BTreeMap<_, _> = asked_for
        .map(|(key, value)| (key, value.to_owned()))
        .collect();
    labels.insert("__name__", NAME.to_owned());
    labels.insert("service_name", origin.service.clone());
    labels
}

fn pair((name, value): (&&str, &String)) -> serde_json::Value {
    json!({ "name": name, "value": value })
}

fn encoded(profile: &Profile) -> String {
    let mut file = Vec::new();
    // Nothing fails that writes to memory.
    let _ = pprof::write(profile, &mut file);
    STANDARD.encode(file)
}

fn body(request: &serde_json::Value) -> Body {
    request.to_string().into()
}
