//! `/debug/pprof/`, as `net/http/pprof` of Go answers: the same paths, parameters, headers and errors.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use super::Subject;
use super::encoded::{Encoded, Form};
use super::failure::Failure;
use super::metrics::{self, Scrapes};
use super::text::{error, plain};
use crate::printable::printable;
use crate::profile::{Profile, ValueKind, diff};
use crate::session::{Asking, NoSnapshot};

/// A difference takes no longer.
const LONGEST: u64 = 3600;
/// Differences at one time: each holds a profile until it ends.
const DIFFERENCES: usize = 16;
/// Addresses that are named in one answer.
const ADDRESSES: usize = 4096;

/// What answers are made of.
pub(super) struct Service {
    subject: Subject,
    encoded: Encoded,
    asking: Asking,
    differences: Semaphore,
    scrapes: Scrapes,
}

impl Service {
    pub(super) fn new(subject: Subject, asking: Asking) -> Self {
        Self {
            subject,
            encoded: Encoded::default(),
            asking,
            differences: Semaphore::new(DIFFERENCES),
            scrapes: Scrapes::default(),
        }
    }

    /// A profile so far.
    async fn total(&self, form: Form) -> Result<Bytes, Failure> {
        let snapshot = self.asking.snapshot().await?;
        Ok(self.encoded.of(&snapshot.profile, form).await?)
    }

    /// What changes from now on.
    async fn difference(&self, seconds: u64, form: Form) -> Result<Bytes, Failure> {
        let _place = self
            .differences
            .try_acquire()
            .map_err(|_| NoSnapshot::Busy)?;
        let before = self.asking.snapshot().await?.profile;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let after = self.asking.snapshot().await?.profile;
        let changed =
            diff(&before, &after).map_err(|error| Failure::Internal(error.to_string()))?;
        Ok(self
            .encoded
            .once(Arc::new(changed.into_delta()), form)
            .await?)
    }
}

/// All paths.
pub(super) fn router(service: Arc<Service>) -> Router {
    let to_index = || async { Redirect::permanent("/debug/pprof/") };
    Router::new()
        .route("/debug/pprof", get(to_index))
        .route("/debug/pprof/", get(index))
        .route("/debug/pprof/cmdline", get(command_line))
        .route("/debug/pprof/symbol", get(symbol).post(symbol))
        .route("/debug/pprof/{name}", get(profile))
        .route("/metrics", get(metrics))
        .with_state(service)
}

async fn index(State(service): State<Arc<Service>>) -> Response {
    let Subject { name, pid, .. } = &service.subject;
    let name = escaped(&printable(name));
    Html(format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>tracer: {name}</title>\n\
         <h1>{name} (pid {pid})</h1>\n<p>Profiles, traced from outside:</p>\n<ul>\n\
         <li><a href=heap?debug=1>heap</a>: what is live, by who allocated it; <a href=heap>for pprof</a>\n\
         <li><a href=allocs?debug=1>allocs</a>: what was allocated since tracing began; <a href=allocs>for pprof</a>\n\
         <li><a href=cmdline>cmdline</a>: the program\n\
         <li><a href=/metrics>metrics</a>, for Prometheus\n</ul>\n\
         <p><code>?seconds=N</code> shows what changes in N seconds, <code>?debug=1</code> text.</p>\n"
    ))
    .into_response()
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

async fn command_line(State(service): State<Arc<Service>>) -> Response {
    plain(service.subject.command_line.clone())
}

