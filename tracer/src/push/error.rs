//! What goes wrong before anything is sent.

use std::io;
use std::path::PathBuf;

use crate::printable::Shown as _;

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The file with headers.
    #[error("{}: {what}", path.shown())]
    Headers {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The thread that sends.
    #[error("the thread that pushes could not be started: {0}")]
    Thread(#[source] io::Error),
    /// The client.
    #[error("no connections can be made: {0}")]
    Client(#[source] reqwest::Error),
}
