//! The harness of the integration tests: starts workloads and the tracer, waits for them, and
//! compares profiles with ledgers.
//!
//! It must not know how the tracer works inside: everything goes through its command line and the
//! files it writes. Tests are in `integration/`, the programs they trace in `workloads/`.

pub mod binaries;
pub mod gallery;
pub mod gdb;
pub mod go;
pub mod http;
pub mod ledger;
pub mod left_behind;
pub mod memory;
pub mod npm;
pub mod process;
pub mod profile;
pub mod programs;
pub mod receiver;
pub mod rung;
pub mod series;
pub mod serving;
pub mod terminal;
pub mod tracing;
pub mod trial;
pub mod unwind;
pub mod wait;
pub mod workload;
