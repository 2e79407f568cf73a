//! Sizes in bytes as text: one set of units for every output.

use std::fmt;

/// Names of the powers of 1024, as pprof and `/proc/meminfo` have them.
pub(crate) const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Size(pub f64);

impl Size {
    /// The amount in the largest unit that it has one of.
    pub(crate) fn scaled(self) -> (f64, &'static str) {
        let (mut amount, mut unit) = (self.0, "B");
        for larger in UNITS.into_iter().skip(1) {
            if amount.abs() < 1024.0 {
                break;
            }
            (amount, unit) = (amount / 1024.0, larger);
        }
        (amount, unit)
    }
}

impl From<i64> for Size {
    fn from(bytes: i64) -> Self {
        Self(bytes as f64)
    }
}

impl From<u64> for Size {
    fn from(bytes: u64) -> Self {
        Self(bytes as f64)
    }
}

impl fmt::Display for Size {
    /// `201.00 MB`; below a kB, bytes without decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scaled() {
            (amount, "B") => write!(f, "{amount:.0} B"),
            (amount, unit) => write!(f, "{amount:.2} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn units_are_powers_of_1024() {
        let show = |bytes: i64| Size::from(bytes).to_string();
        assert_eq!(show(0), "0 B");
        assert_eq!(show(1023), "1023 B");
        assert_eq!(show(-1_536), "-1.50 kB");
        assert_eq!(show(201 << 20), "201.00 MB");
        assert_eq!(show(i64::MAX), "8192.00 PB");
    }
}
