//! One judgement with everything in it, in each form; names are as hostile as names can be.

use std::io;

use super::{Form, write};
use crate::check::judge::tests::{leaking, recorded};
use crate::check::{Blame, Judgement, Outcome, Policy, judge};

/// A leak at a place in the checkout, one that is suppressed, and an unused suppression.
pub(crate) fn judgement() -> Result<Judgement, Box<dyn std::error::Error>> {
    let policy = Policy::parse("[suppressions]\nleaks = [\"nobody*<x>\"]\n")?;
    let mut judgement = judge(&recorded(40, leaking)?, &policy, None, None)?;
    for finding in judgement.all_mut() {
        finding.blame = Some(Blame {
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            author: "Ada".to_owned(),
            date: "2026-01-02".to_owned(),
            summary: "walk faster".to_owned(),
        });
        for frame in finding.stack.iter_mut().flat_map(|stack| &mut stack.frames) {
            frame.path = Some(format!("service/{}", frame.file));
        }
    }
    let mut suppressed = judgement.findings[0].clone();
    suppressed.suppression = Some("known".to_owned());
    judgement.suppressed.push(suppressed);
    Ok(judgement)
}

/// The same with markup, commands and control characters in every name.
fn hostile() -> Result<Judgement, Box<dyn std::error::Error>> {
    const NAME: &str = "a<b>&\"'|`]]>\n::error::\u{1b}[2J\u{fffe}\u{0}%0A,:{{x}}</details>";
    let mut judgement = judgement()?;
    judgement.outcome = Outcome::Inconclusive;
    judgement.reasons.push(NAME.to_owned());
    judgement.notes.push(NAME.to_owned());
    judgement.source = NAME.to_owned();
    judgement.unused_suppressions = vec![NAME.to_owned()];
    judgement.warnings = judgement.findings.clone();
    for finding in judgement.all_mut() {
        finding.suppression = finding.suppression.as_ref().map(|_| NAME.to_owned());
        if let Some(blame) = &mut finding.blame {
            blame.summary = NAME.to_owned();
        }
        for frame in finding.stack.iter_mut().flat_map(|stack| &mut stack.frames) {
            frame.function = NAME.to_owned();
            frame.path = Some(NAME.to_owned());
        }
    }
    Ok(judgement)
}

fn shown(form: Form, judgement: &Judgement) -> io::Result<String> {
    let mut out = Vec::new();
    write(form, judgement, &mut out)?;
    String::from_utf8(out).map_err(io::Error::other)
}

