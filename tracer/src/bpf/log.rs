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
use tracer_common::{LogLevel, RareEvent};

use super::BpfError;
use super::error::{chain, map_error};

/// Events told a second.
const EACH_SECOND: u64 = 100;

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
        let numbers = record.args().to_string();
        match Told::parse(&numbers) {
            Some(told) => self.say(format_args!("{told}")),
            None => self.say(format_args!("an event that is not known: {numbers}")),
        }
    }

    fn flush(&self) {}
}

/// An event as it is told: its number, process, thread and values.
struct Told {
    event: RareEvent,
    tgid: u64,
    tid: u64,
    values: [u64; RareEvent::VALUES],
}

impl Told {
    /// From the text that the eBPF side makes with aya-log.
    fn parse(numbers: &str) -> Option<Self> {
        let mut numbers = numbers.split(' ').map(str::parse);
        let mut next = || numbers.next()?.ok();
        let number: u64 = next()?;
        Some(Self {
            event: RareEvent::from_number(number.try_into().ok()?)?,
            tgid: next()?,
            tid: next()?,
            values: [next()?, next()?, next()?],
        })
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = format!("{:?}", self.event.level()).to_lowercase();
        write!(f, "{level}: [{}:{}] ", self.tgid, self.tid)?;
        let mut values = self.values.iter();
        let mut pieces = self.event.text().split('{');
        f.write_str(pieces.next().unwrap_or_default())?;
        for piece in pieces {
            let value = values.next().unwrap_or(&0);
            match piece.split_once('}') {
                Some((":x", rest)) => write!(f, "{value:x}{rest}")?,
                Some((_, rest)) => write!(f, "{value}{rest}")?,
                None => f.write_str(piece)?,
            }
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_in_words() {
        let numbers = format!("{} 17 18 4096 24 0", RareEvent::FreeMissed as u32);
        let told = Told::parse(&numbers).map(|told| told.to_string());
        let words = "error: [17:18] free missed: address 1000 given out again, size was 24";
        assert_eq!(told.as_deref(), Some(words));
    }

    #[test]
    fn every_text_has_a_place_for_each_value_and_nothing_more() {
        for &event in RareEvent::ALL {
            let told = Told {
                event,
                tgid: 1,
                tid: 2,
                values: [7; RareEvent::VALUES],
            };
            assert!(event.text().matches('{').count() <= RareEvent::VALUES);
            let text = told.to_string();
            assert!(!text.contains(['{', '}']), "{text}");
            assert_eq!(RareEvent::from_number(event as u32), Some(event));
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for numbers in ["", "1", "a b c d e f", "4000000 1 2 3 4 5"] {
            assert!(Told::parse(numbers).is_none(), "{numbers}");
        }
    }
}
