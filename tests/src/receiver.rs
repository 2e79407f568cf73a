//! A server that profiles are pushed to, and that behaves as it is told.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::wait::{self, PATIENCE};

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// It is taken.
    Take,
    /// It is answered with this status and further headers.
    Answer(&'static str),
    /// The connection is closed without an answer.
    Cut,
    /// It is taken after a while.
    Delay(Duration),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// The first line and the headers, as they came.
    pub head: String,
    /// The rest.
    pub body: Vec<u8>,
}

impl Received {
    /// The value of a header, if it is there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The path that was asked for.
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct State {
    deeds: VecDeque<Deed>,
    /// Where there are no more deeds.
    rest: Option<Deed>,
    taken: Vec<Received>,
    turned_away: usize,
}

/// A server on a free local port. It ends with the test.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    /// Starts one that does this to the first requests, and takes the others.
    ///
    /// # Errors
    /// There is no free port.
    pub fn start(deeds: &[Deed]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            deeds: deeds.iter().copied().collect(),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                // Who hangs up early is no concern of the server.
                thread::spawn(move || drop(stream.map(|stream| receive(stream, &shared))));
            }
        });
        Ok(Self { address, state })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on all requests are treated so.
    pub fn behave(&self, deed: Deed) {
        let mut state = lock(&self.state);
        state.deeds.clear();
        state.rest = Some(deed);
    }

    /// The requests that were taken.
    #[must_use]
    pub fn taken(&self) -> Vec<Received> {
        lock(&self.state).taken.clone()
    }

    /// How many requests were taken.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.state).taken.len()
    }

    /// How many requests were not.
    #[must_use]
    pub fn turned_away(&self) -> usize {
        lock(&self.state).turned_away
    }

    /// Waits until so many requests were taken.
    ///
    /// # Errors
    /// They were not.
    pub fn wait_for(&self, count: usize) -> Result<()> {
        wait::until("requests", || Ok((self.count() >= count).then_some(())))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn receive(stream: TcpStream, state: &Mutex<State>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(&stream);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let mut received = Received {
        head,
        body: Vec::new(),
    };
    let length = received.header("content-length").context("no length")?;
    received.body = vec![0; length.parse()?];
    reader.read_exact(&mut received.body)?;
    let deed = {
        let mut state = lock(state);
        let next = state.deeds.pop_front();
        next.or(state.rest).unwrap_or(Deed::Take)
    };
    let status = match deed {
        Deed::Take => "200 OK",
        Deed::Delay(time) => {
            thread::sleep(time);
            "200 OK"
        }
        Deed::Answer(status) => status,
        Deed::Cut => {
            lock(state).turned_away += 1;
            return Ok(());
        }
    };
    {
        let mut state = lock(state);
        if status.starts_with("200") {
            state.taken.push(received);
        } else {
            state.turned_away += 1;
        }
    }
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    (&stream).write_all(answer.as_bytes())?;
    Ok(())
}
