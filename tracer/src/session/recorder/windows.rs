//! A session that sees its target in windows.

use super::{Session, SessionError};
use crate::session::allocator::Allocator;
use crate::session::windows::{Step, Windows};

/// What is next in the windows; never, where there are none.
pub(super) async fn next_step(windows: &mut Option<Windows>) -> Step {
    match windows {
        Some(windows) => windows.next().await,
        None => std::future::pending().await,
    }
}

impl Session {
    /// Does the next step in the windows.
    pub(super) fn step(&mut self, step: Step) -> Result<(), SessionError> {
        // What was mapped meanwhile is known before it lies on a stack.
        self.take_events();
        let Some(windows) = &mut self.windows else {
            return Ok(());
        };
        let allocators = self.found.allocators.iter();
        let modules: Vec<_> = allocators.map(Allocator::probed).collect();
        windows.step(step, &mut self.kernel, &modules, self.costs.of_traps())
    }

    /// Ends the windows.
    pub(super) fn finish_windows(&mut self) -> Result<(), SessionError> {
        match &mut self.windows {
            Some(windows) => {
                windows.finish(self.has_ended, &mut self.kernel, self.costs.of_traps())
            }
            None => Ok(()),
        }
    }
}
