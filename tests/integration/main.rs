//! The integration tests, one module per theme. Most of them need root and a kernel with BPF; see
//! `tests::trial` for what happens where those are missing.

mod allocators;
mod bad_input;
mod check;
mod compare;
mod escapes;
mod family;
mod files;
mod first_steps;
mod gallery;
mod gdb;
mod growth;
mod harness;
mod interrupted;
mod labels;
mod ledger;
mod lifetimes;
mod limits;
mod log;
mod musl;
mod object;
mod oracle;
mod page;
mod peak;
mod plan;
mod programs;
mod push;
mod rooms;
mod run;
mod series;
mod serve;
mod stacks;
mod storm;
mod top;
mod unseen;
mod unwind;
mod verdicts;
mod viewers;
mod windows;

fn main() {
    let mut arguments = libtest_mimic::Arguments::from_args();
    // The workloads and the tracer have threads of their own.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let trials = [
        harness::trials(),
        gallery::trials(),
        gdb::trials(),
        growth::trials(),
        programs::trials(),
        oracle::trials(),
        rooms::trials(),
        object::trials(),
        ledger::trials(),
        interrupted::trials(),
        push::trials(),
        labels::trials(),
        lifetimes::trials(),
        log::trials(),
        escapes::trials(),
        family::trials(),
        limits::trials(),
        peak::trials(),
        files::trials(),
        first_steps::trials(),
        stacks::trials(),
        unwind::trials(),
        musl::trials(),
        allocators::trials(),
        verdicts::trials(),
        windows::trials(),
        run::trials(),
        unseen::trials(),
        series::trials(),
        serve::trials(),
        top::trials(),
        page::trials(),
        bad_input::trials(),
        plan::trials(),
        storm::trials(),
        viewers::trials(),
        compare::trials(),
        check::trials(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}
