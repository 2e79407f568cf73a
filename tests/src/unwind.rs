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

/// The one that moves code to where nobody knows of it.
pub const MOVED: Build = Build::new("moved", "plain", &[]);

/// Loads libraries, each at the place of the one before.
pub const RELOAD: Build = Build::new("reload", "plain", &[]);

/// These, with the same code at the same addresses but for names and frames.
pub const RELOADED: [Build; 2] = [
    Build::new(
        "reload_plugin",
        "a",
        &["-shared", "-fPIC", "-DINNER=inner_a", "-DFRAME=1024"],
    ),
    Build::new(
        "reload_plugin",
        "b",
        &["-shared", "-fPIC", "-DINNER=inner_b", "-DFRAME=4096"],
    ),
];

/// The ones that come and go in a storm.
pub const STORM_PLUGINS: [Build; 2] = [
    Build::new(
        "storm_plugin",
        "a",
        &[
            "-shared",
            "-fPIC",
            "-DINNER=plugin_a_inner",
            "-DENTRY=plugin_a_entry",
            "-DFRAME=512",
        ],
    ),
    Build::new(
        "storm_plugin",
        "b",
        &[
            "-shared",
            "-fPIC",
            "-DINNER=plugin_b_inner",
            "-DENTRY=plugin_b_entry",
            "-DFRAME=2048",
        ],
    ),
];

/// Its children load libraries and end at once.
pub const BRIEF: Build = Build::new("brief", "plain", &[]);

/// A child and its parent load libraries at the same place.
pub const SIBLING: Build = Build::new("sibling", "plain", &[]);

/// Calls on a stack that the tables know nothing of.
pub const FIBER: Build = Build::new("fiber", "plain", &[]);

/// Calls below a function whose return address a return probe has replaced.
pub const RETURN_PROBE: Build = Build::new("return_probe", "plain", &[]);
