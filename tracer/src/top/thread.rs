//! The thread of the display: its events, and how often it asks for a profile.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures_core::Stream as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::screen::Screen;
use super::{Begin, Effect, End, Save, State, TopError};
use crate::process::give_up_all_as;
use crate::session::{Asking, NoSnapshot, Snapshot};

/// A snapshot may take one part in so many of the time: what it takes to make and to show is followed by a pause of
/// the others. One CPU is meant, as most of it is the work of one thread.
const PARTS: u32 = 20;

/// A thread that has given up its privileges and waits to show something.
#[derive(Debug)]
pub struct Waiting {
    begin: Sender<(Begin, UnboundedReceiver<End>)>,
    /// Whether it has given up its privileges, then whether it has the terminal.
    told: Receiver<io::Result<()>>,
    closed: oneshot::Receiver<()>,
    thread: JoinHandle<io::Result<()>>,
}

/// A display. The terminal is as it was before when this is closed or dropped.
#[derive(Debug)]
pub struct Display {
    /// Until it is to close.
    ends: Option<UnboundedSender<End>>,
    closed: oneshot::Receiver<()>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Waiting {
    /// Starts the thread, which makes its files as this user and group. To be called before this thread gives up
    /// capabilities, since it takes some to become another user.
    ///
    /// # Errors
    ///
    /// The thread could not be started, or could not give up its privileges.
    pub fn new(user: Option<(u32, u32)>) -> Result<Self, TopError> {
        let (begin, begun) = channel();
        let (tell, told) = channel();
        let (close, closed) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("top".to_owned())
            .spawn(move || {
                // Dropped however this ends, by a panic, too.
                let _close: oneshot::Sender<()> = close;
                // What it starts has none either.
                let given_up = give_up_all_as(user);
                let is_safe = given_up.is_ok();
                if tell.send(given_up).is_err() || !is_safe {
                    return Ok(());
                }
                let Ok((begin, ends)) = begun.recv() else {
                    return Ok(());
                };
                show(begin, ends, &tell)
            })
            .map_err(TopError::Thread)?;
        let given_up = told.recv().map_err(io::Error::other).flatten();
        given_up.map_err(TopError::Thread)?;
        Ok(Self {
            begin,
            told,
            closed,
            thread,
        })
    }

    /// Takes the terminal and shows what a session answers.
    ///
    /// # Errors
    ///
    /// The terminal cannot be used.
    pub fn begin(self, begin: Begin) -> Result<Display, TopError> {
        let (ends, told_end) = unbounded_channel();
        let sent = self.begin.send((begin, told_end));
        sent.map_err(|_| TopError::Panicked)?;
        let opened = self.told.recv().map_err(io::Error::other).flatten();
        opened.map_err(TopError::Terminal)?;
        Ok(Display {
            ends: Some(ends),
            closed: self.closed,
            thread: Some(self.thread),
        })
    }
}

impl Display {
    /// Resolves when the user has left it, or it has failed.
    pub async fn closed(&mut self) {
        // Nothing is ever sent: the other end is dropped.
        let _ = (&mut self.closed).await;
    }

    /// Shows the recording's end. The display stays until the user leaves it.
    pub fn show_end(&self, end: End) {
        if let Some(ends) = &self.ends {
            // Who has left it need not see it.
            let _ = ends.send(end);
        }
    }

    /// Gives the terminal back.
    ///
    /// # Errors
    ///
    /// The terminal has failed meanwhile, or the display has panicked.
    pub fn close(mut self) -> Result<(), TopError> {
        match self.join() {
            Some(Ok(ended)) => ended.map_err(TopError::Terminal),
            Some(Err(_)) => Err(TopError::Panicked),
            None => Ok(()),
        }
    }

    fn join(&mut self) -> Option<thread::Result<io::Result<()>>> {
        drop(self.ends.take());
        Some(self.thread.take()?.join())
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

/// Shows it until the user leaves, or the other end is dropped.
fn show(
    begin: Begin,
    ends: UnboundedReceiver<End>,
    tell: &Sender<io::Result<()>>,
) -> io::Result<()> {
    let opened = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| Ok((runtime, Screen::open()?)));
    let (runtime, screen) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let _ = tell.send(Err(error));
            return Ok(());
        }
    };
    let _ = tell.send(Ok(()));
    runtime.block_on(run(begin, screen, ends))
}

async fn run(begin: Begin, mut screen: Screen, mut ends: UnboundedReceiver<End>) -> io::Result<()> {
    let Begin {
        subject,
        asking,
        interval,
        save,
    } = begin;
    let mut state = State::new(subject);
    let mut events = EventStream::new();
    let mut snapshots = Snapshots::new(asking, interval);
    loop {
        screen.draw(&mut state)?;
        tokio::select! {
            biased;
            end = ends.recv() => match end {
                Some(end) => {
                    state.end(end);
                    snapshots.stop();
                }
                None => return Ok(()),
            },
            event = next(&mut events) => match event? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    match state.key(key) {
                        Effect::None => {}
                        Effect::Quit => return Ok(()),
                        Effect::Save => save_shown(&mut state, &save),
                    }
                }
                // It is drawn in any case, as large as the terminal is.
                _ => {}
            },
            snapshot = snapshots.next() => {
                state.snapshot(snapshot);
                snapshots.shown();
            }
        }
    }
}

async fn next(events: &mut EventStream) -> io::Result<Event> {
    let event = poll_fn(|context| Pin::new(&mut *events).poll_next(context)).await;
    event.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
}

fn save_shown(state: &mut State, save: &Save) {
    if let Some(profile) = state.shown_profile() {
        let saved = save(&profile);
        state.saved(saved);
    }
}

type Asked = Pin<Box<dyn Future<Output = Result<Snapshot, NoSnapshot>>>>;

/// Snapshots, one after the other, with pauses.
struct Snapshots {
    asking: Option<Asking>,
    interval: Duration,
    /// The one that is under way.
    asked: Option<Asked>,
    /// When the last one was asked for.
    since: Instant,
    /// When to ask for the next.
    next: Instant,
}

impl Snapshots {
    fn new(asking: Asking, interval: Duration) -> Self {
        let now = Instant::now();
        Self {
            asking: Some(asking),
            interval,
            asked: None,
            since: now,
            next: now,
        }
    }

    /// There are no more.
    fn stop(&mut self) {
        self.asking = None;
        self.asked = None;
    }

    /// The next. Nothing is lost where somebody stops waiting and comes back.
    async fn next(&mut self) -> Snapshot {
        loop {
            let Some(asking) = self.asking.clone() else {
                return pending().await;
            };
            if self.asked.is_none() {
                sleep_until(self.next).await;
                self.since = Instant::now();
                self.asked = Some(Box::pin(async move { asking.snapshot().await }));
            }
            let answer = match &mut self.asked {
                Some(asked) => asked.await,
                None => continue,
            };
            self.asked = None;
            match answer {
                Ok(snapshot) => return snapshot,
                Err(NoSnapshot::Busy) => self.next = Instant::now() + self.interval,
                // What there is to say of it comes from who has ended it.
                Err(NoSnapshot::Ended) => self.asking = None,
            }
        }
    }

    /// It is known now what the last one took.
    fn shown(&mut self) {
        let took = self.since.elapsed();
        let pause = (took * (PARTS - 1)).max(self.interval.saturating_sub(took));
        self.next = Instant::now() + pause;
    }
}
