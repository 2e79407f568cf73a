//! `--label`.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::process::{Identity, container_id};
use crate::profile::Labels;

/// What samples, metrics and pushes are labelled with.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct LabelArgs {
    /// Label all that is recorded: KEY=VALUE, or one of service, pid, host, container_id and thread without a value, which
    /// is looked up. May be given more than once
    #[arg(long = "label", value_name = "KEY[=VALUE]")]
    labels: Vec<LabelArg>,
}

/// A label asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LabelArg {
    Given { key: String, value: String },
    Known(Known),
}

/// A label that is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Service,
    Pid,
    Host,
    ContainerId,
    Thread,
}

impl Known {
    const ALL: [Self; 5] = [
        Self::Service,
        Self::Pid,
        Self::Host,
        Self::ContainerId,
        Self::Thread,
    ];

    const fn key(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Pid => "pid",
            Self::Host => "host",
            Self::ContainerId => "container_id",
            Self::Thread => "thread",
        }
    }

    /// Nothing for what differs from sample to sample.
    fn value(self, who: &Identity) -> anyhow::Result<Option<String>> {
        Ok(Some(match self {
            Self::Service => who.name.raw().to_owned(),
            Self::Pid | Self::Thread => return Ok(None),
            Self::Host => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            Self::ContainerId => container_id(who.pid).with_context(|| {
                format!(
                    "--label container_id: {} (pid {}) is in no container that can be told from its control group",
                    who.name, who.pid
                )
            })?,
        }))
    }
}

impl FromStr for LabelArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((key, value)) = text.split_once('=') else {
            let known = Known::ALL.into_iter().find(|known| known.key() == text);
            return known.map(Self::Known).ok_or_else(|| {
                "no value; without one there are service, pid, host, container_id and thread"
                    .to_owned()
            });
        };
        check_key(key)?;
        if value.is_empty() {
            return Err(format!("{key} has no value"));
        }
        Ok(Self::Given {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// By Prometheus's rules, which the others' keys fit as well.
fn check_key(key: &str) -> Result<(), String> {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !key.starts_with(is_letter) || !key.chars().all(|c| is_letter(c) || c.is_ascii_digit()) {
        return Err(format!(
            "a key is letters, digits and _, with no digit first; this is {key:?}"
        ));
    }
    if key.starts_with("__") || TAKEN.contains(&key) {
        return Err(format!(
            "the key {key} has a meaning of its own: take another"
        ));
    }
    Ok(())
}

/// Keys that samples, metrics or pushes use.
const TAKEN: [&str; 15] = [
    "alloc_objects_error",
    "alloc_space_error",
    "bytes",
    "le",
    "missing",
    "peak_objects",
    "peak_space",
    "pid",
    "quantile",
    "reason",
    "result",
    "service_name",
    "thread",
    "verdict",
    "version",
];

impl LabelArgs {
    /// The labels that all that is recorded of a process has.
    ///
    /// # Errors
    ///
    /// A key is there twice, or a value can't be looked up.
    pub(in crate::cli) fn of(&self, who: &Identity) -> anyhow::Result<Labels> {
        let mut labels = BTreeMap::new();
        for label in &self.labels {
            let (key, value) = match label {
                LabelArg::Given { key, value } => (key.as_str(), Some(value.clone())),
                LabelArg::Known(known) => (known.key(), known.value(who)?),
            };
            let Some(value) = value else { continue };
            if labels.insert(key.to_owned(), value).is_some() {
                bail!("--label {key} is given twice");
            }
        }
        Ok(labels.into())
    }

    /// Whether each sample is to tell its process, even where there is only one.
    pub(in crate::cli) fn has_pid(&self) -> bool {
        self.labels.contains(&LabelArg::Known(Known::Pid))
    }

    /// Whether each sample is to tell the name of its thread.
    pub(in crate::cli) fn has_thread(&self) -> bool {
        self.labels.contains(&LabelArg::Known(Known::Thread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_a_value_or_is_looked_up() {
        let parse = |text: &str| text.parse::<LabelArg>();
        assert_eq!(
            parse("team=a=b"),
            Ok(LabelArg::Given {
                key: "team".to_owned(),
                value: "a=b".to_owned()
            })
        );
        assert_eq!(parse("host"), Ok(LabelArg::Known(Known::Host)));
        for wrong in [
            "team",
            "",
            "=x",
            "team=",
            "1a=x",
            "a-b=x",
            "é=x",
            "__name__=x",
            "reason=x",
            "le=1",
            "pid=1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
