//! Where the reports of a check go: prepared before anything is recorded, written when it is judged.

use std::env;
use std::path::Path;

use anyhow::{Context as _, ensure};

use super::super::output::{Output, PIPED_WIDTH, text_width};
use super::args::{ReportArg, ReportArgs};
use super::summary::Summary;
use crate::check::report::{self, Form};
use crate::check::suppressions::{frames, write as suppression};
use crate::check::{Finding, Judgement, Outcome, RuleId, Suppressions};
use crate::checkout::Checkout;
use crate::export::Format;
use crate::names::NameStyle;
use crate::profile::{Profile, Sample, ValueKind};
use crate::report::fitted;

/// The reports and files that were asked for.
pub(super) struct Reports {
    reports: Vec<Asked>,
    summary: Option<Summary>,
    baseline: Option<Output>,
    suppressions: Option<Output>,
    names: NameStyle,
    blame: bool,
}

/// A report, where it goes, and the most columns of its text.
struct Asked {
    form: Form,
    output: Output,
    max_width: Option<usize>,
}

impl Reports {
    /// Checks and reserves all places.
    pub(super) fn prepare(args: &ReportArgs) -> anyhow::Result<Self> {
        let text = ReportArg {
            form: Form::Text,
            file: "-".into(),
        };
        let asked = match args.reports.as_slice() {
            [] => std::slice::from_ref(&text),
            asked => asked,
        };
        // Text and annotations are lines among lines, the others whole documents.
        let to_stdout = asked.iter().filter(|report| report.file == Path::new("-"));
        let lines = |form| matches!(form, Form::Text | Form::Github);
        let (with_lines, documents): (Vec<_>, Vec<_>) =
            to_stdout.partition(|report| lines(report.form));
        ensure!(
            documents.is_empty() || (documents.len() == 1 && with_lines.is_empty()),
            "only one report can go to standard output if it is a document: name files, as in \
             --report junit=FILE"
        );
        let place = |path: &Path, format| Output::prepare(path, format, ValueKind::default());
        let summary = match args.step_summary {
            false => None,
            true => {
                let path = env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
                let path = path.context(
                    "--step-summary is for GitHub's runner: GITHUB_STEP_SUMMARY names no file",
                )?;
                Some(Summary::open(path.into())?)
            }
        };
        Ok(Self {
            reports: asked
                .iter()
                .map(|one| {
                    Ok(Asked {
                        form: one.form,
                        output: place(&one.file, Format::Text)?,
                        max_width: match one.file == Path::new("-") {
                            true => text_width(),
                            false => Some(PIPED_WIDTH),
                        },
                    })
                })
                .collect::<anyhow::Result<_>>()?,
            summary,
            baseline: match &args.write_baseline {
                Some(file) => Some(place(file, Format::Pprof)?),
                None => None,
            },
            suppressions: match &args.write_suppressions {
                Some(file) => Some(place(file, Format::Text)?),
                None => None,
            },
            names: args.names.into(),
            blame: args.blame,
        })
    }

    /// Writes all of them. The judgement learns where its frames are in the checkout.
    pub(super) fn write(self, judgement: &mut Judgement, profile: &Profile) -> anyhow::Result<()> {
        locate(judgement, self.blame);
        judgement.name_functions(profile, self.names);
        if let Some(output) = self.suppressions {
            let text = suppressions(judgement, profile);
            output.write_with(&|out| out.write_all(text.as_bytes()))?;
        }
        if let Some(output) = self.baseline {
            if judgement.outcome == Outcome::Inconclusive {
                judgement
                    .notes
                    .push("no baseline was written: this recording is inconclusive".to_owned());
            } else {
                output.write(profile)?;
            }
        }
        if let Some(summary) = self.summary {
            let mut text = Vec::new();
            report::write(Form::Markdown, judgement, &mut text)?;
            summary.append(&text)?;
        }
        for asked in self.reports {
            let mut bytes = Vec::new();
            report::write(asked.form, judgement, &mut bytes)?;
            if asked.form == Form::Text {
                let text = String::from_utf8_lossy(&bytes);
                bytes = fitted(&text, asked.max_width).into_owned().into_bytes();
            }
            asked.output.write_with(&|out| out.write_all(&bytes))?;
        }
        Ok(())
    }
}

/// Says of each frame where it is in the checkout, and of each place who touched it last.
fn locate(judgement: &mut Judgement, blame: bool) {
    let checkout = env::current_dir()
        .ok()
        .and_then(|folder| Checkout::around(&folder));
    let Some(checkout) = checkout else {
        if blame {
            let note = "nobody can be named for a line: this is no git checkout";
            judgement.notes.push(note.to_owned());
        }
        return;
    };
    let mut notes = Vec::new();
    for finding in judgement.all_mut() {
        let stack = finding.stack.iter_mut();
        for frame in stack.flat_map(|stack| &mut stack.frames) {
            frame.path = checkout.locate(&frame.file);
        }
        if blame && let Err(error) = blame_for(finding, &checkout) {
            notes.push(error.to_string());
        }
    }
    notes.dedup();
    judgement.notes.extend(notes);
}

fn blame_for(
    finding: &mut Finding,
    checkout: &Checkout,
) -> Result<(), crate::checkout::BlameError> {
    let place = finding.own_place();
    let path = place.and_then(|frame| Some((frame.path.clone()?, frame.line)));
    if let Some((path, line @ 1..)) = path {
        finding.blame = checkout.blame(&path, line)?;
    }
    Ok(())
}

/// Suppressions of the stacks that were found, in the order of the findings.
fn suppressions(judgement: &Judgement, profile: &Profile) -> String {
    let mut text = String::from("# Written by tracer check. Delete what is not meant to stay.\n");
    let fingerprints = profile.fingerprints();
    let by_stack = |finding: &&Finding| matches!(finding.rule(), RuleId::Leak | RuleId::Baseline);
    let stacks = judgement.findings.iter().filter(by_stack);
    let stacks = stacks.filter_map(|finding| finding.stack.as_ref());
    let mut written = Suppressions::default();
    for stack in stacks.filter(|stack| !stack.only_largest) {
        let at = fingerprints
            .iter()
            .position(|one| Some(*one) == stack.fingerprint);
        let sample: Option<&Sample> = at.and_then(|index| profile.samples.get(index));
        let Some(sample) = sample else { continue };
        let frames = frames(profile, sample);
        // One that is written already knows this stack as well.
        if written.position(&frames).is_some() {
            continue;
        }
        if let Some(one) = suppression(&frames)
            && let Ok(parsed) = Suppressions::parse(&one)
        {
            text.push('\n');
            text.push_str(&one);
            written.extend(parsed);
        }
    }
    text
}
