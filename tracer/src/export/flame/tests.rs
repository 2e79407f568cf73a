//! Tests of flame graphs: what is drawn, read back as XML.

use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;
use roxmltree::{Document, Node, ParsingOptions};

use super::{MAX_TOTAL, clean, write, write_diff};
use crate::export::example::counter_service;
use crate::export::folded;
use crate::names::NameStyle;
use crate::profile::{Profile, ValueKind, diff};
use crate::report::Style;

/// All frames.
fn full() -> Style {
    Style {
        is_full: true,
        ..Style::default()
    }
}

fn svg(profile: &Profile, value: ValueKind) -> io::Result<String> {
    let mut out = Vec::new();
    write(profile, value, &full(), &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn differential(before: &Profile, after: &Profile) -> Result<String, Box<dyn std::error::Error>> {
    let mut out = Vec::new();
    let diff = diff(before, after)?;
    write_diff(&diff, ValueKind::InuseSpace, &full(), &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// What is drawn: the sum, the texts above the frames, and each frame.
#[derive(Debug)]
struct Picture {
    total: i64,
    heading: String,
    frames: Vec<Rectangle>,
}

#[derive(Debug)]
struct Rectangle {
    depth: i64,
    width: i64,
    title: String,
    color: String,
}

fn parse(text: &str) -> Result<Picture, Box<dyn std::error::Error>> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options)?;
    let by_id = |id: &str| {
        let mut nodes = document.descendants();
        nodes.find(|node| node.attribute("id") == Some(id))
    };
    let heading = ["title", "subtitle"].map(|id| by_id(id).and_then(|node| node.text()));
    let frames = by_id("frames").ok_or("no frames")?;
    let mut drawn = Vec::new();
    for group in frames.children().filter(Node::is_element) {
        let child = |tag: &str| group.children().find(|node| node.tag_name().name() == tag);
        let rectangle = child("rect").ok_or("no rectangle")?;
        let own = |name: &str| rectangle.attribute(("http://github.com/jonhoo/inferno", name));
        drawn.push((
            rectangle.attribute("y").ok_or("no y")?.parse::<i64>()?,
            own("w").ok_or("no width")?.parse::<i64>()?,
            child("title")
                .and_then(|title| title.text())
                .ok_or("no title")?
                .to_owned(),
            rectangle.attribute("fill").ok_or("no color")?.to_owned(),
        ));
    }
    let root = drawn
        .iter()
        .map(|(y, ..)| *y)
        .max()
        .ok_or("nothing drawn")?;
    Ok(Picture {
        total: frames
            .attribute("total_samples")
            .ok_or("no total")?
            .parse()?,
        heading: heading.map(Option::unwrap_or_default).join("\n"),
        frames: drawn
            .into_iter()
            .map(|(y, width, title, color)| Rectangle {
                depth: (root - y) / 16,
                width,
                title,
                color,
            })
            .collect(),
    })
}

#[test]
fn widths_add_up_to_the_totals() -> Result<(), Box<dyn std::error::Error>> {
    for value in ValueKind::ALL {
        let profile = counter_service();
        let picture = parse(&svg(&profile, value)?)?;
        // Each prefix of a stack is a frame, as wide as all that goes through it.
        let mut expected: BTreeMap<String, i64> = BTreeMap::new();
        let mut total = 0;
        for (stack, amount) in folded::amounts(&profile, value, NameStyle::Short) {
            total += amount;
            let ends = stack
                .match_indices(';')
                .map(|(at, _)| at)
                .chain([stack.len()]);
            for end in ends {
                *expected.entry(stack[..end].to_owned()).or_default() += amount;
            }
        }
        let name = |stack: &str| stack.rsplit(';').next().unwrap_or_default().to_owned();
        let mut expected: Vec<(i64, String, i64)> = expected
            .iter()
            .map(|(stack, &amount)| (1 + stack.matches(';').count() as i64, name(stack), amount))
            .collect();
        expected.push((0, "all".to_owned(), total));
        expected.sort();
        let mut drawn: Vec<(i64, String, i64)> = picture
            .frames
            .iter()
            .map(|frame| {
                let name = frame
                    .title
                    .split(" (")
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                (frame.depth, name, frame.width)
            })
            .collect();
        drawn.sort();
        // Too narrow to be seen.
        expected.retain(|(_, _, amount)| *amount * 10_000 >= total);
        assert_eq!(drawn, expected);
        assert_eq!(picture.total, total);
    }
    Ok(())
}

#[test]
fn it_says_what_it_shows() -> Result<(), Box<dyn std::error::Error>> {
    let picture = parse(&svg(&counter_service(), ValueKind::InuseSpace)?)?;
    insta::assert_snapshot!(picture.heading, @r"
    Bytes live (inuse_space)
    attach to counter-service (pid 4711) for 30.0 s; verdict: degraded
    ");
    let all = picture.frames.iter().find(|frame| frame.depth == 0);
    assert_eq!(
        all.map(|frame| frame.title.as_str()),
        Some("all (3,097,576 bytes, 100%)")
    );
    let picture = parse(&svg(&counter_service(), ValueKind::AllocObjects)?)?;
    assert!(
        picture
            .frames
            .iter()
            .any(|frame| frame.title.contains(" objects, "))
    );
    Ok(())
}

#[test]
fn the_same_profile_gives_the_same_bytes() -> io::Result<()> {
    let profile = counter_service();
    assert_eq!(
        svg(&profile, ValueKind::InuseSpace)?,
        svg(&profile, ValueKind::InuseSpace)?
    );
    Ok(())
}

#[test]
fn a_difference_is_as_wide_as_b_and_colored_by_the_change() -> Result<(), Box<dyn std::error::Error>>
{
    let before = counter_service();
    let mut after = counter_service();
    after.samples[0].values.inuse_space *= 2;
    after.samples[1].values.inuse_space = 0;
    after.samples[3].values.inuse_space -= 1_000;
    let picture = parse(&differential(&before, &after)?)?;
    assert_eq!(picture.total, 2 * 2_048_000 + 1_048_576 - 1_000);
    insta::assert_snapshot!(picture.heading, @r"
    Change of bytes live (inuse_space)
    from A to B: width is B, orange grew, blue shrank; verdict: degraded; not drawn: 1000 bytes of A in stacks that B has not
    ");
    let color = |name: &str| {
        let frame = picture
            .frames
            .iter()
            .find(|frame| frame.title.starts_with(name));
        frame.map(|frame| frame.color.as_str())
    };
    // The strongest orange, a faint blue, and grey for who only calls.
    assert_eq!(color("counter::Cache::insert"), Some("rgb(230,120,30)"));
    assert_eq!(color("libc.so.6"), Some("rgb(190,207,220)"));
    assert_eq!(color("main"), Some("rgb(222,222,222)"));
    assert_eq!(color("counter::walk"), None);
    Ok(())
}

#[test]
fn tooltips_have_full_names() -> Result<(), Box<dyn std::error::Error>> {
    const FULL: &str = "<counter::cache::Cache<u8, \"&\"> as counter::Store>::insert";
    let mut profile = counter_service();
    profile.functions[2].name = FULL.to_owned();
    let text = svg(&profile, ValueKind::InuseSpace)?;
    let drawn = parse(&text)?.frames;
    let title = "counter::Cache::insert (2,048,000 bytes, 66.12%)";
    assert!(drawn.iter().any(|frame| frame.title == title), "{drawn:?}");
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(&text, options)?;
    let tooltips: Vec<_> = document
        .descendants()
        .filter(|node| node.has_tag_name("rect") || node.tag_name().name() == "rect")
        .filter_map(|rectangle| rectangle.first_element_child()?.text())
        .collect();
    assert_eq!(tooltips, [format!("{FULL} (2,048,000 bytes, 66.12%)")]);

    let mut out = Vec::new();
    let style = Style {
        names: NameStyle::Full,
        ..full()
    };
    write(&profile, ValueKind::InuseSpace, &style, &mut out)?;
    let drawn = parse(&String::from_utf8_lossy(&out))?.frames;
    assert!(
        drawn.iter().any(|frame| frame.title.starts_with(FULL)),
        "{drawn:?}"
    );
    Ok(())
}

/// Depth, name and colour.
type Drawn = (i64, String, String);

/// Frames from the root up, each with whose code it is.
fn drawn(profile: &Profile, style: &Style) -> Result<Vec<Drawn>, Box<dyn std::error::Error>> {
    let mut out = Vec::new();
    write(profile, ValueKind::InuseSpace, style, &mut out)?;
    let picture = parse(&String::from_utf8_lossy(&out))?;
    let name = |title: &str| title.split(" (").next().unwrap_or_default().to_owned();
    let mut frames: Vec<_> = picture
        .frames
        .into_iter()
        .map(|frame| (frame.depth, name(&frame.title), frame.color))
        .collect();
    frames.sort();
    Ok(frames)
}

#[test]
fn plumbing_is_folded_and_everybody_has_a_colour() -> Result<(), Box<dyn std::error::Error>> {
    let profile = crate::sites::tests::service();
    let frames = drawn(&profile, &Style::default())?;
    let names: Vec<(i64, &str)> = frames.iter().map(|(d, n, _)| (*d, n.as_str())).collect();
    assert_eq!(
        names,
        [
            (0, "all"),
            (1, "… libc, tokio, std"),
            (2, "axum::serve::handle_connection"),
            (3, "hyper::Buffered::poll_read"),
            (3, "service::count"),
            (4, "String"),
            (4, "bytes::BytesMut"),
        ]
    );
    let colour = |name: &str| {
        let frame = frames.iter().find(|(_, of, _)| of == name);
        frame.map(|(.., colour)| colour.clone())
    };
    assert_ne!(
        colour("service::count"),
        colour("axum::serve::handle_connection")
    );
    assert_ne!(colour("service::count"), colour("String"));
    let all = drawn(&profile, &full())?;
    assert!(all.len() > frames.len(), "{all:?}");
    assert!(all.iter().any(|(_, name, _)| name == "start_thread"));
    Ok(())
}

#[test]
fn a_legend_says_what_the_colours_are() -> io::Result<()> {
    let picture = svg(&counter_service(), ValueKind::InuseSpace)?;
    for entry in ["own code", "dependencies", "standard library", "runtime"] {
        assert!(picture.contains(&format!(">{entry}</text>")), "{entry}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_drawn_is_said() -> Result<(), Box<dyn std::error::Error>> {
    let empty = svg(&Profile::default(), ValueKind::InuseSpace)?;
    assert!(
        Document::parse(&empty)?
            .root_element()
            .descendants()
            .any(|node| { node.text() == Some("No stack holds any inuse_space.") })
    );
    let mut profile = counter_service();
    profile.samples[1].values.inuse_space = -5;
    let picture = parse(&svg(&profile, ValueKind::InuseSpace)?)?;
    assert!(
        picture.heading.ends_with("not drawn: stacks with -5 bytes"),
        "{picture:?}"
    );

    profile.samples[1].values.inuse_space = MAX_TOTAL;
    let beyond = svg(&profile, ValueKind::InuseSpace)?;
    assert!(
        Document::parse(&beyond)?
            .root_element()
            .descendants()
            .any(|node| {
                node.text() == Some("More than 9007199254740992 bytes cannot be drawn.")
            })
    );
    Ok(())
}

#[test]
fn names_are_not_taken_for_anything_else() {
    assert_eq!(
        clean("operator new(unsigned long)"),
        "operator new(unsigned long)"
    );
    assert_eq!(clean("f 12"), "f\u{a0}12");
    assert_eq!(clean("f 12 1.5"), "f\u{a0}12\u{a0}1.5");
    assert_eq!(clean("12"), "12");
    assert_eq!(clean("# f"), "#\u{a0}f");
    assert_eq!(clean("  "), "?");
    assert_eq!(clean("\u{ffff}"), "\u{fffd}");
}

/// Names with everything that inferno's format or XML could trip over.
fn name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<char>().prop_map(|c| c.to_string()),
        "[ -~]{0,6}",
        prop::sample::select(vec![
            " 12", ";", "# ", "</title>", "]]>", "&amp;", "\"", "'", "--", "\n", "_[k]",
            "\u{fffe}",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_name_breaks_the_picture(
        names in proptest::collection::vec(name(), 6),
        source in name(),
        amounts in proptest::collection::vec(0_i64..1_000_000, 8),
    ) {
        let mut before = counter_service();
        before.metadata.source = source;
        for (function, name) in before.functions.iter_mut().zip(names) {
            function.name = name;
        }
        let mut after = before.clone();
        let samples = before.samples.iter_mut().chain(&mut after.samples);
        for (sample, &amount) in samples.zip(&amounts) {
            sample.values.inuse_space = amount;
        }
        let fail = |error: &dyn std::fmt::Display| TestCaseError::fail(error.to_string());
        let sum: i64 = amounts[4..].iter().sum();
        prop_assume!(sum > 0);
        let picture = parse(&svg(&after, ValueKind::InuseSpace).map_err(|e| fail(&e))?)
            .map_err(|e| fail(&e))?;
        prop_assert_eq!(picture.total, sum);
        let picture = parse(&differential(&before, &after).map_err(|e| fail(&e))?)
            .map_err(|e| fail(&e))?;
        prop_assert_eq!(picture.total, sum);
    }
}
