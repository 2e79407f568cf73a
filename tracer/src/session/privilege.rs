//! Whether this process may trace at all, said before anything is touched.

use super::SessionError;
use crate::process::{ProcessError, bpf_disabled, missing_capabilities};

/// Refuses early and in words what the kernel would refuse later with a number.
///
/// # Errors
///
/// A capability is missing, or eBPF is switched off.
pub fn check_privilege() -> Result<(), SessionError> {
    let missing = missing_capabilities()
        .map_err(|error| ProcessError::unreadable("/proc/self/status", error))?;
    if !missing.is_empty() {
        let list: Vec<_> = missing
            .iter()
            .map(|capability| format!("{} (to {})", capability.name, capability.purpose))
            .collect();
        return Err(SessionError::Privilege(format!(
            "missing privilege: {}; run it with sudo",
            list.join(", ")
        )));
    }
    match bpf_disabled() {
        Some(reason) => Err(SessionError::Privilege(format!(
            "eBPF is switched off here: {reason}; `tracer doctor` has the details"
        ))),
        None => Ok(()),
    }
}
