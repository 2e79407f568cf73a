//! Survivors: blocks that a window saw allocated and none saw freed, and the proofs that one of them is dead.
//!
//! What goes on between two windows is not seen, so that such a block is only a *candidate* for one that lives. It
//! leaves by a proof of death: its free is seen in a later window, or its address given out again, both of which the
//! kernel side settles; or the allocator's own memory says that it is free, which is told here. Where nothing proves
//! it dead it stays, so that what is live is at most all candidates.
//!
//! Pure: blocks and memory in, amounts out. What can be told and what can't: `docs/design/0035-survivors.md`.

mod glibc;
mod proofs;
#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod tests;

pub use glibc::{Heap, Keys, Memory, State, Unread};
pub use proofs::{Candidate, Deaths, Proofs};
