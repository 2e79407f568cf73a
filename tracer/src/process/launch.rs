//! Starting the program to be traced, held back until the probes are in place.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::JoinHandle;

use super::{Identity, ProcessError};

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
#[derive(Debug)]
pub struct Waiting {
    who: Identity,
    go: PipeWriter,
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
        // SAFETY: the closure only writes to, reads from and closes pipes, which are
        // async-signal-safe, and allocates nothing.
        unsafe {
            prepared.pre_exec(move || hold(&tell, &wait));
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
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            who: Identity {
                pid: u32::from_ne_bytes(pid),
                name: name.into_owned(),
                executable: fs::canonicalize(program).unwrap_or_else(|_| program.to_owned()),
            },
            go,
            spawned,
        })
    }

    /// Who the child is.
    #[must_use]
    pub const fn who(&self) -> &Identity {
        &self.who
    }

    /// Lets the child exec the program.
    ///
    /// # Errors
    ///
    /// The kernel refused the exec.
    pub fn go(mut self) -> Result<Child, ProcessError> {
        let fail = |error: io::Error| ProcessError::CannotRun {
            program: self.who.executable.clone(),
            reason: error.to_string(),
        };
        self.go.write_all(&[1]).map_err(fail)?;
        drop(self.go);
        match self.spawned.join() {
            Ok(result) => result.map_err(fail),
            Err(_) => Err(fail(io::Error::other("the thread that starts it failed"))),
        }
    }
}

/// Runs in the child: says its pid and waits. Where the tracer goes away without letting it go,
/// the pipe ends and so does the child, before it has become the program.
fn hold(tell: &PipeWriter, mut wait: &PipeReader) -> io::Result<()> {
    let mut tell = tell;
    tell.write_all(&std::process::id().to_ne_bytes())?;
    let mut go = [0];
    wait.read_exact(&mut go)
}
