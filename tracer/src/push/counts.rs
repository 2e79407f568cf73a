//! What became of the profiles.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Destination;

/// One for each destination, in their order.
#[derive(Debug, Default)]
pub struct Counts(Vec<Arc<Pushes>>);

/// What became of the profiles for one destination.
#[derive(Debug, Default)]
pub struct Pushes {
    destination: String,
    taken: AtomicU64,
    tried_again: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    waiting: AtomicU64,
}

impl Counts {
    pub(super) fn of(destinations: &[Destination]) -> Self {
        let each = destinations.iter().map(|destination| Pushes {
            destination: destination.to_string(),
            ..Pushes::default()
        });
        Self(each.map(Arc::new).collect())
    }

    /// Each destination's.
    #[must_use]
    pub fn all(&self) -> &[Arc<Pushes>] {
        &self.0
    }
}

impl Pushes {
    /// Where they go.
    #[must_use]
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// Profiles by what became of them. `retried` counts tries that failed and were made again.
    #[must_use]
    pub fn results(&self) -> [(&'static str, u64); 4] {
        [
            ("ok", &self.taken),
            ("retried", &self.tried_again),
            ("refused", &self.refused),
            ("dropped", &self.dropped),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    /// Bytes that wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What did not arrive, as a sentence.
    pub(super) fn lost(&self) -> Option<String> {
        let [_, _, (_, refused), (_, dropped)] = self.results();
        (refused + dropped > 0).then(|| {
            format!(
                "push to {}: {refused} profiles were refused, {dropped} could not be sent",
                self.destination
            )
        })
    }

    pub(super) fn count_taken(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_tried_again(&self) {
        self.tried_again.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_waiting(&self, bytes: u64) {
        self.waiting.store(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
