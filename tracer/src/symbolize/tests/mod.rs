//! Real files: compiled here, resolved here.
//!
//! The truth about an address comes from the source: an assembler label on a known line, whose
//! place in the file is read independently of the code under test.

mod compiled;
mod fixtures;
mod hostile;
mod separate;
mod symbols;
