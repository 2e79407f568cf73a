//! The terminal: taken, written, and given back as it was, however the process ends.
//!
//! Whether it is taken is known to the whole process: a panic of any thread gives it back before the message is
//! printed, and what another thread draws after that is thrown away.

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use crossterm::cursor::{Hide, Show};
use crossterm::queue;
use crossterm::style::{Attribute, ResetColor, SetAttribute};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use signal_hook::consts::SIGTSTP;

use super::State;
use super::draw::draw;

/// Whether the terminal is taken. Held only while it is taken, written or given back: nothing panics meanwhile.
static TAKEN: Mutex<bool> = Mutex::new(false);

/// The terminal, while it is taken.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Frames>>,
    _taken: Taken,
}

/// Gives the terminal back where this is dropped.
struct Taken;

impl Screen {
    /// Takes the terminal of standard input and output.
    ///
    /// # Errors
    ///
    /// It is none, or cannot be written.
    pub(super) fn open() -> io::Result<Self> {
        static HOOKS: Once = Once::new();
        HOOKS.call_once(|| {
            let message = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                message(panic);
            }));
        });
        // A tracer that stands still loses events, and leaves the probes of a window in the target.
        signal_hook::flag::register(SIGTSTP, Arc::new(AtomicBool::new(false)))?;
        let taken = take()?;
        let terminal = Terminal::new(CrosstermBackend::new(Frames::default()))?;
        Ok(Self {
            terminal,
            _taken: taken,
        })
    }

    /// Draws the state, as large as the terminal is now.
    pub(super) fn draw(&mut self, state: &mut State) -> io::Result<()> {
        self.terminal.draw(|frame| {
            state.resize(frame.area().as_size());
            draw(state, frame);
        })?;
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

fn taken() -> MutexGuard<'static, bool> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take() -> io::Result<Taken> {
    let mut taken = taken();
    enable_raw_mode()?;
    *taken = true;
    drop(taken);
    let guard = Taken;
    // Not by ratatui's `clear`, which asks the terminal where the cursor is and waits for the answer.
    write(|out| queue!(out, EnterAlternateScreen, Clear(ClearType::All), Hide))?;
    Ok(guard)
}

/// Gives the terminal back, where it is taken.
fn give_back() {
    let mut taken = taken();
    if !std::mem::take(&mut *taken) {
        return;
    }
    // Nobody is left to be told.
    let _ = write(|out| {
        queue!(
            out,
            SetAttribute(Attribute::Reset),
            ResetColor,
            LeaveAlternateScreen,
            Show
        )
    });
    let _ = disable_raw_mode();
}

/// All at once.
fn write(make: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let mut bytes = Vec::new();
    make(&mut bytes)?;
    put(&bytes)
}

fn put(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// What is drawn: written when it is whole, and only while the terminal is taken.
#[derive(Debug, Default)]
struct Frames(Vec<u8>);

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.0);
        match *taken() {
            true => put(&bytes),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
