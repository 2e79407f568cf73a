//! A page of the guide as data: commands with their output, files to write, and whether an output still is what
//! the page shows.
//!
//! - A fenced block `console` has commands on lines that begin with `$ `, each followed by its output. A line
//!   `…` stands for any number of lines, and numbers for any others.
//! - A block with `file=NAME` after its language is written to that file before the commands below it run.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// What begins a command.
const PROMPT: &str = "$ ";
/// What stands for any number of lines.
const ANY: &str = "…";

/// A part of a page that is played, in the order of the page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    File { name: String, text: String },
    Command(Step),
}

/// A command with its output.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Line of the command, from 1.
    pub(super) line: usize,
    /// The command as a shell takes it.
    pub(super) command: String,
    /// The lines of the page, from 0, that its output takes.
    pub(super) output: Range<usize>,
    /// Its output.
    pub(super) expected: Vec<String>,
}

/// The parts of a page.
pub(super) fn parts(text: &str) -> Vec<Part> {
    let lines: Vec<&str> = text.lines().collect();
    let mut parts = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let Some(info) = lines[at].strip_prefix("```") else {
            at += 1;
            continue;
        };
        let from = at + 1;
        let length = lines[from..].iter().take_while(|line| **line != "```");
        let to = from + length.count();
        if info == "console" {
            parts.extend(steps(&lines, from..to).map(Part::Command));
        } else if let Some((_, name)) = info.split_once(" file=") {
            parts.push(Part::File {
                name: name.to_owned(),
                text: lines[from..to].join("\n") + "\n",
            });
        }
        at = to + 1;
    }
    parts
}

fn steps(lines: &[&str], block: Range<usize>) -> impl Iterator<Item = Step> {
    let prompts: Vec<usize> = block
        .clone()
        .filter(|&at| lines[at].starts_with(PROMPT))
        .collect();
    let ends: Vec<usize> = prompts.iter().skip(1).copied().chain([block.end]).collect();
    prompts.into_iter().zip(ends).map(|(at, end)| {
        let mut command = lines[at][PROMPT.len()..].to_owned();
        let mut from = at + 1;
        while command.ends_with('\\') && from < end {
            command.push('\n');
            command.push_str(lines[from]);
            from += 1;
        }
        Step {
            line: at + 1,
            command,
            output: from..end,
            expected: lines[from..end]
                .iter()
                .map(|&line| line.to_owned())
                .collect(),
        }
    })
}

/// Whether an output is what a page shows: numbers, units and the width of columns aside.
pub(super) fn agrees(expected: &[String], actual: &[String]) -> bool {
    let expected: Vec<String> = expected.iter().map(|line| masked(line)).collect();
    let actual: Vec<String> = actual.iter().map(|line| masked(line)).collect();
    agrees_from(&expected, &actual)
}

fn agrees_from(expected: &[String], actual: &[String]) -> bool {
    match expected {
        [] => actual.is_empty(),
        [any, rest @ ..] if any.trim() == ANY => {
            (0..=actual.len()).any(|skipped| agrees_from(rest, &actual[skipped..]))
        }
        [line, rest @ ..] => match actual {
            [first, others @ ..] if first == line => agrees_from(rest, others),
            _ => false,
        },
    }
}

static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        // Build ids are long, and differ from folder to folder.
        r"[-+~±<]*(?:0x[0-9a-f]+|\b[0-9a-f]{16,}\b|\d[\d,.]*)",
        r"(?:\s?(?:[KMGT]?i?B|kB|ms|us|ns|s|min|h|d)\b|\s?%)?",
        r"(?:\s\d+ (?:s|min|h))?"
    ))
    .ok()
});

