//! The rungs of the probe ladder: the one the kernel offers, and each of those below it by force, so
//! that they are tried where nobody would take them.

use anyhow::Result;

use crate::tracing::Tracing;

/// A way of placing probes.
#[derive(Clone, Copy, Debug)]
pub struct Rung {
    /// What the hidden option takes, and what the tracer says of it; `None` leaves the choice to it.
    forced: Option<(&'static str, &'static str)>,
}

/// Every rung that a test takes. The first is the tracer's own choice, which is the best there is.
pub const ALL: [Rung; 3] = [
    Rung { forced: None },
    Rung {
        forced: Some(("multi", "(uprobe_multi)")),
    },
    Rung {
        forced: Some(("perf", "(perf-event uprobes)")),
    },
];

impl Rung {
    /// Whether it is the tracer's own choice.
    #[must_use]
    pub const fn is_default(self) -> bool {
        self.forced.is_none()
    }

    /// The name of a test on this rung.
    #[must_use]
    pub fn trial(self, name: &str) -> String {
        match self.forced {
            None => name.to_owned(),
            Some((option, _)) => format!("{name}_{option}"),
        }
    }

    /// The arguments that force it.
    #[must_use]
    pub fn arguments(self) -> Vec<&'static str> {
        let forced = self.forced;
        forced.map_or_else(Vec::new, |(option, _)| vec!["--probes", option])
    }

    /// Attaches on this rung and waits until every call counts.
    ///
    /// # Errors
    /// The tracer ended instead, or took another rung.
    pub fn attach(self, pid: u32) -> Result<Tracing> {
        let Some((option, kind)) = self.forced else {
            return Tracing::attach(pid);
        };
        let mut tracing = Tracing::begin_attach(pid, &["--probes", option])?;
        let line = tracing.wait_attached()?;
        anyhow::ensure!(line.ends_with(kind), "not on this rung: {line}");
        Ok(tracing)
    }
}
