//! `tracer series` over a folder of profiles.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::process::{self, Ended};
use tests::tracing::tracer;
use tracer::export::pprof;
use tracer::profile::Profile;

use super::pair::two_builds;
use super::refused;

/// Four profiles whose names are not in the order of their times, and files that are none.
pub(super) fn series() -> Result<()> {
    let folder = TempDir::new()?;
    let [mut profile, _] = two_builds(20);
    for (step, name) in ["z", "m", "a", "b"].into_iter().enumerate() {
        profile.metadata.time_nanos += 10_000_000_000;
        profile.samples[3].values.inuse_space += 1_000 * step as i64;
        profile.samples[4].values.alloc_space += 50_000;
        let path = folder.path().join(name).with_extension("pb.gz");
        pprof::write(&profile, &mut fs::File::create(path)?)?;
    }
    fs::write(folder.path().join("notes.txt"), "not a profile")?;
    fs::write(folder.path().join("package.json"), "{}")?;
    fs::write(folder.path().join(".tracer-x.pb.gz"), "half a profile")?;

    let mut command = tracer(["series", "--format=json"])?;
    let ended = process::run(command.arg(folder.path()), b"")?;
    ended.expect_code(0)?;
    let report: serde_json::Value = serde_json::from_slice(&ended.stdout)?;
    let rows = report["rows"].as_array().context("no rows")?;
    let column = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    ensure!(
        column("file") == ["z.pb.gz", "m.pb.gz", "a.pb.gz", "b.pb.gz"],
        "{rows:#?}"
    );
    ensure!(
        column("growth_bytes") == [0, 1_000, 3_000, 6_000],
        "{rows:#?}"
    );
    ensure!(rows[3]["alloc_bytes_per_second"] == 5_000.0, "{rows:#?}");
    let growing = report["growing"].as_array().context("nothing grows")?;
    ensure!(growing.len() == 1 && report["stacks"] == 1, "{growing:#?}");
    ensure!(
        growing[0]["change"] == 6_000 && growing[0]["grew"] == 3 && growing[0]["shrank"] == 0,
        "{growing:#?}"
    );

    let ended = process::run(tracer(["series"])?.arg(folder.path()), b"")?;
    ended.expect_code(0)?;
    let text = String::from_utf8_lossy(&ended.stdout);
    for expected in [
        "since first",
        "z.pb.gz",
        "grew in 3 of 3 steps",
        "src/module",
    ] {
        ensure!(
            text.contains(expected),
            "no `{expected}`\n{}",
            ended.printed()
        );
    }
    Ok(())
}

pub(super) fn series_bad_input() -> Result<()> {
    let folder = TempDir::new()?;
    let run = || -> Result<Ended> { process::run(tracer(["series"])?.arg(folder.path()), b"") };
    refused(&run()?, &["0 profile(s)", "two or more"])?;
    let [one, mut other] = two_builds(5);
    let write = |name: &str, profile: &Profile| -> Result<()> {
        pprof::write(profile, &mut fs::File::create(folder.path().join(name))?)?;
        Ok(())
    };
    write("one.pb.gz", &one)?;
    refused(&run()?, &["1 profile(s)"])?;
    other.metadata.period = 4_096;
    write("two.pb.gz", &other)?;
    refused(&run()?, &["two.pb.gz", "once per 4096 bytes"])?;
    fs::write(folder.path().join("two.pb.gz"), "not a profile")?;
    refused(&run()?, &["two.pb.gz", "not a heap profile"])?;
    let ended = process::run(&mut tracer(["series", "/no/such/folder"])?, b"")?;
    refused(&ended, &["/no/such/folder could not be read"])?;
    Ok(())
}
