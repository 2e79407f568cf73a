//! `tracer run`

use std::thread;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use super::args::RunArgs;
use super::attach::runtime;
use super::exit::Exit;
use super::recording::{Place, deliver, options, record};
use crate::process::{Waiting, find_program};
use crate::session::{Session, Target, check_privilege, foresee};

/// Starts a program, records it to its end, writes, and ends as it did.
pub(super) fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    let [name, ..] = args.command.as_slice() else {
        anyhow::bail!("no program was given");
    };
    check_privilege()?;
    let program = find_program(name)?;
    let foreseen = foresee(&program)?;
    let waiting = Waiting::spawn(&program, &args.command)?;
    let mut place = Place::prepare(&args.recording, waiting.who())?;
    let runtime = runtime()?;
    let (recorded, mut child) = runtime.block_on(async {
        let target = Target::Waiting {
            who: waiting.who().clone(),
            foreseen,
        };
        let session = Session::start(target, &options(&args.recording))?;
        // Before the program runs: from then on a signal is the program's to answer.
        forward_signals(waiting.who().pid)?;
        let child = waiting.go()?;
        let until = std::future::pending();
        let recorded = record(session, until, &args.recording, false, &mut place).await;
        anyhow::Ok((recorded, child))
    })?;
    let status = child
        .wait()
        .context("the program's exit status could not be had")?;
    let delivered = recorded.and_then(|recorded| deliver(&args.recording, &recorded, place));
    match delivered {
        // The program's own failure goes first: it is what scripts act on.
        Err(error) if !status.success() => eprintln!("tracer: {error:#}"),
        Err(error) => return Err(error),
        Ok(()) => {}
    }
    Ok(Exit::Program(status))
}

/// Passes on the signals that somebody sends to tracer. What the terminal sends, Ctrl-C for one,
/// goes to the whole process group, so the program has it already; tracer outlives it to write the
/// profile.
fn forward_signals(pid: u32) -> anyhow::Result<()> {
    let signals = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
    let mut arriving =
        SignalsInfo::<WithOrigin>::new(signals).context("the signal handlers could not be set")?;
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("the program has no pid")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for origin in &mut arriving {
                let from_terminal = matches!(origin.cause, Cause::Kernel);
                if let Some(signal) = Signal::from_named_raw(origin.signal)
                    && !from_terminal
                {
                    // The program may have ended a moment ago; it is not waited for yet, so the
                    // pid is still its own.
                    let _ = kill_process(pid, signal);
                }
            }
        })
        .context("the thread that passes signals on could not be started")?;
    Ok(())
}
