//! Names fit for people: demangled, as UTF-8, and capped.
//!
//! Names come from files of the target: they may be endless, or expand to something endless. What in them
//! would steer a terminal stays, and is escaped where it is shown.

use std::fmt::{self, Write};

/// Bytes a name may have, mangled or not. The longest real ones, nested templates and futures,
/// have a few thousand.
pub(super) const MAX_NAME: usize = 8192;

/// A symbol name as in the file, as UTF-8 and capped.
pub(super) fn clean_symbol(raw: &[u8]) -> String {
    let mut name = Capped::default();
    for chunk in raw.utf8_chunks() {
        if name.write_str(chunk.valid()).is_err() {
            break;
        }
        if !chunk.invalid().is_empty() && name.write_char(char::REPLACEMENT_CHARACTER).is_err() {
            break;
        }
    }
    name.finish()
}

/// A source path or any other text of the file, as UTF-8 and capped.
pub(super) fn clean_text(raw: &str) -> String {
    clean_symbol(raw.as_bytes())
}

/// The demangled name; the name itself where it is not mangled.
///
/// Rust loses its hashes and disambiguators. C++ keeps parameters: they tell overloads apart.
pub(crate) fn demangle(symbol: &str) -> String {
    demangle_rust(symbol)
        .or_else(|| demangle_cpp(symbol))
        .unwrap_or_else(|| symbol.to_owned())
}

/// Whether the name is a mangled one.
pub(super) fn is_mangled(symbol: &str) -> bool {
    symbol.starts_with("_R") || symbol.starts_with("_Z")
}

fn demangle_rust(symbol: &str) -> Option<String> {
    // Rust's legacy scheme looks like C++, but for the hash at its end.
    if !symbol.starts_with("_R") && !has_legacy_hash(symbol) {
        return None;
    }
    let demangled = rustc_demangle::try_demangle(symbol).ok()?;
    let mut name = Capped::default();
    // An error is the cap, and what fits is kept.
    let _ = write!(name, "{demangled:#}");
    Some(name.finish()).filter(|name| !name.is_empty())
}

