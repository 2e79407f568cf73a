//! In a terminal of its own: a panic gives it back before the message is printed.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use rustix::termios::{Termios, tcgetattr};

use super::{Screen, State};
use crate::top::Subject;

/// Set in the process that has the terminal, which panics in one of two threads.
const ROLE: &str = "TRACER_TEST_SCREEN";

/// A terminal: the end that its user has, and the one that programs have.
fn terminal() -> std::io::Result<(File, OwnedFd)> {
    let (mut user, mut program) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: it writes two numbers; the rest may be null.
    let opened = unsafe {
        libc::openpty(
            &raw mut user,
            &raw mut program,
            none,
            none.cast(),
            none.cast(),
        )
    };
    if opened != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: both were opened just now, and belong to nobody else.
    unsafe { Ok((File::from_raw_fd(user), OwnedFd::from_raw_fd(program))) }
}

fn modes(of: impl AsFd) -> std::io::Result<String> {
    let Termios {
        input_modes,
        output_modes,
        control_modes,
        local_modes,
        ..
    } = tcgetattr(of)?;
    Ok(format!(
        "{input_modes:?} {output_modes:?} {control_modes:?} {local_modes:?}"
    ))
}

/// What a process writes that takes the terminal and ends by a panic of this thread.
fn written(thread: &str) -> std::io::Result<String> {
    let (mut user, program) = terminal()?;
    let before = modes(&program)?;
    let mut child = Command::new(std::env::current_exe()?);
    child
        .args([
            "top::screen::tests::a_panic_gives_the_terminal_back",
            "--exact",
            "--nocapture",
        ])
        .env(ROLE, thread)
        .stdin(Stdio::from(program.try_clone()?))
        .stdout(Stdio::from(program.try_clone()?))
        .stderr(Stdio::from(program.try_clone()?));
    let mut running = child.spawn()?;
    drop(child);
    let (send, sent) = channel();
    let mut reads = user.try_clone()?;
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // It ends with an error when nobody has the other end any more.
        let _ = reads.read_to_end(&mut bytes);
        send.send(bytes)
    });
    let ended = running.wait()?;
    assert!(!ended.success(), "it did not panic");
    assert_eq!(modes(&program)?, before);
    drop(program);
    let bytes = sent.recv().map_err(std::io::Error::other)?;
    let _ = user.read(&mut []);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the process does that has the terminal.
fn take_it_and_panic(thread: &str) -> std::io::Result<()> {
    let mut screen = Screen::open()?;
    let mut state = State::new(Subject::default());
    screen.draw(&mut state)?;
    if thread == "other" {
        let other = std::thread::spawn(|| panic!("on purpose"));
        assert!(other.join().is_err());
        // What is drawn now goes nowhere.
        state.saved(Ok("too late".to_owned()));
        screen.draw(&mut state)?;
    }
    panic!("on purpose");
}

#[test]
fn a_panic_gives_the_terminal_back() -> std::io::Result<()> {
    if let Ok(thread) = std::env::var(ROLE) {
        return take_it_and_panic(&thread);
    }
    for thread in ["own", "other"] {
        let text = written(thread)?;
        let at = |wanted: &str| text.find(wanted).unwrap_or(usize::MAX);
        let (taken, given_back) = (at("\x1b[?1049h"), at("\x1b[?1049l"));
        let (shown, message) = (at("\x1b[?25h"), at("on purpose"));
        assert!(
            taken < given_back && given_back < shown && shown < message && message < usize::MAX,
            "{text:?}"
        );
        assert!(!text.contains("too late"), "{text:?}");
        assert_eq!(text.matches("\x1b[?1049l").count(), 1, "{text:?}");
    }
    Ok(())
}