#[test]
fn text() -> Result<(), Box<dyn std::error::Error>> {
    insta::assert_snapshot!(shown(Form::Text, &judgement()?)?, @r"
        tracer check: 1 leak found

        leak of 64 B/s, confidence medium
          at counter::walk  service/src/walk.rs:3
          64 B/s, 1 objects/s, since 1 s into the recording
          allocated 24.4 kB in 390 objects, live 2.44 kB in 39 objects (10%)
          last touched by 0123456789ab (Ada, 2026-01-02): walk faster
            > counter::walk  service/src/walk.rs:3
              counter::walk  service/src/walk.rs:3
              counter::walk  service/src/walk.rs:3
              main  service/src/main.rs:12

        to be considered:
          Which generations survive is not known, only how much is live.

        suppressed: 1 finding
          1 by known
        unused suppression: nobody*<x>
        source: attach to counter-service (pid 4711) for 30.0 s
        judged: 40 snapshots over 39 s, 4 stacks, warm-up 7 s; profile complete
        ");
    Ok(())
}

#[test]
fn markdown() -> Result<(), Box<dyn std::error::Error>> {
    insta::assert_snapshot!(shown(Form::Markdown, &judgement()?)?, @r"
        ## ❌ tracer check: 1 leak found

        | what | where | function |
        |---|---|---|
        | leak of 64 B/s, confidence medium | `service/src/walk.rs:3` | `counter::walk` |

        <details><summary>leak of 64 B/s, confidence medium at service/src/walk.rs:3</summary>

        - 64 B/s, 1 objects/s, since 1 s into the recording
        - allocated 24.4 kB in 390 objects, live 2.44 kB in 39 objects (10%)
        - last touched by 0123456789ab (Ada, 2026-01-02): walk faster

        ```text
        > counter::walk  service/src/walk.rs:3
          counter::walk  service/src/walk.rs:3
          counter::walk  service/src/walk.rs:3
          main  service/src/main.rs:12
        ```

        </details>

        - Which generations survive is not known, only how much is live.

        ### Suppressed: 1 finding

        - 1 by `known`

        ### Unused suppressions

        - `nobody*<x>`

        attach to counter-service (pid 4711) for 30.0 s  
        40 snapshots over 39 s, 4 stacks, warm-up 7 s; profile complete
        ");
    Ok(())
}

#[test]
fn annotations() -> Result<(), Box<dyn std::error::Error>> {
    insta::assert_snapshot!(shown(Form::Github, &judgement()?)?, @r"
        ::error file=service/src/walk.rs,line=3,title=tracer%3A leak of 64 B/s%2C confidence medium::leak of 64 B/s, confidence medium%0Aat counter::walk  service/src/walk.rs:3%0A64 B/s, 1 objects/s, since 1 s into the recording%0Aallocated 24.4 kB in 390 objects, live 2.44 kB in 39 objects (10%25)%0AWhich generations survive is not known, only how much is live.%0Alast touched by 0123456789ab (Ada, 2026-01-02): walk faster%0A  counter::walk  service/src/walk.rs:3%0A  counter::walk  service/src/walk.rs:3%0A  counter::walk  service/src/walk.rs:3%0A  main  service/src/main.rs:12
        ::notice title=tracer check::unused suppression: nobody*<x>
        ");
    Ok(())
}

#[test]
fn junit() -> Result<(), Box<dyn std::error::Error>> {
    insta::assert_snapshot!(shown(Form::Junit, &judgement()?)?, @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="tracer check" tests="2" failures="1" errors="0">
          <testsuite name="tracer check" tests="2" failures="1" errors="0" skipped="1">
            <testcase classname="tracer.leak" name="leak in counter::walk (walk.rs)">
              <failure message="leak of 64 B/s, confidence medium" type="leak">at counter::walk  service/src/walk.rs:3
        64 B/s, 1 objects/s, since 1 s into the recording
        allocated 24.4 kB in 390 objects, live 2.44 kB in 39 objects (10%)
        Which generations survive is not known, only how much is live.
        last touched by 0123456789ab (Ada, 2026-01-02): walk faster
            counter::walk  service/src/walk.rs:3
            counter::walk  service/src/walk.rs:3
            counter::walk  service/src/walk.rs:3
            main  service/src/main.rs:12</failure>
            </testcase>
            <testcase classname="tracer.leak" name="leak in counter::walk (walk.rs) (2)">
              <skipped message="suppressed by known: leak of 64 B/s, confidence medium">at counter::walk  service/src/walk.rs:3
        64 B/s, 1 objects/s, since 1 s into the recording
        allocated 24.4 kB in 390 objects, live 2.44 kB in 39 objects (10%)
        Which generations survive is not known, only how much is live.
        last touched by 0123456789ab (Ada, 2026-01-02): walk faster
            counter::walk  service/src/walk.rs:3
            counter::walk  service/src/walk.rs:3
            counter::walk  service/src/walk.rs:3
            main  service/src/main.rs:12</skipped>
            </testcase>
            <system-out>attach to counter-service (pid 4711) for 30.0 s
        40 snapshots over 39 s, 4 stacks, warm-up 7 s; profile complete</system-out>
          </testsuite>
        </testsuites>
        "#);
    Ok(())
}

#[test]
fn sarif() -> Result<(), Box<dyn std::error::Error>> {
    let log: serde_json::Value = serde_json::from_str(&shown(Form::Sarif, &judgement()?)?)?;
    let run = &log["runs"][0];
    assert_eq!(run["invocations"][0]["exitCode"], 1);
    let results = run["results"].as_array().ok_or("no results")?;
    assert_eq!(results.len(), 2);
    let result = &results[0];
    assert_eq!(result["ruleId"], "leak");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "service/src/walk.rs");
    assert_eq!(place["artifactLocation"]["uriBaseId"], "%SRCROOT%");
    assert_eq!(place["region"]["startLine"], 3);
    let fingerprint = &result["partialFingerprints"]["tracerStack/v1"];
    assert_eq!(fingerprint.as_str().map(str::len), Some(16));
    assert!(result["suppressions"].is_null());
    assert_eq!(results[1]["suppressions"][0]["justification"], "known");
    Ok(())
}

#[test]
fn names_do_no_harm() -> Result<(), Box<dyn std::error::Error>> {
    let hostile = hostile()?;
    let text = shown(Form::Text, &hostile)?;
    assert!(!text.contains('\u{1b}'), "{text}");
    let markdown = shown(Form::Markdown, &hostile)?;
    let outside_code = markdown.lines().filter(|line| !line.contains('`'));
    for line in outside_code {
        let is_ours = line.starts_with("<details>") || line == "</details>";
        assert!(
            is_ours || !line.contains('<') || line.starts_with(['>', ' ']),
            "{line}"
        );
    }
    let annotations = shown(Form::Github, &hostile)?;
    // The inconclusive one, the finding, the warning and the suppression.
    assert_eq!(annotations.lines().count(), 4, "{annotations}");
    let junit = shown(Form::Junit, &hostile)?;
    let document = roxmltree::Document::parse(&junit)?;
    let cases = document
        .descendants()
        .filter(|node| node.has_tag_name("testcase"));
    assert_eq!(cases.count(), 3, "{junit}");
    serde_json::from_str::<serde_json::Value>(&shown(Form::Sarif, &hostile)?)?;
    Ok(())
}
