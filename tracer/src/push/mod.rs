//! Sends the profile of a running recording, again and again, to where the profiles of many machines are kept:
//! Pyroscope, Parca, or a collector that speaks OTLP.
//!
//! What was allocated goes as what came since the last time, what is live as it is. Nothing is lost while a server is
//! away but what the buffer does not hold, and that is counted (`docs/design/0040-push.md`).

mod backoff;
mod buffer;
mod counts;
mod destination;
mod error;
mod headers;
mod otlp;
mod raw;
mod sender;
mod since;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};

use buffer::Buffer;
pub use counts::{Counts, Pushes};
pub use destination::Destination;
pub use error::PushError;
pub use headers::Headers;
use sender::Sender;
use since::Since;

use crate::process::spawn_unprivileged;
use crate::profile::{Labels, Profile};
use crate::session::{Asking, NoSnapshot};

/// How long what is left may take to send when the recording has ended.
const GRACE: Duration = Duration::from_secs(10);

/// Where to send, and how.
#[derive(Debug)]
pub struct PushOptions {
    /// Where to.
    pub destinations: Vec<Destination>,
    /// Sent along with each request: who sends, and what proves it.
    pub headers: Headers,
    /// Time between two profiles.
    pub every: Duration,
    /// Bytes that may wait for a destination, beside the profile that is being sent.
    pub buffer: u64,
    /// Tells the user what goes wrong.
    pub say: fn(&str),
}

/// The process that is recorded, as destinations are told.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The name of the service.
    pub service: String,
    /// The process.
    pub pid: u32,
    /// What all its samples are labelled with.
    pub labels: Labels,
}

/// One profile to be sent.
#[derive(Clone, Debug)]
struct Piece {
    /// What was allocated since the last one, and what is live.
    profile: Profile,
    origin: Arc<Origin>,
}

/// Sends until it is told to finish.
#[derive(Debug)]
pub struct Pusher {
    end: oneshot::Sender<Last>,
    thread: JoinHandle<()>,
    counts: Arc<Counts>,
    say: fn(&str),
}

/// The profile at the end, and how long it was recorded.
type Last = (Arc<Profile>, Duration);

impl Pusher {
    /// Begins to send what a session answers.
    ///
    /// # Errors
    ///
    /// The thread could not be started, or there is no way to make connections.
    pub fn start(options: PushOptions, origin: Origin, asking: Asking) -> Result<Self, PushError> {
        let counts = Arc::new(Counts::of(&options.destinations));
        let say = options.say;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Names are looked up there.
            .max_blocking_threads(2)
            .build()
            .map_err(PushError::Thread)?;
        let (end, ended) = oneshot::channel();
        let destinations = options.destinations.iter().cloned();
        let lines = destinations.zip(counts.all().iter().cloned());
        let lines: Vec<_> = lines
            .map(|(destination, pushes)| Line::new(destination, pushes, &options))
            .collect::<Result<_, _>>()?;
        let every = options.every;
        let thread = spawn_unprivileged("push", move || {
            runtime.block_on(push(lines, every, Arc::new(origin), asking, ended));
            // An answer that is still awaited is nobody's any more.
            runtime.shutdown_background();
        });
        Ok(Self {
            end,
            thread: thread.map_err(PushError::Thread)?,
            counts,
            say,
        })
    }

    /// What was sent so far, and what was not.
    #[must_use]
    pub const fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Sends the last profile of the recording and what still waits, and says what could not be sent in time.
    pub fn finish(self, last: Arc<Profile>, elapsed: Duration) {
        // Where the thread is gone, nobody sends it.
        let _ = self.end.send((last, elapsed));
        if self.thread.join().is_err() {
            (self.say)(
                "note: what pushes has failed by a fault of its own: what it had not sent is lost",
            );
        }
        for pushes in self.counts.all() {
            if let Some(lost) = pushes.lost() {
                (self.say)(&lost);
            }
        }
    }
}

/// The way to one destination.
struct Line {
    destination: Destination,
    buffer: Arc<Buffer>,
    sender: Sender,
}

impl Line {
    fn new(
        destination: Destination,
        pushes: Arc<Pushes>,
        options: &PushOptions,
    ) -> Result<Self, PushError> {
        let buffer = Arc::new(Buffer::new(options.buffer, Arc::clone(&pushes)));
        let sender = Sender::new(&destination, &options.headers, pushes, options.say)?;
        Ok(Self {
            destination,
            buffer,
            sender,
        })
    }
}

async fn push(
    lines: Vec<Line>,
    every: Duration,
    origin: Arc<Origin>,
    asking: Asking,
    mut ended: oneshot::Receiver<Last>,
) {
    let mut ways = Vec::with_capacity(lines.len());
    let mut senders = Vec::with_capacity(lines.len());
    for line in lines {
        let buffer = Arc::clone(&line.buffer);
        senders.push(tokio::spawn(
            async move { line.sender.send_all(&buffer).await },
        ));
        ways.push((line.destination, line.buffer));
    }
    let mut since = Since::default();
    let mut give = |profile: &Profile, elapsed| {
        let piece = Piece {
            profile: since.take(profile, &origin.labels, elapsed),
            origin: Arc::clone(&origin),
        };
        for (destination, buffer) in &ways {
            buffer.put(destination.encode(&piece));
        }
    };
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let last = loop {
        tokio::select! {
            last = &mut ended => break last.ok(),
            _ = ticks.tick() => match asking.snapshot().await {
                Ok(snapshot) => give(&snapshot.profile, snapshot.status.elapsed),
                // The next one has what this one would have had.
                Err(NoSnapshot::Busy) => {}
                Err(NoSnapshot::Ended) => break ended.await.ok(),
            },
        }
    };
    if let Some((last, elapsed)) = last {
        give(&last, elapsed);
    }
    for (_, buffer) in &ways {
        buffer.close();
    }
    let until = Instant::now() + GRACE;
    for mut sender in senders {
        if tokio::time::timeout_at(until, &mut sender).await.is_err() {
            sender.abort();
            let _ = sender.await;
        }
    }
    for (_, buffer) in &ways {
        buffer.drop_all();
    }
}
