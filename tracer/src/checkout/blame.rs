//! Who last touched a line, by `git blame --porcelain`.

use std::process::{Command, Stdio};

use super::Checkout;
use crate::check::Blame;

/// Why nobody can be named.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlameError {
    /// There is no git to ask.
    #[error("git cannot be run, so nobody can be named for a line: {0}")]
    NoGit(#[source] std::io::Error),
    /// It refused.
    #[error("git cannot name anybody for {path}:{line}: {reason}")]
    Refused {
        /// The file.
        path: String,
        /// The line.
        line: u32,
        /// What it said first.
        reason: String,
    },
}

impl Checkout {
    /// The commit that last touched a line of a file; `None` for a line that is not committed.
    ///
    /// # Errors
    /// There is no git, or it does not know the file.
    pub(crate) fn blame(&self, path: &str, line: u32) -> Result<Option<Blame>, BlameError> {
        let output = Command::new("git")
            .arg("-C")
            .arg(&self.root)
            // Git itself refuses a checkout of another user, whose configuration may name programs
            // to run; that is right, since this may run as root.
            .args(["-c", "core.fsmonitor=false", "--no-pager"])
            .args(["--literal-pathspecs", "blame", "--porcelain"])
            .arg("--no-textconv")
            .arg(format!("-L{line},{line}"))
            .args(["--", path])
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .output()
            .map_err(BlameError::NoGit)?;
        let refused = |reason: &str| BlameError::Refused {
            path: path.to_owned(),
            line,
            reason: reason.to_owned(),
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(refused(said.lines().next().unwrap_or("it said nothing")));
        }
        let blame = parse(&String::from_utf8_lossy(&output.stdout))
            .ok_or_else(|| refused("its answer has no commit"))?;
        let committed = blame.commit.bytes().any(|digit| digit != b'0');
        Ok(committed.then_some(blame))
    }
}

/// The first commit of the porcelain format: its id, then a key and a value on each line.
fn parse(text: &str) -> Option<Blame> {
    let mut lines = text.lines();
    let commit = lines.next()?.split(' ').next()?;
    if commit.len() < 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let (mut author, mut summary, mut seconds) = (String::new(), String::new(), None);
    for line in lines {
        match line.split_once(' ') {
            Some(("author", value)) => author = value.to_owned(),
            Some(("summary", value)) => summary = value.to_owned(),
            Some(("author-time", value)) => seconds = value.parse().ok(),
            _ => {}
        }
        if line.starts_with('\t') {
            break;
        }
    }
    Some(Blame {
        commit: commit.to_owned(),
        author,
        date: seconds.map(day).unwrap_or_default(),
        summary,
    })
}

/// The day of a time in seconds since the Unix epoch, in UTC.
fn day(seconds: u64) -> String {
    let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds));
    // A year that has more than four digits is none.
    let latest = 253_402_300_799;
    match time {
        Some(time) if seconds <= latest => {
            let text = humantime::format_rfc3339_seconds(time).to_string();
            text.chars().take(10).collect()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{day, parse};

    #[test]
    fn the_porcelain_format_is_read() {
        let text = "0123456789abcdef0123456789abcdef01234567 3 3 1\nauthor Ada L\n\
                    author-mail <a@b>\nauthor-time 1700000000\nsummary add a cache\n\
                    filename x.rs\n\tsummary of the line\n";
        let blame = parse(text);
        let blame = blame.as_ref().map(|b| (&*b.author, &*b.date, &*b.summary));
        assert_eq!(blame, Some(("Ada L", "2023-11-14", "add a cache")));
        for nonsense in ["", "x", "fatal: no such path", "\u{0}"] {
            assert!(parse(nonsense).is_none(), "{nonsense}");
        }
        assert_eq!(day(u64::MAX), "");
    }
}
