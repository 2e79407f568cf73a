//! The kernel memory of a live allocation, and what a table with room for millions costs while it
//! is empty, by `xtask/bench/hold.c`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde::Deserialize;

use super::Bench;
use super::attaching::Times;
use super::bpf_objects;
use super::side::Tracing;
use super::subject;
use super::subject::FRAME_POINTERS;
use super::subject::Subject;
use super::table::Table;

const HELD: &str = "10000000";
const EACH: &str = "a live allocation";
/// Columns, and what the tracer is told.
const COLUMNS: [(&str, &[&str]); 2] = [
    ("by default", &[]),
    ("--max-live 10000000", &["--max-live", HELD]),
];

/// Once each: memory does not scatter.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Table> {
    let binary = subject::build(bench, "hold", FRAME_POINTERS)?;
    let mut table = Table::new("The live table with 10 million live allocations");
    for (column, arguments) in COLUMNS {
        let mut program = Subject::start(&binary, "0")?;
        let arguments = [arguments, &["--format", "json"]].concat();
        let tracing = Tracing::tracer(bench, program.pid(), &arguments)?;
        let empty = bpf_objects::map_memory(tracing.pid())?;
        let ledger = Amounts::of_program(&program.ask(HELD)?)?;
        let full = bpf_objects::map_memory(tracing.pid())?;
        let times = Times::parse(&tracing.stop()?)?;
        drop(program);

        table.record("attach, table empty", "ms", column, times.attach);
        table.record(
            "kernel memory of all maps, table empty",
            "MB",
            column,
            megabytes(empty),
        );
        table.record(
            "kernel memory of all maps, table full",
            "MB",
            column,
            megabytes(full),
        );
        #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
        let each = full as f64 / ledger.objects as f64;
        table.record(EACH, "bytes", column, each);
        table.limit(&format!("{EACH}, {column}"), (EACH, column), 96.0);
        table.note(&format!(
            "{column}: {}",
            compare(&ledger, &bench.profile())?
        ));
    }
    Ok(table)
}

/// What is live.
#[derive(PartialEq, Eq, Debug)]
struct Amounts {
    objects: i64,
    bytes: i64,
}

impl Amounts {
    /// As the program answers.
    fn of_program(answer: &str) -> Result<Self> {
        let (objects, bytes) = answer
            .split_once(' ')
            .with_context(|| format!("hold answered {answer:?}"))?;
        Ok(Self {
            objects: objects.parse()?,
            bytes: bytes.parse()?,
        })
    }
}

/// The part of tracer's JSON that is read here.
#[derive(Deserialize)]
struct File {
    profile: Profile,
}

#[derive(Deserialize)]
struct Profile {
    samples: Vec<Sample>,
    verdict: Verdict,
}

#[derive(Deserialize)]
struct Sample {
    values: Values,
}

#[derive(Deserialize)]
struct Values {
    inuse_objects: i64,
    inuse_space: i64,
}

#[derive(Deserialize)]
struct Verdict {
    verdict: String,
}

/// Says what the tracer saw of what the program holds; an error where it says that it saw all, and
/// did not.
fn compare(ledger: &Amounts, file: &Path) -> Result<String> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let Profile { samples, verdict } = serde_json::from_slice::<File>(&text)?.profile;
    let sum = |value: fn(&Values) -> i64| samples.iter().map(|sample| value(&sample.values)).sum();
    let seen = Amounts {
        objects: sum(|values| values.inuse_objects),
        bytes: sum(|values| values.inuse_space),
    };
    let verdict = verdict.verdict;
    ensure!(
        verdict != "complete" || seen == *ledger,
        "the tracer says {seen:?} and {verdict}, and the program holds {ledger:?}"
    );
    Ok(format!(
        "verdict {verdict}; {} of {} live objects seen, {} of {} bytes",
        seen.objects, ledger.objects, seen.bytes, ledger.bytes
    ))
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(objects: i64, verdict: &str) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("live.json");
        let json = format!(
            r#"{{"profile":{{"samples":[{{"values":{{"inuse_objects":2,"inuse_space":30}}}},
            {{"values":{{"inuse_objects":1,"inuse_space":16}}}}],"verdict":{{"verdict":"{verdict}"}}}}}}"#
        );
        fs::write(&file, json)?;
        compare(&Amounts { objects, bytes: 46 }, &file)
    }

    #[test]
    fn all_seen_and_said_so() -> Result<()> {
        assert!(compared(3, "complete")?.contains("3 of 3 live objects"));
        Ok(())
    }

    #[test]
    fn a_complete_verdict_with_other_amounts_is_an_error() -> Result<()> {
        assert!(compared(4, "complete").is_err());
        assert!(compared(4, "inconclusive")?.contains("3 of 4 live objects"));
        Ok(())
    }
}
