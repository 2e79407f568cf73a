//! Whether a profile holds together: every index points at something. The same for a series, where
//! nothing goes backwards.
//!
//! Readers call this on what they were given, so that everything after them may index without
//! fear. It judges the structure only, never the amounts.

use super::{LocationIndex, Profile};

/// What is wrong with a profile's or a series' structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A sample names a location that is not there.
    #[error("sample {sample} names location {location}, which is not there")]
    Location {
        /// Index of the sample.
        sample: usize,
        /// The missing index.
        location: LocationIndex,
    },
    /// A location names a mapping that is not there.
    #[error("location {location} names mapping {mapping}, which is not there")]
    Mapping {
        /// Index of the location.
        location: usize,
        /// The missing index.
        mapping: usize,
    },
    /// A location names a function that is not there.
    #[error("location {location} names function {function}, which is not there")]
    Function {
        /// Index of the location.
        location: usize,
        /// The missing index.
        function: usize,
    },
    /// A location has no frame, and viewers would drop it from every stack.
    #[error("location {location} has no frame")]
    NoFrame {
        /// Index of the location.
        location: usize,
    },
    /// A window does not end after the one before it, or a count of the process fell.
    #[error("window {window} does not come after the one before it")]
    WindowOrder {
        /// Number of the window.
        window: u32,
    },
    /// A stack's counter fell.
    #[error("a counter of stack {stack:#x} is smaller in window {window} than before")]
    CounterFell {
        /// Number of the window.
        window: u32,
        /// The stack.
        stack: u64,
    },
    /// A stack's generations are out of order, or come from a later window.
    #[error("generations of stack {stack:#x} are out of order in window {window}")]
    Generation {
        /// Number of the window.
        window: u32,
        /// The stack.
        stack: u64,
    },
}

impl Profile {
    /// Checks that every index of the profile points at something and that every location has a
    /// frame.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), Invalid> {
        for (index, location) in self.locations.iter().enumerate() {
            if let Some(mapping) = location.mapping
                && mapping >= self.mappings.len()
            {
                return Err(Invalid::Mapping {
                    location: index,
                    mapping,
                });
            }
            if location.lines.is_empty() {
                return Err(Invalid::NoFrame { location: index });
            }
            for line in &location.lines {
                if line.function >= self.functions.len() {
                    return Err(Invalid::Function {
                        location: index,
                        function: line.function,
                    });
                }
            }
        }
        for (index, sample) in self.samples.iter().enumerate() {
            for &location in &sample.locations {
                if self.location(location).is_none() {
                    return Err(Invalid::Location {
                        sample: index,
                        location,
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Invalid;
    use crate::profile::{Function, Line, Location, LocationIndex, Profile, Sample};

    fn one_frame() -> Profile {
        Profile {
            functions: vec![Function::default()],
            locations: vec![Location {
                lines: vec![Line::default()],
                ..Location::default()
            }],
            samples: vec![Sample {
                locations: vec![LocationIndex::new(0)],
                ..Sample::default()
            }],
            ..Profile::default()
        }
    }

    #[test]
    fn each_dangling_index_is_found() {
        assert_eq!(one_frame().validate(), Ok(()));

        let mut profile = one_frame();
        profile.samples[0].locations.push(LocationIndex::new(1));
        assert_eq!(
            profile.validate(),
            Err(Invalid::Location {
                sample: 0,
                location: LocationIndex::new(1)
            })
        );

        // A position that is too large for an index stands for no location, never for another one.
        let mut profile = one_frame();
        profile.samples[0].locations = vec![LocationIndex::new(1 << 32)];
        assert!(matches!(
            profile.validate(),
            Err(Invalid::Location { sample: 0, .. })
        ));

        let mut profile = one_frame();
        profile.locations[0].mapping = Some(0);
        assert_eq!(
            profile.validate(),
            Err(Invalid::Mapping {
                location: 0,
                mapping: 0
            })
        );

        let mut profile = one_frame();
        profile.locations[0].lines[0].function = 7;
        assert_eq!(
            profile.validate(),
            Err(Invalid::Function {
                location: 0,
                function: 7
            })
        );

        let mut profile = one_frame();
        profile.locations[0].lines.clear();
        assert_eq!(profile.validate(), Err(Invalid::NoFrame { location: 0 }));
    }
}