/// A line without what differs from run to run.
fn masked(line: &str) -> String {
    let masked = match &*NUMBER {
        Some(number) => number.replace_all(line, "N"),
        None => line.into(),
    };
    masked.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What the page is to show of a new output: as many lines of its beginning and end as it showed of the old one,
/// where that had a `…` between them.
pub(super) fn shortened(expected: &[String], actual: Vec<String>) -> Vec<String> {
    let Some(first) = expected.iter().position(|line| line.trim() == ANY) else {
        return actual;
    };
    let last = expected.iter().rposition(|line| line.trim() == ANY);
    let tail = expected.len() - 1 - last.unwrap_or(first);
    if first == 0 || first + tail >= actual.len() {
        return actual;
    }
    let end = actual[actual.len() - tail..].to_vec();
    let mut lines = actual;
    lines.truncate(first);
    lines.push(ANY.to_owned());
    lines.extend(end);
    lines
}

/// The page with new outputs in the place of the old ones.
pub(super) fn rewritten(text: &str, outputs: &[(Range<usize>, Vec<String>)]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut page = String::new();
    let mut at = 0;
    let mut push = |line: &str| {
        page.push_str(line);
        page.push('\n');
    };
    for (range, output) in outputs {
        for line in &lines[at..range.start] {
            push(line);
        }
        for line in output {
            push(line);
        }
        at = range.end;
    }
    for line in &lines[at..] {
        push(line);
    }
    page
}

/// The first `console` block of a page, with its fences.
pub(super) fn first_console(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.iter().position(|line| *line == "```console")?;
    let length = lines[from + 1..].iter().position(|line| *line == "```")?;
    Some(lines[from..=from + 1 + length].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# Title
```c file=a.c
int main;
```
Text.
```console
$ one --two
3.2 MB in 12,345 objects
…
$ three \\
  four
```
```sh
$ not run
```
";

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn steps_of(page: &str) -> Vec<Step> {
        let parts = parts(page).into_iter();
        parts
            .filter_map(|part| match part {
                Part::Command(step) => Some(step),
                Part::File { .. } => None,
            })
            .collect()
    }

    #[test]
    fn a_page_has_files_and_commands() {
        let file = Part::File {
            name: "a.c".to_owned(),
            text: "int main;\n".to_owned(),
        };
        assert_eq!(parts(PAGE).first(), Some(&file));
        let steps = steps_of(PAGE);
        assert_eq!(steps.len(), 2);
        assert_eq!((steps[0].line, &*steps[0].command), (7, "one --two"));
        assert_eq!(steps[0].expected, ["3.2 MB in 12,345 objects", "…"]);
        assert_eq!(steps[1].command, "three \\\n  four");
        assert!(steps[1].expected.is_empty());
    }

    #[test]
    fn only_numbers_may_differ() {
        let expected = lines("live 3.2 MB in 12,345 objects (±4%)\n  -  0x7f3a  main.rs:12");
        let other = lines("live 17 kB in 2 objects (±12%)\n - 0x123  main.rs:9");
        assert!(agrees(&expected, &other));
        for wrong in [
            "live 17 kB in 2 blocks (±12%)\n - 0x123 main.rs:9",
            "live 17 kB in 2 objects (±12%)",
            "live 17 kB in 2 objects (±12%)\n - 0x123 main.rs:9\nmore",
            "",
        ] {
            assert!(!agrees(&expected, &lines(wrong)), "{wrong}");
        }
        assert!(agrees(
            &lines("reached in 4 h 32 min; then"),
            &lines("reached in 3 s; then")
        ));
    }

    #[test]
    fn dots_are_any_lines_but_no_others() {
        let expected = lines("first\n…\nlast");
        assert!(agrees(&expected, &lines("first\nlast")));
        assert!(agrees(&expected, &lines("first\na\nb\nlast")));
        assert!(!agrees(&expected, &lines("first\na\nb")));
        assert!(!agrees(&expected, &lines("other\nlast")));
    }

    #[test]
    fn new_outputs_take_the_place_of_old_ones() {
        let steps = steps_of(PAGE);
        let new = shortened(&steps[0].expected, lines("a\nb\nc"));
        assert_eq!(new, ["a", "…"]);
        let with_end = shortened(&lines("old\n…\nend"), lines("a\nb\nc"));
        assert_eq!(with_end, ["a", "…", "c"]);
        let outputs = [
            (steps[0].output.clone(), new),
            (steps[1].output.clone(), lines("d")),
        ];
        let page = rewritten(PAGE, &outputs);
        let steps = steps_of(&page);
        assert_eq!(steps[0].expected, ["a", "…"]);
        assert_eq!(steps[1].expected, ["d"]);
        assert_eq!(rewritten(PAGE, &[]), PAGE);
    }

    #[test]
    fn the_first_block_is_found() {
        let block = first_console(PAGE).unwrap_or_default();
        assert!(block.starts_with("```console\n$ one") && block.ends_with("four\n```"));
    }
}
