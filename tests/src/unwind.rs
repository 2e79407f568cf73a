//! How the workloads without frame pointers are built.

use crate::binaries::Build;

/// The one in C, in the ways that make a difference to call frame information and mappings.
pub const BUILDS: [Build; 5] = [
    Build::new("unwind", "pie", &["-pie", "-fPIE"]),
    Build::new("unwind", "fixed", &["-no-pie", "-fno-pie"]),
    Build::new("unwind", "stripped", &["-s"]),
    Build::new("unwind", "cet", &["-fcf-protection=full"]),
    Build::new("unwind", "static", &["-static", "-no-pie", "-fno-pie"]),
];

/// The one in C++.
pub const CPP: Build = Build::new("unwind_cpp", "plain", &[]);

/// The library that the one in C loads.
pub const PLUGIN: Build = Build::new("unwind_plugin", "shared", &["-shared", "-fPIC"]);

/// The one whose code the tables leave out in part.
pub const GAP: Build = Build::new("gap", "plain", &[]);

/// Calls on a stack that the tables know nothing of.
pub const FIBER: Build = Build::new("fiber", "plain", &[]);

/// Calls below a function whose return address a return probe has replaced.
pub const RETURN_PROBE: Build = Build::new("return_probe", "plain", &[]);
