//! The profile of a running recording in a terminal, drawn again and again: the reports, live.
//!
//! Three layers. The state ([`State`]) is pure: snapshots and keys in, what to do out. Drawing is pure as well, on a frame
//! of ratatui. The screen takes the terminal and gives it back as it was, however the process ends. A thread of its
//! own, without any privilege, runs them and asks the session's owner for whole profiles (`docs/design/0039-top.md`).

mod course;
mod draw;
mod screen;
mod state;
#[cfg(test)]
mod tests;
mod thread;

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use state::{Effect, State};
pub use thread::{Display, Waiting};

use crate::names::NameStyle;
use crate::profile::Profile;
use crate::session::Asking;
use crate::sites::Rules;

/// The process that is recorded, and how it is shown.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Its name, as it has given it.
    pub name: String,
    /// Its pid.
    pub pid: u32,
    /// How functions are called.
    pub names: NameStyle,
    /// Whose code is what, beyond the built-in table.
    pub rules: Rules,
    /// Show colours.
    pub has_colours: bool,
}

/// Writes a profile: where it is then, or why it could not be written.
pub type Save = Box<dyn Fn(&Profile) -> Result<String, String> + Send>;

/// What a display begins with.
pub struct Begin {
    /// What is shown.
    pub subject: Subject,
    /// Where to ask for profiles.
    pub asking: Asking,
    /// How often to ask, at most.
    pub interval: Duration,
    /// Writes what is shown.
    pub save: Save,
}

/// How a recording has ended that is still shown.
#[derive(Clone, Debug)]
pub struct End {
    /// The whole profile.
    pub profile: Arc<Profile>,
    /// How long it was recorded.
    pub elapsed: Duration,
    /// Why it ended: a sentence.
    pub why: String,
}

/// Why there is no display.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// The thread could not be started, or could not give up its privileges.
    #[error("the thread of the display could not be started")]
    Thread(#[source] io::Error),
    /// The terminal could not be read or written.
    #[error("the terminal failed")]
    Terminal(#[source] io::Error),
    /// The display has panicked; the message is on standard error.
    #[error(
        "the display failed: please report the message above; what was recorded until then is lost"
    )]
    Panicked,
}
