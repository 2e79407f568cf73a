//! What waits to be sent: in order, of a bounded size; the oldest goes first where there is no room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use tokio::sync::Notify;

use super::counts::Pushes;

/// A request's body.
pub(super) type Body = Bytes;

#[derive(Debug)]
pub(super) struct Buffer {
    waiting: Mutex<Waiting>,
    changed: Notify,
    most: u64,
    pushes: Arc<Pushes>,
}

#[derive(Debug, Default)]
struct Waiting {
    bodies: VecDeque<Body>,
    bytes: u64,
    is_closed: bool,
}

impl Waiting {
    fn take(&mut self) -> Option<Body> {
        let body = self.bodies.pop_front()?;
        self.bytes -= body.len() as u64;
        Some(body)
    }
}

impl Buffer {
    /// One that holds `most` bytes.
    pub(super) fn new(most: u64, pushes: Arc<Pushes>) -> Self {
        Self {
            waiting: Mutex::default(),
            changed: Notify::new(),
            most,
            pushes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one, and drops the oldest as long as there is no room. The newest stays, however large it is.
    pub(super) fn put(&self, body: Body) {
        let mut waiting = self.lock();
        waiting.bytes += body.len() as u64;
        waiting.bodies.push_back(body);
        while waiting.bytes > self.most && waiting.bodies.len() > 1 {
            waiting.take();
            self.pushes.count_dropped();
        }
        self.pushes.set_waiting(waiting.bytes);
        drop(waiting);
        self.changed.notify_one();
    }

    /// The oldest, when there is one; `None` when no more will come.
    pub(super) async fn next(&self) -> Option<Body> {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(body) = waiting.take() {
                    self.pushes.set_waiting(waiting.bytes);
                    return Some(body);
                }
                if waiting.is_closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// No more will come.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Nobody waits for what is left.
    pub(super) fn drop_all(&self) {
        let mut waiting = self.lock();
        while waiting.take().is_some() {
            self.pushes.count_dropped();
        }
        self.pushes.set_waiting(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_goes_where_there_is_no_room() {
        let pushes = Arc::new(Pushes::default());
        let buffer = Buffer::new(10, Arc::clone(&pushes));
        for byte in 1..=3 {
            buffer.put(vec![byte; 4].into());
        }
        assert_eq!((pushes.dropped(), pushes.waiting()), (1, 8));
        assert_eq!(buffer.next().await, Some(vec![2; 4].into()));
        // One that never fits, alone.
        buffer.put(vec![9; 11].into());
        assert_eq!((pushes.dropped(), pushes.waiting()), (2, 11));
        buffer.put(vec![5].into());
        buffer.close();
        assert_eq!(buffer.next().await, Some(vec![5].into()));
        assert_eq!(buffer.next().await, None);
        buffer.put(vec![6].into());
        buffer.drop_all();
        assert_eq!((pushes.dropped(), pushes.waiting()), (4, 0));
    }
}
