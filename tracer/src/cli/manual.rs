//! What a man page says besides the options: how the command exits, which files it reads and writes, and
//! examples that a test parses.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

/// A term and what it means.
type Entry = (&'static str, &'static str);

/// The sections of one page.
struct Sections {
    exit: &'static [Entry],
    files: &'static [Entry],
    /// What an example does, and the command.
    examples: &'static [Entry],
}

const DONE: Entry = ("0", "Done.");
const FAILED: Entry = (
    "2",
    "Could not do it: wrong usage, no permission, no such process or file. The message on standard error says \
     what to do next.",
);
const INCONCLUSIVE: Entry = (
    "3",
    "Done, but too much was missed to conclude anything from it. The output says what, and why.",
);
const OUTPUT: Entry = (
    "tracer-NAME-PID.pb.gz",
    "What attach and run write where -o names nothing: a profile of the process NAME with the pid PID, in pprof's \
     form, for its owner only. Where it exists, tracer-NAME-PID.2.pb.gz, and so on. With --every a folder \
     without the ending, with 0001.pb.gz and so on, and series.json.gz.",
);
const PROFILE: Entry = (
    "*.pb.gz, *.json",
    "Profiles: pprof's form, of tracer or another heap profiler, or tracer's JSON.",
);
const POLICY: Entry = (
    "tracer.toml",
    "The policy in the current folder: its keys are the names of the options, without the dashes.",
);

/// The sections of a command's page, by the command's name.
fn sections(command: &str) -> Sections {
    const RECORDING: &[Entry] = &[DONE, FAILED, INCONCLUSIVE];
    const READING: &[Entry] = &[DONE, FAILED, INCONCLUSIVE];
    match command {
        "attach" => Sections {
            exit: RECORDING,
            files: &[OUTPUT],
            examples: &[
                (
                    "Trace a service until Ctrl-C",
                    "sudo tracer attach my-service",
                ),
                (
                    "Trace process 4711 for half a minute",
                    "sudo tracer attach 4711 -d 30 -o heap.pb.gz",
                ),
                (
                    "Keep a profile every 10 seconds",
                    "sudo tracer attach 4711 --every 10 -o profiles",
                ),
                (
                    "Take no more than 2% of the target's CPU time",
                    "sudo tracer attach 4711 --max-overhead 2%",
                ),
                (
                    "See who makes memory resident, in any program, without probes",
                    "sudo tracer attach 4711 --source growth",
                ),
            ],
        },
        "run" => Sections {
            exit: &[
                (
                    "the program's",
                    "The program was started: tracer exits as it did, and dies of the signal that it died of.",
                ),
                FAILED,
            ],
            files: &[OUTPUT],
            examples: &[
                (
                    "Trace a program from its first allocation on",
                    "sudo tracer run -o heap.pb.gz -- ./my-program --its-options",
                ),
                (
                    "Trace what a script starts, too",
                    "sudo tracer run --follow-forks -- ./script.sh",
                ),
            ],
        },
        "serve" => Sections {
            exit: &[
                (
                    "0",
                    "The process ended, the time was up, or somebody asked for the end.",
                ),
                FAILED,
            ],
            files: &[(
                "the token's file",
                "One word of 16 characters or more, readable by its owner only. It is read once, at the start.",
            )],
            examples: &[
                (
                    "Serve the profile of a process to this machine, at http://127.0.0.1:6070/debug/pprof/",
                    "sudo tracer serve 4711",
                ),
                (
                    "Serve it to a network, encrypted and with a token",
                    "sudo tracer serve 4711 --listen 10.0.0.5:6070 --allow 10.0.0.0/24 --token-file token \
                     --tls-cert cert.pem --tls-key key.pem",
                ),
                (
                    "Serve it over a socket that only root reaches",
                    "sudo tracer serve 4711 --listen unix:/run/tracer.sock",
                ),
            ],
        },
        "top" => Sections {
            exit: &[
                (
                    "0",
                    "Somebody left the display, the time was up, or the process ended.",
                ),
                FAILED,
            ],
            files: &[(
                "tracer-NAME-PID.pb.gz",
                "What w writes, in the working directory; with .2, .3 and so on where it exists.",
            )],
            examples: &[
                ("Watch what a process holds", "sudo tracer top 4711"),
                (
                    "Watch what it holds every 5 seconds, at 1% of its CPU time",
                    "sudo tracer top 4711 --interval 5s --max-overhead 1%",
                ),
            ],
        },
        "view" => Sections {
            exit: &[("0", "Somebody asked for the end."), FAILED],
            files: &[
                PROFILE,
                (
                    "series.json.gz",
                    "Beside the profiles of a series: what of each window survives, by which leaks are judged.",
                ),
            ],
            examples: &[
                ("Show a profile in the browser", "tracer view heap.pb.gz"),
                (
                    "Show a series, with its time line and who may leak",
                    "tracer view series",
                ),
            ],
        },
        "report" => Sections {
            exit: READING,
            files: &[PROFILE],
            examples: &[
                ("Show who holds most", "tracer report heap.pb.gz"),
                (
                    "Show who allocated most",
                    "tracer report heap.pb.gz --value alloc_space",
                ),
                (
                    "Show who held most when most was live",
                    "tracer report heap.pb.gz --value peak_space",
                ),
                (
                    "Write a flame graph",
                    "tracer report heap.pb.gz --format svg -o heap.svg",
                ),
                (
                    "Show the callers and callees of the parser",
                    "tracer report heap.pb.gz --peek parse_",
                ),
            ],
        },
        "diff" => Sections {
            exit: READING,
            files: &[PROFILE],
            examples: &[
                (
                    "Show what grew from one profile to another",
                    "tracer diff before.pb.gz after.pb.gz",
                ),
                (
                    "Write it as a profile for pprof",
                    "tracer diff before.pb.gz after.pb.gz --format pprof -o change.pb.gz",
                ),
            ],
        },
        "series" => Sections {
            exit: READING,
            files: &[PROFILE],
            examples: &[(
                "Show a folder of profiles over time",
                "tracer series profiles",
            )],
        },
        "check" => Sections {
            exit: &[
                ("0", "Everything asked was judged, and nothing was found."),
                ("1", "A leak, or a limit that was exceeded."),
                FAILED,
                (
                    "3",
                    "Inconclusive: too little was seen, too much was missed, or stacks may leak and nobody can tell \
                     yet. Never 0 on what could not have been seen.",
                ),
            ],
            files: &[POLICY, PROFILE],
            examples: &[
                (
                    "See whether a service leaks",
                    "sudo tracer check --pid 4711 --duration 60",
                ),
                (
                    "Run the tests and write a report for CI",
                    "sudo tracer check --report text --report junit=leaks.xml -- ./my-tests",
                ),
                (
                    "Write the first baseline, and compare with it later",
                    "tracer check heap.pb.gz --allow-leaks --baseline base.pb.gz --write-baseline base.pb.gz",
                ),
                (
                    "Judge what attach --every has kept",
                    "tracer check profiles",
                ),
            ],
        },
        "plan" => Sections {
            exit: &[DONE, FAILED],
            files: &[],
            examples: &[(
                "Show where the probes go in a process",
                "sudo tracer plan --pid 4711",
            )],
        },
        "doctor" => Sections {
            exit: &[
                (
                    "0",
                    "This machine, and the process where one is named, can be traced.",
                ),
                (
                    "2",
                    "It can't. Each line says what is missing, and the remedy.",
                ),
            ],
            files: &[],
            examples: &[(
                "Find out what stands in the way",
                "sudo tracer doctor --pid 4711",
            )],
        },
        "completions" => Sections {
            exit: &[DONE, FAILED],
            files: &[],
            examples: &[("Print the completions for bash", "tracer completions bash")],
        },
        "man" => Sections {
            exit: &[DONE, FAILED],
            files: &[],
            examples: &[("Write all man pages", "tracer man man1")],
        },
        _ => Sections {
            exit: &[
                ("0", "Done, nothing found."),
                ("1", "tracer check found a leak or an exceeded limit."),
                FAILED,
                INCONCLUSIVE,
                ("the program's", "tracer run exits as its program does."),
            ],
            files: &[OUTPUT, POLICY],
            examples: &[
                (
                    "Trace a service for 30 seconds",
                    "sudo tracer attach my-service -d 30",
                ),
                (
                    "Show who holds its memory",
                    "tracer report tracer-my-service-4711.pb.gz",
                ),
            ],
        },
    }
}

