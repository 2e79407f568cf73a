//! What a signal to the tracer means, at each moment of a command.
//!
//! One thread takes all of them. Before and after a recording a signal ends the tracer as if there was no
//! handler, but nothing half-written stays. While a process is recorded it ends the recording; while a
//! program runs under `run` it is the program's.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::{Cause, Origin};
use tokio::sync::Notify;

use super::exit::die_of;
use super::partial;
use crate::process::Pidfd;
use crate::session::Ended;

/// The signals of this process.
pub(super) struct Signals {
    meaning: Arc<Mutex<Meaning>>,
    handle: Handle,
}

/// What a signal means.
enum Meaning {
    /// The end of the tracer.
    End,
    /// The end of the recording; another one says nothing new.
    Finish(Arc<Notify>),
    /// The program shall have it; once that has ended, and only what it started is left, as for [`Self::Finish`].
    Forward(Pidfd, Arc<Notify>),
}

impl Signals {
    /// Takes the signals from now on; they mean the end of the tracer.
    ///
    /// SIGHUP that is ignored, as under nohup, stays so.
    pub(super) fn take() -> anyhow::Result<Self> {
        let hangup_ends = !is_ignored(SIGHUP);
        let mut arriving = SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM])
            .context("the signal handlers could not be set")?;
        let signals = Self {
            meaning: Arc::new(Mutex::new(Meaning::End)),
            handle: arriving.handle(),
        };
        if hangup_ends {
            signals.add(&[SIGHUP])?;
        }
        let meaning = Arc::clone(&signals.meaning);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for origin in &mut arriving {
                    let meaning = meaning.lock().unwrap_or_else(PoisonError::into_inner);
                    meaning.answer(&origin, hangup_ends);
                }
            })
            .context("the thread that takes signals could not be started")?;
        Ok(signals)
    }

    /// From now on signals end the tracer: nothing is recorded any more, and what is left to do, to
    /// write, can take forever.
    pub(super) fn end(&self) {
        self.mean(Meaning::End);
    }

    /// From now on signals end the recording. Resolves when that has happened or the time is up.
    pub(super) fn finish(&self, duration: Option<Duration>) -> impl Future<Output = Ended> + use<> {
        let asked = Arc::new(Notify::new());
        self.mean(Meaning::Finish(Arc::clone(&asked)));
        async move {
            let elapsed = async {
                match duration {
                    Some(duration) => tokio::time::sleep(duration).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = elapsed => Ended::Elapsed,
                () = asked.notified() => Ended::Interrupted,
            }
        }
    }

    /// From now on the program gets what somebody sends to the tracer. It was forked before: what
    /// it ignores is what this process ignored, and a SIGHUP to it is its own to answer.
    ///
    /// What the terminal sends, Ctrl-C for one, goes to the whole process group, so the program has
    /// it already; the tracer outlives it to write the profile.
    ///
    /// Once the program has ended, while processes that it started are recorded, a signal ends the recording:
    /// the result resolves then.
    pub(super) fn forward(
        &self,
        program: Pidfd,
    ) -> anyhow::Result<impl Future<Output = Ended> + use<>> {
        let asked = Arc::new(Notify::new());
        self.mean(Meaning::Forward(program, Arc::clone(&asked)));
        self.add(&[SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2])?;
        Ok(async move {
            asked.notified().await;
            Ended::Interrupted
        })
    }

    fn mean(&self, meaning: Meaning) {
        *self.meaning.lock().unwrap_or_else(PoisonError::into_inner) = meaning;
    }

    fn add(&self, signals: &[i32]) -> anyhow::Result<()> {
        for &signal in signals {
            let added = self.handle.add_signal(signal);
            added.context("a signal handler could not be set")?;
        }
        Ok(())
    }
}

impl Meaning {
    fn answer(&self, origin: &Origin, hangup_ends: bool) {
        let ends = match origin.signal {
            SIGINT | SIGTERM | SIGQUIT => true,
            SIGHUP => hangup_ends,
            _ => false,
        };
        match self {
            Self::End if ends => {
                partial::remove_all();
                die_of(origin.signal);
            }
            Self::Finish(asked) if ends => asked.notify_one(),
            Self::Forward(program, asked) if ends && program.ends_within(Duration::ZERO) => {
                asked.notify_one();
            }
            Self::End | Self::Finish(_) => {}
            Self::Forward(program, _) => {
                let from_terminal = matches!(origin.cause, Cause::Kernel);
                if let Some(signal) = Signal::from_named_raw(origin.signal)
                    && !from_terminal
                {
                    program.send(signal);
                }
            }
        }
    }
}

/// Whether this process ignores a signal, as its parent has left it.
fn is_ignored(signal: i32) -> bool {
    // SAFETY: a structure of integers.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes the structure, and takes no other in exchange.
    let known = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } == 0;
    known && action.sa_sigaction == libc::SIG_IGN
}
