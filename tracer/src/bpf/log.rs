//! What the kernel side tells of rare events, in words: read from aya-log's ring, and how much there may be.
//!
//! It asks nobody for time: the session that owns it reads it when it wakes.

use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use tracer_common::limits::{LOG_ALLOWED, LOG_REFUSED, LOG_TRIED};

use super::BpfError;
use super::error::{chain, map_error};

/// Events told a second.
const EACH_SECOND: u64 = 100;

/// Which events are told: those of a level and of the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LogLevel {
    /// The amounts lack something.
    Error = 1,
    /// Amounts lack their stack.
    Warn,
    /// Processes begin and end.
    Info,
    /// What is harmless to the amounts.
    Debug,
    /// What is usual.
    Trace,
}

/// What is told, and to whom.
#[derive(Clone, Copy)]
pub struct LogOptions {
    /// How much.
    pub level: LogLevel,
    /// Takes a line.
    pub say: fn(&str),
}

impl fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.level.fmt(f)
    }
}

/// The lines on their way to whoever reads them.
struct Lines {
    say: fn(&str),
    begun: Instant,
}

impl Lines {
    fn say(&self, what: fmt::Arguments<'_>) {
        let time = self.begun.elapsed().as_secs_f64();
        (self.say)(&format!("{time:.6} {what}"));
    }
}

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = record.level().as_str().to_lowercase();
        self.say(format_args!("{level}: {}", record.args()));
    }

    fn flush(&self) {}
}

/// What is told of events.
pub(super) struct KernelLog {
    logger: EbpfLogger<Lines>,
    /// The same again, for what is said of the log itself.
    lines: Lines,
    budget: Array<MapData, u64>,
    /// When the budget was last renewed.
    renewed: Instant,
    /// What had not been told by then.
    refused: u64,
}

impl KernelLog {
    /// Takes the maps of the log out of an object.
    pub(super) fn new(ebpf: &mut Ebpf, say: fn(&str)) -> Result<Self, BpfError> {
        let begun = Instant::now();
        let lines = || Lines { say, begun };
        let logger = EbpfLogger::init_with_logger(ebpf, lines())
            .map_err(|error| BpfError::Load(chain(&error)))?;
        let budget = ebpf
            .take_map("LOG_BUDGET")
            .and_then(|map| map.try_into().ok())
            .ok_or(BpfError::Missing("LOG_BUDGET"))?;
        let mut log = Self {
            logger,
            lines: lines(),
            budget,
            renewed: begun,
            refused: 0,
        };
        log.renew()?;
        Ok(log)
    }

    /// Becomes readable when there is something to tell.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.logger.as_fd()
    }

    /// Tells what there is.
    ///
    /// # Errors
    ///
    /// A map could not be read or written.
    pub(super) fn tell(&mut self) -> Result<(), BpfError> {
        self.logger.flush();
        if self.renewed.elapsed() >= Duration::from_secs(1) {
            self.renew()?;
        }
        Ok(())
    }

    /// Tells what there is at the end.
    ///
    /// # Errors
    ///
    /// As for [`Self::tell`].
    pub(super) fn finish(&mut self) -> Result<(), BpfError> {
        self.logger.flush();
        self.renew()
    }

    /// Says how many events were not told, and lets some more be.
    fn renew(&mut self) -> Result<(), BpfError> {
        let refused = self.read(LOG_REFUSED)?;
        if refused > self.refused {
            let suppressed = refused - self.refused;
            self.lines.say(format_args!(
                "{suppressed} events suppressed: there were more than {EACH_SECOND} a second"
            ));
        }
        self.refused = refused;
        self.renewed = Instant::now();
        let allowed = self.read(LOG_TRIED)? + EACH_SECOND;
        self.budget
            .set(LOG_ALLOWED, &allowed, 0)
            .map_err(|error| map_error("LOG_BUDGET", "written", &error))
    }

    fn read(&self, word: u32) -> Result<u64, BpfError> {
        self.budget
            .get(&word, 0)
            .map_err(|error| map_error("LOG_BUDGET", "read", &error))
    }
}
