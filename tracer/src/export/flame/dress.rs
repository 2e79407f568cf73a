//! What inferno's picture lacks: full names for whoever points at a frame, colours by whose code it is, a legend.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write};

use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer};

use super::colours::{self, Colour};
use crate::sites::Kind;

/// The rule of inferno's style sheet before which ours are put.
const HOVER: &str = "#frames > *:hover";
/// A frame's name would be pointed at in place of the frame, and frames of one colour would run together.
const STYLE: &str = "#frames text { pointer-events:none; }\n\
                     #frames rect { stroke:#ffffff; stroke-width:0.6; }\n";
/// inferno's background, green as its frames.
const BACKGROUND: [&str; 2] = ["#eef2ee", "#e0ffe0"];
/// Ours.
const PAPER: &str = "#fafafa";
/// Pixels that the legend takes at the lower end.
const LEGEND: u32 = 24;
/// Pixels of a letter, about.
const LETTER: u32 = 8;

/// Frames of a picture by their names: whose code, and the full name where that is another.
pub(super) type Labels = HashMap<String, (Kind, Option<String>)>;

/// Writes a picture of inferno's in our colours, each frame that has a longer name with a tooltip of its own: that
/// name and the amounts. Tooltips of what is inside come first, and inferno's script reads the outer one.
///
/// # Errors
/// Those of the writer, or of XML that is none.
pub(super) fn write(
    picture: &str,
    labels: &Labels,
    differential: bool,
    out: impl Write,
) -> io::Result<()> {
    let mut picture = picture.replacen(HOVER, &format!("{STYLE}{HOVER}"), 1);
    for green in BACKGROUND {
        picture = picture.replacen(green, PAPER, 1);
    }
    let mut dress = Dress {
        labels,
        differential,
        writer: Writer::new(out),
        height: None,
        title: None,
    };
    let mut reader = Reader::from_str(&picture);
    loop {
        let event = reader.read_event().map_err(io::Error::other)?;
        if matches!(event, Event::Eof) {
            return Ok(());
        }
        dress.write(event)?;
    }
}

struct Dress<'a, W: Write> {
    labels: &'a Labels,
    differential: bool,
    writer: Writer<W>,
    /// inferno's height of the picture, once it is known.
    height: Option<u32>,
    /// Of the last frame, until its rectangle is there.
    title: Option<String>,
}

impl<W: Write> Dress<'_, W> {
    fn write(&mut self, event: Event<'_>) -> io::Result<()> {
        match &event {
            Event::Start(start) if start.name().as_ref() == b"svg" && self.height.is_none() => {
                let taller = self.taller(start)?;
                return self.writer.write_event(Event::Start(taller));
            }
            Event::Start(start) if start.name().as_ref() == b"title" => {
                self.title = Some(String::new());
            }
            Event::Text(text) => {
                if let Some(title) = &mut self.title {
                    title.push_str(&text.decode().map_err(io::Error::other)?);
                }
            }
            Event::GeneralRef(reference) => {
                if let Some(title) = &mut self.title {
                    let name = reference.decode().map_err(io::Error::other)?;
                    title.push_str(&format!("&{name};"));
                }
            }
            Event::Empty(rectangle) if rectangle.name().as_ref() == b"rect" => {
                return match self.title.take() {
                    Some(title) => self.frame(rectangle, &title),
                    None => self.background(rectangle),
                };
            }
            _ => {}
        }
        self.writer.write_event(event)
    }

    /// The picture's own element with room for the legend.
    fn taller(&mut self, svg: &BytesStart<'_>) -> io::Result<BytesStart<'static>> {
        let mut taller = BytesStart::new("svg");
        for attribute in svg.attributes() {
            let attribute = attribute.map_err(io::Error::other)?;
            let key = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
            let mut value = String::from_utf8_lossy(&attribute.value).into_owned();
            if key == "height" {
                self.height = value.parse().ok();
                value = (self.height.unwrap_or(0) + LEGEND).to_string();
            } else if key == "viewBox"
                && let Some((before, height)) = value.rsplit_once(' ')
                && let Ok(height) = height.parse::<u32>()
            {
                value = format!("{before} {}", height + LEGEND);
            }
            taller.push_attribute((key.as_str(), value.as_str()));
        }
        Ok(taller.into_owned())
    }

    /// The background, and the legend on it.
    fn background(&mut self, rectangle: &BytesStart<'_>) -> io::Result<()> {
        let height = self.height.unwrap_or(0);
        let taller = with(rectangle, "height", &(height + LEGEND).to_string())?;
        self.writer.write_event(Event::Empty(taller))?;
        let (mut x, y) = (10_u32, height + 4);
        for (colour, text) in colours::legend(self.differential) {
            let mut sample = BytesStart::new("rect");
            for (name, value) in [
                ("x", x.to_string()),
                ("y", y.to_string()),
                ("width", "12".to_owned()),
                ("height", "12".to_owned()),
                ("fill", colours::css(colour)),
            ] {
                sample.push_attribute((name, value.as_str()));
            }
            self.writer.write_event(Event::Empty(sample))?;
            let mut label = BytesStart::new("text");
            label.push_attribute(("x", (x + 17).to_string().as_str()));
            label.push_attribute(("y", (y + 10).to_string().as_str()));
            self.writer.write_event(Event::Start(label))?;
            self.writer.write_event(Event::Text(BytesText::new(text)))?;
            self.writer.write_event(Event::End(BytesEnd::new("text")))?;
            x += 17 + LETTER * text.len() as u32 + 16;
        }
        Ok(())
    }

    /// A frame in its colour, with its full name.
    fn frame(&mut self, rectangle: &BytesStart<'_>, title: &str) -> io::Result<()> {
        let title = quick_xml::escape::unescape(title).unwrap_or(Cow::Borrowed(title));
        let (name, amounts) = title.rsplit_once(" (").unwrap_or((&title, ""));
        let label = self.labels.get(name);
        let fill = rectangle
            .try_get_attribute("fill")
            .map_err(io::Error::other)?
            .map(|fill| String::from_utf8_lossy(&fill.value).into_owned());
        let colour: Option<Colour> = match self.differential {
            true => fill.as_deref().and_then(colours::of_change),
            false => {
                let kind = label.map_or(Kind::Runtime, |(kind, _)| *kind);
                Some(colours::shade(colours::of_kind(kind), name))
            }
        };
        let rectangle = match colour {
            Some(colour) => with(rectangle, "fill", &colours::css(colour))?,
            None => rectangle.to_owned(),
        };
        let Some((_, Some(full))) = label else {
            return self.writer.write_event(Event::Empty(rectangle));
        };
        let tooltip = format!("{full} ({amounts}");
        self.writer.write_event(Event::Start(rectangle.borrow()))?;
        self.writer
            .write_event(Event::Start(BytesStart::new("title")))?;
        self.writer
            .write_event(Event::Text(BytesText::new(&tooltip)))?;
        self.writer
            .write_event(Event::End(BytesEnd::new("title")))?;
        self.writer.write_event(Event::End(rectangle.to_end()))
    }
}

/// An element with another value of an attribute.
fn with(element: &BytesStart<'_>, name: &str, value: &str) -> io::Result<BytesStart<'static>> {
    let of = element.name();
    let mut changed = BytesStart::new(String::from_utf8_lossy(of.as_ref()).into_owned());
    for attribute in element.attributes() {
        let attribute = attribute.map_err(io::Error::other)?;
        match attribute.key.as_ref() == name.as_bytes() {
            true => changed.push_attribute((name, value)),
            false => changed.push_attribute(attribute),
        }
    }
    Ok(changed.into_owned())
}
