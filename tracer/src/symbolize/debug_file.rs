//! Separate debug files: where they are, and whether they are the right ones.
//!
//! Every path is resolved inside the root it was found in, so that a symbolic link of the target's
//! cannot lead out of it, and only regular files are opened.

use super::dwarf::has_debug_info;
use super::elf::Elf;
use super::unknown::hex;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where distributions put debug files.
const DEBUG_DIRECTORY: &str = "usr/lib/debug";
/// Bytes of a file whose checksum is worth computing.
const MAX_CHECKED_SIZE: u64 = 8 << 30;

/// The directory trees that debug files are looked for in, in this order: first the target's own
/// root, then the host's.
#[derive(Debug, Default)]
pub struct DebugRoots {
    roots: Vec<OwnedFd>,
}

impl DebugRoots {
    /// No trees: only what is in the module itself.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a tree by its open directory, as `/proc/PID/root` gives it.
    #[must_use]
    pub fn with(mut self, root: impl Into<OwnedFd>) -> Self {
        self.roots.push(root.into());
        self
    }

    /// Adds the tree at a path of this process, `/` for the host's.
    ///
    /// # Errors
    /// When it cannot be opened as a directory.
    pub fn with_path(self, root: &Path) -> io::Result<Self> {
        let root = rustix::fs::openat(
            CWD,
            root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(self.with(root))
    }
}

/// A debug file, and the one it shares some of its contents with, if any.
#[derive(Debug)]
pub(super) struct DebugFile {
    pub(super) elf: Elf,
    pub(super) supplementary: Option<Elf>,
}

/// Finds the separate debug file of a module at `path` (as the target sees it), by build id, then
/// by debug link.
pub(super) fn find(module: &Elf, path: &Path, roots: &DebugRoots) -> Option<DebugFile> {
    by_build_id(module, roots)
        .or_else(|| by_debug_link(module, path, roots))
        .map(|found| DebugFile {
            supplementary: supplementary(&found.elf, &found.path, roots),
            elf: found.elf,
        })
}

/// Finds the file that `elf`, itself at `path`, shares debug information with (`dwz` moves what
/// several files of a package have in common into one).
pub(super) fn supplementary(elf: &Elf, path: &Path, roots: &DebugRoots) -> Option<Elf> {
    let link = elf.contents(elf.section(".gnu_debugaltlink")?).ok()?;
    let end = link.iter().position(|&byte| byte == 0)?;
    let (name, build_id) = (Path::new(OsStr::from_bytes(&link[..end])), &link[end + 1..]);
    let beside = path.parent().unwrap_or(Path::new("/")).join(name);
    [Some(beside), build_id_path(build_id)]
        .into_iter()
        .flatten()
        .find_map(|path| {
            first(&path, roots, |elf| {
                elf.build_id().is_some_and(|id| id == build_id)
            })
        })
}

struct Found {
    elf: Elf,
    path: PathBuf,
}

fn by_build_id(module: &Elf, roots: &DebugRoots) -> Option<Found> {
    let build_id = module.build_id()?;
    let path = build_id_path(build_id)?;
    let elf = first(&path, roots, |elf| {
        elf.build_id() == Some(build_id) && is_useful(elf)
    })?;
    Some(Found { elf, path })
}

fn build_id_path(build_id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = build_id.split_first()?;
    if rest.is_empty() {
        return None;
    }
    Some(Path::new(DEBUG_DIRECTORY).join(format!(
        ".build-id/{}/{}.debug",
        hex(&[*first]),
        hex(rest)
    )))
}

fn by_debug_link(module: &Elf, path: &Path, roots: &DebugRoots) -> Option<Found> {
    let link = module.contents(module.section(".gnu_debuglink")?).ok()?;
    let end = link.iter().position(|&byte| byte == 0)?;
    let name = &link[..end];
    // The checksum follows at the next multiple of four.
    let checksum = link.get((end + 4) & !3..)?.first_chunk::<4>()?;
    let checksum = u32::from_le_bytes(*checksum);
    // A name, not a path.
    if name.is_empty() || name.contains(&b'/') || name == b".." {
        return None;
    }
    let name = OsStr::from_bytes(name);
    let directory = path.parent()?;
    let in_debug_directory =
        Path::new(DEBUG_DIRECTORY).join(directory.strip_prefix("/").unwrap_or(directory));
    [
        directory.join(name),
        directory.join(".debug").join(name),
        in_debug_directory.join(name),
    ]
    .into_iter()
    .find_map(|path| {
        let elf = first(&path, roots, |elf| {
            let same_build = module.build_id().is_none() || elf.build_id() == module.build_id();
            same_build && is_useful(elf) && has_checksum(elf, checksum)
        })?;
        Some(Found { elf, path })
    })
}

/// The first file of this path in the roots that is an ELF file and the right one.
fn first(path: &Path, roots: &DebugRoots, is_right: impl Fn(&Elf) -> bool) -> Option<Elf> {
    roots
        .roots
        .iter()
        .filter_map(|root| Elf::parse(open_in(root, path).ok()?.into()).ok())
        .find(is_right)
}

fn open_in(root: &OwnedFd, path: &Path) -> io::Result<File> {
    // Only named at first: opening a device or a pipe can have effects, or hang.
    let place = rustix::fs::openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    File::open(format!("/proc/self/fd/{}", place.as_fd().as_raw_fd()))
}

fn is_useful(elf: &Elf) -> bool {
    has_debug_info(elf) || elf.section(".symtab").is_some_and(|s| s.has_contents())
}

fn has_checksum(elf: &Elf, expected: u32) -> bool {
    if elf.len() > MAX_CHECKED_SIZE {
        return false;
    }
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    let mut offset = 0;
    while offset < elf.len() {
        match elf.image().read_at(&mut buffer, offset) {
            Ok(0) | Err(_) => return false,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                offset += count as u64;
            }
        }
    }
    hasher.finalize() == expected
}
