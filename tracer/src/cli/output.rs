//! Where a profile or a report goes: checked before the recording begins, written whole or not at all.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::partial::{Existing, Partial, Write, write_elsewhere};
use super::say::say;
use crate::export::{self, Format};
use crate::printable::Shown as _;
use crate::profile::{Profile, ValueKind};
use crate::report::Style;

/// A place for a profile.
#[derive(Debug)]
pub(super) struct Output {
    destination: Destination,
    format: Format,
    value: ValueKind,
    style: Style,
}

#[derive(Debug)]
enum Destination {
    Stdout,
    /// A device or a pipe: written into, never replaced.
    Stream(PathBuf),
    /// Written beside `path` and renamed, so that an existing file stays whole until the new one
    /// is. A symbolic link is replaced, not followed: others may have put it there.
    File {
        path: PathBuf,
        partial: Partial,
        existing: Existing,
    },
}

/// Names that are tried where nobody has named a file.
const MOST_NAMES: u32 = 10_000;

/// A name nothing has yet: `NAME.EXTENSION`, or `NAME.2.EXTENSION` and so on. The extension may be empty.
///
/// # Errors
///
/// There are thousands of them.
pub(super) fn free_name(name: &str, extension: &str) -> anyhow::Result<PathBuf> {
    let end = match extension {
        "" => String::new(),
        extension => format!(".{extension}"),
    };
    let numbered = (2..MOST_NAMES).map(|number| format!("{name}.{number}{end}"));
    std::iter::once(format!("{name}{end}"))
        .chain(numbered)
        .map(PathBuf::from)
        // A link that leads nowhere is something, too.
        .find(|path| fs::symlink_metadata(path).is_err())
        .with_context(|| {
            format!("{name}{end} and thousands like it are there: name a file with -o")
        })
}

impl Output {
    /// As [`Self::prepare`], for a name that nobody has asked for: what is there is never replaced.
    pub(super) fn prepare_new(
        path: &Path,
        format: Format,
        value: ValueKind,
    ) -> anyhow::Result<Self> {
        let mut output = Self::prepare(path, format, value)?;
        if let Destination::File { existing, .. } = &mut output.destination {
            *existing = Existing::Keep;
        }
        Ok(output)
    }

    /// Checks the place and reserves it, before anything is done to the target.
    pub(super) fn prepare(path: &Path, format: Format, value: ValueKind) -> anyhow::Result<Self> {
        Ok(Self {
            destination: destination(path, format)?,
            format,
            value,
            style: Style::default(),
        })
    }

    /// Shows it in this way, where people read it. Text is as wide as what it is written to.
    pub(super) fn with_style(self, style: Style) -> Self {
        let max_width = match self.destination {
            Destination::Stdout => text_width(),
            _ => Some(PIPED_WIDTH),
        };
        let style = Style { max_width, ..style };
        Self { style, ..self }
    }

    /// Writes the profile.
    pub(super) fn write(self, profile: &Profile) -> anyhow::Result<Written> {
        let (format, value, style) = (self.format, self.value, self.style.clone());
        self.write_with(&|mut out| export::write(profile, format, value, &style, &mut out))
    }

    /// Writes what `write` makes; it is called again where the first place turns out to be full.
    pub(super) fn write_with(self, write: &Write<'_>) -> anyhow::Result<Written> {
        match self.destination {
            Destination::Stdout => {
                let mut out = io::stdout().lock();
                write(&mut out)?;
                out.flush()?;
                Ok(Written {
                    place: "standard output".to_owned(),
                    is_standard: true,
                })
            }
            Destination::Stream(path) => {
                write_into(write, &path)
                    .with_context(|| format!("writing {} failed", path.shown()))?;
                Ok(Written::to(&path))
            }
            Destination::File {
                path,
                partial,
                existing,
            } => {
                let written = partial.write(write, &path, existing);
                written.map_err(|error| rescue(write, &path, error))?;
                Ok(Written::to(&path))
            }
        }
    }
}

/// Where something went, for the message.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) place: String,
    is_standard: bool,
}

impl Written {
    fn to(path: &Path) -> Self {
        Self {
            place: path.shown().to_string(),
            is_standard: false,
        }
    }

    /// Says it; who reads standard output knows.
    pub(super) fn say(&self) {
        if !self.is_standard {
            say(format_args!("wrote {}", self.place));
        }
    }
}

/// Writes into a device or a pipe.
fn write_into(write: &Write<'_>, path: &Path) -> io::Result<()> {
    let mut open = File::options();
    let mut stream = open.write(true).custom_flags(libc::O_NOCTTY).open(path)?;
    // It was none when the place was checked; nothing of a file is overwritten.
    if stream.metadata()?.is_file() {
        return Err(io::Error::other("it has become a file meanwhile"));
    }
    write(&mut stream)
}

