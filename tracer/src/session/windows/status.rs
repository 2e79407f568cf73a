//! How the windows of a session stand, for whoever reports it.

use std::time::Duration;

use super::marks::Mark;

/// How windows stand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WindowsStatus {
    /// Windows in which every call was seen.
    pub windows: u64,
    /// How long these were together.
    pub exposure: Duration,
    /// Windows in which marks were counted.
    pub progress_windows: u64,
    /// How long these were together.
    pub progress_exposure: Duration,
    /// Windows whose length was not known well enough to count for an estimate.
    pub unsure: u64,
    /// Calls that hit a probe while it was placed or taken out.
    pub calls_outside: u64,
    /// Calls that had not returned when the probes were gone.
    pub calls_at_edges: u64,
    /// How long the target was traced exactly.
    pub exact: Duration,
    /// What progress is measured by.
    pub mark: Option<Mark>,
    /// How often it came in windows in which every call was seen.
    pub marks: u64,
    /// How often it came in the others.
    pub progress_marks: u64,
    /// Share of the target's CPU time, or of one CPU where it uses less, that all this took.
    pub share: f64,
}

impl WindowsStatus {
    /// What they took, for the profile.
    pub(in crate::session) fn note(&self) -> String {
        let exact = if self.exact.is_zero() {
            String::new()
        } else {
            format!(", and {:.1} s of exact tracing", self.exact.as_secs_f64())
        };
        format!(
            "tracing took about {:.2}% of the target's CPU time: {} windows of {:.1} ms together in which every call \
             was seen{}{exact}",
            self.share * 100.0,
            self.windows,
            self.exposure.as_secs_f64() * 1e3,
            self.progress(),
        )
    }

    /// How progress was measured.
    fn progress(&self) -> String {
        let Some(mark) = self.mark else {
            return "; there is no measure of its progress: nothing that can be counted is rare, and still as frequent \
                    as memory is allocated"
                .to_owned();
        };
        let by = format!("its progress is measured by {}", mark.shown());
        match mark.function() {
            None => format!("; {by}"),
            Some(_) => format!(
                ", {} of {:.1} ms for its progress; {by}",
                self.progress_windows,
                self.progress_exposure.as_secs_f64() * 1e3,
            ),
        }
    }
}
