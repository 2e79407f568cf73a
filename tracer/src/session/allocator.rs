//! Which module of a process is its allocator.

use std::collections::HashSet;
use std::fs::File;
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::runtimes::{self, Runtime};
use super::serving::Other;
use super::unopened::Unopened;
use super::{SessionError, Source};
use crate::bpf::Probed;
use crate::printable::Shown as _;
use crate::probe::{AllocatorKind, AttachPlan};
use crate::process::{
    AddressSpace, ElfKind, GROWTH_INSTEAD, Identity, MappedFile, ModuleSymbols, ProcessError,
    elf_kind, has_shadow_stack, interpreter, module_symbols, script_interpreter, translator, vdso,
};

/// Why no allocator is found where no file names one.
pub(super) const NAMELESS: &str = "it is statically linked with its symbols stripped, or a runtime \
     of its own serves it: the allocator has no name to attach to; an unstripped build can be traced";

/// An allocator found in a process: a module and the plan for it.
#[derive(Clone, Debug)]
pub struct Allocator {
    /// The module.
    pub file: Arc<File>,
    /// Its path, as the target sees it.
    pub path: PathBuf,
    /// Whose it is; more than one where the module is linked with several.
    pub kinds: Vec<AllocatorKind>,
    /// Where the probes go.
    pub plan: AttachPlan,
}

impl Allocator {
    /// What the probes are placed into.
    pub(super) fn probed(&self) -> Probed<'_> {
        Probed {
            file: &self.file,
            path: &self.path,
            plan: &self.plan,
        }
    }

    /// Refuses what would kill the process: see [`AttachPlan::needs_no_shadow_stack`].
    pub(super) fn check_harmless(&self, who: &Identity) -> Result<(), ProcessError> {
        if self.plan.needs_no_shadow_stack() && has_shadow_stack(who.pid) {
            return Err(ProcessError::ShadowStack {
                pid: who.pid,
                name: who.name.clone(),
                module: self.path.clone(),
            });
        }
        Ok(())
    }
}

/// What the modules of a process have to offer.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Modules with a known allocator: what is probed.
    pub(super) allocators: Vec<Allocator>,
    /// Other modules that define `malloc`: if one of them serves the process, the probes stay silent.
    pub(super) others: Vec<Other>,
    /// What else holds memory of its own.
    pub(super) runtime: Option<Runtime>,
    /// Modules that could not be looked at: each may be an allocator.
    pub(super) unread: Unopened,
}

/// Remembers which files have been looked at.
#[derive(Debug, Default)]
pub(super) struct Searched {
    /// By (device, inode).
    files: HashSet<(u64, u64)>,
    /// Where they were found. A file that is gone with its process is most likely the one that another
    /// process has at the same place.
    paths: HashSet<PathBuf>,
}

impl Searched {
    /// Looks at one file; `None` where it was looked at before or is no module.
    ///
    /// # Errors
    ///
    /// It can't be read, or is a module that is damaged.
    pub(super) fn look(
        &mut self,
        file: &File,
        path: &Path,
    ) -> Result<Option<ModuleSymbols>, ProcessError> {
        let unreadable = |error| ProcessError::unreadable(path, error);
        let metadata = file.metadata().map_err(unreadable)?;
        self.paths.insert(path.to_owned());
        if !self.files.insert((metadata.st_dev(), metadata.st_ino())) {
            return Ok(None);
        }
        match elf_kind(file).map_err(unreadable)? {
            ElfKind::X86_64 => module_symbols(file, path).map(Some),
            ElfKind::Foreign(_) | ElfKind::NotElf => Ok(None),
        }
    }

    /// Whether a file that can't be opened was never looked at; each place is told once.
    fn misses(&mut self, path: &Path) -> bool {
        !path.starts_with("/dev") && self.paths.insert(path.to_owned())
    }
}

impl Found {
    /// Looks through everything a process has mapped that was not looked at before.
    pub(super) fn in_space(space: &AddressSpace, searched: &mut Searched) -> Self {
        let mut found = Self::default();
        for (_, mapped) in space.mappings() {
            let Some(module) = &mapped.file else { continue };
            found.add(module, searched);
        }
        found
    }

