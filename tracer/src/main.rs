//! The `tracer` command; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tracer::cli::main()
}