/// Names of standard output as a file. They are links, and what they lead to may be a file, which
/// cannot be replaced there.
const STANDARD_OUTPUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

fn destination(path: &Path, format: Format) -> anyhow::Result<Destination> {
    if STANDARD_OUTPUT.iter().any(|name| path == Path::new(name)) {
        if format == Format::Pprof && io::stdout().is_terminal() {
            bail!(
                "a pprof file is binary and standard output is a terminal: name a file with -o, or redirect"
            );
        }
        return Ok(Destination::Stdout);
    }
    if let Ok(metadata) = fs::metadata(path) {
        let kind = metadata.file_type();
        if kind.is_dir() {
            bail!("{} is a directory: name a file in it", path.shown());
        }
        if kind.is_char_device() || kind.is_fifo() || kind.is_socket() || kind.is_block_device() {
            if kind.is_block_device() {
                bail!("{} is a disk: name a file", path.shown());
            }
            return Ok(Destination::Stream(path.to_owned()));
        }
    }
    if path.file_name().is_none() {
        bail!("{} names no file", path.shown());
    }
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    Ok(Destination::File {
        path: path.to_owned(),
        partial: Partial::beside(folder)?,
        existing: Existing::Replace,
    })
}

/// What was recorded is not thrown away because a disk is full: it is kept in the folder for
/// temporary files, if that has room.
fn rescue(write: &Write<'_>, path: &Path, error: anyhow::Error) -> anyhow::Error {
    match write_elsewhere(write, path) {
        Ok(kept) => error.context(format!(
            "{} was left as it was; what was to be in it is in {}",
            path.shown(),
            kept.shown()
        )),
        Err(_) => error.context(format!("{} was left as it was", path.shown())),
    }
}

/// Columns of text that goes to no terminal.
pub(super) const PIPED_WIDTH: usize = 160;

/// Columns of text on standard output.
#[expect(clippy::unnecessary_wraps, reason = "reports take a width or none")]
pub(super) fn text_width() -> Option<usize> {
    Some(terminal_width().unwrap_or(PIPED_WIDTH))
}

/// Columns of the terminal; `None` where standard output goes elsewhere.
pub(super) fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn write_to(path: &Path) -> anyhow::Result<Written> {
        Output::prepare(path, Format::Json, ValueKind::default())?.write(&Profile::default())
    }

    #[test]
    fn a_file_is_private_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heap.json");
        write_to(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_recording_that_fails_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heap.json");
        fs::write(&path, "old").unwrap();
        drop(Output::prepare(&path, Format::Json, ValueKind::default()).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_that_nobody_asked_for_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("heap");
        let name = name.to_str().unwrap();
        let next = || free_name(name, "json").unwrap();
        let first = next();
        assert!(first.ends_with("heap.json"));
        let raced = Output::prepare_new(&first, Format::Json, ValueKind::default()).unwrap();
        fs::write(&first, "somebody else's").unwrap();
        let message = format!("{:#}", raced.write(&Profile::default()).unwrap_err());
        assert_eq!(fs::read_to_string(&first).unwrap(), "somebody else's");
        // Neither is what was recorded thrown away.
        let kept = message.split(" is in ").nth(1).unwrap();
        let kept = kept.split(':').next().unwrap();
        fs::remove_file(kept).unwrap();
        assert!(next().ends_with("heap.2.json"));
        symlink("nowhere", next()).unwrap();
        assert!(next().ends_with("heap.3.json"));
        assert!(free_name(name, "").unwrap().ends_with("heap"));
    }

    #[test]
    fn a_symbolic_link_is_replaced_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, link) = (
            folder.path().join("victim"),
            folder.path().join("heap.json"),
        );
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &link).unwrap();
        write_to(&link).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
    }

    #[test]
    fn a_device_is_written_not_replaced() {
        write_to(Path::new("/dev/null")).unwrap();
        assert!(
            fs::metadata("/dev/null")
                .unwrap()
                .file_type()
                .is_char_device()
        );
    }

    #[test]
    fn bad_places_are_refused_with_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/heap.json");
        for (path, word) in [
            (folder.path(), "is a directory"),
            (&missing, "does not exist"),
        ] {
            let message = format!("{:#}", write_to(path).unwrap_err());
            assert!(message.contains(word), "{message}");
            assert!(
                message.contains(&*folder.path().to_string_lossy()),
                "{message}"
            );
        }
    }
}
