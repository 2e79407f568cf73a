//! The probes: their programs, and where they are placed.

use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::Map;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope};

use super::BpfError;
use super::error::{attach_error, load_error};
use super::ladder::ProbeKind;
use super::session::SessionProgram;
use crate::probe::{AttachPlan, Probe};

/// Which processes a probe fires for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One process.
    Process(NonZeroU32),
    /// Every process that runs the probed file: the kernel copies a parent's breakpoints into its
    /// children, and this alone keeps them there. Other processes are told apart in BPF, and pay
    /// the trap.
    Everything,
}

/// The program that takes the place of `alloc_entry` and `alloc_return`.
const ALLOC_SESSION: &str = "alloc_session";

/// Probes in place.
enum Link {
    Aya(&'static str, UProbeLinkId),
    /// Out when it is dropped.
    Session(OwnedFd),
}

/// The probes of a session, of one kind.
pub(super) struct Probes {
    kind: ProbeKind,
    /// Where the kind is [`ProbeKind::Session`].
    session: Option<SessionProgram>,
    links: Vec<Link>,
}

impl Probes {
    /// Loads the programs of a kind, out of the object that `ebpf` was made from.
    pub(super) fn load(ebpf: &mut Ebpf, object: &[u8], kind: ProbeKind) -> Result<Self, BpfError> {
        let programs = kind.programs();
        load_uprobe(ebpf, programs.free_entry)?;
        load_uprobe(ebpf, programs.sized_free_entry)?;
        let session = if kind == ProbeKind::Session {
            let btf = uprobe(ebpf, programs.free_entry)?
                .info()
                .map_err(|error| load_error(programs.free_entry, &error))?
                .btf_id()
                .unwrap_or(0);
            Some(SessionProgram::load(
                object,
                ALLOC_SESSION,
                map_fds(ebpf),
                btf,
            )?)
        } else {
            load_uprobe(ebpf, programs.alloc_entry)?;
            load_uprobe(ebpf, programs.alloc_return)?;
            None
        };
        Ok(Self {
            kind,
            session,
            links: Vec::new(),
        })
    }

    /// How they are placed.
    pub(super) const fn kind(&self) -> ProbeKind {
        self.kind
    }

    /// Places the probes of a plan into a module, see [`Kernel::attach`](super::Kernel::attach).
    pub(super) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        file: &File,
        path: &Path,
        plan: &AttachPlan,
        scope: Scope,
    ) -> Result<(), BpfError> {
        let target = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let (sized, plain): (Vec<_>, Vec<_>) = plan
            .freeing
            .iter()
            .partition(|probe| probe.function.is_sized_free());
        let allocating: Vec<_> = plan.allocating.iter().collect();
        let programs = self.kind.programs();
        // Entries of allocating functions last: what they give out must be seen freed.
        if self.session.is_none() {
            self.place(
                ebpf,
                programs.alloc_return,
                &allocating,
                &target,
                path,
                scope,
            )?;
        }
        self.place(ebpf, programs.free_entry, &plain, &target, path, scope)?;
        self.place(
            ebpf,
            programs.sized_free_entry,
            &sized,
            &target,
            path,
            scope,
        )?;
        let Some(session) = &self.session else {
            return self.place(
                ebpf,
                programs.alloc_entry,
                &allocating,
                &target,
                path,
                scope,
            );
        };
        if !allocating.is_empty() {
            let points = allocating.iter().map(|probe| attach_point(probe));
            let process = match scope {
                Scope::Process(pid) => Some(pid),
                Scope::Everything => None,
            };
            let link = session
                .attach(&target, points, process)
                .map_err(|error| attach_error(ALLOC_SESSION, path, &error))?;
            self.links.push(Link::Session(link));
        }
        Ok(())
    }

    /// Places one of aya's programs.
    fn place(
        &mut self,
        ebpf: &mut Ebpf,
        program: &'static str,
        probes: &[&Probe],
        target: &Path,
        path: &Path,
        scope: Scope,
    ) -> Result<(), BpfError> {
        if probes.is_empty() {
            return Ok(());
        }
        let points = probes.iter().map(|probe| attach_point(probe));
        let scope = match scope {
            Scope::Process(pid) => UProbeScope::OneProcess(pid),
            Scope::Everything => UProbeScope::AllProcesses,
        };
        let link = uprobe(ebpf, program)?
            .attach(points, target, scope)
            .map_err(|error| attach_error(program, path, &error))?;
        self.links.push(Link::Aya(program, link));
        Ok(())
    }

    /// Takes every probe out of the target.
    pub(super) fn detach(&mut self, ebpf: &mut Ebpf) -> Result<(), BpfError> {
        // Entries first, so that no call begins whose return would not be seen.
        for link in std::mem::take(&mut self.links).into_iter().rev() {
            match link {
                Link::Aya(program, link) => uprobe(ebpf, program)?
                    .detach(link)
                    .map_err(|error| attach_error(program, Path::new("(detaching)"), &error))?,
                Link::Session(link) => drop(link),
            }
        }
        Ok(())
    }
}

fn attach_point(probe: &Probe) -> UProbeAttachPoint<'static> {
    UProbeAttachPoint {
        location: UProbeAttachLocation::AbsoluteOffset(probe.point.0),
        cookie: Some(probe.function.cookie()),
    }
}

fn uprobe<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, BpfError> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(BpfError::Missing(name))
}

fn load_uprobe(ebpf: &mut Ebpf, name: &'static str) -> Result<(), BpfError> {
    uprobe(ebpf, name)?
        .load()
        .map_err(|error| load_error(name, &error))
}

/// The maps of the kinds that the object has.
fn map_fds(ebpf: &Ebpf) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
    ebpf.maps().filter_map(|(name, map)| match map {
        Map::Array(data)
        | Map::ArrayOfMaps(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data) => Some((name, data.fd().as_fd())),
        _ => None,
    })
}