/// `17h`, sixteen hex digits and `E`, at the end or before a suffix such as `.llvm.123`.
fn has_legacy_hash(symbol: &str) -> bool {
    const HASH: &str = "17h";
    // Dots alone do not end the name: `..` stands for `::`.
    let hash = symbol
        .rfind(HASH)
        .and_then(|at| symbol.get(at + HASH.len()..));
    symbol.starts_with("_ZN")
        && hash
            .and_then(|hash| hash.split_at_checked(16))
            .is_some_and(|(hash, end)| {
                let ends = end == "E" || end.starts_with("E.");
                ends && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
}

fn demangle_cpp(symbol: &str) -> Option<String> {
    if !symbol.starts_with("_Z") {
        return None;
    }
    let parsed = cpp_demangle::BorrowedSymbol::with_tail(symbol.as_bytes());
    let (parsed, tail) = parsed.ok()?;
    let tail = String::from_utf8_lossy(tail);
    // Compilers append what they did to a clone: `.cold`, `.part.0`, `.constprop.1`.
    let (unread, clone) = tail.split_at(tail.find('.').unwrap_or(tail.len()));
    if !unread.is_empty() && !has_bare_member(unread) {
        return None;
    }
    let mut options = cpp_demangle::DemangleOptions::default();
    if !unread.is_empty() {
        options = options.no_params().no_return_type();
    }
    let mut name = Capped::default();
    if parsed.structured_demangle(&mut name, &options).is_err() && !name.full {
        return None;
    }
    // An empty pack of arguments leaves its comma.
    name.text = name.text.replace(", >", ">");
    let mut name = unwrapped_thunk(name);
    if !clone.is_empty() {
        // As above: an error is the cap.
        let _ = write!(name, " [clone {clone}]");
    }
    Some(name.finish()).filter(|name| !name.is_empty())
}

/// Whether parameters hold `sr` before a template of `std`, as GCC writes `is_array<T>::value` in the type
/// of `make_shared`. It is no part of the ABI's grammar, and `cpp_demangle` stops before the parameters then
/// (gimli-rs/cpp_demangle#308): the name is whole without them.
fn has_bare_member(parameters: &str) -> bool {
    parameters.contains("srSt")
}

/// A thunk as c++filt has it: `non-virtual thunk to Derived::f()`.
fn unwrapped_thunk(mut name: Capped) -> Capped {
    const KINDS: [(&str, &str); 2] = [
        ("{virtual override thunk({offset(", "non-virtual thunk to "),
        (
            "{virtual override thunk({virtual offset(",
            "virtual thunk to ",
        ),
    ];
    for (before, kind) in KINDS {
        let inside = name.text.strip_prefix(before);
        let function = inside.and_then(|inside| inside.split_once(")}, "));
        // What was done to a clone may follow.
        let parts = function.and_then(|(_, function)| function.rsplit_once(")}"));
        if let Some((function, clone)) = parts {
            name.text = format!("{kind}{function}{clone}");
        }
    }
    name
}

/// Collects a name up to [`MAX_NAME`] bytes, then stops the writer.
#[derive(Default)]
struct Capped {
    text: String,
    full: bool,
}

impl Capped {
    fn finish(mut self) -> String {
        if self.full {
            self.text.push('…');
        }
        self.text
    }
}

impl Write for Capped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.full || self.text.len() + character.len_utf8() > MAX_NAME {
                self.full = true;
                return Err(fmt::Error);
            }
            self.text.push(character);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_NAME, clean_symbol, demangle};

    #[test]
    fn rust_names_lose_hashes_and_disambiguators() {
        for (mangled, name) in [
            ("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"),
            (
                "_ZN4core3fmt5write17h0123456789abcdefE.llvm.1234",
                "core::fmt::write",
            ),
            (
                "_ZN52_$LT$alloc..string..String$u20$as$u20$fmt..Debug$GT$3fmt17h0123456789abcdefE",
                "<alloc::string::String as fmt::Debug>::fmt",
            ),
            ("_RNvC6_123foo3bar", "123foo::bar"),
            ("_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"),
        ] {
            assert_eq!(demangle(mangled), name);
        }
    }

    #[test]
    fn cpp_names_keep_parameters_and_say_what_a_clone_is() {
        for (mangled, name) in [
            ("_ZN3foo3barEi", "foo::bar(int)"),
            ("_Z3addIiET_S0_S0_", "int add<int>(int, int)"),
            ("_ZN3foo3barEi.cold", "foo::bar(int) [clone .cold]"),
            ("_Znwm", "operator new(unsigned long)"),
            (
                "_ZThn104_N4node7UDPWrap10OnSendDoneEi",
                "non-virtual thunk to node::UDPWrap::OnSendDone(int)",
            ),
            (
                "_ZTv0_n24_N2v84base18CheckMessageStreamD0Ev.part.0",
                "virtual thunk to v8::base::CheckMessageStream::~CheckMessageStream() [clone .part.0]",
            ),
        ] {
            assert_eq!(demangle(mangled), name);
        }
    }

    #[test]
    fn names_are_read_also_where_the_parameters_are_not() {
        for (mangled, name) in [
            (
                "_ZSt11make_sharedIN4shop5OrderEJEESt10shared_ptrINSt9enable_ifIXntsrSt8is_arrayIT_E5valueES3_E4typeEEDpOT0_",
                "std::make_shared<shop::Order>",
            ),
            ("_Z3fooNOSUCH", "_Z3fooNOSUCH"),
        ] {
            assert_eq!(demangle(mangled), name);
        }
    }

    #[test]
    fn other_names_stay_as_they_are() {
        for name in ["malloc", "_Z", "_R", "_ZN", "main.cold", "_Zé", "_RNv"] {
            assert_eq!(demangle(name), name);
        }
    }

    #[test]
    fn only_bad_utf8_is_replaced() {
        assert_eq!(
            clean_symbol(b"a\x1b[2Jb\xffc\xe2\x80\xaed\n"),
            "a\x1b[2Jb\u{fffd}c\u{202e}d\n"
        );
    }

    #[test]
    fn endless_names_are_capped() {
        let long = clean_symbol(&vec![b'x'; 10 * MAX_NAME]);
        assert_eq!(long.len(), MAX_NAME + '…'.len_utf8());

        // Every parameter is a pair of the one before: 35 MB of text.
        let mut bomb = String::from("_Z1f1AIiiE");
        for last in "0123456789ABCDEFGHIJ".chars() {
            bomb.push_str(&format!("S_IS{last}_S{last}_E"));
        }
        let name = demangle(&bomb);
        assert!(name.starts_with("f("), "{name}");
        assert_eq!(name.len(), MAX_NAME + '…'.len_utf8());
    }
}
