//! The options of sending profiles away.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::times::duration;
use crate::check::Bytes;
use crate::push::Destination;

#[derive(Debug, Args)]
#[command(next_help_heading = "Push")]
pub(in crate::cli) struct PushArgs {
    /// Send the profile to URL: pyroscope+http://HOST:4040, parca+http://HOST:7070 or otlp+http://HOST:4318, or with
    /// https. Nothing listens then but where --listen asks for it. May be given more than once
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) push: Vec<Destination>,
    /// Send it every TIME
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "15s", requires = "push")]
    pub(in crate::cli) push_every: Duration,
    /// Send the headers in FILE with it, a line `Name: value` each, such as X-Scope-OrgID and Authorization. Nobody but
    /// its owner may be able to read the file
    #[arg(long, value_name = "FILE", requires = "push")]
    pub(in crate::cli) push_headers: Option<PathBuf>,
    /// Keep at most SIZE of profiles in memory while a server does not take them; the oldest are dropped, and counted
    #[arg(long, value_name = "SIZE", default_value = "64MB", requires = "push")]
    pub(in crate::cli) push_buffer: Bytes,
}
