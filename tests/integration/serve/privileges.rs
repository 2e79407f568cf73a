//! What the tracer keeps once it is attached is enough for what comes later.

use std::process::Command;

use anyhow::{Result, ensure};
use tests::serving::Serving;
use tests::unwind::{BUILDS, PLUGIN};
use tests::workload::Workload;
use tests::{profile, wait};
use tracer::profile::Profile;

/// No thread has more than a recording needs, and the one that serves has nothing. A new library is still counted.
pub(super) fn privileges() -> Result<()> {
    keeps_what_it_needs(&[], "0")
}

/// The same as somebody else.
pub(super) fn as_a_user() -> Result<()> {
    keeps_what_it_needs(&["--user", "65534:65533"], "65534")
}

/// An exec, a library that is loaded later, and a scrape.
fn keeps_what_it_needs(arguments: &[&str], user: &str) -> Result<()> {
    let program = BUILDS[0].program()?;
    let plugin = PLUGIN.program()?;
    let mut command = Command::new(program);
    let mut workload = Workload::start_command(command.args(["plugin", "20"]).arg(plugin))?;
    let serving = Serving::start(workload.pid(), arguments)?;
    for (key, is) in [
        ("Uid:", user),
        ("Gid:", if user == "0" { "0" } else { "65533" }),
    ] {
        for (thread, ids) in serving.status_of_threads(key)? {
            ensure!(
                ids.split_whitespace().all(|id| id == is),
                "{thread}: {key} {ids}"
            );
        }
    }
    for (thread, has) in serving.status_of_threads("CapPrm:")? {
        let has = u64::from_str_radix(&has, 16)?;
        // BPF, PERFMON, SYS_PTRACE, SYS_ADMIN, SYS_NICE, DAC_READ_SEARCH.
        let needed = 1 << 39 | 1 << 38 | 1 << 19 | 1 << 21 | 1 << 23 | 1 << 2;
        let most = if thread == "serve" { 0 } else { needed };
        ensure!(has & !most == 0, "{thread}: {has:x}");
    }
    workload.open_gate()?;
    let profile = wait::until("calls through the library", || {
        let profile = serving.profile("/debug/pprof/heap")?;
        let through = profile::through(&profile, "plugin_inner");
        Ok((through.alloc_objects > 0).then_some(profile))
    })?;
    profile::check_complete(&profile)?;
    serving.stop()?;
    workload.finish()?;
    Ok(())
}

/// What a program does after an exec is seen, by what is kept.
pub(super) fn exec_as_a_user() -> Result<()> {
    let mut workload = Workload::start("execer", &[])?;
    let serving = Serving::start(workload.pid(), &["--user", "65534:65533"])?;
    workload.open_gate()?;
    wait::until("calls after the exec", || {
        let profile = serving.profile("/debug/pprof/allocs")?;
        let second = profile::through(&profile, "execer_second_life");
        Ok((second.alloc_objects > 0).then_some(()))
    })?;
    serving.stop()?;
    Ok(())
}

/// Windows go on between two scrapes, by what is kept.
pub(super) fn windows() -> Result<()> {
    let mut workload = Workload::start("steady", &[])?;
    let serving = Serving::start(workload.pid(), &["--max-overhead=2%", "--user", "65534"])?;
    workload.open_gate()?;
    let seen = |profile: &Profile| {
        profile
            .sampled
            .as_ref()
            .map_or(0, |sampled| sampled.windows)
    };
    let first = wait::until("windows", || {
        let profile = serving.profile("/debug/pprof/allocs")?;
        Ok((seen(&profile) > 1).then_some(seen(&profile)))
    })?;
    wait::until("more windows", || {
        let profile = serving.profile("/debug/pprof/allocs")?;
        Ok((seen(&profile) > first + 1).then_some(()))
    })?;
    serving.stop()?;
    Ok(())
}
