//! Function names, one a line: what is shown for them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer::names::{NameStyle, Names, short};

fuzz_target!(|input: &str| {
    let names: Vec<&str> = input.lines().collect();
    let shown = Names::of(names.iter().map(|name| (*name, "")), NameStyle::Short);
    for one in &names {
        let name = short(one, "");
        assert!(name.is_empty() == one.is_empty() && name.len() <= one.len());
        assert!(short(&name, "") == name);
        for other in &names {
            assert!((one == other) == (shown.show(one) == shown.show(other)));
        }
    }
});
