//! The integration tests, one module per theme. Most of them need root and a kernel with BPF; see
//! `tests::trial` for what happens where those are missing.

mod ledger;
mod oracle;

fn main() {
    let mut arguments = libtest_mimic::Arguments::from_args();
    // The workloads and the tracer have threads of their own.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let mut trials = Vec::new();
    trials.extend(oracle::trials());
    trials.extend(ledger::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
