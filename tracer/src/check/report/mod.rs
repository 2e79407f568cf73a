//! The reports of a check: for people, for pull requests, for test and code scanning views.
//!
//! All of them say the same ([`words`]) in the form that their reader wants. Names come from the
//! traced program and are not trusted: each form escapes them by its own rules.

mod amounts;
mod github;
mod junit;
mod markdown;
mod sarif;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod words;

use std::io::{self, Write};

pub(super) use amounts::{bytes, count};

use super::finding::{Finding, Judgement};

/// The form of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// For people.
    #[default]
    Text,
    /// For pull requests and job summaries.
    Markdown,
    /// JUnit's XML, which every CI shows as tests.
    Junit,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Annotations of files and lines, as GitHub's runner reads them from standard output.
    Github,
}

/// What the reports say of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What it is, in half a line.
    pub headline: String,
    /// Where it is; `None` where there is no stack.
    pub site: Option<String>,
    /// What else there is to say, one sentence each.
    pub details: Vec<String>,
}

/// What the reports say of a finding.
#[must_use]
pub fn said(finding: &Finding) -> Said {
    Said {
        headline: words::headline(finding),
        site: words::site(finding),
        details: words::details(finding),
    }
}

/// What the reports say of a judgement: how it ends, what was looked at, and what is to be considered of its
/// findings.
#[must_use]
pub fn said_of_all(judgement: &Judgement) -> (String, String, Vec<String>) {
    let findings = judgement.findings.iter().chain(&judgement.warnings);
    let findings: Vec<Finding> = findings.cloned().collect();
    (
        words::outcome(judgement),
        words::evidence(judgement),
        words::caveats_of(&findings),
    )
}

/// Writes a report.
///
/// # Errors
/// Those of the writer.
pub fn write(form: Form, judgement: &Judgement, out: &mut dyn Write) -> io::Result<()> {
    match form {
        Form::Text => out.write_all(text::report(judgement).as_bytes()),
        Form::Markdown => out.write_all(markdown::report(judgement).as_bytes()),
        Form::Junit => junit::write(judgement, out),
        Form::Sarif => sarif::write(judgement, out),
        Form::Github => out.write_all(github::report(judgement).as_bytes()),
    }
}
