//! Where profiles go.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

use super::buffer::Body;
use super::{Piece, otlp, raw};

/// A server, and the protocol that it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    protocol: Protocol,
    url: Url,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Pyroscope,
    Parca,
    Otlp,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Pyroscope, Self::Parca, Self::Otlp];

    const fn name(self) -> &'static str {
        match self {
            Self::Pyroscope => "pyroscope",
            Self::Parca => "parca",
            Self::Otlp => "otlp",
        }
    }

    /// What its requests are sent to.
    const fn path(self) -> &'static str {
        match self {
            Self::Pyroscope => "/push.v1.PusherService/Push",
            Self::Parca => "/profiles/writeraw",
            Self::Otlp => "/v1development/profiles",
        }
    }
}

impl Destination {
    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    /// Whether nobody on the way can read it.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub(super) const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The media type of a request.
    pub(super) const fn content_type(&self) -> &'static str {
        match self.protocol {
            Protocol::Pyroscope | Protocol::Parca => "application/json",
            Protocol::Otlp => "application/x-protobuf",
        }
    }

    /// Whether bodies are gzipped as a whole; the others have gzipped profiles in them.
    pub(super) const fn is_gzipped(&self) -> bool {
        matches!(self.protocol, Protocol::Otlp)
    }

    /// A request's body.
    pub(super) fn encode(&self, piece: &Piece) -> Body {
        match self.protocol {
            Protocol::Pyroscope => raw::pyroscope(piece),
            Protocol::Parca => raw::parca(piece),
            Protocol::Otlp => otlp::encode(piece),
        }
    }
}

impl FromStr for Destination {
    type Err = String;

    /// `PROTOCOL+http://HOST[:PORT][/PATH]`, or an address with a path that only one protocol has.
    fn from_str(text: &str) -> Result<Self, String> {
        let named = Protocol::ALL.into_iter().find_map(|protocol| {
            let rest = text.strip_prefix(protocol.name())?.strip_prefix('+')?;
            Some((protocol, rest))
        });
        let address = named.map_or(text, |(_, address)| address);
        let mut url: Url = address
            .parse()
            .map_err(|error| format!("no address: {error}; such as pyroscope+http://HOST:4040"))?;
        if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
            return Err(
                "write pyroscope+, parca+ or otlp+ before http://HOST or https://HOST".to_owned(),
            );
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "no names and passwords here, where others see them: --push-headers takes \
                 them from a file"
                    .to_owned(),
            );
        }
        let path = url.path().trim_end_matches('/').to_owned();
        let by_path = Protocol::ALL
            .into_iter()
            .find(|one| path.ends_with(one.path()));
        let Some(protocol) = named.map(|(protocol, _)| protocol).or(by_path) else {
            return Err("write pyroscope+, parca+ or otlp+ before it".to_owned());
        };
        if by_path != Some(protocol) {
            url.set_path(&format!("{path}{}", protocol.path()));
        }
        Ok(Self { protocol, url })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may hold a secret.
        let mut shown = self.url.clone();
        shown.set_query(None);
        let shown = shown.as_str();
        let base = shown.strip_suffix(self.protocol.path()).unwrap_or(shown);
        write!(f, "{}+{base}", self.protocol.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_named_or_told_from_the_path() {
        let shown = |text: &str| {
            let parsed = text.parse::<Destination>();
            parsed.map(|one| (one.to_string(), one.url().to_string()))
        };
        for (text, name, url) in [
            (
                "pyroscope+http://p:4040",
                "pyroscope+http://p:4040",
                "http://p:4040/push.v1.PusherService/Push",
            ),
            (
                "parca+https://p/base/",
                "parca+https://p/base",
                "https://p/base/profiles/writeraw",
            ),
            (
                "http://c:4318/v1development/profiles",
                "otlp+http://c:4318",
                "http://c:4318/v1development/profiles",
            ),
            (
                "otlp+http://c:4318/?key=s3cret",
                "otlp+http://c:4318",
                "http://c:4318/v1development/profiles?key=s3cret",
            ),
        ] {
            assert_eq!(shown(text), Ok((name.to_owned(), url.to_owned())));
        }
        for wrong in [
            "",
            "p:4040",
            "http://p:4040",
            "pyroscope+ftp://p",
            "pyroscope+http://",
            "unix+http://p",
            "parca+http://me:s3cret@p",
        ] {
            let said = shown(wrong);
            assert!(
                said.as_ref().is_err_and(|said| !said.contains("s3cret")),
                "{said:?}"
            );
        }
    }
}
