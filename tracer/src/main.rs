//! The `tracer` command; everything is in the library.

fn main() {}
