//! Where to listen.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::printable::Shown as _;

/// An address of this machine, or the path of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A socket that the file system protects.
    Unix(PathBuf),
}

impl Address {
    /// Nobody else's default: Go programs have 6060.
    const PORT: u16 = 6070;

    /// Whether other machines reach it.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().is_loopback(),
            Self::Unix(_) => false,
        }
    }
}

impl Default for Address {
    fn default() -> Self {
        Self::Tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), Self::PORT))
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("a path comes after `unix:`".to_owned()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        let port = match text.strip_prefix("localhost:") {
            Some(port) => port,
            None => text.strip_prefix(':').unwrap_or(text),
        };
        match (port.parse(), text.parse::<IpAddr>()) {
            // No host means this machine only: whoever wants more says so.
            (Ok(port), _) => Ok(Self::Tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))),
            (_, Ok(host)) => Ok(Self::Tcp(SocketAddr::new(host, Self::PORT))),
            _ => Err("write ADDRESS:PORT, such as 127.0.0.1:6070, or unix:PATH".to_owned()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.shown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        let shown = |text: &str| {
            let parsed = text.parse::<Address>();
            parsed.map(|address| (address.to_string(), address.is_open()))
        };
        let closed = |text: &str| Ok((text.to_owned(), false));
        assert_eq!(shown("127.0.0.1:80"), closed("127.0.0.1:80"));
        assert_eq!(shown("7000"), closed("127.0.0.1:7000"));
        assert_eq!(shown(":7000"), closed("127.0.0.1:7000"));
        assert_eq!(shown("localhost:7000"), closed("127.0.0.1:7000"));
        assert_eq!(shown("::1"), closed("[::1]:6070"));
        assert_eq!(shown("unix:/run/x"), closed("unix:/run/x"));
        assert_eq!(shown("0.0.0.0:1"), Ok(("0.0.0.0:1".to_owned(), true)));
        assert_eq!(shown("10.0.0.1"), Ok(("10.0.0.1:6070".to_owned(), true)));
        assert_eq!(shown("[::]:9"), Ok(("[::]:9".to_owned(), true)));
        for wrong in ["", "unix:", "host:80", "127.0.0.1:99999", "99999"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Address::default().to_string(), "127.0.0.1:6070");
    }
}
