//! Sends, and tries again.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect};

use super::PushError;
use super::backoff::Backoff;
use super::buffer::{Body, Buffer};
use super::counts::Pushes;
use super::destination::{Destination, Protocol};
use super::headers::Headers;
use super::otlp::{self, Answer};
use crate::printable::printable;

/// A connection takes no longer to make.
const CONNECT: Duration = Duration::from_secs(5);
/// Nor a request with its answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read.
const ANSWER: usize = 64 * 1024;
/// Characters of an answer that are shown.
const SHOWN: usize = 200;

/// What a try came to.
enum Tried {
    Taken,
    /// It will never be taken.
    Refused(String),
    /// Later, perhaps.
    Failed {
        why: String,
        after: Option<Duration>,
    },
}

pub(super) struct Sender {
    client: Client,
    destination: Destination,
    pushes: Arc<Pushes>,
    say: fn(&str),
}

impl Sender {
    pub(super) fn new(
        destination: &Destination,
        headers: &Headers,
        pushes: Arc<Pushes>,
        say: fn(&str),
    ) -> Result<Self, PushError> {
        // The first one stays; there is no other in this program.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .default_headers(headers.map())
            .user_agent(concat!("tracer/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(TIMEOUT)
            // Secrets go where they were meant to, and nowhere else.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(PushError::Client)?;
        Ok(Self {
            client,
            destination: destination.clone(),
            pushes,
            say,
        })
    }

    /// Sends what comes, in order, until no more will.
    pub(super) async fn send_all(&self, buffer: &Buffer) {
        let mut is_refused = false;
        while let Some(body) = buffer.next().await {
            let mut under_way = UnderWay(Some(&self.pushes));
            let result = self.send(body).await;
            under_way.0 = None;
            match result {
                Ok(()) => {
                    self.pushes.count_taken();
                    is_refused = false;
                }
                Err(why) => {
                    self.pushes.count_refused();
                    // Once, not every time.
                    if !std::mem::replace(&mut is_refused, true) {
                        self.tell(&format!("refused: {why}"));
                    }
                }
            }
        }
    }

    /// Until it is taken, or refused for good.
    async fn send(&self, body: Body) -> Result<(), String> {
        let mut backoff = Backoff::default();
        let mut failures = 0_u32;
        loop {
            match self.try_once(body.clone()).await {
                Tried::Taken => {
                    if failures > 0 {
                        self.tell(&format!("works again, after {failures} tries that failed"));
                    }
                    return Ok(());
                }
                Tried::Refused(why) => return Err(why),
                Tried::Failed { why, after } => {
                    if failures == 0 {
                        self.tell(&format!("failed: {why}; trying again"));
                    }
                    failures += 1;
                    self.pushes.count_tried_again();
                    tokio::time::sleep(backoff.next(after, fastrand::f64())).await;
                }
            }
        }
    }

    async fn try_once(&self, body: Body) -> Tried {
        let mut request = self
            .client
            .post(self.destination.url().clone())
            .header(CONTENT_TYPE, self.destination.content_type())
            .body(body);
        if self.destination.is_gzipped() {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let failed = |error: reqwest::Error| Tried::Failed {
            // The address may hold a secret.
            why: reasons(&error.without_url()),
            after: None,
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return failed(error),
        };
        let status = response.status();
        let after = asked_for(&response);
        let answer = match read(response).await {
            Ok(answer) => answer,
            // It was taken, whatever it says of it.
            Err(_) if status.is_success() => return Tried::Taken,
            Err(error) => return failed(error),
        };
        if status.is_success() {
            return match self.destination.protocol() {
                Protocol::Otlp => of_otlp(&answer),
                Protocol::Pyroscope | Protocol::Parca => Tried::Taken,
            };
        }
        let why = format!("{status}{}", shown(&answer));
        if may_pass(status) {
            Tried::Failed { why, after }
        } else {
            Tried::Refused(why)
        }
    }

    fn tell(&self, what: &str) {
        (self.say)(&format!("push to {}: {what}", self.destination));
    }
}

/// A profile that is being sent: where that is broken off, it is dropped.
struct UnderWay<'a>(Option<&'a Pushes>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(pushes) = self.0 {
            pushes.count_dropped();
        }
    }
}

/// Whether the same request may be taken later.
fn may_pass(status: StatusCode) -> bool {
    status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// A server's wish, in seconds; dates are not understood.
fn asked_for(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

async fn read(mut response: Response) -> reqwest::Result<Vec<u8>> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        answer.extend_from_slice(&chunk);
        if answer.len() > ANSWER {
            break;
        }
    }
    Ok(answer)
}

fn of_otlp(answer: &[u8]) -> Tried {
    let Ok(answer) = Answer::decode(answer) else {
        return Tried::Taken;
    };
    match otlp::rejected(answer) {
        Some(why) => Tried::Refused(why),
        None => Tried::Taken,
    }
}

/// The beginning of an answer, for people.
fn shown(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let text: String = text.trim().chars().take(SHOWN).collect();
    match text.is_empty() {
        true => text,
        false => format!(": {}", printable(&text)),
    }
}

/// An error and what led to it: the first alone says only that something went wrong.
fn reasons(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said.push_str(": ");
        said.push_str(&error.to_string());
        source = error.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again() {
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(StatusCode::from_u16(code).is_ok_and(may_pass), "{code}");
        }
        for code in [301, 400, 401, 403, 404, 413, 415, 422, 501] {
            assert!(!StatusCode::from_u16(code).is_ok_and(may_pass), "{code}");
        }
    }

    #[test]
    fn an_answer_is_shown_in_part_and_escaped() {
        assert_eq!(shown(b" \n"), "");
        assert_eq!(shown(b"no \x1b[2J"), ": no \\u{1b}[2J");
        assert_eq!(shown(&[b'x'; 999]).len(), SHOWN + 2);
    }
}
