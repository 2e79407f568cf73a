//! Suppressions: stacks that are known and not to be reported.
//!
//! Two formats are read, because people have files in them: LeakSanitizer's (`leak:pattern`) and
//! valgrind's for memcheck. Ours are written in the first, which is the simpler one. A stack here is
//! the whole of it, with the allocator's frames; see [`frames`].

mod lsan;
mod memcheck;
mod pattern;
#[cfg(test)]
mod tests;

use crate::profile::{FrameRules, Profile, Sample};

pub use lsan::write;

/// What is wrong with a file of suppressions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct SuppressionError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

/// A set of suppressions.
#[derive(Clone, Debug, Default)]
pub struct Suppressions {
    list: Vec<Suppression>,
}

/// One suppression.
#[derive(Clone, Debug)]
pub struct Suppression {
    /// Its name in valgrind's format, its pattern in LeakSanitizer's.
    pub name: String,
    /// The line it begins on, from 1.
    pub line: usize,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    /// Function, source file or module of any frame.
    AnyFrame(pattern::Pattern),
    /// The frames from the leaf on.
    FromLeaf(Vec<memcheck::FramePattern>),
}

/// What suppressions know of a frame; what is not known is empty or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SuppressionFrame<'a> {
    /// Demangled name.
    pub function: &'a str,
    /// Name as in the object file.
    pub system_name: &'a str,
    /// Source file.
    pub file: &'a str,
    /// Line in it.
    pub line: u32,
    /// Path of the program or library.
    pub module: &'a str,
    /// It is part of an allocator.
    pub allocator: bool,
}

/// The frames of a sample as suppressions see them, leaf first.
#[must_use]
pub fn frames<'a>(profile: &'a Profile, sample: &Sample) -> Vec<SuppressionFrame<'a>> {
    let mut frames = Vec::new();
    for &location in &sample.locations {
        let Some(location) = profile.location(location) else {
            continue;
        };
        let mapping = location
            .mapping
            .and_then(|index| profile.mappings.get(index));
        for line in &location.lines {
            let Some(function) = profile.functions.get(line.function) else {
                continue;
            };
            frames.push(SuppressionFrame {
                function: &function.name,
                system_name: &function.system_name,
                file: &function.file,
                line: line.line,
                module: mapping.map_or("", |mapping| &mapping.path),
                allocator: FrameRules::allocators().hides(function),
            });
        }
    }
    frames
}

impl Suppressions {
    /// Reads a file in either format: valgrind's where a line is a `{` alone.
    ///
    /// # Errors
    /// The first line that is not in the format, and why.
    pub fn parse(text: &str) -> Result<Self, SuppressionError> {
        let list = if text.lines().any(|line| line.trim() == "{") {
            memcheck::parse(text)?
        } else {
            lsan::parse(text)?
        };
        Ok(Self { list })
    }

    /// Adds a pattern of LeakSanitizer's, without its `leak:`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add_pattern(&mut self, pattern: &str) -> Result<(), String> {
        self.list.push(lsan::suppression(pattern, 0)?);
        Ok(())
    }

    /// Adds those of another set.
    pub fn extend(&mut self, other: Self) {
        self.list.extend(other.list);
    }

    /// The suppressions, in their order.
    #[must_use]
    pub fn list(&self) -> &[Suppression] {
        &self.list
    }

    /// The first suppression that matches a stack, leaf first.
    #[must_use]
    pub fn matching(&self, stack: &[SuppressionFrame<'_>]) -> Option<&Suppression> {
        self.list.get(self.position(stack)?)
    }

    /// The places in the list of all suppressions that match a stack, leaf first.
    pub fn positions(&self, stack: &[SuppressionFrame<'_>]) -> impl Iterator<Item = usize> {
        let list = self.list.iter().enumerate();
        list.filter_map(|(at, suppression)| suppression.matches(stack).then_some(at))
    }

    /// The place in the list of the first suppression that matches a stack, leaf first.
    #[must_use]
    pub fn position(&self, stack: &[SuppressionFrame<'_>]) -> Option<usize> {
        let mut list = self.list.iter();
        list.position(|suppression| suppression.matches(stack))
    }
}

impl Suppression {
    /// Whether it matches a stack, leaf first.
    #[must_use]
    pub fn matches(&self, stack: &[SuppressionFrame<'_>]) -> bool {
        match &self.matcher {
            Matcher::AnyFrame(pattern) => lsan::matches(pattern, stack),
            Matcher::FromLeaf(patterns) => memcheck::matches(patterns, stack),
        }
    }
}
