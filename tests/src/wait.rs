//! Waiting with a deadline. Deadlines are there so that a hung test ends; they are generous, and
//! nothing is ever concluded from how long something took.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Asks `ready` again and again until it has an answer.
///
/// # Errors
/// The error of `ready`, or that `what` did not happen within [`PATIENCE`].
pub fn until<T>(what: &str, mut ready: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ready()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s in vain for {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
