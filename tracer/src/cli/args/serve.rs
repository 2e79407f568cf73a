//! The options of `serve` and `view`.

use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;

use super::push::PushArgs;
use super::recording::{EndArgs, TargetArgs, TracingArgs};
use crate::process::User;
use crate::serve::Address;

#[derive(Debug, Args)]
pub(in crate::cli) struct ServeArgs {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArgs,
    /// Listen here: ADDRESS:PORT, or unix:PATH. An address that other machines reach needs --token-file
    /// [default: 127.0.0.1:6070; nowhere with --push]
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) listen: Option<Address>,
    #[command(flatten)]
    pub(in crate::cli) access: AccessArgs,
    /// Show the arguments of the process at /debug/pprof/cmdline, not only its program: they may hold secrets
    #[arg(long)]
    pub(in crate::cli) show_cmdline: bool,
    #[command(flatten)]
    pub(in crate::cli) end: EndArgs,
    /// Go on as this user once secrets are read and the address is taken: a name, UID or UID:GID
    #[arg(long, value_name = "USER")]
    pub(in crate::cli) user: Option<User>,
    #[command(flatten)]
    pub(in crate::cli) tracing: TracingArgs,
    #[command(flatten)]
    pub(in crate::cli) push: PushArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ViewArgs {
    /// View this profile, or the profiles in this folder as a series
    #[arg(value_name = "FILE|FOLDER")]
    pub(in crate::cli) path: PathBuf,
    /// Listen here: ADDRESS:PORT, or unix:PATH; port 0 is any that is free. An address that other machines reach needs
    /// --token-file
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(in crate::cli) listen: Address,
    #[command(flatten)]
    pub(in crate::cli) access: AccessArgs,
}

/// Who may ask a server.
#[derive(Debug, Args)]
pub(in crate::cli) struct AccessArgs {
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
}
