//! What a user adds to the table.

use std::sync::Arc;

use regex::Regex;

/// Patterns of a user, which go before the table. Each may match anywhere in a function's name, short or full,
/// in its source file, or in the path of the program or library it is in, as those of `--focus`.
#[derive(Clone, Debug, Default)]
pub struct Rules(Arc<Patterns>);

#[derive(Debug, Default)]
struct Patterns {
    own: Vec<Regex>,
    wrappers: Vec<Regex>,
}

impl Rules {
    /// The program's own code, and functions that allocate on behalf of their callers; the first wins.
    #[must_use]
    pub fn new(own: Vec<Regex>, wrappers: Vec<Regex>) -> Self {
        Self(Arc::new(Patterns { own, wrappers }))
    }

    /// Both, with more patterns behind them.
    #[must_use]
    pub fn with(&self, own: &[Regex], wrappers: &[Regex]) -> Self {
        let add = |known: &[Regex], more: &[Regex]| [known, more].concat();
        Self::new(add(&self.0.own, own), add(&self.0.wrappers, wrappers))
    }

    pub(super) fn own(&self) -> &[Regex] {
        &self.0.own
    }

    pub(super) fn wrappers(&self) -> &[Regex] {
        &self.0.wrappers
    }
}
