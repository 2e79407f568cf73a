//! Types, where names show them.

use super::brackets::{group_end, is_word, split};
use super::path::{DEEPEST, Detail, type_name};

/// What a method is called by that belongs to this type: the type without references and bounds.
pub(super) fn owner(mut of: &str) -> &str {
    loop {
        of = of.trim();
        let shorter = ["&", "*const ", "*mut ", "mut ", "dyn ", "impl ", "unsafe "]
            .iter()
            .find_map(|prefix| of.strip_prefix(prefix));
        let shorter = shorter.or_else(|| {
            let lifetime = of.strip_prefix('\'')?;
            Some(lifetime.split_once(' ')?.1)
        });
        match shorter {
            Some(shorter) => of = shorter,
            None => break,
        }
    }
    if of.starts_with("for<")
        && let Some((_, after)) = of.split_once("> ")
    {
        return owner(after);
    }
    if of.starts_with("fn(") || of.starts_with("extern ") {
        return "fn";
    }
    split(of, " + ").first().copied().unwrap_or(of)
}

/// Types as text with every path in them shortened, and brackets only `levels` deep. What is too deep
/// within others is `_`.
pub(super) fn squeeze(text: &str, levels: u32, depth: u32) -> String {
    if depth >= DEEPEST {
        return "_".to_owned();
    }
    let mut shown = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let path = path_end(rest);
        if first == '<' && path == 0 {
            let end = group_end(rest);
            let inside = rest.get(1..end).unwrap_or_default();
            let inside = inside.strip_suffix('>').unwrap_or(inside);
            if levels > 0 {
                shown.push('<');
                shown.push_str(&squeeze(inside, levels - 1, depth + 1));
                shown.push('>');
            }
            rest = rest.get(end..).unwrap_or_default();
            continue;
        }
        if path == 0 {
            shown.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        let (path, after) = rest.split_at(path);
        let detail = Detail {
            arguments: levels,
            ..Detail::default()
        };
        shown.push_str(&type_name(path, detail, depth + 1).unwrap_or_else(|| path.to_owned()));
        rest = after;
    }
    tidied(&shown)
}

/// Bytes of the path that begins here, with its arguments; 0 where none does.
fn path_end(text: &str) -> usize {
    let mut end = 0;
    loop {
        let rest = text.get(end..).unwrap_or_default();
        let word: usize = rest
            .chars()
            .take_while(|c| is_word(*c))
            .map(char::len_utf8)
            .sum();
        end += match rest.chars().next() {
            _ if word > 0 => word,
            Some('<') if end > 0 => group_end(rest),
            // `<T as Trait>::method`.
            Some('<') => match group_end(rest) {
                group
                    if rest
                        .get(group..)
                        .is_some_and(|after| after.starts_with("::")) =>
                {
                    group
                }
                _ => return 0,
            },
            Some('{') => group_end(rest),
            Some(':') if rest.starts_with("::") && end > 0 => 2,
            _ => return end,
        };
    }
}

/// Without arguments that are what everybody takes.
fn tidied(types: &str) -> String {
    let mut types = types.replace(" >", ">");
    for usual in [
        ", std::allocator",
        ", std::char_traits",
        ", std::default_delete",
        ", std::less",
        ", Global",
    ] {
        let mut from = 0;
        while let Some(at) = types.get(from..).and_then(|rest| rest.find(usual)) {
            let begin = from + at;
            let mut end = begin + usual.len();
            let rest = types.get(end..).unwrap_or_default();
            if rest.starts_with('<') {
                end += group_end(rest);
            } else if rest.starts_with(is_word) || rest.starts_with("::") {
                from = end;
                continue;
            }
            types.replace_range(begin..end, "");
            from = begin;
        }
    }
    types
}
