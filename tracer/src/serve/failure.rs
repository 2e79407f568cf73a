//! Why there is no profile, as an answer.

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::text::error;
use crate::session::NoSnapshot;

/// Why there is no profile.
pub(super) enum Failure {
    NoSnapshot(NoSnapshot),
    Internal(String),
}

impl From<NoSnapshot> for Failure {
    fn from(why: NoSnapshot) -> Self {
        Self::NoSnapshot(why)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

impl Failure {
    /// Says so.
    pub(super) fn answer(self) -> Response {
        match self {
            Self::NoSnapshot(why) => {
                let later = [(RETRY_AFTER, HeaderValue::from_static("1"))];
                (
                    later,
                    error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
                )
                    .into_response()
            }
            Self::Internal(what) => error(StatusCode::INTERNAL_SERVER_ERROR, &what),
        }
    }
}
