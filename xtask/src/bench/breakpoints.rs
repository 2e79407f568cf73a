//! Where a process is probed right now, whoever does it: an uprobe is a breakpoint instruction in
//! the process's text that is not in the file.

use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;

/// x86's one-byte `int3`.
const BREAKPOINT: u8 = 0xcc;

/// The breakpoints in a process's C library.
pub(super) struct Breakpoints {
    /// The library's file.
    pub(super) library: PathBuf,
    /// Offsets in that file, ascending.
    pub(super) offsets: Vec<u64>,
}

/// The C library's text in a process.
struct Text {
    library: PathBuf,
    address: u64,
    length: usize,
    file_offset: u64,
}

impl Breakpoints {
    /// Path of the C library that the process has mapped.
    pub(super) fn library(pid: u32) -> Result<PathBuf> {
        Ok(text(pid)?.library)
    }

    /// Compares memory and file.
    pub(super) fn read(pid: u32) -> Result<Self> {
        let text = text(pid)?;
        let read = |path: &str, offset| {
            let mut bytes = vec![0; text.length];
            File::open(path)
                .and_then(|file| file.read_exact_at(&mut bytes, offset))
                .with_context(|| format!("cannot read {path}"))?;
            Ok::<_, anyhow::Error>(bytes)
        };
        let memory = read(&format!("/proc/{pid}/mem"), text.address)?;
        let file = read(&text.library.display().to_string(), text.file_offset)?;
        let offsets = differences(&memory, &file)
            .filter(|&index| memory[index] == BREAKPOINT)
            .map(|index| text.file_offset + index as u64)
            .collect();
        Ok(Self {
            library: text.library,
            offsets,
        })
    }
}

/// Where two texts of one length differ. Block by block first: this runs while a tracer attaches,
/// and is not to compete with it.
fn differences(left: &[u8], right: &[u8]) -> impl Iterator<Item = usize> {
    const BLOCK: usize = 4096;
    let blocks = left.chunks(BLOCK).zip(right.chunks(BLOCK)).enumerate();
    blocks
        .filter(|(_, (left, right))| left != right)
        .flat_map(|(block, (left, right))| {
            let bytes = left.iter().zip(right).enumerate();
            let unequal = bytes.filter(|(_, (left, right))| left != right);
            unequal.map(move |(index, _)| block * BLOCK + index)
        })
}

fn text(pid: u32) -> Result<Text> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))
        .with_context(|| format!("process {pid} is gone"))?;
    maps.lines()
        .find_map(parse)
        .with_context(|| format!("process {pid} has no C library mapped"))
}

/// A line of /proc/PID/maps that is the C library's text.
fn parse(line: &str) -> Option<Text> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let executable = fields.next()?.contains('x');
    let file_offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let library = PathBuf::from(fields.nth(2)?);
    let name = library.file_name()?.to_str()?;
    if !executable || !name.starts_with("libc.so") {
        return None;
    }
    let address = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    Some(Text {
        address,
        length: usize::try_from(end.checked_sub(address)?).ok()?,
        file_offset,
        library,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_c_librarys_text_counts() {
        let line = "7f00a000-7f00c000 r-xp 00026000 fd:01 123   /usr/lib/libc.so.6";
        let text = parse(line);
        assert!(text.is_some_and(|text| text.address == 0x7f00_a000
            && text.length == 0x2000
            && text.file_offset == 0x26000));
        for other in [
            "7f00a000-7f00c000 r--p 00026000 fd:01 123   /usr/lib/libc.so.6",
            "7f00a000-7f00c000 r-xp 00026000 fd:01 123   /usr/lib/libcrypt.so.1",
            "7f00a000-7f00c000 r-xp 00000000 00:00 0",
        ] {
            assert!(parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn differences_are_found_across_blocks() {
        let left = vec![0; 10_000];
        let mut right = left.clone();
        for index in [0, 4_095, 4_096, 9_999] {
            right[index] = 1;
        }
        let found: Vec<_> = differences(&left, &right).collect();
        assert_eq!(found, [0, 4_095, 4_096, 9_999]);
    }

    #[test]
    fn a_process_nobody_traces_has_none() -> Result<()> {
        let found = Breakpoints::read(std::process::id())?;
        assert!(found.offsets.is_empty(), "{:x?}", found.offsets);
        Ok(())
    }
}