/// The page of a command.
pub(super) fn page(command: &Command) -> Vec<u8> {
    let sections = sections(command.get_name());
    // The exit codes have a section of their own.
    let command = command.clone().after_help(clap::builder::Resettable::Reset);
    let page = Man::new(command);
    let mut out = Vec::new();
    // Writing to memory cannot fail.
    let _ = page.render(&mut out);
    let mut more = Roff::new();
    entries(&mut more, "EXIT STATUS", sections.exit);
    entries(&mut more, "FILES", sections.files);
    more.control("SH", ["EXAMPLES"]);
    for (what, command) in sections.examples {
        more.control("TP", []);
        more.text([roman(format!("{what}:"))]);
        more.text([bold(*command)]);
    }
    let _ = more.to_writer(&mut out);
    out
}

fn entries(page: &mut Roff, title: &str, entries: &[Entry]) {
    if entries.is_empty() {
        return;
    }
    page.control("SH", [title]);
    for (term, meaning) in entries {
        page.control("TP", []);
        page.text([italic(*term)]);
        page.text([roman(*meaning)]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::Cli;
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    /// The command and its subcommands, without hidden ones.
    fn commands() -> Vec<Command> {
        let command = Cli::command();
        let visible = command.get_subcommands().filter(|one| !one.is_hide_set());
        let mut all: Vec<Command> = visible.cloned().collect();
        all.push(command);
        all
    }

    #[test]
    fn every_page_says_how_the_command_exits_and_gives_examples() {
        for command in commands() {
            let page = String::from_utf8_lossy(&page(&command)).into_owned();
            for section in ["NAME", "SYNOPSIS", "\"EXIT STATUS\"", "EXAMPLES"] {
                let heading = format!(".SH {section}\n");
                assert_eq!(
                    page.matches(&heading).count(),
                    1,
                    "{}: {section}\n{page}",
                    command.get_name()
                );
            }
            assert!(!page.contains("Exit codes:"), "twice\n{page}");
        }
        let check = commands().into_iter().find(|one| one.get_name() == "check");
        let page = check.map(|check| page(&check)).unwrap_or_default();
        let page = String::from_utf8_lossy(&page);
        assert!(
            page.contains(".SH FILES\n") && page.contains("tracer.toml"),
            "{page}"
        );
    }

    #[test]
    fn the_examples_are_commands_of_this_version() {
        for command in commands() {
            for (what, example) in sections(command.get_name()).examples {
                let words = example.split(' ').filter(|word| *word != "sudo");
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "{what}: {example}: {parsed:?}");
                assert!(
                    example.contains(command.get_name()),
                    "{example} is no example of {}",
                    command.get_name()
                );
            }
        }
    }
}
