//! The vDSO, which the kernel maps into every process, as a file.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use rustix::fs::MemfdFlags;

use super::MappedFile;
use super::maps::read_maps;

/// What maps and side-band call it.
pub(super) const NAME: &str = "[vdso]";

/// The vDSO as a mapped file. All 64-bit processes of a kernel have the same one, so it is the tracer's own.
pub(crate) fn vdso() -> Arc<MappedFile> {
    static FILE: LazyLock<Arc<MappedFile>> = LazyLock::new(|| {
        let file = copy().map_err(Into::into);
        Arc::new(MappedFile::new(PathBuf::from(NAME), file))
    });
    Arc::clone(&FILE)
}

/// Copies it into a file that has no name.
fn copy() -> io::Result<File> {
    let maps = read_maps("/proc/self/maps")?;
    let vdso = maps.iter().find(|line| line.name == NAME);
    let (start, end) = vdso
        .map(|line| (line.start, line.end))
        .ok_or(io::ErrorKind::NotFound)?;
    let mut bytes = vec![0; (end - start) as usize];
    File::open("/proc/self/mem")?.read_exact_at(&mut bytes, start)?;
    let mut file = File::from(rustix::fs::memfd_create("vdso", MemfdFlags::CLOEXEC)?);
    file.write_all(&bytes)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::read_elf;
    use crate::unwind::UnwindTable;

    #[test]
    fn it_has_unwind_rules() -> Result<(), Box<dyn std::error::Error>> {
        let vdso = vdso();
        let file = vdso.open()?;
        let table = UnwindTable::from_elf(&read_elf(&file))?;
        assert!(table.rows().len() > 10, "{table:?}");
        Ok(())
    }
}
