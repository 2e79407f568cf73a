//! Uprobe sessions (Linux 6.13): one program and one link for entry and return of a function, whose
//! entry can do without the return. aya has no such attach type, so this file loads and links by
//! bpf(2) itself.
//!
//! It shares the object and the maps that aya has loaded, and makes none of its own.

use std::collections::HashSet;
use std::ffi::{CString, c_char};
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread::{self, JoinHandle};

use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint};
use aya_obj::btf::FuncSecInfo;
use aya_obj::generated::{bpf_attach_type, bpf_cmd, bpf_func_info, bpf_insn, bpf_prog_type};
use aya_obj::relocation::EbpfRelocationError;
use aya_obj::{Object, ParseError};

use super::BpfError;
use super::error::chain;
use super::sys::{bpf, btf_by_id, zeroed};

const SESSION: u32 = bpf_attach_type::BPF_TRACE_UPROBE_SESSION as u32;

/// Bytes of the verifier's log that an error carries: its end names what was refused.
const LOG_TAIL: usize = 2_000;

/// A program for the entries and returns of functions.
pub(super) struct SessionProgram {
    /// The thread that loads it, until somebody waits for it.
    loading: Option<JoinHandle<Result<OwnedFd, BpfError>>>,
    fd: Option<OwnedFd>,
}

impl Drop for SessionProgram {
    fn drop(&mut self) {
        if let Some(loading) = self.loading.take() {
            // It goes by the maps' descriptors.
            drop(loading.join());
        }
    }
}

/// A program that may be loaded later: what is needed for that is there when nothing else is any more.
pub(super) struct LaterProgram {
    object: &'static [u8],
    name: &'static str,
    btf: u32,
    maps: Vec<(String, OwnedFd)>,
}

impl LaterProgram {
    /// As for [`SessionProgram::begin`].
    ///
    /// # Errors
    ///
    /// There are no descriptors left.
    pub(super) fn new<'a>(
        object: &'static [u8],
        name: &'static str,
        btf: u32,
        maps: impl Iterator<Item = (&'a str, BorrowedFd<'a>)>,
    ) -> io::Result<Self> {
        let maps = maps.map(|(map, fd)| Ok((map.to_owned(), fd.try_clone_to_owned()?)));
        Ok(Self {
            object,
            name,
            btf,
            maps: maps.collect::<io::Result<_>>()?,
        })
    }

    /// Begins to load it.
    pub(super) fn begin(self) -> SessionProgram {
        let load = move || {
            let maps = self.maps.iter();
            let maps = maps.map(|(map, fd)| (map.as_str(), fd.as_fd()));
            let code = relocated(self.object, self.name, maps)?;
            load_or_explain(&code, self.name, self.btf)
        };
        SessionProgram {
            loading: Some(thread::spawn(load)),
            fd: None,
        }
    }
}

/// A place in a file, and the cookie for it.
pub(super) struct SessionProbe {
    pub(super) offset: u64,
    pub(super) cookie: u64,
}

impl SessionProgram {
    /// Whether the kernel has sessions: one that has them looks at the file that is to be probed,
    /// which is a folder here; another refuses the attach type before.
    pub(super) fn is_supported() -> bool {
        // r0 = 0; exit
        let empty = Code {
            instructions: vec![instruction(0xb7), instruction(0x95)],
            license: c"GPL".to_owned(),
            functions: FuncSecInfo::default(),
        };
        let place = SessionProbe {
            offset: 0,
            cookie: 0,
        };
        load(&empty, None, "", &mut [])
            .and_then(|fd| link(&fd, Path::new("/"), &[place], None))
            .is_err_and(|error| error.raw_os_error() == Some(libc::EBADF))
    }

