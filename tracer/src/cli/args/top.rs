//! The options of `top`.

use std::time::Duration;

use clap::Args;

use super::recording::{EndArgs, TargetArgs, TracingArgs};
use super::times::duration;
use super::views::NamesArgs;
use crate::cli::sites::SitesArgs;

#[derive(Debug, Args)]
pub(in crate::cli) struct TopArgs {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArgs,
    #[command(flatten)]
    pub(in crate::cli) end: EndArgs,
    /// Show new amounts every TIME, less often where that would take more than a twentieth of a CPU
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(in crate::cli) interval: Duration,
    #[command(flatten)]
    pub(in crate::cli) names: NamesArgs,
    #[command(flatten)]
    pub(in crate::cli) sites: SitesArgs,
    #[command(flatten)]
    pub(in crate::cli) tracing: TracingArgs,
}
