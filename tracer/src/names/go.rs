//! Names of Go: `net/http.(*conn).serve`.

/// Whether a name looks like one of Go: the path of a package, or a pointer's method.
pub(super) fn is_go(name: &str) -> bool {
    name.contains(".(*") || (name.contains('/') && package_end(name).is_some())
}

/// Where the name begins behind the package's folders, `None` where it has none.
fn package_end(name: &str) -> Option<usize> {
    let path = name.split(['(', '[', '{', '<']).next()?;
    let slash = path.rfind('/')?;
    let folders = path.get(..slash)?;
    let plain = |c: char| c.is_alphanumeric() || "_-.~%/".contains(c);
    let function = path.get(slash + 1..)?;
    (folders.chars().all(plain) && !folders.starts_with(['/', '.']) && function.contains('.'))
        .then_some(slash + 1)
}

/// Without folders before the package, its major version and type arguments, as Go's own pprof shows it.
pub(super) fn short(name: &str) -> String {
    // What the compiler makes for a type: `type..eq.[2]string`.
    if name.starts_with("type.") {
        return name.to_owned();
    }
    let Some(from) = package_end(name) else {
        return without_arguments(name);
    };
    let own = name.get(from..).unwrap_or(name);
    let version = own.strip_prefix('v').map(|own| {
        let digits = own.bytes().take_while(u8::is_ascii_digit).count();
        own.split_at(digits)
    });
    let before = name
        .get(..from)
        .and_then(|path| path.trim_end_matches('/').rsplit('/').next());
    match (version, before) {
        // Of `example.com/shop/v2.Buy` the name is `shop.Buy`.
        (Some((digits, after)), Some(package)) if !digits.is_empty() && after.starts_with('.') => {
            without_arguments(&format!("{package}{after}"))
        }
        _ => without_arguments(own),
    }
}

fn without_arguments(name: &str) -> String {
    let mut open = 0_usize;
    let mut shown = String::new();
    for c in name.chars() {
        match c {
            '[' => open += 1,
            ']' if open > 0 => open -= 1,
            c if open == 0 => shown.push(c),
            _ => {}
        }
    }
    shown
}
