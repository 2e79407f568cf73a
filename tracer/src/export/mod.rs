//! Profiles as files: pprof, folded stacks, JSON and text out; pprof and JSON in.

#[cfg(test)]
pub(crate) mod example;
