//! Copies of descriptors. A process that is being started has one of each of this one's until it executes its program.
//! A link that is closed here meanwhile stays, and so do its probes: they count calls although they are taken for gone.

use std::io::{self, Read as _};
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Nothing is kept in it, so a panic breaks nothing.
static STARTING: RwLock<()> = RwLock::new(());

/// Starts a process, but not while probes are placed or taken out. Whoever starts one beside probes does it so.
///
/// # Errors
///
/// As for [`Command::spawn`].
pub fn start(command: &mut Command) -> io::Result<Child> {
    let _alone = alone();
    let (mut reader, writer) = io::pipe()?;
    let child = command.spawn();
    drop(writer);
    // Who starts a process goes on before the kernel has closed the copies (`begin_new_exec`). The last of this pipe is
    // given up when the new program is about to run.
    reader.read_to_end(&mut Vec::new())?;
    child
}

/// As long as this lives, no other thread starts a process, or places probes or takes them out. A thread that has
/// [`none`] would wait for itself.
pub(super) fn alone() -> RwLockWriteGuard<'static, ()> {
    STARTING.write().unwrap_or_else(PoisonError::into_inner)
}

/// As long as this lives, no process has copies. A thread that asks for it twice may wait for itself.
pub(super) fn none() -> RwLockReadGuard<'static, ()> {
    STARTING.read().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::process::CommandExt as _;
    use std::thread;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::super::to_the_end::to_the_end;
    use super::*;

    /// Whether this process runs one test alone. Else has another do so: tests beside it start processes as they like.
    fn is_alone(test: &str) -> io::Result<bool> {
        const ALONE: &str = "TRACER_TEST_ALONE";
        if std::env::var_os(ALONE).is_some() {
            return Ok(true);
        }
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--exact", &format!("bpf::copies::tests::{test}")])
            .env(ALONE, "1");
        let ended = command.output()?;
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(
            ended.status.success() && said.contains("1 passed"),
            "{said}"
        );
        Ok(false)
    }

    /// A process that takes long to execute its program has copies meanwhile; what is closed then is closed.
    #[test]
    fn what_is_closed_beside_a_start_is_closed() -> io::Result<()> {
        if !is_alone("what_is_closed_beside_a_start_is_closed")? {
            return Ok(());
        }
        let (kept, closed) = io::pipe()?;
        let (mut begun, begins) = io::pipe()?;
        let mut command = Command::new("/bin/true");
        let (writes, byte) = (begins.as_raw_fd(), 0_u8);
        let slowly = move || {
            // SAFETY: a valid pointer; `write` is async-signal-safe, and so is a sleep.
            unsafe { libc::write(writes, (&raw const byte).cast(), 1) };
            thread::sleep(Duration::from_millis(300));
            Ok(())
        };
        // SAFETY: as said there.
        unsafe { command.pre_exec(slowly) };
        let starting = thread::spawn(move || start(&mut command)?.wait());
        begun.read_exact(&mut [0])?;
        to_the_end(|| drop(closed));
        assert!(is_closed(&kept)?, "a copy is open");
        assert!(starting.join().is_ok_and(|status| status.is_ok()));
        Ok(())
    }

    /// The kernel lets go who starts a process before it closes the copies: seen in one of a hundred, on a busy machine.
    #[test]
    fn what_is_closed_as_a_start_ends_is_closed() -> io::Result<()> {
        if !is_alone("what_is_closed_as_a_start_ends_is_closed")? {
            return Ok(());
        }
        for _ in 0..500 {
            let (kept, closed) = io::pipe()?;
            let starting = thread::spawn(|| start(&mut Command::new("/bin/true"))?.wait());
            thread::sleep(Duration::from_micros(100));
            to_the_end(|| drop(closed));
            assert!(is_closed(&kept)?, "a copy is open");
            assert!(starting.join().is_ok_and(|status| status.is_ok()));
        }
        Ok(())
    }

    /// Whether nobody has the other end of a pipe.
    fn is_closed(pipe: &io::PipeReader) -> io::Result<bool> {
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut ends = [PollFd::new(pipe, PollFlags::IN)];
        Ok(poll(&mut ends, Some(&at_once))? == 1)
    }
}
