//! Names of Rust and C++ taken apart: what they are made of, without and with details.

use super::brackets::{OPERATOR, Scan, is_word, last_group, split};
use super::types::{owner, squeeze};

/// Types within types that are looked into.
pub(super) const DEEPEST: u32 = 8;
/// Tags and the like that are taken off one name.
const MAX_TAGS: usize = 4;

/// What of a name is shown beyond its crate, type and method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Detail {
    /// All modules and namespaces.
    pub(super) path: bool,
    /// The trait that a method belongs to.
    pub(super) traits: bool,
    /// Numbers of closures and lambdas, `impl` blocks, and what a compiler adds to a copy.
    pub(super) numbers: bool,
    /// Levels of generic arguments.
    pub(super) arguments: u32,
    /// Those of the function itself only, not of its type.
    pub(super) only_own_arguments: bool,
    /// Parameters of C++.
    pub(super) parameters: bool,
}

/// A part of a name: a crate, a module, a type, a function, or a marker such as `{closure}`.
#[derive(Clone, Debug, Default)]
struct Part {
    text: String,
    /// It is no name of its own but belongs to the one before.
    marker: bool,
    /// Generic arguments as they are to be shown, with their brackets.
    arguments: String,
}

/// A name as its parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    parts: Vec<Part>,
    /// Parameters as they are to be shown, with their brackets.
    parameters: String,
    /// A return type was cut off, and no parameters have come since.
    returns: bool,
}

/// Takes a function's name apart; `None` for what is none of Rust or C++.
pub(super) fn function(name: &str, detail: Detail) -> Option<Path> {
    let mut path = parse(name, detail, 0)?;
    if !detail.traits {
        path.without_calls();
    }
    Some(path)
}

/// A type's name, shortened.
pub(super) fn type_name(name: &str, detail: Detail, depth: u32) -> Option<String> {
    Some(parse(name, detail, depth)?.show(1, detail))
}

fn parse(name: &str, detail: Detail, depth: u32) -> Option<Path> {
    if depth > DEEPEST {
        return None;
    }
    let mut path = Path::default();
    for segment in split(name, "::") {
        path.push(segment, detail, depth)?;
    }
    // Only before parameters it is a return type.
    Some(path).filter(|path| !path.parts.is_empty() && !path.returns)
}

impl Path {
    /// Adds what stands between two `::`; `None` where it is nothing known.
    fn push(&mut self, segment: &str, detail: Detail, depth: u32) -> Option<()> {
        let segment = without_qualifiers(segment);
        let (segment, parameters) = match last_group(segment, '(') {
            // Not after a space: what is in brackets there is a remark.
            Some((before, inside)) if before.ends_with(|c| !is_space(c)) => (before, Some(inside)),
            _ => (segment, None),
        };
        let segment = without_qualifiers(segment);
        self.parameters.clear();
        if detail.parameters
            && let Some(inside) = parameters
        {
            self.parameters = format!("({})", squeeze(inside, 1, depth));
        }
        let (before, segment) = without_return_type(segment);
        if before {
            self.parts.clear();
            self.returns = true;
        }
        self.returns &= parameters.is_none();
        let (text, arguments) = match last_group(segment, '<') {
            Some((text, inside)) => (text.trim_end(), Some(inside)),
            None => (segment, None),
        };
        match (text, arguments) {
            ("", Some(inside)) => self.push_qualified(inside, detail, depth),
            ("", None) if self.parts.is_empty() => Some(()),
            ("", None) => None,
            (text, arguments) => self.push_named(text, arguments, detail, depth),
        }
    }

    /// `<T>`, `<T as Trait>`, `<impl Trait for T>`, or arguments after `::`.
    fn push_qualified(&mut self, inside: &str, detail: Detail, depth: u32) -> Option<()> {
        let implementation = inside.strip_prefix("impl ");
        if let (None, Some(last)) = (implementation, self.parts.last_mut()) {
            last.arguments = shown_arguments(inside, detail, depth);
            return Some(());
        }
        let (of, by) = match implementation {
            Some(inside) => match split(inside, " for ").as_slice() {
                [by, of] => (*of, Some(*by)),
                _ => (inside, None),
            },
            None => match split(inside, " as ").as_slice() {
                [of, by] => (*of, Some(*by)),
                _ => (inside, None),
            },
        };
        let (whole, of) = (of, owner(of));
        // A parameter says nothing, the trait does.
        let (of, by) = match by {
            Some(by) if is_parameter(of) => (by, None),
            by => (of, by),
        };
        self.parts = match parse_owner(of, detail, depth) {
            Some(path) => path.parts,
            None => vec![Part {
                text: squeeze(of, detail.arguments.max(1), depth),
                ..Part::default()
            }],
        };
        if let Some(by) = by
            && (detail.traits || (!detail.path && self.is_function()))
        {
            let mut by = type_name(owner(by), detail, depth + 1)?;
            if !detail.traits {
                by = split(&by, "::").pop().unwrap_or_default().to_owned();
            }
            let of = Path {
                parts: std::mem::take(&mut self.parts),
                ..Self::default()
            };
            let of = of.show(1, detail);
            let reference = if whole.starts_with('&') { "&" } else { "" };
            self.parts.push(Part {
                text: format!("<{reference}{of} as {by}>"),
                ..Part::default()
            });
        }
        Some(())
    }