    /// Looks at one more module.
    pub(super) fn add(&mut self, module: &MappedFile, searched: &mut Searched) {
        let file = match module.open() {
            Ok(file) => file,
            Err(reason) => {
                if searched.misses(&module.path) {
                    self.unread.note(&module.path, &reason);
                }
                return;
            }
        };
        match searched.look(&file, &module.path) {
            Ok(Some(symbols)) => self.take(&Arc::new(file), &module.path, &symbols),
            Ok(None) => {}
            Err(reason) => self.unread.note(&module.path, &reason),
        }
    }

    /// Judges a module by its symbols.
    pub(super) fn take(&mut self, file: &Arc<File>, path: &Path, symbols: &ModuleSymbols) {
        let runtime = runtimes::of_file(path).or_else(|| runtimes::of_program(symbols.is_go));
        self.runtime = self.runtime.or(runtime);
        if !symbols.allocators.is_empty() {
            self.allocators.push(Allocator {
                file: Arc::clone(file),
                path: path.to_owned(),
                kinds: symbols.allocators.clone(),
                plan: AttachPlan::with_counting(&symbols.functions, &symbols.counted),
            });
        }
        if symbols.has_unknown_malloc && !is_loader(path) {
            self.others.push(Other {
                path: path.to_owned(),
                // Files of a program that is to run come in the order of loading.
                is_first: self.allocators.is_empty(),
            });
        }
    }

    /// The error for a process without a C library that can be probed.
    pub(super) fn no_allocator(&self, who: &Identity) -> ProcessError {
        ProcessError::NoAllocator {
            pid: who.pid,
            name: who.name.clone(),
            hint: self.hint(),
        }
    }

    /// Judges a recording in which no probe fired, by how far the target's heap moved meanwhile, in
    /// bytes where that is known: if it did, the wrong allocator was probed.
    pub(super) fn check_silence(
        &self,
        elapsed: Duration,
        moved: Option<u64>,
    ) -> Result<(), SessionError> {
        /// Stacks that grow and pages that are first touched move the figures a little.
        const NOISE: u64 = 256 << 10;
        let Some(moved) = moved.filter(|&moved| moved > NOISE) else {
            return Ok(());
        };
        let hint = match self.others.first() {
            Some(other) => format!(
                "its allocator is most likely the one in {}; only {} can be traced so far",
                other.path.shown(),
                AllocatorKind::NAMES
            ),
            None => {
                let why = match self.runtime {
                    Some(runtime) => runtime.words,
                    None => "it maps its memory itself or through a runtime of its own (Go, Java)",
                };
                format!(
                    "{why}; only {} allocators can be traced so far",
                    AllocatorKind::NAMES
                )
            }
        };
        Err(SessionError::NeverFired {
            seconds: elapsed.as_secs_f64(),
            changed: moved >> 10,
            hint,
        })
    }

    /// What serves the process instead.
    fn hint(&self) -> String {
        if let Some(unread) = self.unread.notes().next() {
            return format!("it may be in a file that could not be looked at: {unread}");
        }
        match self.others.first() {
            Some(other) => format!(
                "its allocator is in {}; only {} can be traced so far",
                other.path.shown(),
                AllocatorKind::NAMES
            ),
            None => NAMELESS.to_owned(),
        }
    }
}

/// What a program will have, told before it runs.
#[derive(Debug, Default)]
pub struct Foreseen {
    /// The files that it is loaded from, and the vDSO.
    pub(super) files: Vec<Arc<MappedFile>>,
    /// What they have to offer. An allocator that appears later is probed when it is mapped.
    pub(super) found: Found,
    /// They need not be looked at again.
    pub(super) searched: Searched,
}

