//! The thread that holds windows.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use tokio::sync::Notify;

use crate::bpf::{BpfError, Calls, HeldWindow, Window, Windows};
use crate::session::wake::ask_for_short_slices;

/// What has become of a window, and what was counted up to its end.
pub(in crate::session) struct Done {
    pub(super) held: io::Result<HeldWindow>,
    pub(super) calls: Result<Calls, BpfError>,
}

/// The thread; dropping it waits until no probe is left.
pub(super) struct Worker {
    jobs: Option<Sender<Window>>,
    done: Receiver<Done>,
    news: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// # Errors
    ///
    /// There can be no thread.
    pub(super) fn start(mut windows: Windows) -> io::Result<Self> {
        let (jobs, to_do) = mpsc::channel();
        let (say, done) = mpsc::channel();
        let news = Arc::new(Notify::new());
        let bell = Arc::clone(&news);
        let thread = thread::Builder::new()
            .name("windows".to_owned())
            .spawn(move || {
                ask_for_short_slices();
                for window in to_do {
                    let held = windows.hold(&window);
                    let calls = windows.calls();
                    if say.send(Done { held, calls }).is_err() {
                        return;
                    }
                    bell.notify_one();
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            news,
            thread: Some(thread),
        })
    }

    /// Has a window held.
    pub(super) fn hold(&self, window: Window) {
        if let Some(jobs) = &self.jobs {
            // It listens until this is dropped.
            let _ = jobs.send(window);
        }
    }

    /// A window is over.
    pub(super) async fn done(&mut self) -> Done {
        loop {
            if let Ok(done) = self.done.try_recv() {
                return done;
            }
            self.news.notified().await;
        }
    }

    /// The same, without a runtime; `None` where the thread is gone.
    pub(super) fn wait(&mut self) -> Option<Done> {
        self.done.recv().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
