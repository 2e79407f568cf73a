//! The options of `serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use tracer_common::limits::DEFAULT_MAX_STACKS;

use super::recording::{LogArg, SourceArgs, TargetArgs, UnwindArg};
use super::times::{duration, share};
use crate::serve::Address;
use crate::session::Share;

#[derive(Debug, Args)]
pub(in crate::cli) struct ServeArgs {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArgs,
    /// Listen here: ADDRESS:PORT, or unix:PATH. An address that other machines reach needs --token-file
    #[arg(long, value_name = "ADDRESS", default_value_t)]
    pub(in crate::cli) listen: Address,
    /// Answer only who gives the token in FILE, as `Authorization: Bearer TOKEN` or as a password. Nobody but its
    /// owner may be able to read the file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) token_file: Option<PathBuf>,
    /// Encrypt connections (TLS) with the certificate in FILE, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(in crate::cli) tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(in crate::cli) tls_key: Option<PathBuf>,
    /// Answer only who connects from this NETWORK, such as 10.0.0.0/8; may be given more than once
    #[arg(long, value_name = "NETWORK")]
    pub(in crate::cli) allow: Vec<IpNet>,
    /// Answer requests for this NAME, too; addresses and localhost are always answered
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) host: Vec<String>,
    /// Show the arguments of the process at /debug/pprof/cmdline, not only its program: they may hold secrets
    #[arg(long)]
    pub(in crate::cli) show_cmdline: bool,
    /// Stop after TIME, such as 30 (seconds), 5m or 1h30m [default: on Ctrl-C, or when the process ends]
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub(in crate::cli) duration: Option<Duration>,
    #[command(flatten)]
    pub(in crate::cli) source: SourceArgs,
    /// See every call, whatever it costs the target [default: as long as that takes at most 20% of the target's
    /// CPU time; otherwise in windows that take 2%]
    #[arg(long, conflicts_with = "max_overhead")]
    pub(in crate::cli) exact: bool,
    /// Take at most this SHARE of the target's CPU time, such as 2% or 0.5%. Trace exactly while that fits;
    /// otherwise trace in short windows at random times and estimate what was allocated
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with = "follow_forks")]
    pub(in crate::cli) max_overhead: Option<Share>,
    /// Trace the processes that the target starts, too. Each call costs more; other processes are not touched
    #[arg(long)]
    pub(in crate::cli) follow_forks: bool,
    /// Track at most N live allocations, at about 50 bytes each, allocated as needed [default: what fits into
    /// an eighth of the available memory]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=(1 << 28)))]
    pub(in crate::cli) max_live: Option<u32>,
    /// Keep at most N distinct call stacks
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_STACKS,
          value_parser = clap::value_parser!(u32).range(1..=(1 << 24)))]
    pub(in crate::cli) max_stacks: u32,
    /// Walk stacks this way
    #[arg(long, value_enum, default_value_t)]
    pub(in crate::cli) unwind: UnwindArg,
    /// Print rare events in the kernel to standard error, at most 100 a second: losses (error, warn),
    /// processes that start and end (info), calls given up and stacks cut (debug), everything unusual (trace)
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(in crate::cli) log: Option<LogArg>,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(in crate::cli) quiet: bool,
}
