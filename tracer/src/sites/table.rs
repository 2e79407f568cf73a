//! The table of `table.txt`, read.

use std::sync::LazyLock;

use regex::bytes::{RegexSet, RegexSetBuilder};

use super::Kind;

/// The table as text, for whoever wants to read it.
const TEXT: &str = include_str!("table.txt");
/// Bytes that the patterns of one field may take compiled; measured, they take 1 MiB.
const SIZE: usize = 16 << 20;

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    Last,
    File,
    Module,
    Path,
    Program,
    Begin,
}

/// Rules by which frames have their kind.
#[derive(Debug)]
pub(super) struct Table {
    wrappers: Rows,
    wrappers_by_name: Rows,
    names: Rows,
    files: Rows,
    modules: Rows,
    paths: Rows,
    programs: Rows,
    begins: Rows,
    /// Containers and those that are made of them.
    inside: Vec<(&'static str, &'static str)>,
    /// Containers and what people call them.
    called: Vec<(&'static str, &'static str)>,
}

/// Patterns of one field with their kinds, the first that matches wins.
#[derive(Debug, Default)]
struct Rows {
    set: RegexSet,
    kinds: Vec<Kind>,
}

impl Rows {
    fn new(rows: Vec<(Kind, &str)>) -> Result<Self, regex::Error> {
        let patterns = rows.iter().map(|(_, pattern)| pattern);
        Ok(Self {
            // Names are mostly ASCII, and Unicode's tables make large automata.
            set: RegexSetBuilder::new(patterns)
                .unicode(false)
                .size_limit(SIZE)
                .build()?,
            kinds: rows.into_iter().map(|(kind, _)| kind).collect(),
        })
    }

    fn find(&self, text: &str) -> Option<Kind> {
        let first = self.set.matches(text.as_bytes()).into_iter().next()?;
        self.kinds.get(first).copied()
    }
}

/// Why the table can't be read; only a change of it can bring that about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the table: {reason}")]
struct TableError {
    line: usize,
    reason: String,
}

