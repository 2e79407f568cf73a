//! A small HTTP service that counts.
fn main() {}
