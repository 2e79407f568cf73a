//! Starting the program to be traced, held back until the probes are in place.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

use super::limits::restore_descriptor_limit;
use super::{Identity, Pidfd, ProcessError};

/// Finds the file that a command names, as execvp(3) does: names without a slash in `PATH`.
///
/// # Errors
///
/// No such file, a folder, or nothing that may be executed.
pub fn find_program(name: &OsStr) -> Result<PathBuf, ProcessError> {
    let refuse = |reason: &str| ProcessError::CannotRun {
        program: PathBuf::from(name),
        reason: reason.to_owned(),
    };
    if name.is_empty() {
        return Err(refuse("the name is empty"));
    }
    let direct = Path::new(name);
    let candidates: Vec<PathBuf> = if direct.components().count() > 1 || direct.is_absolute() {
        vec![direct.to_owned()]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .collect()
    };
    let mut reason = if direct.components().count() > 1 {
        "there is no such file"
    } else {
        "there is no such command in PATH"
    };
    for candidate in candidates {
        let Ok(metadata) = fs::metadata(&candidate) else {
            continue;
        };
        if metadata.is_dir() {
            reason = "it is a directory";
        } else if metadata.permissions().mode() & 0o111 == 0 {
            reason = "it is not executable (chmod +x makes it so)";
        } else {
            return Ok(candidate);
        }
    }
    Err(refuse(reason))
}

/// The interpreter that a script names in its first line (`#!`); `None` for other files.
///
/// # Errors
///
/// The file could not be read.
pub fn script_interpreter(file: &File) -> io::Result<Option<PathBuf>> {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::FileExt as _;
    // BINPRM_BUF_SIZE, what the kernel itself looks at.
    let mut head = [0; 256];
    let len = file.read_at(&mut head, 0)?;
    let Some(line) = head[..len].strip_prefix(b"#!") else {
        return Ok(None);
    };
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let interpreter = line
        .split(|&byte| byte == b' ' || byte == b'\t')
        .find(|word| !word.is_empty());
    Ok(interpreter.map(|path| PathBuf::from(OsStr::from_bytes(path))))
}

/// A child that has forked and waits for [`Waiting::go`] before it execs the program.
///
/// It never stays behind: where this is dropped it is ended and waited for, and where the whole tracer
/// dies the kernel ends it.
#[derive(Debug)]
pub struct Waiting {
    who: Identity,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    go: PipeWriter,
    handle: Pidfd,
    spawned: JoinHandle<io::Result<Child>>,
}

