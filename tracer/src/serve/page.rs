//! The page and the data behind it, at `/`, `/page/` and `/api/`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::failure::Failure;
use super::past::{Past, When};
use super::text::error;
use crate::page::{self, KINDS, asset};
use crate::profile::ValueKind;

const JSON: &str = "application/json";

/// All paths of the page.
pub(super) fn router(past: Arc<Past>) -> Router {
    Router::new()
        .route("/", get(|| async { file("") }))
        .route(
            "/page/{name}",
            get(|Path(name): Path<String>| async move { file(&name) }),
        )
        .route("/api/overview", get(overview))
        .route("/api/moment", get(moment))
        .route("/api/changes", get(changes))
        .route("/api/suspects", get(suspects))
        .layer(map_response(protected))
        .with_state(past)
}

/// Adds what a browser has to know so that nobody else's page gets at this one.
async fn protected(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn file(name: &str) -> Response {
    match asset(name) {
        Some(asset) => ([(CONTENT_TYPE, asset.content_type)], asset.text).into_response(),
        None => error(StatusCode::NOT_FOUND, "the page has no such file"),
    }
}

fn answer(made: Result<Bytes, Failure>) -> Response {
    match made {
        Ok(bytes) => ([(CONTENT_TYPE, JSON)], bytes).into_response(),
        Err(failure) => failure.answer(),
    }
}

async fn overview(State(past): State<Arc<Past>>) -> Response {
    answer(past.overview().await)
}

async fn moment(State(past): State<Arc<Past>>, RawQuery(query): RawQuery) -> Response {
    match when(query.as_deref(), "at") {
        Ok(at) => answer(past.moment(at).await),
        Err(what) => error(StatusCode::BAD_REQUEST, &what),
    }
}

async fn changes(State(past): State<Arc<Past>>, RawQuery(query): RawQuery) -> Response {
    let query = query.as_deref();
    let asked = || Ok::<_, String>((when(query, "from")?, when(query, "to")?, kind(query)?));
    match asked() {
        Ok((from, to, kind)) => answer(past.changes(from, to, kind).await),
        Err(what) => error(StatusCode::BAD_REQUEST, &what),
    }
}

async fn suspects(State(past): State<Arc<Past>>) -> Response {
    answer(past.suspects().await)
}

/// The value of a parameter; the first counts.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let pairs = query.unwrap_or_default().split('&');
    let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(own, value)| (own == name).then_some(value))
}

/// A moment: its number, or `now`.
fn when(query: Option<&str>, name: &str) -> Result<When, String> {
    match parameter(query, name).unwrap_or("now") {
        "now" => Ok(When::Now),
        number => match number.parse() {
            Ok(id) => Ok(When::Kept(id)),
            Err(_) => Err(format!("{name}: the number of a moment, or `now`")),
        },
    }
}

fn kind(query: Option<&str>) -> Result<ValueKind, String> {
    let name = parameter(query, "value").unwrap_or(ValueKind::InuseSpace.name());
    let kind = KINDS.into_iter().find(|kind| kind.name() == name);
    kind.ok_or_else(|| format!("value: one of {}", KINDS.map(ValueKind::name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_name_moments_and_values() {
        assert_eq!(when(None, "at"), Ok(When::Now));
        assert_eq!(when(Some("at=now"), "at"), Ok(When::Now));
        assert_eq!(when(Some("x=1&at=7&at=8"), "at"), Ok(When::Kept(7)));
        for wrong in ["at=", "at=-1", "at=1.5", "at=x"] {
            assert!(when(Some(wrong), "at").is_err(), "{wrong}");
        }
        assert_eq!(kind(None), Ok(ValueKind::InuseSpace));
        assert_eq!(
            kind(Some("value=alloc_objects")),
            Ok(ValueKind::AllocObjects)
        );
        assert!(kind(Some("value=peak_space")).is_err());
    }

    #[test]
    fn only_files_of_the_page_are_served() {
        assert_eq!(file("main.js").status(), StatusCode::OK);
        for name in ["", "nothing", "../page.html", "/etc/passwd"] {
            let expected = match name {
                "" => StatusCode::OK,
                _ => StatusCode::NOT_FOUND,
            };
            assert_eq!(file(name).status(), expected, "{name}");
        }
    }
}
