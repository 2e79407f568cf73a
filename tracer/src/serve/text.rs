//! Answers in text.

use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Text, and nothing that a browser takes for something else.
pub(super) fn plain(text: impl Into<axum::body::Body>) -> Response {
    let headers = [(CONTENT_TYPE, PLAIN), (X_CONTENT_TYPE_OPTIONS, NOSNIFF)];
    (headers, text.into()).into_response()
}

/// An error as Go's handlers have it: `go tool pprof` shows the text where the header is there.
pub(super) fn error(status: StatusCode, what: &str) -> Response {
    let is_gos = [(
        HeaderName::from_static("x-go-pprof"),
        HeaderValue::from_static("1"),
    )];
    (status, is_gos, plain(format!("{what}\n"))).into_response()
}
