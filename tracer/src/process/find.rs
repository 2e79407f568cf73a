//! Processes by name, as people know them.

use std::fs;
use std::path::Path;

use super::{ProcessError, shown_as};
use crate::printable::printable;

/// Bytes of a name that the kernel keeps in `comm` (`TASK_COMM_LEN` without its end).
const COMM_BYTES: usize = 15;
/// Processes that an error lists.
const LISTED: usize = 10;
/// Characters of a command line that an error shows.
const COMMAND_WIDTH: usize = 60;

/// A process as its name is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    pid: u32,
    /// `comm`.
    name: String,
    /// File name of its executable; empty where that can't be read.
    program: String,
    /// Arguments, with spaces between them.
    command: String,
}

/// The process that has this name: as `comm`, or as the file name of its executable.
///
/// # Errors
///
/// None has it, or more than one.
pub fn find_process(name: &str) -> Result<u32, ProcessError> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc")
        .map_err(|error| ProcessError::unreadable("/proc", error))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != own);
    choose(name, processes.filter_map(candidate))
}

/// `None` for what has no memory: kernel threads, zombies, and processes that have just ended.
fn candidate(pid: u32) -> Option<Candidate> {
    let read = |file: &str| fs::read(format!("/proc/{}/{file}", shown_as(pid))).ok();
    let arguments = read("cmdline").filter(|arguments| !arguments.is_empty())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let program = fs::read_link(format!("/proc/{}/exe", shown_as(pid)));
    let program = program.unwrap_or_default();
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    Some(Candidate {
        pid,
        name: text(read("comm")?.strip_suffix(b"\n")?),
        // What the kernel adds where the file is gone.
        program: program.trim_end_matches(" (deleted)").to_owned(),
        command: text(&arguments).replace('\0', " ").trim_end().to_owned(),
    })
}

fn choose(name: &str, processes: impl Iterator<Item = Candidate>) -> Result<u32, ProcessError> {
    let file = Path::new(name).file_name().and_then(|name| name.to_str());
    let wanted = file.unwrap_or(name);
    let matches = |one: &Candidate| {
        one.program == wanted
            || one.name == wanted
            || (one.name.len() == COMM_BYTES && wanted.starts_with(&one.name))
    };
    let mut found: Vec<Candidate> = processes.filter(matches).collect();
    found.sort_by_key(|one| one.pid);
    match found.as_slice() {
        [] => Err(ProcessError::NoneNamed(name.to_owned())),
        [one] => Ok(one.pid),
        [first, ..] => Err(ProcessError::SeveralNamed {
            name: name.to_owned(),
            list: list(&found),
            first: first.pid,
        }),
    }
}

/// A line for each of the first of them.
fn list(found: &[Candidate]) -> String {
    let mut lines: Vec<String> = found
        .iter()
        .take(LISTED)
        .map(|one| {
            let command = printable(&one.command);
            let command: String = command.chars().take(COMMAND_WIDTH).collect();
            format!("  {:>7}  {command}", one.pid)
        })
        .collect();
    if let more @ 1.. = found.len().saturating_sub(LISTED) {
        lines.push(format!("           and {more} more"));
    }
    lines.join("\n")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    fn process(pid: u32, name: &str, program: &str) -> Candidate {
        Candidate {
            pid,
            name: name.to_owned(),
            program: program.to_owned(),
            command: format!("{program} --number {pid}"),
        }
    }

    fn found(name: &str) -> Result<u32, String> {
        let processes = [
            process(30, "nginx", "nginx"),
            process(7, "nginx", "nginx"),
            process(8, "worker", "python3"),
            process(9, "counter-service", "counter-service-with-a-long-name"),
        ];
        choose(name, processes.into_iter()).map_err(|error| error.to_string())
    }

    #[test]
    fn one_process_is_found_by_either_name() {
        for name in ["worker", "python3", "/usr/bin/python3"] {
            assert_eq!(found(name), Ok(8), "{name}");
        }
        // The kernel keeps 15 bytes.
        assert_eq!(found("counter-service-with-a-long-name"), Ok(9));
        assert_eq!(found("counter-service"), Ok(9));
    }

    #[test]
    fn several_are_listed_with_their_pids() {
        let message = found("nginx").unwrap_err();
        let (first, second) = (
            message.find("7  nginx --number 7"),
            message.find("30  nginx"),
        );
        assert!(first.is_some() && first < second, "{message}");
        assert!(message.contains("tracer attach 7"), "{message}");
    }

    #[test]
    fn a_name_that_nobody_has_is_said() {
        let message = found("ngin").unwrap_err();
        assert!(
            message.contains("`ngin`") && message.contains("ps"),
            "{message}"
        );
    }

    #[test]
    fn a_long_list_ends() {
        let many = (1..=30).map(|pid| process(pid, "sh", "sh"));
        let message = choose("sh", many).unwrap_err().to_string();
        assert!(message.contains("and 20 more"), "{message}");
        assert!(message.lines().count() < 20, "{message}");
    }

    #[test]
    fn this_machine_can_be_searched() {
        assert!(matches!(
            find_process("no process is called this"),
            Err(ProcessError::NoneNamed(_))
        ));
    }
}
