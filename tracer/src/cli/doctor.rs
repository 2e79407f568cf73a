//! `tracer doctor`: prints what [`crate::session::examine`] found.

use super::args::DoctorArgs;
use super::exit::Exit;
use super::report::show;
use crate::session::examine;

/// Examines this machine, and a process where one is named.
pub(super) fn doctor(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let diagnosis = examine(args.pid);
    show(&diagnosis, args.format)?;
    Ok(if diagnosis.can_trace() {
        Exit::Done
    } else {
        Exit::Failed
    })
}
