//! Full names for whoever points at a frame: inferno has one text for the name in the picture and the
//! tooltip.

use std::collections::HashMap;
use std::io::{self, Write};

use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer};

/// The rule of inferno's style sheet before which ours is put.
const HOVER: &str = "#frames > *:hover";
/// A frame's name would be pointed at in place of the frame.
const POINT_THROUGH: &str = "#frames text { pointer-events:none; }\n";

/// Writes a picture of inferno's, each frame whose name is in `full` with a tooltip of its own: that name
/// and the amounts. Tooltips of what is inside come first, and inferno's script reads the outer one.
///
/// # Errors
/// Those of the writer, or of XML that is none.
pub(super) fn write(
    picture: &str,
    full: &HashMap<String, String>,
    out: impl Write,
) -> io::Result<()> {
    if full.is_empty() {
        let mut out = out;
        return out.write_all(picture.as_bytes());
    }
    let picture = picture.replacen(HOVER, &format!("{POINT_THROUGH}{HOVER}"), 1);
    let mut reader = Reader::from_str(&picture);
    let mut writer = Writer::new(out);
    let mut title: Option<String> = None;
    loop {
        let event = reader.read_event().map_err(io::Error::other)?;
        match &event {
            Event::Eof => return Ok(()),
            Event::Start(start) if start.name().as_ref() == b"title" => {
                title = Some(String::new());
            }
            Event::Text(text) => {
                if let Some(title) = &mut title {
                    title.push_str(&text.decode().map_err(io::Error::other)?);
                }
            }
            Event::GeneralRef(reference) => {
                if let Some(title) = &mut title {
                    let name = reference.decode().map_err(io::Error::other)?;
                    title.push_str(&format!("&{name};"));
                }
            }
            Event::Empty(rectangle) if rectangle.name().as_ref() == b"rect" => {
                let tooltip = title.take().and_then(|title| tooltip(&title, full));
                if let Some(tooltip) = tooltip {
                    writer.write_event(Event::Start(rectangle.borrow()))?;
                    writer.write_event(Event::Start(BytesStart::new("title")))?;
                    writer.write_event(Event::Text(BytesText::new(&tooltip)))?;
                    writer.write_event(Event::End(BytesEnd::new("title")))?;
                    writer.write_event(Event::End(rectangle.to_end()))?;
                    continue;
                }
            }
            _ => {}
        }
        writer.write_event(event)?;
    }
}

/// The full name and the amounts, of a title that ends in them: `main (5 bytes, 2%)`.
fn tooltip(title: &str, full: &HashMap<String, String>) -> Option<String> {
    let title = quick_xml::escape::unescape(title).ok()?;
    let (name, amounts) = title.rsplit_once(" (")?;
    Some(format!("{} ({amounts}", full.get(name)?))
}
