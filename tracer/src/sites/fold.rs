//! What is left out of a stack for people, and what is said in its place.

use super::crates::{crate_of, file_name};
use super::{Kind, SiteFrame, Sites};

/// Names of groups that one folded line says.
const SHOWN: usize = 3;

/// The group that a frame belongs to, for people: a crate, `std`, `libc`, a library, the program.
#[must_use]
pub fn group<'a>(sites: &'a Sites<'_>, frame: &SiteFrame) -> &'a str {
    let path = sites.paths.get(frame.function).map_or("", |path| path);
    let mapping = frame
        .mapping
        .and_then(|index| sites.profile.mappings.get(index));
    let module = mapping.map_or("", |mapping| file_name(mapping));
    let module = module.split(".so").next().unwrap_or(module);
    match frame.kind {
        Kind::Nothing => "nothing known",
        Kind::Runtime if !frame.is_named && sites.is_in_no_file(frame) => "code made at run time",
        Kind::Standard | Kind::Container | Kind::Allocator
            if matches!(crate_of(path), Some("core" | "alloc" | "std")) =>
        {
            "std"
        }
        _ => match crate_of(path) {
            Some(name) if frame.is_named => name,
            _ if module.is_empty() => "code without a file",
            _ => module,
        },
    }
}

/// `31 frames of tokio, std`: the groups in the order of their first frame, the most frequent ones.
#[must_use]
pub fn groups<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for name in names {
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = counts.len() > SHOWN;
    let names: Vec<&str> = counts.iter().take(SHOWN).map(|(name, _)| *name).collect();
    let more = if more { " and others" } else { "" };
    format!("{}{more}", names.join(", "))
}
