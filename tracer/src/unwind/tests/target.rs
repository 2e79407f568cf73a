//! A program that is stepped through: its registers, memory and mappings at each stop.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};

use procfs::process::{MMPermissions, MMapPath, Process};
use tracer_common::Registers;

use super::TestResult;

/// A child under ptrace; killed when dropped. All calls must come from one thread.
pub(super) struct Target {
    child: Child,
    memory: File,
    /// The thread that stopped last.
    thread: Cell<i32>,
}

/// What a resumed target did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It made a step.
    Step,
    /// It has executed an `int3`.
    Breakpoint,
    /// It was sent a signal, which it gets when it is resumed.
    Signal(i32),
    /// It is no more.
    Exit,
}

/// Contents of files by [`Code::name`].
pub(super) type Files = HashMap<String, Vec<u8>>;

/// An executable mapping.
pub(super) struct Code {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) file_offset: u64,
    /// Path of the file, or `[vdso]`.
    pub(super) name: String,
}

impl Target {
    /// Starts a program, stopped at its first instruction.
    pub(super) fn start(program: &Path) -> TestResult<Self> {
        let mut command = Command::new(program);
        // SAFETY: ptrace is safe to call between fork and exec, and touches no memory here.
        unsafe {
            command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        let child = command.spawn()?;
        let memory = File::open(format!("/proc/{}/mem", child.id()))?;
        let target = Self {
            thread: Cell::new(child.id().cast_signed()),
            child,
            memory,
        };
        if target.wait()? == Stop::Exit {
            return Err("the program did not start".into());
        }
        // So that threads stop, too, when they come to a breakpoint.
        target.request(libc::PTRACE_SETOPTIONS, libc::PTRACE_O_TRACECLONE)?;
        Ok(target)
    }

    /// Runs on to the next `int3`.
    pub(super) fn run_to_breakpoint(&self) -> TestResult {
        let mut stop = Stop::Step;
        loop {
            stop = self.resume(libc::PTRACE_CONT, stop)?;
            match stop {
                Stop::Breakpoint => return Ok(()),
                Stop::Exit => return Err("the program ended before its breakpoint".into()),
                Stop::Step | Stop::Signal(_) => {}
            }
        }
    }

    /// Executes one instruction after the stop `last`.
    pub(super) fn step(&self, last: Stop) -> TestResult<Stop> {
        self.resume(libc::PTRACE_SINGLESTEP, last)
    }

    fn resume(&self, request: libc::c_uint, last: Stop) -> TestResult<Stop> {
        let signal = match last {
            Stop::Signal(signal) => signal,
            _ => 0,
        };
        self.request(request, signal)?;
        self.wait()
    }

    /// A request that only takes a number.
    fn request(&self, request: libc::c_uint, data: i32) -> TestResult {
        // SAFETY: such a request touches no memory of this process.
        let result = unsafe { libc::ptrace(request, self.thread.get(), 0, i64::from(data)) };
        if result != 0 {
            return Err(io::Error::last_os_error().into());
        }
        Ok(())
    }

    fn wait(&self) -> TestResult<Stop> {
        loop {
            let mut status = 0;
            // Other threads of this process have children of their own.
            let options = libc::__WALL | libc::__WNOTHREAD;
            // SAFETY: `status` outlives the call.
            let thread = unsafe { libc::waitpid(-1, &raw mut status, options) };
            if thread < 0 {
                return Err(io::Error::last_os_error().into());
            }
            self.thread.set(thread);
            let is_main = thread == self.child.id().cast_signed();
            if !libc::WIFSTOPPED(status) {
                if is_main {
                    return Ok(Stop::Exit);
                }
                continue;
            }
            let is_event = status >> 16 != 0;
            let is_new = !is_main && libc::WSTOPSIG(status) == libc::SIGSTOP;
            if !is_event && !is_new {
                return self.stop(libc::WSTOPSIG(status));
            }
            self.request(libc::PTRACE_CONT, 0)?;
        }
    }

    fn stop(&self, signal: i32) -> TestResult<Stop> {
        if signal != libc::SIGTRAP {
            return Ok(Stop::Signal(signal));
        }
        let before = self.registers()?.ip.wrapping_sub(1);
        let mut instruction = [0];
        let is_read = self.memory.read_at(&mut instruction, before).is_ok();
        Ok(if is_read && instruction == [0xcc] {
            Stop::Breakpoint
        } else {
            Stop::Step
        })
    }

    /// The registers that a walk begins with.
    pub(super) fn registers(&self) -> TestResult<Registers> {
        let mut registers = MaybeUninit::<libc::user_regs_struct>::zeroed();
        // SAFETY: the kernel writes one such structure to the address given.
        let result = unsafe {
            libc::ptrace(
                libc::PTRACE_GETREGS,
                self.thread.get(),
                0,
                registers.as_mut_ptr(),
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: integers only, for which zero is a value, too.
        let registers = unsafe { registers.assume_init() };
        Ok(Registers {
            ip: registers.rip,
            sp: registers.rsp,
            bp: registers.rbp,
        })
    }

    /// A word of memory.
    pub(super) fn read(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.memory.read_exact_at(&mut word, address).ok()?;
        Some(u64::from_le_bytes(word))
    }

    /// All that can be executed, by address, and the ELF files behind it.
    pub(super) fn code(&self) -> TestResult<(Vec<Code>, Files)> {
        let mut code = Vec::new();
        let mut files = HashMap::new();
        for map in Process::new(self.child.id().cast_signed())?.maps()? {
            if !map.perms.contains(MMPermissions::EXECUTE) {
                continue;
            }
            let (start, end) = map.address;
            let (name, bytes) = match &map.pathname {
                MMapPath::Path(path) => (path.to_string_lossy().into_owned(), fs::read(path)?),
                MMapPath::Vdso => {
                    let mut bytes = vec![0; usize::try_from(end - start)?];
                    self.memory.read_exact_at(&mut bytes, start)?;
                    ("[vdso]".to_owned(), bytes)
                }
                _ => continue,
            };
            files.insert(name.clone(), bytes);
            code.push(Code {
                start,
                end,
                file_offset: map.offset,
                name,
            });
        }
        Ok((code, files))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        #[expect(
            clippy::disallowed_methods,
            reason = "nobody has waited for it, so the pid is its own"
        )]
        let killed = self.child.kill();
        // An error says that it has ended already.
        let _ = killed;
        // Its threads, too, have to be collected, and before it.
        let options = libc::__WALL | libc::__WNOTHREAD;
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        while unsafe { libc::waitpid(-1, &raw mut status, options) } > 0 {}
    }
}
