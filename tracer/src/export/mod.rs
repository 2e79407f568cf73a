//! Profiles as files: pprof, folded stacks, JSON and text out; pprof and JSON in.
