//! The one place that writes messages to standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use crate::printable::printable_lines;

/// Says something to whoever started the tracer. Where nobody listens any more, nothing is wrong with
/// what the tracer does.
pub(super) fn say(message: impl Display) {
    let message = message.to_string();
    let _ = writeln!(io::stderr().lock(), "{}", printable_lines(&message));
}

/// Says a line of the kernel side's log.
pub(super) fn say_line(line: &str) {
    say(line);
}

/// Says why the tracer could not do it.
pub(super) fn say_error(error: &anyhow::Error) {
    say(format_args!("tracer: {error:#}"));
}
