//! `tracer view`: the page on saved profiles, without privilege.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tests::process;
use tests::tracing::tracer;
use tests::trial;
use tracer::export;
use tracer::profile::{
    Function, Line, Location, LocationIndex, Mapping, Metadata, Profile, Sample, Values,
};

use super::Served;

/// What would run if a name became HTML. As one that nobody can demangle it is not shortened.
const NAME: &str = "_Z<img src=x onerror=hit=1>";
const CALLER: &str = "_Z\"></button><script>hit=1</script>";
const TOKEN: &str = "a-token-that-nobody-guesses";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial::plain("page::saved_series", saved_series),
        trial::plain("page::view_with_a_token", view_with_a_token),
        trial::plain("page::view_of_what_is_none", view_of_what_is_none),
    ]
}

/// A program in which a function whose name is HTML holds more each second.
fn profile(second: i64) -> Profile {
    let names = [NAME, CALLER, "main", "cache_fill", "malloc"];
    let functions = names.map(|name| Function {
        name: name.to_owned(),
        system_name: name.to_owned(),
        file: "src/program.c".to_owned(),
        start_line: 1,
    });
    let locations = (0..names.len()).map(|function| Location {
        mapping: Some(0),
        address: 0x40_1000 + function as u64 * 16,
        lines: vec![Line { function, line: 10 }],
        unknown: None,
    });
    let sample = |frames: &[usize], allocated: i64, live: i64| Sample {
        locations: frames.iter().copied().map(LocationIndex::new).collect(),
        values: Values {
            alloc_objects: allocated,
            alloc_space: allocated * 64,
            inuse_objects: live,
            inuse_space: live * 64,
            ..Values::default()
        },
        ..Sample::default()
    };
    Profile {
        metadata: Metadata {
            time_nanos: 1_700_000_000_000_000_000 + second * 1_000_000_000,
            period: 1,
            source: "attach to <b>program</b> (pid 1)".to_owned(),
            pids: vec![1],
            ..Metadata::default()
        },
        mappings: vec![Mapping {
            start: 0x40_0000,
            limit: 0x41_0000,
            path: "/usr/bin/<program>".to_owned(),
            has_functions: true,
            ..Mapping::default()
        }],
        functions: functions.to_vec(),
        locations: locations.collect(),
        samples: vec![
            sample(&[4, 0, 1, 2], 500 * second, 100 * second),
            sample(&[4, 3, 2], 2_000 + 100 * second, 2_000),
        ],
        ..Profile::default()
    }
}

fn write(path: &Path, profile: &Profile) -> Result<()> {
    Ok(export::json::write(profile, &mut File::create(path)?)?)
}

/// Everything the page has, by pointer and by keyboard, with names that look like HTML.
fn saved_series() -> Result<()> {
    let folder = TempDir::new()?;
    for second in 1..=40 {
        let file = folder.path().join(format!("{second:04}.json"));
        write(&file, &profile(second))?;
    }
    let served = Served::of_files(folder.path(), &[])?;
    served.drive("saved", NAME)?;
    let other = served.ask("/debug/pprof/heap", &[])?;
    ensure!(other.status == 404, "{}", other.head);
    served.stop()
}

/// Without the token not even the page's files; with it, all of the page.
fn view_with_a_token() -> Result<()> {
    let folder = TempDir::new()?;
    let (file, token) = (folder.path().join("one.json"), folder.path().join("token"));
    write(&file, &profile(1))?;
    fs::write(&token, TOKEN)?;
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
    let served = Served::of_files(&file, &["--token-file", &token.to_string_lossy()])?;
    for path in ["/", "/page/main.js", "/api/overview", "/api/suspects"] {
        let refused = served.ask(path, &[])?;
        let scheme = refused.header("www-authenticate").unwrap_or_default();
        ensure!(
            refused.status == 401 && scheme.starts_with("Basic "),
            "{path}: {}",
            refused.head
        );
    }
    served.drive_as("token", &format!("x:{TOKEN}@"), "")?;
    served.stop()
}

/// Each mistake has its message, and nothing is listened on.
fn view_of_what_is_none() -> Result<()> {
    let folder = TempDir::new()?;
    let inside = |name: &str| folder.path().join(name);
    fs::create_dir(inside("empty"))?;
    fs::write(inside("other.json"), "{\"a\": 1}")?;
    fs::write(inside("cut.pb.gz"), [0x1f, 0x8b, 8])?;
    fs::create_dir(inside("twice"))?;
    for name in ["twice/1.json", "twice/2.json", "one.json"] {
        write(&inside(name), &profile(1))?;
    }
    let one = inside("one.json").to_string_lossy().into_owned();
    for (arguments, said) in [
        (
            vec![inside("missing").to_string_lossy().into_owned()],
            "could not be read",
        ),
        (
            vec![inside("empty").to_string_lossy().into_owned()],
            "holds no profiles",
        ),
        (
            vec![inside("other.json").to_string_lossy().into_owned()],
            "is not a profile",
        ),
        (
            vec![inside("cut.pb.gz").to_string_lossy().into_owned()],
            "is not a profile",
        ),
        (
            vec![inside("twice").to_string_lossy().into_owned()],
            "same time",
        ),
        (
            vec![one.clone(), "--listen=0.0.0.0:0".to_owned()],
            "--token-file",
        ),
        (vec![one, "--listen=nowhere".to_owned()], "ADDRESS:PORT"),
    ] {
        let ended = process::run(tracer(["view"])?.args(&arguments), b"")?;
        ended.expect_code(2)?;
        ensure!(
            ended.stderr.contains(said),
            "{arguments:?}: {}",
            ended.printed()
        );
    }
    Ok(())
}