/// Finds out what a program will have: its dynamic loader is asked which files it would load
/// (`--list`, what ldd(1) does), in the environment the program will get.
///
/// # Errors
///
/// The program is of a kind that can't be traced, or has no allocator that can be probed where one is to be.
pub fn foresee(program: &Path, source: Source) -> Result<Foreseen, ProcessError> {
    let is_probed = source == Source::Probes;
    let binary = binary_of(program)?;
    let refuse = |reason: String| ProcessError::CannotRun {
        program: program.to_owned(),
        reason,
    };
    for path in [program, &binary] {
        if let Some(what) = translator(path).filter(|_| is_probed) {
            return Err(refuse(format!(
                "{what} reads code as data; it would read the probes' breakpoints, and die of them. \
                 Trace the program without it"
            )));
        }
    }
    let file = File::open(&binary).map_err(|error| refuse(error.to_string()))?;
    match elf_kind(&file).map_err(|error| refuse(error.to_string()))? {
        ElfKind::X86_64 => {}
        ElfKind::Foreign(kind) => {
            return Err(refuse(format!(
                "it is {kind}, and only 64-bit x86-64 programs can be traced"
            )));
        }
        ElfKind::NotElf => {
            return Err(refuse(
                "it is neither an ELF program nor a script that names its interpreter (#!)"
                    .to_owned(),
            ));
        }
    }
    let mut foreseen = Foreseen {
        files: vec![vdso()],
        ..Foreseen::default()
    };
    foreseen.add(binary.clone());
    let Some(loader) = interpreter(&file, &binary)? else {
        return if is_probed && foreseen.found.allocators.is_empty() {
            let hint = foreseen.found.hint();
            Err(refuse(format!("{hint}. {GROWTH_INSTEAD}")))
        } else {
            Ok(foreseen)
        };
    };
    let listed = Command::new(loader)
        .arg("--list")
        .arg(&binary)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    if let Ok(listed) = listed {
        for path in loaded_files(&String::from_utf8_lossy(&listed.stdout)) {
            foreseen.add(path);
        }
    }
    Ok(foreseen)
}

impl Foreseen {
    fn add(&mut self, path: PathBuf) {
        let file = File::open(&path).map_err(Into::into);
        let module = MappedFile::new(path, file);
        self.found.add(&module, &mut self.searched);
        self.files.push(Arc::new(module));
    }
}

/// The ELF file behind a program: scripts name another, at most as often as the kernel follows.
fn binary_of(program: &Path) -> Result<PathBuf, ProcessError> {
    const MAX_INTERPRETERS: usize = 5;
    let mut path = program.to_owned();
    for _ in 0..MAX_INTERPRETERS {
        let refuse = |reason: String| ProcessError::CannotRun {
            program: path.clone(),
            reason,
        };
        let file = File::open(&path).map_err(|error| refuse(error.to_string()))?;
        match script_interpreter(&file).map_err(|error| refuse(error.to_string()))? {
            Some(next) => path = next,
            None => return Ok(path),
        }
    }
    Err(ProcessError::CannotRun {
        program: program.to_owned(),
        reason: "its interpreters are scripts themselves".to_owned(),
    })
}

/// The files in the output of `ld.so --list`: `libc.so.6 => /lib/libc.so.6 (0x…)`.
fn loaded_files(list: &str) -> Vec<PathBuf> {
    list.lines()
        .filter_map(|line| {
            let line = line.trim();
            let path = line.split_once(" => ").map_or(line, |(_, path)| path);
            let path = path.rsplit_once(" (0x").map_or(path, |(path, _)| path);
            path.starts_with('/').then(|| PathBuf::from(path))
        })
        .collect()
}

/// Older dynamic loaders export a `malloc` for their own use until the C library is there.
fn is_loader(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("ld-") || name.starts_with("ld."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_list_is_understood() {
        let list = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n\tlibx.so => not found\n";
        assert_eq!(
            loaded_files(list),
            [
                PathBuf::from("/lib/libc.so.6"),
                PathBuf::from("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }

    #[test]
    fn a_script_leads_to_its_interpreters_allocator() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let script = folder.path().join("script");
        std::fs::write(&script, "#! /bin/sh -e\n")?;
        let foreseen = foresee(&script, Source::Probes)?;
        let allocator = foreseen.found.allocators.first().ok_or("no allocator")?;
        assert!(!allocator.plan.is_empty());
        // The shell, its loader, the C library, the vDSO.
        assert!(foreseen.files.len() >= 4);
        std::fs::write(&script, "echo no interpreter\n")?;
        assert!(foresee(&script, Source::Growth).is_err());
        Ok(())
    }
}
