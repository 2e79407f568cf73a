//! Who gets an answer: by token, and not by way of a web page elsewhere.
//!
//! A page can have a browser ask for anything on this machine, and by DNS rebinding read the answer: the browser then
//! believes that the server is the page's own. `Host` has the page's name then. A name is no address, so those that are
//! not known are refused.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};

use super::listener::Listener;
use super::{Access, Token, text};

/// Bytes of a request's body at most. Nothing that is asked for needs more.
pub(super) const BODY: usize = 64 << 10;

struct Guard {
    token: Option<Token>,
    hosts: Vec<String>,
    /// Browsers can reach it.
    is_tcp: bool,
}

/// Lets nobody in who may not ask.
pub(super) fn guarded(router: Router, access: &mut Access, listener: &Listener) -> Router {
    let guard = Guard {
        token: access.token.take(),
        hosts: access.hosts.clone(),
        is_tcp: listener.is_tcp(),
    };
    router
        .layer(axum::extract::DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(Arc::new(guard), admit))
}

async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.refuse(request.headers(), request.uri()) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

impl Guard {
    fn refuse(&self, headers: &HeaderMap, uri: &Uri) -> Option<Response> {
        if self.is_tcp {
            let Some(host) = asked_host(headers, uri) else {
                return Some(text::error(StatusCode::BAD_REQUEST, "no Host header"));
            };
            if !self.is_known(host) {
                return Some(text::error(
                    StatusCode::MISDIRECTED_REQUEST,
                    "this server is not known by that name: --host NAME makes it known",
                ));
            }
        }
        if is_from_elsewhere(headers) {
            return Some(text::error(
                StatusCode::FORBIDDEN,
                "requests of other web pages are not answered",
            ));
        }
        if let Some(token) = &self.token
            && !headers
                .get(AUTHORIZATION)
                .is_some_and(|given| token.is_in(given.as_bytes()))
        {
            let refusal = text::error(
                StatusCode::UNAUTHORIZED,
                "give the token, as `Authorization: Bearer TOKEN` or as a password",
            );
            let scheme = HeaderValue::from_static("Basic realm=\"tracer\", charset=\"UTF-8\"");
            return Some(([(WWW_AUTHENTICATE, scheme)], refusal).into_response());
        }
        if length(headers).is_some_and(|length| length > BODY as u64) {
            return Some(text::error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "no request needs a body of that size",
            ));
        }
        None
    }

    fn is_known(&self, host: &str) -> bool {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        bare.unwrap_or(host).parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self
                .hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(host))
    }
}

/// The name in `Host`, or in the request line, without a port.
fn asked_host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let mut all = headers.get_all(HOST).iter();
    let host = match (all.next(), all.next()) {
        (Some(host), None) => host.to_str().ok()?,
        (None, _) => uri.authority()?.as_str(),
        // Two of them: whichever is meant.
        (Some(_), Some(_)) => return None,
    };
    without_port(host)
}

fn without_port(host: &str) -> Option<&str> {
    let end = match host.rfind(']') {
        Some(end) => end + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_number);
    (!name.is_empty() && is_port).then_some(name)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a browser says that another site's page asks.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let says = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    if says("sec-fetch-site").is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let origin = origin.to_str().ok().and_then(|origin| {
        let rest = origin.strip_prefix("http://");
        rest.or_else(|| origin.strip_prefix("https://"))
    });
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    // With its port: another port is another server.
    !origin
        .zip(host)
        .is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get("content-length")?.to_str().ok()?;
    // One that is no number is none that is small.
    Some(length.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard {
            token: None,
            hosts: vec!["profiles.example".to_owned()],
            is_tcp: true,
        }
    }

    fn refusal(guard: &Guard, headers: &[(&'static str, &'static str)]) -> Option<u16> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let refused = guard.refuse(&map, &Uri::from_static("/debug/pprof/heap"));
        refused.map(|refused| refused.status().as_u16())
    }

    #[test]
    fn names_that_are_not_known_are_refused() {
        let guard = guard();
        let by = |host| refusal(&guard, &[("host", host)]);
        for known in [
            "127.0.0.1",
            "127.0.0.1:6070",
            "[::1]:6070",
            "[fe80::1]",
            "10.1.2.3:80",
            "localhost",
            "LocalHost:6070",
            "profiles.example:443",
        ] {
            assert_eq!(by(known), None, "{known}");
        }
        for unknown in [
            "evil.example",
            "localhost.evil.example:6070",
            "127.0.0.1.evil.example",
            "127.0.0.1:6070.evil.example",
            "profiles.example.evil",
            "",
            ":80",
            "[::1",
            "127.0.0.1@evil.example",
        ] {
            assert!(by(unknown).is_some(), "{unknown}");
        }
        assert_eq!(refusal(&guard, &[]), Some(400));
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(refusal(&guard, &two), Some(400));
        let unix = Guard {
            is_tcp: false,
            ..guard
        };
        assert_eq!(refusal(&unix, &[]), None);
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let guard = guard();
        let by = |name, value| refusal(&guard, &[("host", "localhost:6070"), (name, value)]);
        assert_eq!(by("origin", "http://localhost:6070"), None);
        for elsewhere in [
            "http://localhost:8080",
            "http://evil.example",
            "null",
            "",
            "localhost:6070",
        ] {
            assert_eq!(by("origin", elsewhere), Some(403), "{elsewhere}");
        }
        assert_eq!(by("sec-fetch-site", "same-origin"), None);
        assert_eq!(by("sec-fetch-site", "none"), None);
        assert_eq!(by("sec-fetch-site", "cross-site"), Some(403));
        assert_eq!(by("sec-fetch-site", "same-site"), Some(403));
    }

    #[test]
    fn a_large_body_is_refused_before_it_is_read() {
        let guard = guard();
        let by = |length| refusal(&guard, &[("host", "localhost"), ("content-length", length)]);
        assert_eq!(by("65536"), None);
        assert_eq!(by("65537"), Some(413));
        assert_eq!(by("1073741824"), Some(413));
        assert_eq!(by("-1"), Some(413));
    }
}
