//! How long the programs run in the target: looks of two milliseconds, for which the kernel is asked to count.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::bpf::{RunTimes, Taken};

/// How long a look takes.
const LOOK: Duration = Duration::from_millis(2);
/// Between two looks at first, and at most: to begin and to end one, the kernel interrupts every CPU.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// The pause grows with what has passed, so that a recording of any length gets some twenty looks and more.
const PAUSES: u32 = 20;
/// Looks of which the median counts. Where a program is interrupted for another task, its time runs on, and what that
/// look says is far off.
const LOOKS: usize = 5;

/// A thread that looks now and then, until this is dropped.
pub(super) struct Meter {
    averages: Arc<Mutex<Averages>>,
    /// Takes whether to look from now on.
    orders: Option<Sender<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    /// # Errors
    ///
    /// There can be no thread.
    pub(super) fn start(programs: RunTimes) -> io::Result<Self> {
        let averages = Arc::new(Mutex::new(Averages::default()));
        let (orders, taken) = mpsc::channel();
        let found = Arc::clone(&averages);
        let thread = thread::Builder::new()
            .name("cost".to_owned())
            .spawn(move || look(&programs, &taken, &found))?;
        Ok(Self {
            averages,
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Looks no more until it is told to: looks interrupt every CPU, and where no program runs they find nothing.
    pub(super) fn look_from_now_on(&self, looks: bool) {
        if let Some(orders) = &self.orders {
            // Where the thread has ended, the kernel does not count.
            let _ = orders.send(looks);
        }
    }

    /// What the programs took so far.
    pub(super) fn taken(&self) -> Taken {
        let averages = self.averages.lock();
        averages.unwrap_or_else(PoisonError::into_inner).taken()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Looks until there are no orders any more.
fn look(programs: &RunTimes, orders: &Receiver<bool>, averages: &Mutex<Averages>) {
    let begun = Instant::now();
    let mut looks = true;
    loop {
        let order = if looks {
            orders.recv_timeout(pause(begun.elapsed()))
        } else {
            orders.recv().map_err(RecvTimeoutError::from)
        };
        match order {
            Ok(order) => looks = order,
            Err(RecvTimeoutError::Timeout) => {
                let Ok(((), look)) = programs.during(|| thread::sleep(LOOK)) else {
                    // The kernel does not count: what was measured before remains.
                    return;
                };
                let averages = averages.lock();
                averages.unwrap_or_else(PoisonError::into_inner).add(look);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn pause(elapsed: Duration) -> Duration {
    (elapsed / PAUSES).clamp(FIRST_PAUSE, LAST_PAUSE)
}

/// What looks have found.
#[derive(Debug, Default)]
pub(super) struct Averages {
    allocation: Average,
    free: Average,
}

impl Averages {
    pub(super) fn add(&mut self, look: Taken) {
        self.allocation.add(look.allocation);
        self.free.add(look.free);
    }

    pub(super) fn taken(&self) -> Taken {
        Taken {
            allocation: self.allocation.value(),
            free: self.free.value(),
        }
    }
}

/// The mean of medians: a program's phases may differ.
#[derive(Debug, Default)]
struct Average {
    medians: f64,
    groups: u32,
    looks: Vec<f64>,
}

impl Average {
    fn add(&mut self, look: Option<f64>) {
        self.looks.extend(look);
        if self.looks.len() == LOOKS {
            self.medians += median(&mut self.looks);
            self.groups += 1;
            self.looks.clear();
        }
    }

    fn value(&self) -> Option<f64> {
        match (self.groups, self.looks.as_slice()) {
            (0, []) => None,
            (0, looks) => Some(median(&mut looks.to_vec())),
            (groups, _) => Some(self.medians / f64::from(groups)),
        }
    }
}

/// The lower one of two: what is off is too long.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn average(looks: &[f64]) -> Option<f64> {
        let mut average = Average::default();
        for &look in looks {
            average.add(Some(look));
        }
        average.value()
    }

    #[test]
    fn a_look_that_was_interrupted_does_not_count() {
        assert_eq!(average(&[]), None);
        assert_eq!(average(&[5.0, 900.0]), Some(5.0));
        assert_eq!(average(&[2.0, 900.0, 1.0, 3.0, 700.0]), Some(3.0));
    }

    #[test]
    fn phases_count_by_how_long_they_are() {
        let mut looks = vec![1.0; 5];
        looks.extend([4.0; 10]);
        // Not a whole group yet.
        looks.push(100.0);
        assert_eq!(average(&looks), Some(3.0));
    }

    #[test]
    fn looks_without_an_event_say_nothing() {
        let mut averages = Averages::default();
        averages.add(Taken {
            allocation: Some(7.0),
            free: None,
        });
        let taken = averages.taken();
        assert_eq!((taken.allocation, taken.free), (Some(7.0), None));
    }

    #[test]
    fn looks_become_rarer() {
        assert_eq!(pause(Duration::ZERO), FIRST_PAUSE);
        assert_eq!(pause(Duration::from_secs(8)), Duration::from_millis(400));
        assert_eq!(pause(Duration::from_secs(86_400)), LAST_PAUSE);
    }
}
