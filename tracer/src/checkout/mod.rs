//! The git checkout that a report is read beside: which of its files a frame is in, and who last
//! touched a line.
//!
//! Read only. Names of files come from profiles and are not trusted: they lead nowhere outside of the
//! checkout, and git never takes them for anything but a path.

mod blame;

use std::path::{Component, Path, PathBuf};

pub(crate) use blame::BlameError;

/// A git work tree.
#[derive(Clone, Debug)]
pub(crate) struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// The work tree around a folder; `None` where there is none.
    #[must_use]
    pub(crate) fn around(folder: &Path) -> Option<Self> {
        let folder = folder.canonicalize().ok()?;
        let mut above = folder.ancestors();
        let root = above.find(|folder| folder.join(".git").exists())?;
        Some(Self {
            root: root.to_owned(),
        })
    }

    /// The path, relative to the root with `/`, of the file that a profile calls `file`; `None` where
    /// it is not in the checkout.
    ///
    /// A program that was built elsewhere has other folders before the same path: then the longest
    /// end of it counts that is a file here, if it has a folder at least. Packages that were fetched
    /// have such ends, too, so theirs are never looked for.
    #[must_use]
    pub(crate) fn locate(&self, file: &str) -> Option<String> {
        if file.is_empty() || crate::sites::is_package(file) {
            return None;
        }
        let path = Path::new(file);
        if path.is_absolute() && path.exists() {
            // It is what it says, here or elsewhere.
            let real = path.canonicalize().ok()?;
            return self.relative(real.strip_prefix(&self.root).ok()?);
        }
        let parts: Vec<_> = path
            .components()
            .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
            .collect();
        if parts.contains(&Component::ParentDir) {
            return None;
        }
        let whole = path.is_relative();
        // A name alone is in too many folders, except at the root of a relative path.
        let ends = 0..parts.len();
        let mut ends = ends.filter(|&at| (whole && at == 0) || parts.len() - at > 1);
        ends.find_map(|at| self.relative(&parts[at..].iter().collect::<PathBuf>()))
    }

    /// The path as text, if it is a file in the checkout, no link out of it and none of git's own.
    fn relative(&self, path: &Path) -> Option<String> {
        let real = self.root.join(path).canonicalize().ok()?;
        let real = real.strip_prefix(&self.root).ok()?;
        if real.starts_with(".git") || !self.root.join(real).is_file() {
            return None;
        }
        Some(real.to_str()?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::os::unix::fs::symlink;

    use super::Checkout;

    #[test]
    fn frames_are_found_wherever_the_program_was_built() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().canonicalize()?.join("project");
        for file in ["service/src/main.rs", "main.c", ".git/config", "src/lib.rs"] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap_or(&root))?;
            fs::write(path, "")?;
        }
        fs::write(folder.path().join("secret.rs"), "")?;
        symlink(folder.path(), root.join("out"))?;
        let checkout = Checkout::around(&root.join("service/src"))
            .ok_or_else(|| io::Error::other("no checkout"))?;
        let here = root.join("service/src/main.rs");
        for (file, expected) in [
            (&*here.to_string_lossy(), Some("service/src/main.rs")),
            ("service/src/main.rs", Some("service/src/main.rs")),
            ("./service/src/../src/main.rs", None),
            ("/build/1/service/src/main.rs", Some("service/src/main.rs")),
            ("main.c", Some("main.c")),
            ("/build/main.c", None),
            ("other.c", None),
            ("", None),
            ("../secret.rs", None),
            ("out/secret.rs", None),
            (".git/config", None),
            ("/build/.git/config", None),
            ("/home/me/.cargo/registry/src/x/serde-1.0/src/lib.rs", None),
            ("/build/src/lib.rs", Some("src/lib.rs")),
        ] {
            assert_eq!(checkout.locate(file).as_deref(), expected, "{file}");
        }
        let secret = folder.path().join("secret.rs");
        assert_eq!(checkout.locate(&secret.to_string_lossy()), None);
        Ok(())
    }

    #[test]
    fn without_git_there_is_no_checkout() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        // Unless temporary files are in a checkout themselves.
        let above = Checkout::around(folder.path().parent().unwrap_or(folder.path()));
        assert_eq!(Checkout::around(folder.path()).is_some(), above.is_some());
        Ok(())
    }
}
