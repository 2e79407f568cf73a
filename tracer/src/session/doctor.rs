//! What this kernel, these privileges and a process allow, each with its remedy.

use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;

use serde::Serialize;
use tracer_common::Unwinding;

use super::allocator::{Found, Searched};
use super::table_sizes;
use crate::bpf::{
    Heirs, Kernel, Limits, LoadOptions, MAX_TABLE_BYTES, MayWindow, ProbeKind, Scope, Threads,
};
use crate::printable::{Shown as _, printable};
use crate::probe::AllocatorKind;
use crate::process::{
    AddressSpace, KEPT, LimitedGroup, Root, Sideband, bpf_disabled, check_traceable, load_order,
    missing_capabilities, pid_namespace, threads_of,
};

/// How a line of the diagnosis turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Works, with a limit worth knowing.
    Limited,
    /// Stands in the way.
    Failed,
}

/// One line of the diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub subject: &'static str,
    /// How it turned out.
    pub grade: Grade,
    /// What was found.
    pub finding: String,
    /// What to do about it, where anything can be done.
    pub remedy: Option<String>,
}

/// The diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Its lines.
    pub checks: Vec<Check>,
}

impl Diagnosis {
    /// Whether nothing stands in the way.
    #[must_use]
    pub fn can_trace(&self) -> bool {
        self.checks.iter().all(|check| check.grade != Grade::Failed)
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let mark = match check.grade {
                Grade::Ok => "ok     ",
                Grade::Limited => "limited",
                Grade::Failed => "FAILED ",
            };
            let finding = printable(&check.finding);
            writeln!(f, "{mark}  {:<18} {finding}", check.subject)?;
            if let Some(remedy) = &check.remedy {
                writeln!(f, "{:28} -> {}", "", printable(remedy))?;
            }
        }
        let judgement = if self.can_trace() {
            "tracing works here"
        } else {
            "tracing does not work here: see the lines marked FAILED"
        };
        writeln!(f, "{judgement}")
    }
}

/// Examines this machine, and a process where one is named. Changes nothing.
#[must_use]
pub fn examine(pid: Option<u32>) -> Diagnosis {
    let mut checks = vec![
        kernel_release(),
        btf(),
        privileges(),
        kept_privileges(),
        bpf_switch(),
    ];
    // These ask the kernel for the real thing, which tells nothing new without the privilege.
    if checks.iter().all(|check| check.grade != Grade::Failed) {
        checks.push(programs());
        checks.push(page_faults());
        checks.push(sideband());
    }
    checks.push(namespace());
    if let Some(pid) = pid {
        target(pid, &mut checks);
    }
    Diagnosis { checks }
}

fn check(
    subject: &'static str,
    grade: Grade,
    finding: impl Into<String>,
    remedy: Option<&str>,
) -> Check {
    Check {
        subject,
        grade,
        finding: finding.into(),
        remedy: remedy.map(str::to_owned),
    }
}

fn kernel_release() -> Check {
    let name = rustix::system::uname();
    let (release, machine) = (
        name.release().to_string_lossy(),
        name.machine().to_string_lossy(),
    );
    let found = format!("Linux {release} on {machine}");
    if machine == "x86_64" {
        check("kernel", Grade::Ok, found, None)
    } else {
        let remedy = "only x86-64 is supported so far";
        check("kernel", Grade::Failed, found, Some(remedy))
    }
}

fn btf() -> Check {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        return check(
            "kernel BTF",
            Grade::Ok,
            "/sys/kernel/btf/vmlinux is there",
            None,
        );
    }
    check(
        "kernel BTF",
        Grade::Limited,
        "/sys/kernel/btf/vmlinux is missing: children cannot be followed (--follow-forks)",
        Some("use a kernel built with CONFIG_DEBUG_INFO_BTF=y"),
    )
}

fn privileges() -> Check {
    match missing_capabilities() {
        Ok(missing) if missing.is_empty() => check(
            "privileges",
            Grade::Ok,
            "all capabilities that tracing needs",
            None,
        ),
        Ok(missing) => {
            let names: Vec<_> = missing
                .iter()
                .map(|capability| format!("{} (to {})", capability.name, capability.purpose))
                .collect();
            check(
                "privileges",
                Grade::Failed,
                format!("missing {}", names.join(", ")),
                Some("run it with sudo, or give the container these capabilities"),
            )
        }
        Err(error) => check(
            "privileges",
            Grade::Failed,
            error.to_string(),
            Some("mount /proc"),
        ),
    }
}

/// Not a test: what is kept has to be told.
fn kept_privileges() -> Check {
    let names: Vec<_> = KEPT.iter().map(|capability| capability.name).collect();
    let finding = format!("by serve and top: {}", names.join(", "));
    check("privileges kept", Grade::Ok, finding, None)
}

fn bpf_switch() -> Check {
    match bpf_disabled() {
        None => check("bpf(2)", Grade::Ok, "works", None),
        Some(reason) => check(
            "bpf(2)",
            Grade::Failed,
            reason,
            Some("run it as root outside the container, and look at /sys/kernel/security/lockdown"),
        ),
    }
}

