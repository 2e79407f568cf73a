//! The probes that would be placed into a file, or into the modules of a process, as a report.
//! Nothing is attached, and no privilege over BPF is needed.

mod inner;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub(super) use self::inner::PlannedCut;
use super::allocator::{NAMELESS, Searched};
use super::unopened::Unopened;
use crate::printable::Shown as _;
use crate::probe::{AllocatorKind, AttachPlan, Cost, Probe, ProbeKind};
use crate::process::{
    AddressSpace, ModuleSymbols, ProcessError, Root, check_traceable, module_symbols,
};

/// The plans for some modules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// Each module with allocator functions.
    pub modules: Vec<ModulePlan>,
}

/// The plan for one module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModulePlan {
    /// The module's path; in a process, as that process sees it.
    pub path: PathBuf,
    /// Whether `attach` and `run` would probe it: whether an allocator in it is known.
    pub probed: bool,
    /// The known allocators in it.
    pub allocators: Vec<AllocatorKind>,
    /// Its probes.
    pub probes: Vec<PlannedProbe>,
    /// Where one probe would see a whole call. Tracing does not use these points yet.
    pub inner: Vec<PlannedCut>,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedProbe {
    /// The function.
    pub function: &'static str,
    /// File offset of its first instruction.
    pub entry: u64,
    /// File offset of the instruction that gets the probe.
    pub point: u64,
    /// That instruction; `None` where there is no code to look at.
    pub instruction: Option<String>,
    /// What is probed.
    pub kind: ProbeKind,
    /// What a hit is predicted to cost.
    pub cost: Cost,
    /// Why this instruction.
    pub reason: String,
}

impl From<&Probe> for PlannedProbe {
    fn from(probe: &Probe) -> Self {
        Self {
            function: probe.function.name(),
            entry: probe.entry.0,
            point: probe.point.0,
            instruction: probe.instruction.clone(),
            kind: probe.kind,
            cost: probe.cost,
            reason: probe.reason.to_string(),
        }
    }
}

impl PlanReport {
    /// Plans for one ELF file.
    ///
    /// # Errors
    ///
    /// It cannot be read, is no ELF file, or has no allocator function.
    pub fn of_file(path: &Path) -> Result<Self, ProcessError> {
        // A folder or a FIFO is refused before anything is read from it.
        let unreadable = |error| ProcessError::unreadable(path, error);
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(std::io::Error::other("not a regular file")));
        }
        let file = File::open(path).map_err(unreadable)?;
        let symbols = module_symbols(&file, path)?;
        if symbols.functions.is_empty() {
            return Err(ProcessError::BadElf {
                path: path.to_owned(),
                reason: "no allocator function (malloc, free, ...) is among its symbols".to_owned(),
            });
        }
        Ok(Self {
            modules: vec![ModulePlan::new(&file, path, &symbols)?],
        })
    }

    /// Plans for every module of a process that defines `malloc`.
    ///
    /// # Errors
    ///
    /// There is no such process, it may not be looked at, or none of its modules has an allocator.
    pub fn of_process(pid: u32) -> Result<Self, ProcessError> {
        let who = check_traceable(pid)?;
        let root = Root::of(pid)
            .map_err(|error| ProcessError::unreadable(format!("/proc/{pid}/root"), error))?;
        let space = AddressSpace::of(pid, &root)?;
        let mut searched = Searched::default();
        let mut modules = Vec::new();
        let mut unread = Unopened::default();
        for (_, mapped) in space.mappings() {
            let Some(module) = &mapped.file else { continue };
            let path = &module.path;
            let file = match module.open() {
                Ok(file) => file,
                Err(reason) => {
                    unread.note(path, &reason);
                    continue;
                }
            };
            match searched.look(&file, path) {
                Ok(Some(symbols)) if symbols.defines_malloc() => {
                    modules.push(ModulePlan::new(&file, path, &symbols)?);
                }
                Ok(_) => {}
                Err(reason) => unread.note(path, &reason),
            }
        }
        if modules.is_empty() {
            return Err(ProcessError::NoAllocator {
                pid,
                name: who.name,
                hint: unread.notes().next().unwrap_or_else(|| NAMELESS.to_owned()),
            });
        }
        Ok(Self { modules })
    }
}

impl ModulePlan {
    fn new(file: &File, path: &Path, symbols: &ModuleSymbols) -> Result<Self, ProcessError> {
        Ok(Self {
            path: path.to_owned(),
            probed: !symbols.allocators.is_empty(),
            allocators: symbols.allocators.clone(),
            probes: AttachPlan::new(&symbols.functions)
                .probes()
                .map(PlannedProbe::from)
                .collect(),
            inner: inner::plan(file, path, &symbols.functions)?,
        })
    }
}

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, module) in self.modules.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{module}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ModulePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.shown())?;
        match self.allocators.as_slice() {
            [] => writeln!(f, " (not probed so far)")?,
            allocators => writeln!(f, " ({})", AllocatorKind::names(allocators))?,
        }
        let text = |probe: &PlannedProbe| probe.instruction.clone().unwrap_or("?".to_owned());
        let widest = self.probes.iter().map(|probe| text(probe).len()).max();
        let width = widest.unwrap_or(0).max("INSTRUCTION".len());
        writeln!(
            f,
            "{:<18} {:>9} {:>5}  {:<width$}  {:<12} {:<14} WHY",
            "FUNCTION", "ENTRY", "POINT", "INSTRUCTION", "KIND", "COST"
        )?;
        for probe in &self.probes {
            writeln!(
                f,
                "{:<18} {:>9} {:>5}  {:<width$}  {:<12} {:<14} {}",
                probe.function,
                format!("{:#x}", probe.entry),
                format!("+{}", probe.point.saturating_sub(probe.entry)),
                text(probe),
                probe.kind,
                probe.cost,
                probe.reason
            )?;
        }
        inner::write(f, &self.inner)
    }
}