async fn profile(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let by = match name.as_str() {
        "heap" => ValueKind::InuseSpace,
        "allocs" => ValueKind::AllocSpace,
        _ => return error(StatusCode::NOT_FOUND, "Unknown profile"),
    };
    let asked = match Asked::of(query.as_deref().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(what) => return error(StatusCode::BAD_REQUEST, &what),
    };
    let form = match asked.is_text {
        true => Form::Text,
        false => Form::Pprof(by),
    };
    let made = match asked.seconds {
        None => service.total(form).await,
        Some(seconds) => service.difference(seconds, form).await,
    };
    service.scrapes.count(made.is_ok());
    match made {
        Err(failure) => failure.answer(),
        Ok(bytes) if asked.is_text => plain(bytes),
        Ok(bytes) => {
            let delta = if asked.seconds.is_some() {
                "-delta"
            } else {
                ""
            };
            let attached = format!("attachment; filename=\"{name}{delta}\"");
            let headers = [
                (CONTENT_TYPE, "application/octet-stream"),
                (X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (CONTENT_DISPOSITION, attached.as_str()),
            ];
            (headers, bytes).into_response()
        }
    }
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let snapshot = match service.asking.snapshot().await {
        Ok(snapshot) => snapshot,
        Err(why) => return Failure::from(why).answer(),
    };
    match metrics::text(&service.subject, &snapshot, &service.scrapes) {
        Ok(text) => {
            let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => Failure::Internal(error.to_string()).answer(),
    }
}

/// What a query asks for. Others than these are accepted and mean nothing, `gc` among them: nobody collects garbage in
/// a program from outside.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    seconds: Option<u64>,
    is_text: bool,
}

impl Asked {
    /// By Go's rules: the first of a name counts, `debug` that is no number is 0.
    fn of(query: &str) -> Result<Self, String> {
        let value = |wanted: &str| {
            let pairs = query
                .split('&')
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            pairs
                .filter(|(name, _)| *name == wanted)
                .map(|(_, value)| value)
                .next()
        };
        let is_text = value("debug")
            .and_then(|level| level.parse::<i64>().ok())
            .is_some_and(|level| level != 0);
        let seconds = match value("seconds").filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => match text.parse::<u64>() {
                Ok(seconds @ 1..=LONGEST) => Some(seconds),
                Ok(1..) => return Err(format!("seconds: {LONGEST} at most")),
                _ => {
                    return Err(
                        "invalid value for \"seconds\" - must be a positive integer".to_owned()
                    );
                }
            },
        };
        if is_text && seconds.is_some() {
            return Err("seconds and debug params are incompatible".to_owned());
        }
        Ok(Self { seconds, is_text })
    }
}

/// Names of addresses, `+` between two.
async fn symbol(
    State(service): State<Arc<Service>>,
    method: Method,
    RawQuery(query): RawQuery,
    body: Result<String, axum::extract::rejection::StringRejection>,
) -> Response {
    let asked = match method {
        Method::POST => match body {
            Ok(body) => body,
            Err(refused) => return error(refused.status(), &refused.body_text()),
        },
        _ => query.unwrap_or_default(),
    };
    match service.asking.snapshot().await {
        Ok(snapshot) => plain(names(&snapshot.profile, &asked)),
        Err(why) => Failure::from(why).answer(),
    }
}

fn names(profile: &Profile, asked: &str) -> String {
    // pprof asks for symbols only where there are some.
    let mut answer = "num_symbols: 1\n".to_owned();
    for text in asked.split('+').take(ADDRESSES) {
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        let Ok(address) = u64::from_str_radix(digits, 16) else {
            continue;
        };
        // A frame lies before its return address.
        let location = profile
            .locations
            .iter()
            .find(|one| one.address == address || one.address + 1 == address);
        let name = location.and_then(|location| {
            let line = location.lines.last()?;
            Some(&profile.functions.get(line.function)?.name)
        });
        if let Some(name) = name {
            let _ = writeln!(answer, "{address:#x} {name}");
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_mean_what_they_do_in_go() {
        let of = |query: &str| Asked::of(query);
        let total = Asked::default();
        assert_eq!(of(""), Ok(total));
        assert_eq!(of("gc=1&debug=0"), Ok(Asked::default()));
        assert_eq!(of("debug=x"), Ok(Asked::default()));
        let text = |is_text| Asked {
            is_text,
            seconds: None,
        };
        assert_eq!(of("debug=1"), Ok(text(true)));
        assert_eq!(of("debug=2&gc=1"), Ok(text(true)));
        let delta = Asked {
            is_text: false,
            seconds: Some(30),
        };
        assert_eq!(of("seconds=30"), Ok(delta));
        for wrong in [
            "seconds=0",
            "seconds=-1",
            "seconds=1.5",
            "seconds=x",
            "seconds=1%20",
        ] {
            assert!(of(wrong).is_err_and(|said| said.contains("positive integer")));
        }
        assert!(of("seconds=3601").is_err_and(|said| said.contains("3600")));
        assert!(of("seconds=1&debug=1").is_err_and(|said| said.contains("incompatible")));
    }

    #[test]
    fn addresses_are_named_as_far_as_they_are_known() {
        let profile = crate::export::example::counter_service();
        let known = profile.locations[0].address;
        let asked = format!("{known:#x}+{:#x}+0x1+zz+", known + 1);
        let answer = names(&profile, &asked);
        let lines: Vec<_> = answer.lines().collect();
        assert_eq!(lines.len(), 3, "{answer}");
        assert_eq!(lines[0], "num_symbols: 1");
        assert!(lines[1].starts_with(&format!("{known:#x} ")), "{answer}");
    }

    #[test]
    fn names_of_programs_are_no_markup() {
        assert_eq!(
            escaped("<img src=x>&\"'"),
            "&lt;img src=x&gt;&amp;&quot;&#39;"
        );
    }
}