/// How programs are loaded to see whether the kernel takes them.
fn trial_options(kind: Option<ProbeKind>) -> LoadOptions {
    let small = Limits {
        generations: true,
        live: 1,
        heap_bytes: 0,
        stacks: 1,
        ring: 1 << 20,
        unwind_bytes: MAX_TABLE_BYTES,
    };
    LoadOptions {
        tgid: std::process::id(),
        limits: small,
        follow_forks: false,
        pidns: None,
        kind,
        windows: MayWindow::No,
        unwinding: Unwinding::default(),
        audit: false,
        by_thread: false,
        log: None,
    }
}

/// What `--source growth` needs.
fn page_faults() -> Check {
    let this = std::process::id();
    let list = move || threads_of(&[this]);
    let threads = Threads {
        list: &list,
        heirs: Heirs::Threads,
    };
    let loaded = Kernel::new(&trial_options(Some(ProbeKind::Faults)))
        .and_then(|mut kernel| kernel.probes().load(&[], Scope::Threads(threads)));
    match loaded {
        Ok(()) => check(
            "page faults",
            Grade::Ok,
            "can be followed: `tracer attach --source growth` works for any program",
            None,
        ),
        Err(error) => check(
            "page faults",
            Grade::Limited,
            format!("can't be followed, so there is no `--source growth`: {error}"),
            None,
        ),
    }
}

fn programs() -> Check {
    let loaded = Kernel::new(&trial_options(None)).and_then(|mut kernel| {
        let scope = Scope::Process(NonZeroU32::MIN);
        kernel.probes().load(&[], scope)?;
        Ok(kernel)
    });
    match loaded {
        Ok(kernel) => {
            let kind = kernel.probe_kind();
            let mut found = format!("the kernel takes tracer's programs; probes: {kind}");
            if !kernel.has_sessions() {
                found.push_str(
                    ". Don't trace a program whose signal handlers allocate on an alternate stack: without \
                     uprobe sessions (Linux 6.13) it may end with SIGILL",
                );
            }
            check("eBPF programs", Grade::Ok, found, None)
        }
        Err(error) => check(
            "eBPF programs",
            Grade::Failed,
            error.to_string(),
            Some("tracer needs Linux 6.1 or later; please report this message with `uname -a`"),
        ),
    }
}

fn sideband() -> Check {
    match Sideband::open() {
        Ok(_) => check("mapping records", Grade::Ok, "perf_event_open works", None),
        Err(error) => check(
            "mapping records",
            Grade::Failed,
            error.to_string(),
            Some("set kernel.perf_event_paranoid to 2 or lower, or run with CAP_PERFMON"),
        ),
    }
}

fn namespace() -> Check {
    match pid_namespace() {
        Ok(None) => check("pid namespace", Grade::Ok, "the machine's own", None),
        Ok(Some(_)) => check(
            "pid namespace",
            Grade::Limited,
            "a container's own: only its processes can be named, and children not be followed",
            Some("run tracer on the host, or the container with --pid=host"),
        ),
        Err(error) => check(
            "pid namespace",
            Grade::Failed,
            error.to_string(),
            Some("mount /proc"),
        ),
    }
}

/// The control group that the process and tracer are both in.
fn control_group(group: &LimitedGroup) -> Check {
    let found = format!(
        "the process's own ({}) is tracer's, too: {} of {} MB are left, and tracer takes {} at least",
        group.folder.shown(),
        group.room() >> 20,
        group.limit >> 20,
        table_sizes::least_bytes(false) >> 20
    );
    let grade = if table_sizes::is_enough(group.room(), false) {
        Grade::Limited
    } else {
        Grade::Failed
    };
    let remedy = "run tracer outside the container or control group, where its tables do not count";
    check("control group", grade, found, Some(remedy))
}

/// The process: who it is, and whether an allocator of its can be probed.
fn target(pid: u32, checks: &mut Vec<Check>) {
    let who = match check_traceable(pid) {
        Ok(who) => who,
        Err(error) => {
            checks.push(check("process", Grade::Failed, error.to_string(), None));
            return;
        }
    };
    let found = format!("{} ({})", who.name, who.executable.shown());
    checks.push(check("process", Grade::Ok, found, None));
    if let Some(group) = LimitedGroup::shared_with(pid) {
        checks.push(control_group(&group));
    }
    let space = Root::of(pid)
        .map_err(|error| error.to_string())
        .and_then(|root| AddressSpace::of(pid, &root).map_err(|error| error.to_string()));
    let space = match space {
        Ok(space) => space,
        Err(error) => {
            let remedy = Some("run it with sudo");
            checks.push(check("allocator", Grade::Failed, error, remedy));
            return;
        }
    };
    let mut found = Found::in_space(&space, &mut Searched::default());
    if let Some(order) = load_order(pid) {
        found.order_by(&space, &order);
    }
    match found.allocators.as_slice() {
        [] => checks.push(check(
            "allocator",
            Grade::Failed,
            found.no_allocator(&who).to_string(),
            None,
        )),
        allocators => {
            for allocator in allocators {
                let text = format!(
                    "{}, {} functions of {}",
                    AllocatorKind::names(&allocator.kinds),
                    allocator.plan.len(),
                    allocator.path.shown()
                );
                checks.push(check("allocator", Grade::Ok, text, None));
            }
        }
    }
    for other in found.serving() {
        checks.push(check(
            "allocator",
            Grade::Limited,
            format!(
                "{} defines malloc, too: unless it hands its calls on, what it serves is not seen",
                other.shown()
            ),
            Some(&format!(
                "only {} allocators can be traced so far",
                AllocatorKind::NAMES
            )),
        ));
    }
}
