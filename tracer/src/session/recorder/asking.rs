//! Those who ask for the profile while the recording goes on.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{Session, SessionError, Status};
use crate::process::HeapUse;
use crate::profile::Profile;

/// Requests that may wait at one time. Each waits for the same look at the tables.
const WAITING: usize = 1024;

/// A recording at some moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The profile so far.
    pub profile: Arc<Profile>,
    /// How the recording stands.
    pub status: Status,
    /// What the process has of memory; `None` where it is gone.
    pub memory: Option<HeapUse>,
}

/// A request for a snapshot.
#[derive(Debug)]
pub struct Ask(oneshot::Sender<Snapshot>);

/// Where to ask for snapshots.
#[derive(Clone, Debug)]
pub struct Asking(mpsc::Sender<Ask>);

/// Where a session takes the requests from.
#[derive(Debug)]
pub struct Asked(mpsc::Receiver<Ask>);

/// Why there is no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSnapshot {
    /// More wait than there is room for.
    #[error("too many requests wait for a profile: try again")]
    Busy,
    /// The recording has ended.
    #[error("the recording has ended")]
    Ended,
}

/// Both ends.
#[must_use]
pub fn asking() -> (Asking, Asked) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Asking(sender), Asked(receiver))
}

impl Asking {
    /// The recording as it is now, or was a moment ago: who asks while another waits gets the same.
    ///
    /// # Errors
    ///
    /// Too many wait, or the recording has ended.
    pub async fn snapshot(&self) -> Result<Snapshot, NoSnapshot> {
        let (sender, receiver) = oneshot::channel();
        self.0.try_send(Ask(sender)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NoSnapshot::Busy,
            mpsc::error::TrySendError::Closed(_) => NoSnapshot::Ended,
        })?;
        receiver.await.map_err(|_| NoSnapshot::Ended)
    }
}

impl Asked {
    /// The next request; `None` when nobody can ask any more.
    pub async fn next(&mut self) -> Option<Ask> {
        self.0.recv().await
    }
}

impl Ask {
    /// Answers it. Who has gone away meanwhile gets nothing.
    pub fn answer(self, snapshot: Snapshot) {
        let _ = self.0.send(snapshot);
    }
}

/// The next request; never one, where nobody can ask.
pub(super) async fn next_ask(asked: &mut Option<Asked>) -> Ask {
    match asked {
        Some(open) => match open.next().await {
            Some(ask) => ask,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

impl Session {
    /// Answers requests for snapshots from now on, while it records.
    #[must_use]
    pub fn answering(mut self, asked: Asked) -> Self {
        self.asked = Some(asked);
        self
    }

    /// Answers a request, and all others that wait.
    pub(super) fn answer_ask(&mut self, first: Ask) -> Result<(), SessionError> {
        let mut waiting = vec![first];
        if let Some(Asked(requests)) = &mut self.asked {
            waiting.extend(std::iter::from_fn(|| requests.try_recv().ok()));
        }
        waiting.retain(|Ask(one)| !one.is_closed());
        if waiting.is_empty() {
            return Ok(());
        }
        let snapshot = self.snapshot()?;
        for one in waiting {
            one.answer(snapshot.clone());
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Snapshot, SessionError> {
        self.take_events();
        self.read_memory();
        let elapsed = self.started.elapsed();
        let mut amounts = self.kernel.stacks()?;
        // After the counters: what comes meanwhile is there before it is counted, and not the other way round.
        let look = self.look_at_pages(false);
        self.settle_pages(look.as_ref(), &mut amounts);
        self.take_the_dead(&mut amounts);
        // Once more: the frames of what was counted meanwhile.
        self.take_events();
        let counters = self.update_profile(elapsed, &amounts)?;
        let mut profile = self.snapshots.profile().clone();
        profile.samples.retain(|one| !one.locations.is_empty());
        profile.merge_equal_samples();
        profile
            .metadata
            .notes
            .extend(self.said_at_the_end(&counters, elapsed));
        Ok(Snapshot {
            profile: Arc::new(profile),
            status: self.status()?,
            memory: HeapUse::of(self.who.pid).ok(),
        })
    }
}