    fn push_named(
        &mut self,
        text: &str,
        arguments: Option<&str>,
        detail: Detail,
        depth: u32,
    ) -> Option<()> {
        let text = text.trim();
        if let Some((before, _)) = last_group(text, '{') {
            // Of real names one marker is at a function.
            if before.ends_with('}') {
                return None;
            }
            if !before.is_empty() {
                self.push_named(before, None, detail, depth)?;
            }
            let text = text.get(before.len()..)?;
            if let Some(text) = marker(text, detail) {
                self.parts.push(Part {
                    text,
                    marker: true,
                    ..Part::default()
                });
            }
            return Some(());
        }
        // A function that returns a pointer to one, and whatever else is no name.
        if text.starts_with('(') && text != "(anonymous namespace)" {
            return None;
        }
        // Versions of a library that its users do not name.
        if matches!(text, "__cxx11" | "__1" | "__ndk1" | "__cxx1998" | "_V2") && !detail.path {
            return Some(());
        }
        let mut text = text;
        for _ in 0..MAX_TAGS {
            match last_group(text, '[') {
                Some((before, _)) if !before.is_empty() => text = before,
                _ => break,
            }
        }
        let mut part = Part {
            text: conversion(text, detail, depth).unwrap_or_else(|| text.to_owned()),
            ..Part::default()
        };
        if let Some(alias) = alias(text, arguments, self.parts.last()) {
            part.text = alias;
        } else if let Some(inside) = arguments {
            part.arguments = shown_arguments(inside, detail, depth);
        }
        self.parts.push(part);
        Some(())
    }

    /// Closures and lambdas without the method that is called on them: they are meant themselves.
    fn without_calls(&mut self) {
        const CALLS: [&str; 6] = [
            "call",
            "call_mut",
            "call_once",
            "operator()",
            "_FUN",
            "__invoke",
        ];
        let mut after_marker = false;
        self.parts.retain(|part| {
            let is_call = after_marker && CALLS.contains(&part.text.as_str());
            after_marker = part.marker || is_call;
            !is_call
        });
    }

    /// The crate or outermost namespace and the last `last` names, or all.
    pub(super) fn show(&self, last: usize, detail: Detail) -> String {
        let names: Vec<usize> = (0..self.parts.len())
            .filter(|&at| self.parts.get(at).is_some_and(|part| !part.marker))
            .collect();
        let from = names.len().saturating_sub(last);
        let from = names.get(from).copied().unwrap_or_default();
        let kept: Vec<&Part> = match names.first() {
            _ if detail.path => self.parts.iter().collect(),
            Some(&first) if first < from && !self.stands_alone(from) => {
                let own = self.parts.get(first).into_iter();
                own.chain(self.parts.iter().skip(from)).collect()
            }
            _ => self.parts.iter().skip(from).collect(),
        };
        let own = match detail.only_own_arguments {
            true => kept.iter().rposition(|part| !part.marker),
            false => None,
        };
        let kept: Vec<String> = kept
            .into_iter()
            .enumerate()
            .map(|(at, part)| match own {
                Some(own) if at != own => part.text.clone(),
                _ => format!("{}{}", part.text, part.arguments),
            })
            .collect();
        kept.join("::") + &self.parameters
    }

    /// Whether this is a function that stands for its type, as a handler does. A trait's method is not its own.
    fn is_function(&self) -> bool {
        let is_lower = |part: &Part| part.text.starts_with(|c: char| c.is_ascii_lowercase());
        self.parts.len() > 1 && self.parts.iter().all(|part| !part.marker && is_lower(part))
    }

    /// Whether what begins here is a type of Rust's own library, which people name without its crate.
    fn stands_alone(&self, from: usize) -> bool {
        let part = |at: usize| self.parts.get(at).map_or("", |part| part.text.as_str());
        let name = part(from);
        let is_type = name.starts_with(char::is_uppercase)
            && (name.len() == 1 || name.contains(char::is_lowercase));
        // Only C++ has constructors and destructors.
        let is_built = part(from + 1).trim_start_matches('~') == name;
        matches!(part(0), "core" | "alloc" | "std") && is_type && !is_built
    }
}

