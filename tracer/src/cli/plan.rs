//! `tracer plan`: prints the probes that [`PlanReport`] plans.

use super::args::PlanArgs;
use super::exit::Exit;
use super::report::show;
use crate::session::PlanReport;

/// Plans the probes for a process or a file; attaches nothing.
pub(super) fn plan(args: &PlanArgs) -> anyhow::Result<Exit> {
    let report = match (args.pid, &args.file) {
        (Some(pid), _) => PlanReport::of_process(pid)?,
        (None, Some(file)) => PlanReport::of_file(file)?,
        (None, None) => anyhow::bail!("name a process (--pid) or a file (--file)"),
    };
    show(&report, args.format)?;
    Ok(Exit::Done)
}
