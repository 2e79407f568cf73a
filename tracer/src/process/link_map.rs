//! In which order a running process's modules were loaded, from its dynamic loader's own list: a symbol
//! that several define is the first one's.
//!
//! Reads the process's memory, and takes nothing in it for granted.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

/// Modules that are followed at most: the list may lead in a circle.
const MAX_MODULES: usize = 65_536;
/// Program headers and dynamic entries that are looked at.
const MAX_ENTRIES: u64 = 4_096;

const AT_PHDR: u64 = 3;
const AT_PHNUM: u64 = 5;
const PT_DYNAMIC: u32 = 2;
const PT_PHDR: u32 = 6;
const DT_DEBUG: u64 = 21;

/// The load addresses of a process's modules in the order of loading, the program first. `None` where it is
/// statically linked, ends, or may not be read.
#[must_use]
pub fn load_order(pid: u32) -> Option<Vec<u64>> {
    let auxv = fs::read(format!("/proc/{pid}/auxv")).ok()?;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let value = |wanted| {
        let mut pairs = auxv.as_chunks::<16>().0.iter().filter_map(|pair| {
            let (key, value) = pair.split_at(8);
            Some((word(key)?, word(value)?))
        });
        pairs.find_map(|(key, value)| (key == wanted).then_some(value))
    };
    let read = |address: u64| {
        let mut bytes = [0; 8];
        memory.read_exact_at(&mut bytes, address).ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    let headers = value(AT_PHDR)?;
    let count = value(AT_PHNUM)?.min(MAX_ENTRIES);
    let (mut base, mut dynamic) = (0, None);
    for number in 0..count {
        let header = headers.checked_add(number * 56)?;
        let address = || read(header.checked_add(16)?);
        match read(header)? as u32 {
            PT_PHDR => base = headers.wrapping_sub(address()?),
            PT_DYNAMIC => dynamic = Some(address()?),
            _ => {}
        }
    }
    let dynamic = base.wrapping_add(dynamic?);
    let debug = (0..MAX_ENTRIES)
        .map_while(|number| {
            let entry = dynamic.checked_add(number * 16)?;
            let tag = read(entry).filter(|&tag| tag != 0)?;
            Some((tag, read(entry.checked_add(8)?)?))
        })
        .find_map(|(tag, value)| (tag == DT_DEBUG).then_some(value))?;
    let mut entry = read(debug.checked_add(8)?)?;
    let mut order = Vec::new();
    while entry != 0 && order.len() < MAX_MODULES {
        order.push(read(entry)?);
        entry = read(entry.checked_add(24)?)?;
    }
    (!order.is_empty()).then_some(order)
}

fn word(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_comes_first_and_its_libraries_follow() -> Result<(), Box<dyn std::error::Error>>
    {
        let pid = std::process::id();
        let order = load_order(pid).ok_or("no list")?;
        assert!(order.len() >= 3, "{order:x?}");
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let begins = |address: u64| format!("{address:x}-");
        let program = std::env::current_exe()?;
        let first = maps
            .lines()
            .find(|line| line.ends_with(&*program.to_string_lossy()))
            .ok_or("not mapped")?;
        assert!(first.starts_with(&begins(order[0])), "{first} {order:x?}");
        let libc = maps
            .lines()
            .find(|line| line.contains("libc.so"))
            .ok_or("no libc")?;
        assert!(order.iter().any(|&base| libc.starts_with(&begins(base))));
        Ok(())
    }

    #[test]
    fn a_process_that_is_gone_has_none() {
        assert_eq!(load_order(u32::MAX), None);
    }
}
