//! A terminal whose screen can be read: tmux, Debian's package of that name.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::process::run;
use crate::wait;

/// A terminal with a shell in it, until it is dropped.
#[derive(Debug)]
pub struct Terminal {
    folder: TempDir,
}

impl Terminal {
    /// A terminal of this size. Its shell is in [`Self::folder`].
    ///
    /// # Errors
    /// tmux cannot be started.
    pub fn new(columns: u16, rows: u16) -> Result<Self> {
        let terminal = Self {
            folder: TempDir::new()?,
        };
        std::fs::create_dir(terminal.folder())?;
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let folder = terminal.folder();
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
            "-c",
            folder.to_str().context("the folder is UTF-8")?,
            "env",
            "PS1=$ ",
            "sh",
        ])?;
        Ok(terminal)
    }

    /// An empty folder, which the shell begins in.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Runs tmux on this terminal; what it prints.
    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("tmux");
        command
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8")
            .arg("-u")
            .arg("-S")
            .arg(self.folder.path().join("socket"));
        let ended =
            run(command.args(arguments), b"").context("needs tmux: apt-get install tmux")?;
        ended.expect_code(0)?;
        Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
    }

    /// Types text, as it is.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn write(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(drop)
    }

    /// Presses a key by its name: `Enter`, `Escape`, `C-c`.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn press(&self, key: &str) -> Result<()> {
        self.tmux(&["send-keys", key]).map(drop)
    }

    /// Has the shell run a command.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn run(&self, command: &str) -> Result<()> {
        self.write(command)?;
        self.press("Enter")
    }

    /// Changes its size.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows])
            .map(drop)
    }

    /// What it shows now.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Whether a program has its other screen, and whether the cursor is shown.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn flags(&self) -> Result<(bool, bool)> {
        let flags = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"])?;
        let flags = flags.trim();
        Ok((flags.starts_with('1'), flags.ends_with('1')))
    }

    /// Waits until `wanted` accepts the screen, and returns it.
    ///
    /// # Errors
    /// It never does; the error carries the last screen.
    pub fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let shown = wait::until(what, || {
            last = self.screen()?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        shown.with_context(|| format!("the screen was\n{last}"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It fails only where the server is gone.
        let _ = self.tmux(&["kill-server"]);
    }
}