/// The type that methods belong to; `None` for what is no path.
fn parse_owner(of: &str, detail: Detail, depth: u32) -> Option<Path> {
    let first = of.chars().next()?;
    let is_path = is_word(first) || (first == '<' && of.contains("::"));
    let path = parse(of, detail, depth + 1).filter(|_| is_path)?;
    path.parts
        .iter()
        .all(|part| !part.text.contains(is_space))
        .then_some(path)
}

fn shown_arguments(inside: &str, detail: Detail, depth: u32) -> String {
    match detail.arguments {
        0 => String::new(),
        levels => match squeeze(inside, levels - 1, depth).trim_end() {
            "" => String::new(),
            inside => format!("<{inside}>"),
        },
    }
}

/// `{closure#1}` as `{closure}`, and so on; `None` for what is no part of a name that people know.
fn marker(text: &str, detail: Detail) -> Option<String> {
    if detail.numbers {
        return Some(match text.strip_prefix("{lambda(") {
            // Only what tells it from the others.
            Some(_) if !detail.parameters => match text.rsplit_once(")#") {
                Some((_, number)) => format!("{{lambda#{number}"),
                None => text.to_owned(),
            },
            _ => text.to_owned(),
        });
    }
    let inside = text.trim_matches(['{', '}']);
    let word = inside
        .split(['#', '(', ':', ' '])
        .next()
        .unwrap_or_default();
    let shown = match word {
        "impl" => return None,
        "closure" | "closure_env" => "closure",
        "async_fn" | "async_fn_env" | "async_block" | "async_block_env" => "async",
        "async_closure" | "async_closure_env" => "async",
        "coroutine" | "coroutine_env" | "gen_block" | "gen_block_env" => "coroutine",
        "vtable.shim" | "shim" => "shim",
        "lambda" => "lambda",
        _ => return Some(text.to_owned()),
    };
    Some(format!("{{{shown}}}"))
}

/// `string` for `basic_string<char, …>`, and so on for all of `std` that has a name of its own; also
/// where it is the constructor's or destructor's name.
fn alias(text: &str, arguments: Option<&str>, before: Option<&Part>) -> Option<String> {
    if let Some(of) = before.map(|part| part.text.as_str())
        && let Some(bare) = text.trim_start_matches('~').strip_prefix("basic_")
        && (of == bare || of.strip_prefix('w') == Some(bare))
    {
        let tilde = if text.starts_with('~') { "~" } else { "" };
        return Some(format!("{tilde}{of}"));
    }
    if before?.text != "std" {
        return None;
    }
    let bare = text.strip_prefix("basic_")?;
    match split(arguments?, ",").first()?.trim() {
        "char" => Some(bare.to_owned()),
        "wchar_t" => Some(format!("w{bare}")),
        _ => None,
    }
}

/// `operator std::string`, with the type shortened.
fn conversion(text: &str, detail: Detail, depth: u32) -> Option<String> {
    let of = text.strip_prefix(OPERATOR)?.strip_prefix(' ')?;
    let allocates = of.starts_with("new") || of.starts_with("delete");
    (!allocates).then(|| format!("{OPERATOR} {}", squeeze(of, detail.arguments, depth)))
}

/// Without `const` and the like behind the parameters, and tags of an ABI.
fn without_qualifiers(mut segment: &str) -> &str {
    const QUALIFIERS: [&str; 6] = [" const", " volatile", " noexcept", " &&", " &", " restrict"];
    for _ in 0..MAX_TAGS {
        let known = QUALIFIERS.iter().find_map(|one| segment.strip_suffix(one));
        let tag = last_group(segment, '[');
        let shorter = match (known, tag) {
            (Some(shorter), _) => shorter,
            (None, Some((before, tag))) if tag.starts_with("abi:") => before,
            _ => break,
        };
        segment = shorter;
    }
    segment
}

/// Cuts what stands before the last space, the return type, and says whether there was one.
fn without_return_type(segment: &str) -> (bool, &str) {
    let scan = Scan::of(segment);
    let end = match segment.rfind(OPERATOR) {
        Some(at) if scan.is_outside(at) => at,
        _ => segment.trim_end().len(),
    };
    let mut spaces = segment.match_indices(' ').map(|(at, _)| at);
    let last = spaces
        .by_ref()
        .filter(|&at| at < end && scan.is_outside(at))
        // `f<int> <char>`: arguments may stand apart.
        .filter(|&at| !segment.get(at..).is_some_and(|rest| rest.starts_with(" <")))
        .last();
    match last.and_then(|at| segment.get(at + 1..)) {
        // The type may say that it is a pointer or reference.
        Some(name) => (true, name.trim_start_matches(['*', '&'])),
        None => (false, segment),
    }
}

fn is_parameter(name: &str) -> bool {
    name == "Self" || (name.len() == 1 && name.starts_with(|c: char| c.is_ascii_uppercase()))
}

const fn is_space(c: char) -> bool {
    c == ' '
}
