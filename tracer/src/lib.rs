//! tracer: who holds the memory of a running Linux process.
//!
//! One module per room; ARCHITECTURE.md has the map and the rules between them. The binary is a
//! thin shell around [`cli`].
//!
//! This library is the inside of the binary and of its tests, no interface for others: anything may change with any
//! version. Public is what the tests of the workspace use, and what stands beside it.

pub mod address;
pub mod bpf;
pub mod check;
mod checkout;
pub mod cli;
pub mod estimate;
pub mod export;
pub mod extents;
pub mod life;
pub mod names;
pub mod page;
mod printable;
pub mod probe;
pub mod process;
pub mod profile;
pub mod push;
pub mod report;
mod secret;
pub mod serve;
pub mod session;
pub mod sites;
mod size;
pub mod survivors;
pub mod symbolize;
pub mod top;
pub mod unwind;