    /// Begins to load the program `name` of an object, against maps that exist and the type information that
    /// the kernel has under the id `btf`. It is the largest, and takes the verifier as long as everything else
    /// together, so a thread of its own does it.
    ///
    /// The maps must stay open until the program has been waited for.
    pub(super) fn begin<'a>(
        object: &[u8],
        name: &'static str,
        btf: u32,
        maps: impl Iterator<Item = (&'a str, BorrowedFd<'a>)>,
    ) -> Result<Self, BpfError> {
        let code = relocated(object, name, maps)?;
        Ok(Self {
            loading: Some(thread::spawn(move || load_or_explain(&code, name, btf))),
            fd: None,
        })
    }

    /// Waits until it is loaded.
    ///
    /// # Errors
    ///
    /// The kernel refused it.
    pub(super) fn wait(&mut self) -> Result<(), BpfError> {
        if let Some(loading) = self.loading.take() {
            let loaded = loading.join();
            self.fd = Some(loaded.unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(())
    }

    /// The program, once it has been waited for.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(OwnedFd::as_fd)
    }

    /// Places the program at entry and return of functions in a file. Dropping the result takes it
    /// out.
    pub(super) fn attach(
        &self,
        file: &Path,
        points: impl Iterator<Item = UProbeAttachPoint<'static>>,
        process: Option<NonZeroU32>,
    ) -> io::Result<OwnedFd> {
        let places: Vec<SessionProbe> = points
            .map(|point| match point.location {
                UProbeAttachLocation::AbsoluteOffset(offset) => Ok(SessionProbe {
                    offset,
                    cookie: point.cookie.unwrap_or(0),
                }),
                UProbeAttachLocation::Symbol(_) | UProbeAttachLocation::SymbolOffset(..) => {
                    Err(io::ErrorKind::Unsupported)
                }
            })
            .collect::<Result<_, _>>()?;
        let program = self.fd.as_ref().ok_or(io::ErrorKind::NotFound)?;
        link(program, file, &places, process)
    }
}

/// A program as the kernel takes it.
struct Code {
    /// With the maps' descriptors in them.
    instructions: Vec<bpf_insn>,
    license: CString,
    /// Type and beginning of each function. The kernel asks for them where one is a callback.
    functions: FuncSecInfo,
}

fn relocated<'a>(
    object: &[u8],
    name: &'static str,
    maps: impl Iterator<Item = (&'a str, BorrowedFd<'a>)>,
) -> Result<Code, BpfError> {
    let refused = |error: &EbpfRelocationError| BpfError::Load(chain(error));
    let mut object =
        Object::parse(object).map_err(|error: ParseError| BpfError::Load(chain(&error)))?;
    let program = object.programs.get(name).ok_or(BpfError::Missing(name))?;
    let (key, license) = (program.function_key(), program.license.clone());
    let sections: HashSet<usize> = object.functions.keys().map(|&(index, _)| index).collect();
    let definitions = std::mem::take(&mut object.maps);
    let known = maps.filter_map(|(map, fd)| {
        let definition = definitions.get(map)?;
        Some((map, fd.as_raw_fd(), definition))
    });
    object
        .relocate_maps(known, &sections)
        .map_err(|error| refused(&error))?;
    object
        .relocate_calls(&sections)
        .map_err(|error| refused(&error))?;
    let function = object.functions.remove(&key);
    let function = function.ok_or(BpfError::Missing(name))?;
    Ok(Code {
        instructions: function.instructions,
        license,
        functions: function.func_info,
    })
}

/// An instruction whose operands are all 0.
fn instruction(code: u8) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
        off: 0,
        imm: 0,
    }
}

/// Loads it; an error carries what the verifier says.
fn load_or_explain(code: &Code, name: &'static str, btf: u32) -> Result<OwnedFd, BpfError> {
    let refused = |reason: String| BpfError::LoadProgram {
        program: name,
        reason,
    };
    let btf = btf_by_id(btf)
        .map_err(|error| refused(format!("its type information is gone: {error}")))?;
    load(code, Some(&btf), name, &mut []).map_err(|error| {
        // Once more for the log, which costs the verifier much time.
        let mut log = vec![0; 1 << 20];
        let _ = load(code, Some(&btf), name, &mut log);
        let mut reason = error.to_string();
        if let Some(tail) = log_tail(&log) {
            reason = format!("{reason}; the verifier's log ends with:\n{tail}");
        }
        refused(reason)
    })
}