impl Table {
    /// The table that is built in.
    #[must_use]
    pub(super) fn built_in() -> &'static Self {
        #[expect(
            clippy::expect_used,
            reason = "constant text; every test of this room reads it"
        )]
        static TABLE: LazyLock<Table> =
            LazyLock::new(|| Table::parse(TEXT).expect("the table is sound"));
        &TABLE
    }

    fn parse(text: &'static str) -> Result<Self, TableError> {
        let mut rows: [Vec<(Kind, &str)>; 8] = Default::default();
        let (mut inside, mut called) = (Vec::new(), Vec::new());
        for (line, row) in (1..).zip(text.lines()) {
            let row = row.trim();
            if row.is_empty() || row.starts_with('#') {
                continue;
            }
            let wrong = |reason: &str| TableError {
                line,
                reason: reason.to_owned(),
            };
            let (kind, rest) = row
                .split_once(char::is_whitespace)
                .ok_or_else(|| wrong("no field"))?;
            let (field, pattern) = rest
                .trim_start()
                .split_once(char::is_whitespace)
                .ok_or_else(|| wrong("no pattern"))?;
            let pattern = pattern.trim_start();
            let names = match kind {
                "inside" => Some(&mut inside),
                "called" => Some(&mut called),
                _ => None,
            };
            if let Some(names) = names {
                names.push((field, pattern));
                continue;
            }
            let kind = kind_of(kind).ok_or_else(|| wrong("no kind of that name"))?;
            let field = field_of(field).ok_or_else(|| wrong("no field of that name"))?;
            let place = match (field, kind) {
                (Field::Last, Kind::Wrapper) => 0,
                (Field::Name, Kind::Wrapper) => 1,
                (Field::Name, _) => 2,
                (Field::File, _) => 3,
                (Field::Module, _) => 4,
                (Field::Path, _) => 5,
                (Field::Program, Kind::Runtime) => 6,
                (Field::Begin, Kind::Standard) => 7,
                (Field::Program, _) => return Err(wrong("`program` is for runtimes")),
                (Field::Begin, _) => return Err(wrong("`begin` is of the standard library")),
                (Field::Last, _) => return Err(wrong("`last` is for wrappers")),
            };
            rows[place].push((kind, pattern));
        }
        let compiled = |rows| {
            Rows::new(rows).map_err(|error| TableError {
                line: 0,
                reason: error.to_string(),
            })
        };
        let [
            wrappers,
            wrappers_by_name,
            names,
            files,
            modules,
            paths,
            programs,
            begins,
        ] = rows;
        Ok(Self {
            wrappers: compiled(wrappers)?,
            wrappers_by_name: compiled(wrappers_by_name)?,
            names: compiled(names)?,
            files: compiled(files)?,
            modules: compiled(modules)?,
            paths: compiled(paths)?,
            programs: compiled(programs)?,
            begins: compiled(begins)?,
            inside,
            called,
        })
    }

    /// Whether a function of this path (`alloc::vec::Vec::push`) is a wrapper.
    pub(super) fn is_wrapper(&self, path: &str) -> bool {
        let last = last_part(path);
        self.wrappers.find(last).is_some() || self.wrappers_by_name.find(path).is_some()
    }

    pub(super) fn by_name(&self, path: &str) -> Option<Kind> {
        self.names.find(path).or_else(|| self.begins.find(path))
    }

    /// Whether a function is how a program or a thread begins.
    pub(super) fn begins(&self, path: &str) -> bool {
        self.begins.find(path).is_some()
    }

    /// Whether a program, by the name of its file, is one that runs others' code.
    pub(super) fn is_runtime(&self, program: &str) -> bool {
        self.programs.find(program).is_some()
    }

    pub(super) fn by_file(&self, file: &str) -> Option<Kind> {
        self.files.find(file)
    }

    /// By the name of a module's file.
    pub(super) fn by_module(&self, module: &str) -> Option<Kind> {
        self.modules.find(module)
    }

    /// By the whole path of a module that is not the program.
    pub(super) fn by_path(&self, path: &str) -> Option<Kind> {
        self.paths.find(path)
    }

    /// Whether people know `outer` and not the `inner` container that it is made of. Both are short names.
    pub(super) fn is_made_of(&self, outer: &str, inner: &str) -> bool {
        let bare = |name: &str| {
            let name = name.split('<').next().unwrap_or(name);
            let last = name.rsplit("::").next().unwrap_or(name);
            (name.to_owned(), last.to_owned())
        };
        let ((outer, outer_last), (inner, inner_last)) = (bare(outer), bare(inner));
        self.inside
            .iter()
            .any(|&(i, o)| (i == inner || i == inner_last) && (o == outer || o == outer_last))
    }

    /// A container's short name as people know it: `std::deque<int>` for `std::_Deque_base<int>`.
    pub(super) fn called(&self, name: &str) -> String {
        let end = name.find('<').unwrap_or(name.len());
        let (bare, arguments) = name.split_at(end);
        let mut known = self.called.iter();
        let known = known.find(|(of, _)| *of == bare);
        match known.map(|(_, known)| (*known, known.strip_suffix("<>"))) {
            None => name.to_owned(),
            Some((_, Some(known))) => format!("{known}{arguments}"),
            Some((known, None)) => known.to_owned(),
        }
    }
}

/// The last part of a path that is no closure.
pub(super) fn last_part(path: &str) -> &str {
    let mut parts = path.rsplit("::");
    parts.find(|part| !part.starts_with('{')).unwrap_or(path)
}

fn kind_of(name: &str) -> Option<Kind> {
    Some(match name {
        "allocator" => Kind::Allocator,
        "wrapper" => Kind::Wrapper,
        "container" => Kind::Container,
        "standard" => Kind::Standard,
        "runtime" => Kind::Runtime,
        "system" => Kind::System,
        "dependency" => Kind::Dependency,
        "own" => Kind::Own,
        _ => return None,
    })
}

fn field_of(name: &str) -> Option<Field> {
    Some(match name {
        "name" => Field::Name,
        "last" => Field::Last,
        "file" => Field::File,
        "module" => Field::Module,
        "path" => Field::Path,
        "program" => Field::Program,
        "begin" => Field::Begin,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Table, last_part};
    use crate::sites::Kind;

    #[test]
    fn mistakes_in_a_table_are_found() {
        for (text, line) in [
            ("own name", 1),
            ("# a remark\n\nown name x\nowned name x", 4),
            ("own names x", 1),
            ("own last x", 1),
            ("own program x", 1),
            ("own begin x", 1),
            ("own name (", 0),
        ] {
            let error = Table::parse(text).map(|_| ()).map_err(|error| error.line);
            assert_eq!(error, Err(line), "{text}");
        }
    }

    #[test]
    fn the_first_rule_wins() {
        let table = Table::parse("own name ^a\nsystem name ^ab").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(table.by_name("ab"), Some(Kind::Own));
        assert_eq!(table.by_name("b"), None);
    }

    #[test]
    fn a_closure_belongs_to_its_function() {
        assert_eq!(last_part("a::f::{closure}"), "f");
        assert_eq!(last_part("f"), "f");
        assert_eq!(last_part("{closure}"), "{closure}");
    }
}
