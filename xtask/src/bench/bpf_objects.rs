//! The eBPF programs and maps of a process, as the kernel tells about them.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use aya::maps::ArrayOfMaps;
use aya::maps::Map;
use aya::maps::MapData;
use aya::maps::MapError;
use aya::maps::MapInfo;
use aya::maps::MapType;
use aya::programs::loaded_programs;

/// What a program has run so far while statistics were on.
pub(super) struct RunTime {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) time: Duration,
    pub(super) runs: u64,
}

/// The programs that the process holds.
pub(super) fn run_times(pid: u32) -> Result<Vec<RunTime>> {
    let ids = ids(pid, "prog_id:")?;
    // Other processes' programs may be gone between being listed and being asked.
    let programs = loaded_programs().filter_map(Result::ok);
    Ok(programs
        .filter(|program| ids.contains(&program.id()))
        .map(|program| RunTime {
            id: program.id(),
            name: short_name(program.name_as_str().unwrap_or_default()),
            time: program.run_time(),
            runs: program.run_count(),
        })
        .collect())
}

/// A name without what tells apart the ways of attaching; the kernel keeps 15 characters.
fn short_name(name: &str) -> String {
    let name = name.strip_suffix("_multi").unwrap_or(name);
    name.strip_suffix("_mult").unwrap_or(name).to_owned()
}

/// Waits until the tracer is done with measuring itself: till then it has each program twice, and a
/// second set of maps.
pub(super) fn wait_for_one_set(pid: u32) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let start = Instant::now();
    loop {
        let programs = run_times(pid)?;
        let names: BTreeSet<_> = programs.iter().map(|program| &program.name).collect();
        if names.len() == programs.len() {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            bail!("process {pid} keeps several programs of one name");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Bytes of kernel memory that the maps of the process take, those in its maps of maps included.
pub(super) fn map_memory(pid: u32) -> Result<u64> {
    let mut maps = ids(pid, "map_id:")?;
    for id in maps.clone() {
        if MapInfo::from_id(id)?.map_type()? == MapType::ArrayOfMaps {
            maps.extend(inner_maps(id)?);
        }
    }
    maps.into_iter().map(memory).sum()
}

fn inner_maps(id: u32) -> Result<Vec<u32>> {
    let outer: ArrayOfMaps<MapData> = Map::ArrayOfMaps(MapData::from_id(id)?).try_into()?;
    let mut found = Vec::new();
    for index in 0..outer.len() {
        let inner: MapData = match outer.get(&index, 0) {
            Err(MapError::KeyNotFound) => continue,
            inner => inner?,
        };
        found.push(inner.info()?.id());
    }
    Ok(found)
}

/// Bytes that a map takes. Only its descriptor's file under /proc tells.
fn memory(id: u32) -> Result<u64> {
    let descriptor = MapInfo::from_id(id)?.fd()?;
    let number = descriptor.as_fd().as_raw_fd();
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    field(&text, "memlock:").with_context(|| format!("no memory in the map's file:\n{text}"))
}

/// Ids of one kind that the descriptors of a process name.
fn ids(pid: u32, name: &str) -> Result<BTreeSet<u32>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        // A descriptor may be closed meanwhile.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        found.extend(field::<u32>(&text, name));
    }
    Ok(found)
}

fn field<T: std::str::FromStr>(text: &str, name: &str) -> Option<T> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "pos:\t0\nmap_type:\t2\nmemlock:\t7340032\nmap_id:\t93\n";
        assert_eq!(field(text, "memlock:"), Some(7_340_032_u64));
        assert_eq!(field(text, "map_id:"), Some(93_u32));
        assert_eq!(field::<u32>(text, "prog_id:"), None);
    }

    #[test]
    fn names_do_not_tell_how_a_program_is_attached() {
        for name in ["free_entry", "free_entry_mult", "free_entry_multi"] {
            assert_eq!(short_name(name), "free_entry");
        }
    }
}
