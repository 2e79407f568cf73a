//! Why there is no server.

use std::io;
use std::path::PathBuf;

use crate::printable::Shown as _;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// As it was given.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// What lies at the path of a socket is none, or somebody listens there.
    #[error("{} {what}: name another path for the socket", .path.shown())]
    Taken {
        /// The path.
        path: PathBuf,
        /// Why it is not free.
        what: &'static str,
    },
    /// Everybody on the network could ask.
    #[error(
        "{0} can be reached from other machines: give a token with --token-file, or listen on 127.0.0.1 or \
         unix:PATH"
    )]
    Open(String),
    /// A token that protects nothing, or can't be read.
    #[error("token file {}: {what}", .path.shown())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Certificate or key.
    #[error("{}: {what}", .path.shown())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// There can be no thread, or no event loop.
    #[error("the server could not be started: {0}")]
    Thread(io::Error),
}
