//! `tracer run`

use anyhow::Context as _;

use super::args::RunArgs;
use super::attach::runtime;
use super::exit::Exit;
use super::recording::{RecordingOutput, deliver, options, record};
use super::say::say_error;
use super::signals::Signals;
use crate::process::{Waiting, find_program};
use crate::session::{Session, Target, check_privilege, foresee};

/// Starts a program, records it to its end, writes, and ends as it did.
pub(super) fn run(args: &RunArgs, signals: &Signals) -> anyhow::Result<Exit> {
    let [name, ..] = args.command.as_slice() else {
        anyhow::bail!("no program was given");
    };
    check_privilege()?;
    let program = find_program(name)?;
    let foreseen = foresee(&program, args.recording.tracing.source.into())?;
    let waiting = Waiting::spawn(&program, &args.command)?;
    let options = options(&args.recording, waiting.who(), None)?;
    let mut place = RecordingOutput::prepare(&args.recording, waiting.who())?;
    let runtime = runtime()?;
    let (recorded, mut program) = runtime.block_on(async {
        let target = Target::Waiting {
            who: waiting.who().clone(),
            foreseen: Box::new(foreseen),
        };
        let session = Session::start(target, &options)?;
        // Before the program runs: from then on a signal is the program's to answer.
        let handle = waiting.handle();
        let until = signals.forward(handle.context("no handle of the program could be had")?)?;
        let program = waiting.go()?;
        let recorded = record(session, until, &args.recording, false, &mut place).await;
        anyhow::Ok((recorded, program))
    })?;
    let status = program
        .wait()
        .context("the program's exit status could not be had")?;
    signals.end();
    let delivered = recorded.and_then(|recorded| deliver(&args.recording, &recorded, place));
    match delivered {
        // The program's own failure goes first: it is what scripts act on.
        Err(error) if !status.success() => say_error(&error),
        Err(error) => return Err(error),
        Ok(()) => {}
    }
    Ok(Exit::Program(status))
}
