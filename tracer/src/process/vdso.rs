//! The vDSO, which the kernel maps into every process, as a file.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use procfs::process::{MMapPath, Process};
use rustix::fs::MemfdFlags;

use super::MappedFile;

/// What maps and side-band call it.
pub(super) const NAME: &str = "[vdso]";

/// The vDSO as a mapped file. All 64-bit processes of a kernel have the same one, so it is the tracer's own.
pub(crate) fn vdso() -> Arc<MappedFile> {
    static FILE: LazyLock<Arc<MappedFile>> = LazyLock::new(|| {
        let file = copy().map_err(|error| error.to_string());
        Arc::new(MappedFile::new(PathBuf::from(NAME), file))
    });
    Arc::clone(&FILE)
}

/// Copies it into a file that has no name.
fn copy() -> io::Result<File> {
    let maps = Process::myself().and_then(|own| own.maps());
    let maps = maps.map_err(io::Error::other)?;
    let vdso = maps.iter().find(|map| map.pathname == MMapPath::Vdso);
    let (start, end) = vdso.ok_or(io::ErrorKind::NotFound)?.address;
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
        let file = vdso.file.clone()?;
        let table = UnwindTable::from_elf(&read_elf(&file))?;
        assert!(table.rows().len() > 10, "{table:?}");
        Ok(())
    }
}
