//! Exit codes.

use std::process::{ExitCode, ExitStatus};

use crate::profile::Verdict;

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// 0: done, nothing found.
    Done,
    /// 1: found what was looked for.
    Found,
    /// 2: could not do it.
    Failed,
    /// 3: the losses are too large to say anything.
    Inconclusive,
    /// As the traced program ended.
    Program(ExitStatus),
}

impl Exit {
    /// The exit of a command that made a profile.
    pub(super) const fn for_verdict(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Complete | Verdict::Degraded { .. } | Verdict::Sampled { .. } => Self::Done,
            Verdict::Inconclusive { .. } => Self::Inconclusive,
        }
    }

    /// The code for the process; a program that was killed takes this process the same way.
    pub(super) fn leave(self) -> ExitCode {
        use std::os::unix::process::ExitStatusExt as _;
        match self {
            Self::Done => ExitCode::SUCCESS,
            Self::Found => ExitCode::from(1),
            Self::Failed => ExitCode::from(2),
            Self::Inconclusive => ExitCode::from(3),
            Self::Program(status) => {
                if let Some(signal) = status.signal() {
                    die_of(signal);
                    // Still here: say it as a shell would.
                    return ExitCode::from(128u8.saturating_add(signal.try_into().unwrap_or(0)));
                }
                ExitCode::from(
                    status
                        .code()
                        .and_then(|code| code.try_into().ok())
                        .unwrap_or(2),
                )
            }
        }
    }
}

/// Ends this process by a signal, without a core dump of its own.
pub(super) fn die_of(signal: i32) {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    let _ = signal_hook::low_level::emulate_default_handler(signal);
}