impl Waiting {
    /// Forks a child for a command. Its standard streams, environment, folder and process group
    /// are this process's own.
    ///
    /// # Errors
    ///
    /// The fork failed.
    pub fn spawn(program: &Path, command: &[OsString]) -> Result<Self, ProcessError> {
        let fail = |error: io::Error| ProcessError::CannotRun {
            program: program.to_owned(),
            reason: error.to_string(),
        };
        let (mut told, tell) = io::pipe().map_err(fail)?;
        let (wait, go) = io::pipe().map_err(fail)?;
        let mut prepared = Command::new(program);
        if let Some((name, arguments)) = command.split_first() {
            prepared.arg0(name).args(arguments);
        }
        let (parent, writer) = (getpid(), go.as_raw_fd());
        // SAFETY: the closure makes system calls only, on descriptors that the child has, and
        // allocates nothing.
        unsafe {
            prepared.pre_exec(move || {
                // The parent alone holds it: where the parent goes, the pipe ends.
                libc::close(writer);
                hold(parent, &tell, &wait)
            });
        }
        // `spawn` returns only after the exec, so it has a thread of its own.
        let spawned = std::thread::Builder::new()
            .name("launch".to_owned())
            .spawn(move || prepared.spawn())
            .map_err(fail)?;
        let mut pid = [0; 4];
        if told.read_exact(&mut pid).is_err() {
            // The fork itself failed; its error is in the thread.
            let error = match spawned.join() {
                Ok(Err(error)) => error,
                _ => io::Error::other("the child ended before it began"),
            };
            return Err(fail(error));
        }
        let pid = u32::from_ne_bytes(pid);
        let handle = match Pidfd::of_child(pid) {
            Ok(handle) => handle,
            Err(error) => {
                // The end of the pipe ends the child, and the thread waits for it.
                drop(go);
                let _ = spawned.join();
                return Err(fail(error));
            }
        };
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            who: Identity {
                pid,
                name: name.into_owned().into(),
                executable: fs::canonicalize(program).unwrap_or_else(|_| program.to_owned()),
            },
            held: Some(Held {
                go,
                handle,
                spawned,
            }),
        })
    }

    /// Who the child is.
    #[must_use]
    pub const fn who(&self) -> &Identity {
        &self.who
    }

    /// A handle of the child, and of the program that it becomes.
    ///
    /// # Errors
    ///
    /// There are no descriptors left.
    pub fn handle(&self) -> io::Result<Pidfd> {
        let held = self.held.as_ref().ok_or(io::ErrorKind::NotFound)?;
        held.handle.try_clone()
    }

    /// Lets the child exec the program.
    ///
    /// # Errors
    ///
    /// The kernel refused the exec.
    pub fn go(mut self) -> Result<Program, ProcessError> {
        let fail = |error: io::Error| ProcessError::CannotRun {
            program: self.who.executable.clone(),
            reason: error.to_string(),
        };
        let ended = || io::Error::other("the child ended before it could be started");
        let mut held = self.held.take().ok_or_else(|| fail(ended()))?;
        if held.go.write_all(&[1]).is_err() {
            held.end();
            return Err(fail(ended()));
        }
        drop(held.go);
        match held.spawned.join() {
            Ok(Ok(child)) => Ok(Program {
                child,
                handle: held.handle,
            }),
            Ok(Err(error)) => Err(fail(error)),
            Err(_) => Err(fail(io::Error::other("the thread that starts it failed"))),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            held.end();
        }
    }
}

impl Held {
    /// Ends the child and waits for it.
    fn end(self) {
        self.handle.send(Signal::KILL);
        drop(self.go);
        // A child that died without a word is taken for one that has exec'd.
        if let Ok(Ok(mut child)) = self.spawned.join() {
            let _ = child.wait();
        }
    }
}

/// A program that was started, a child of this process.
#[derive(Debug)]
pub struct Program {
    child: Child,
    handle: Pidfd,
}

impl Program {
    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Somebody else has waited for it.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Asks it to end, makes it where it has not after `grace`, and waits for it.
    pub fn stop(&mut self, grace: Duration) {
        self.handle.send(Signal::TERM);
        if !self.handle.ends_within(grace) {
            self.handle.send(Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Runs in the child: says its pid and waits.
///
/// Where the tracer goes away without letting it go, the kernel ends it, or the pipe ends and so does the
/// child: it never becomes the program. The death that counts is that of the thread that forked it, which
/// lives for as long as this lasts, since it waits for the exec. The program itself is not bound to the
/// tracer: it lives on without it, as it would have without being traced.
fn hold(parent: Pid, tell: &PipeWriter, mut wait: &PipeReader) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before that.
    if getppid() != Some(parent) {
        return Err(io::ErrorKind::NotFound.into());
    }
    forget_handlers();
    let mut tell = tell;
    tell.write_all(&std::process::id().to_ne_bytes())?;
    let mut go = [0];
    wait.read_exact(&mut go)?;
    restore_descriptor_limit()?;
    Ok(set_parent_process_death_signal(None)?)
}

/// Lets signals do to the held child what they would do to the program: it has the tracer's handlers
/// until it execs, and they speak to the tracer. What is ignored stays ignored.
fn forget_handlers() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: a structure of integers; the kernel writes it, and takes no other in exchange.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: as above. Numbers that are none are refused.
        let known = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } == 0;
        if known && !matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
            // SAFETY: the default needs no handler, and this is async-signal-safe.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}