/// `BPF_PROG_LOAD`. The verifier writes to `log` unless that is empty.
fn load(code: &Code, btf: Option<&OwnedFd>, name: &str, log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    // SAFETY: all bytes are 0, which is a value of every part of the union.
    let part = unsafe { &mut attributes.__bindgen_anon_3 };
    part.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
    part.expected_attach_type = SESSION;
    part.insns = code.instructions.as_ptr() as u64;
    part.insn_cnt = u32::try_from(code.instructions.len()).map_err(io::Error::other)?;
    part.license = code.license.as_ptr() as u64;
    if let Some(btf) = btf {
        part.prog_btf_fd = btf.as_raw_fd().cast_unsigned();
        part.func_info = code.functions.func_info.as_ptr() as u64;
        part.func_info_cnt = u32::try_from(code.functions.len()).map_err(io::Error::other)?;
        part.func_info_rec_size =
            u32::try_from(size_of::<bpf_func_info>()).map_err(io::Error::other)?;
    }
    // The last byte stays 0.
    let room = part.prog_name.len() - 1;
    for (to, from) in part.prog_name[..room].iter_mut().zip(name.bytes()) {
        *to = from as c_char;
    }
    if !log.is_empty() {
        part.log_level = 1;
        part.log_buf = log.as_mut_ptr() as u64;
        part.log_size = u32::try_from(log.len()).map_err(io::Error::other)?;
    }
    // A signal interrupts the verifier.
    for _ in 0..4 {
        // SAFETY: code and log outlive the call, with the lengths given.
        match unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &attributes) } {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
    // SAFETY: as above.
    unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &attributes) }
}

/// `BPF_LINK_CREATE`, for one process or all.
pub(super) fn link(
    program: &OwnedFd,
    file: &Path,
    places: &[SessionProbe],
    process: Option<NonZeroU32>,
) -> io::Result<OwnedFd> {
    let path = CString::new(file.as_os_str().as_bytes())?;
    let offsets: Vec<u64> = places.iter().map(|place| place.offset).collect();
    let cookies: Vec<u64> = places.iter().map(|place| place.cookie).collect();
    let mut attributes = zeroed();
    // SAFETY: all bytes are 0, which is a value of every part of the union.
    let part = unsafe { &mut attributes.link_create };
    part.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    part.attach_type = SESSION;
    // SAFETY: as above.
    let uprobes = unsafe { &mut part.__bindgen_anon_3.uprobe_multi };
    uprobes.path = path.as_ptr() as u64;
    uprobes.offsets = offsets.as_ptr() as u64;
    uprobes.cookies = cookies.as_ptr() as u64;
    uprobes.cnt = u32::try_from(places.len()).map_err(io::Error::other)?;
    uprobes.pid = process.map_or(0, NonZeroU32::get);
    // SAFETY: path, offsets and cookies outlive the call, with the length given.
    unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &attributes) }
}

/// The last lines of a verifier's log; `None` where it says nothing.
fn log_tail(log: &[u8]) -> Option<String> {
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    let start = end.saturating_sub(LOG_TAIL);
    let text = String::from_utf8_lossy(&log[start..end]);
    // What was cut in the middle of a line goes with that line.
    let text = match text.split_once('\n') {
        Some((_, rest)) if start > 0 => rest,
        _ => &text,
    };
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_log_is_whole_lines() {
        assert_eq!(log_tail(b"one\ntwo\n\0\0\0"), Some("one\ntwo".to_owned()));
        assert_eq!(log_tail(&[0; 8]), None);
        let long = "a line\n".repeat(1_000);
        let tail = log_tail(long.as_bytes()).unwrap_or_default();
        assert!(tail.starts_with("a line\n") && tail.ends_with("a line"));
        assert!(tail.len() < LOG_TAIL && tail.len() > LOG_TAIL - 20);
    }
}
