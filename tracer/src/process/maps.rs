//! /proc/PID/maps, as bytes: a path is whatever the target made of it, and need not be UTF-8.
//!
//! procfs, which reads most other files of /proc here, gives up the whole list for one such path.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::ffi::OsStringExt as _;

use super::FileId;

/// Longest line that is read: the kernel's paths have 4096 bytes at most, four for each where all are escaped.
const MAX_LINE: usize = 32 << 10;

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MapsLine {
    /// First address.
    pub(super) start: u64,
    /// First address past the end.
    pub(super) end: u64,
    /// May be read.
    pub(super) is_readable: bool,
    /// May be executed.
    pub(super) is_executable: bool,
    /// Offset in the file.
    pub(super) offset: u64,
    /// Which file it is; all zero where there is none.
    pub(super) id: FileId,
    /// Path, or a name such as `[vdso]`; empty for anonymous memory.
    pub(super) name: OsString,
}

/// Reads what a process has mapped.
///
/// # Errors
///
/// The process is gone or may not be looked at, or a line is not what the kernel writes.
pub(super) fn read_maps(path: &str) -> io::Result<Vec<MapsLine>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut lines = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if io::Read::take(&mut reader, MAX_LINE as u64).read_until(b'\n', &mut line)? == 0 {
            return Ok(lines);
        }
        let parsed = line.strip_suffix(b"\n").and_then(parse);
        lines.push(parsed.ok_or_else(|| {
            let line = String::from_utf8_lossy(&line).escape_debug().to_string();
            io::Error::new(io::ErrorKind::InvalidData, format!("a line is {line:.80}"))
        })?);
    }
}

/// `7f0c1000-7f0c2000 r-xp 00001000 fe:01 1234    /usr/lib/libc.so.6`: fields that are split by one space, then
/// spaces up to the name.
fn parse(line: &[u8]) -> Option<MapsLine> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = text()?.split_once('-')?;
    let permissions = text()?.as_bytes();
    let offset = hex(text()?)?;
    let (major, minor) = text()?.split_once(':')?;
    let inode = text()?.parse().ok()?;
    let name = fields.next().unwrap_or_default().trim_ascii_start();
    Some(MapsLine {
        start: hex(start)?,
        end: hex(end)?,
        is_readable: *permissions.first()? == b'r',
        is_executable: *permissions.get(2)? == b'x',
        offset,
        id: FileId {
            major: u32::from_str_radix(major, 16).ok()?,
            minor: u32::from_str_radix(minor, 16).ok()?,
            inode,
            generation: None,
        },
        name: OsString::from_vec(unescape(name)),
    })
}

/// The kernel writes a newline in a path as `\012`, and nothing else in another way than it is. So a path with a
/// backslash and these three digits is taken for one with a newline: it is opened by its mapping.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(b"\\012") {
            bytes.push(b'\n');
            rest = behind;
        } else {
            bytes.push(first);
            rest = behind;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn a_line_is_understood() {
        let line =
            parse(b"7f0c1000-7f0c2000 r-xp 00001000 fe:1f 1234                       /usr/lib/a b");
        let expected = MapsLine {
            start: 0x7f0c_1000,
            end: 0x7f0c_2000,
            is_readable: true,
            is_executable: true,
            offset: 0x1000,
            id: FileId {
                major: 0xfe,
                minor: 0x1f,
                inode: 1234,
                generation: None,
            },
            name: "/usr/lib/a b".into(),
        };
        assert_eq!(line, Some(expected));
    }

    #[test]
    fn names_are_bytes() {
        let name = |text: &[u8]| {
            let line = [b"1000-2000 rw-p 00000000 00:00 0  ".as_slice(), text].concat();
            parse(&line).map(|line| line.name.as_bytes().to_vec())
        };
        assert_eq!(name(b""), Some(vec![]));
        assert_eq!(name(b"[vdso]"), Some(b"[vdso]".to_vec()));
        assert_eq!(
            name(b"/r\xe9sum\xe9 (deleted)"),
            Some(b"/r\xe9sum\xe9 (deleted)".to_vec())
        );
        assert_eq!(name(b"/new\\012line\\01"), Some(b"/new\nline\\01".to_vec()));
    }

    #[test]
    fn what_the_kernel_does_not_write_is_refused() {
        for line in [
            b"".as_slice(),
            b"1000",
            b"1000-2000 r-x",
            b"1000-2000 r-xp 0 0:0 x",
            b"1000+2000 r-xp 0 0:0 0",
            b"1000-2000 r- 0 0:0 0",
            b"1000-20000000000000000 r-xp 0 0:0 0",
        ] {
            assert_eq!(parse(line), None, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn this_process_has_code() -> io::Result<()> {
        let lines = read_maps("/proc/self/maps")?;
        assert!(
            lines
                .iter()
                .any(|line| line.is_executable && line.id.inode != 0)
        );
        assert!(lines.iter().any(|line| line.name.as_bytes() == b"[stack]"));
        Ok(())
    }
}
