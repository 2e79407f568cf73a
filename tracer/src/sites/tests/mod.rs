//! Stacks as programs have them, and their marks.

mod programs;

use regex::Regex;

use super::{Kind, Purpose, Rules, Sites};
use crate::profile::{
    Function, Line, Location, LocationIndex, Mapping, MappingIndex, Profile, Sample, Values,
};

const REGISTRY: &str = "/home/me/.cargo/registry/src/index-1/";
const STD: &str = "/rustc/88d9e12ae178fab0fb5cc050a94da85685d449ea/library/";

/// A profile from stacks of (name, file, module), leaf first; the first module is the program. `JIT` as a module is
/// code without a file.
pub(crate) fn profile(program: &str, stacks: &[&[(&str, &str, &str)]]) -> Profile {
    let mut profile = Profile::default();
    let mapping = |path: &str| Mapping {
        path: path.to_owned(),
        ..Mapping::default()
    };
    profile.mappings.push(mapping(program));
    for stack in stacks {
        let mut locations = Vec::new();
        for (name, file, module) in *stack {
            let module = if module.is_empty() { program } else { module };
            let known = profile.mappings.iter().position(|m| m.path == module);
            let index: MappingIndex = known.unwrap_or_else(|| {
                profile.mappings.push(mapping(module));
                profile.mappings.len() - 1
            });
            let (file, line) = file.rsplit_once(':').unwrap_or((file, "0"));
            profile.functions.push(Function {
                name: (*name).to_owned(),
                file: file.to_owned(),
                ..Function::default()
            });
            let is_code = !name.starts_with('[');
            let unnamed = name.contains("+0x") || module == "JIT";
            let location = Location {
                mapping: (is_code && module != "JIT").then_some(index),
                address: 0x1000,
                lines: vec![Line {
                    function: profile.functions.len() - 1,
                    line: line.parse().unwrap_or(0),
                }],
                unknown: unnamed.then(|| "no symbols".to_owned()),
            };
            profile.locations.push(location);
            locations.push(LocationIndex::new(profile.locations.len() - 1));
        }
        profile.samples.push(Sample {
            locations,
            values: Values {
                inuse_space: 1_000,
                ..Values::default()
            },
            ..Sample::default()
        });
    }
    profile
}

/// A service: hyper reads for axum, and a handler of its own makes a string.
pub(crate) fn service() -> Profile {
    let hyper = format!("{REGISTRY}hyper-1.12.0/src/proto/h1/io.rs:181");
    let axum = format!("{REGISTRY}axum-0.8.9/src/serve/mod.rs:400");
    let bytes = format!("{REGISTRY}bytes-1.12.2/src/bytes_mut.rs:795");
    let tokio = format!("{REGISTRY}tokio-1.54.1/src/runtime/task/core.rs:365");
    let vec = format!("{STD}alloc/src/vec/mod.rs:975");
    let std = format!("{STD}std/src/panicking.rs:5");
    let libc = "/usr/lib/x86_64-linux-gnu/libc.so.6";
    let outer = [
        (
            "axum::serve::handle_connection::<L, M, S>",
            axum.as_str(),
            "",
        ),
        ("<tokio::runtime::task::core::Core<F, S>>::poll", &tokio, ""),
        ("tokio::runtime::task::raw::poll::<F>", &tokio, ""),
        ("std::panicking::catch_unwind::<(), F>", &std, ""),
        ("start_thread", "./nptl/pthread_create.c:442", libc),
        ("clone3", "", libc),
    ];
    let read = [
        ("<alloc::vec::Vec<u8>>::with_capacity_in", vec.as_str(), ""),
        ("<bytes::bytes_mut::BytesMut>::reserve_inner", &bytes, ""),
        (
            "<hyper::proto::h1::io::Buffered<T, B>>::poll_read",
            &hyper,
            "",
        ),
    ];
    let handle = [
        ("<alloc::vec::Vec<u8>>::with_capacity_in", vec.as_str(), ""),
        (
            "<alloc::string::String as core::clone::Clone>::clone",
            &vec,
            "",
        ),
        ("service::count", "/build/service/src/main.rs:30", ""),
    ];
    profile(
        "/srv/service",
        &[
            &[&read[..], &outer].concat(),
            &[&handle[..], &outer].concat(),
        ],
    )
}

/// The marks of each stack: what, where with its line, for.
fn marks(profile: &Profile, rules: &Rules) -> Vec<[String; 3]> {
    let sites = Sites::new(profile, rules);
    let samples = profile.samples.iter();
    samples
        .map(|sample| {
            let marks = sites.marks(sample);
            let name = |function: usize| profile.functions[function].name.clone();
            let place = marks
                .place
                .map_or_else(String::new, |frame| match frame.line {
                    0 => name(frame.function),
                    line => format!("{}:{line}", name(frame.function)),
                });
            [
                marks
                    .what
                    .map_or_else(String::new, |what| sites.what_name(&what)),
                place,
                match marks.purpose {
                    None => String::new(),
                    Some(Purpose::Frame(frame)) => name(frame.function),
                    Some(Purpose::Mention(path)) => path,
                },
            ]
        })
        .collect()
}

fn of(program: &str, stack: &[(&str, &str, &str)]) -> [String; 3] {
    marks(&profile(program, &[stack]), &Rules::default()).remove(0)
}

#[test]
fn a_service_is_told_from_its_libraries() {
    assert_eq!(
        marks(&service(), &Rules::default()),
        [
            [
                "bytes::BytesMut",
                "<hyper::proto::h1::io::Buffered<T, B>>::poll_read:181",
                "axum::serve::handle_connection::<L, M, S>"
            ],
            ["String", "service::count:30", "service::count"],
        ]
    );
}

#[test]
fn own_code_in_the_name_of_a_library_is_what_it_is_for() {
    let axum = format!("{REGISTRY}axum-0.8.9/src/handler/mod.rs:232");
    let boxed = format!("{STD}alloc/src/boxed.rs:286");
    let stack = [
        ("<alloc::boxed::Box<axum::Future>>::new", boxed.as_str(), ""),
        (
            "<service::count as axum::handler::Handler<(), S>>::call::{closure#0}",
            &axum,
            "",
        ),
    ];
    assert_eq!(
        of("/srv/service", &stack),
        ["Box<axum::Future>", stack[1].0, "service::count"].map(|text| match text {
            text if text == stack[1].0 => format!("{text}:232"),
            text => text.to_owned(),
        })
    );
}

/// Wrappers of real programs, found as leaks in them; none of them is where memory is asked for.
#[test]
fn wrappers_are_what_is_called_and_not_where() {
    for (wrapper, place) in [
        ("xmalloc", "read_line"),
        ("zmalloc_usable", "hashTypeSet"),
        ("ngx_palloc", "ngx_http_parse"),
        ("ngx_memalign", "ngx_http_parse"),
        ("palloc", "ExecInitNode"),
        ("_PyObject_Malloc", "deque_append"),
        ("PyUnicode_New", "unicode_concat"),
        ("PyUnicode_FromStringAndSize", "scan_once"),
        ("jv_mem_alloc", "f_ltrimstr"),
        ("g_malloc0", "parse_node"),
        ("sqlite3MemMalloc", "btreeCreateTable"),
        ("sdsnewlen", "readQueryFromClient"),
        (
            "node::NodeArrayBufferAllocator::Allocate",
            "node::crypto::GcmEncrypt",
        ),
        (
            "v8::internal::AllocAtLeastWithRetry",
            "node::http2::Http2Session::New",
        ),
        ("CRYPTO_zalloc", "SSL_read_ex"),
        ("operator new(unsigned long)", "shop::Cart::add(int)"),
        ("strdup", "parse_options"),
        ("my_strdup", "parse_options"),
    ] {
        let stack = [(wrapper, "", ""), (place, "", ""), ("main", "", "")];
        let [what, found, purpose] = of("/usr/bin/program", &stack);
        assert_eq!(
            (found.as_str(), purpose.as_str()),
            (place, place),
            "{wrapper}"
        );
        assert_eq!(what, crate::names::short(wrapper, ""), "{wrapper}");
    }
    for place in [
        "deallocated",
        "allocator_of",
        "report_allocations",
        "newline",
        "dupe_check",
    ] {
        let stack = [(place, "", ""), ("main", "", "")];
        assert_eq!(of("/usr/bin/program", &stack)[1], place);
    }
}

#[test]
fn a_frame_without_a_line_is_as_good_as_one_with() {
    let node = "/home/iojs/build/ws/out/../deps/uv/src/unix/core.c:911";
    let stack = [
        (
            "operator new(unsigned long)",
            "",
            "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30",
        ),
        ("node::http2::Http2Session::New(int)", "", ""),
        ("uv__server_io", node, ""),
        ("uv_run", node, ""),
    ];
    let [what, place, _] = of("/usr/bin/node", &stack);
    assert_eq!(
        (what.as_str(), place.as_str()),
        ("operator new", "node::http2::Http2Session::New(int)")
    );
}

#[test]
fn the_container_people_know_is_named() {
    let program = "/srv/service";
    let rust = |names: &[&str]| {
        let std = format!("{STD}alloc/src/x.rs");
        let mut stack: Vec<(&str, &str, &str)> = names.iter().map(|n| (*n, &*std, "")).collect();
        stack.push(("service::f", "/build/src/main.rs:1", ""));
        of(program, &stack)[0].clone()
    };
    for (names, what) in [
        (&["<alloc::vec::Vec<u32>>::push"][..], "Vec<u32>"),
        (
            &[
                "alloc::raw_vec::RawVec<T,A>::grow_one",
                "alloc::vec::Vec<T,A>::push",
            ],
            "Vec",
        ),
        (
            &[
                "<hashbrown::raw::RawTableInner>::new_uninitialized",
                "<hashbrown::raw::RawTable<(u8, u8)>>::reserve",
                "<std::collections::hash::map::HashMap<u8, u8>>::insert",
            ],
            "HashMap<u8, u8>",
        ),
        (
            &[
                "<alloc::vec::Vec<u8>>::with_capacity",
                "<alloc::string::String>::from",
                "<alloc::vec::Vec<alloc::string::String>>::clone",
            ],
            "String",
        ),
        (&["<alloc::boxed::Box<u8>>::new"], "Box<u8>"),
        (&["std::env::args"], "std::env::args"),
    ] {
        assert_eq!(rust(names), what, "{names:?}");
    }
    let header = "/usr/include/c++/12/bits/stl_tree.h:100";
    let stack = [
        ("operator new(unsigned long)", "", "/usr/lib/libstdc++.so.6"),
        (
            "std::_Rb_tree<int, std::pair<int const, Cart>, std::_Select1st<int>, std::less<int>, std::allocator<int> >::_M_insert_(int)",
            header,
            "",
        ),
        (
            "std::map<int, Cart, std::less<int>, std::allocator<int> >::operator[](int const&)",
            header,
            "",
        ),
        ("shop::Cart::add(int)", "/build/cart.cpp:5", ""),
    ];
    assert_eq!(of("/srv/shop", &stack)[0], "std::map<int, Cart>");
}

#[test]
fn everybody_has_his_frames() {
    let program = "/usr/sbin/nginx";
    let lib = "/usr/lib/x86_64-linux-gnu/";
    for (name, file, module, kind) in [
        ("<alloc::vec::Vec<u8>>::push", "", program, Kind::Container),
        (
            "void std::vector<int>::_M_realloc_insert<int>(int&&)",
            "",
            program,
            Kind::Container,
        ),
        (
            "fmt::write",
            "/rustc/abc/library/core/src/fmt.rs",
            program,
            Kind::Standard,
        ),
        (
            "qsort_r",
            "./stdlib/msort.c",
            &format!("{lib}libc.so.6"),
            Kind::Standard,
        ),
        ("start_thread", "", program, Kind::Standard),
        ("resolve", "", "/lib64/ld-linux-x86-64.so.2", Kind::Standard),
        (
            "je_arena_ralloc",
            "",
            &format!("{lib}libjemalloc.so.2"),
            Kind::Wrapper,
        ),
        (
            "arena_run",
            "",
            &format!("{lib}libjemalloc.so.2"),
            Kind::Allocator,
        ),
        (
            "deflateInit2_",
            "",
            &format!("{lib}libz.so.1.2.13"),
            Kind::System,
        ),
        (
            "f",
            "/home/me/.cargo/registry/src/index-1/serde-1.0.1/src/lib.rs",
            program,
            Kind::Dependency,
        ),
        (
            "golang.org/x/net/http2.(*Framer).Read",
            "/home/a/go/pkg/mod/golang.org/x/net/http2/frame.go",
            program,
            Kind::Dependency,
        ),
        (
            "runtime.mallocgc",
            "/usr/local/go/src/runtime/malloc.go",
            program,
            Kind::Standard,
        ),
        (
            "PyInit_x",
            "",
            "/home/a/.venv/lib/python3/site-packages/x/_x.so",
            Kind::Dependency,
        ),
        (
            "boost::asio::run",
            "/usr/include/boost/asio/run.hpp",
            program,
            Kind::System,
        ),
        (
            "<tokio::runtime::Runtime>::block_on",
            &format!("{REGISTRY}tokio-1.0/src/runtime/mod.rs"),
            program,
            Kind::Runtime,
        ),
        ("service::handle", "/build/src/main.rs", program, Kind::Own),
        (
            "<service::Key as core::clone::Clone>::clone",
            "",
            program,
            Kind::Own,
        ),
        ("plugin_run", "src/a.c", "/opt/app/libcache.so.1", Kind::Own),
        ("main", "", program, Kind::Own),
        ("ngx_http_process_request", "", program, Kind::Own),
        ("nginx+0x1234", "", program, Kind::Own),
        ("[stack cut]", "", "", Kind::Nothing),
        ("0x7f12", "", "JIT", Kind::Runtime),
    ] {
        let profile = profile(program, &[&[(name, file, module)]]);
        let sites = Sites::new(&profile, &Rules::default());
        let kind_found = sites
            .frames(&profile.samples[0])
            .next()
            .map(|frame| frame.kind);
        assert_eq!(kind_found, Some(kind), "{name} {file} {module}");
    }
}

#[test]
fn a_user_knows_better() -> Result<(), regex::Error> {
    let profile = profile(
        "/srv/service",
        &[&[
            ("take", "", ""),
            (
                "corp::cache::put",
                "/home/me/.cargo/registry/src/index-1/corp-1/src/lib.rs:7",
                "",
            ),
            ("service::main", "/b/main.rs:3", ""),
        ]],
    );
    let none = Rules::default();
    assert_eq!(marks(&profile, &none)[0], ["", "take", "take"]);
    let rules = Rules::new(vec![Regex::new("^corp::")?], vec![Regex::new("^take$")?]);
    assert_eq!(
        marks(&profile, &rules)[0],
        ["take", "corp::cache::put:7", "corp::cache::put"]
    );
    // What is own is no wrapper.
    let rules = Rules::new(vec![Regex::new("^take$")?], vec![Regex::new("^take$")?]);
    assert_eq!(marks(&profile, &rules)[0], ["", "take", "take"]);
    Ok(())
}

#[test]
fn what_many_call_and_only_allocates_is_a_wrapper() {
    let stack = |leaf: &'static str, caller: &'static str| {
        vec![(leaf, "", ""), (caller, "", ""), ("main", "", "")]
    };
    let callers = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let many: Vec<_> = callers
        .iter()
        .map(|caller| stack("program+0x10", caller))
        .collect();
    let all = |stacks: &[Vec<(&'static str, &'static str, &'static str)>]| {
        let stacks: Vec<&[(&str, &str, &str)]> = stacks.iter().map(Vec::as_slice).collect();
        marks(&profile("/usr/bin/program", &stacks), &Rules::default())
    };
    let places: Vec<String> = all(&many).into_iter().map(|[_, place, _]| place).collect();
    assert_eq!(places, callers);
    // Too few.
    let few = all(&many[..7]);
    assert!(
        few.iter().all(|[_, place, _]| place == "program+0x10"),
        "{few:?}"
    );
    // What sounds like it takes fewer callers, what does not is where a leak is, however many call it.
    let made: Vec<_> = callers[..3]
        .iter()
        .map(|caller| stack("thing_create", caller))
        .collect();
    assert_eq!(all(&made)[0], ["thing_create", "a", "a"]);
    let kept: Vec<_> = callers
        .iter()
        .map(|caller| stack("remember", caller))
        .collect();
    assert_eq!(all(&kept)[0], ["", "remember", "remember"]);
}

#[test]
fn a_stack_of_nothing_but_plumbing_has_a_place() {
    let libc = "/usr/lib/x86_64-linux-gnu/libc.so.6";
    assert_eq!(
        of("/bin/p", &[("strdup", "", libc), ("call_init", "", libc)])[1],
        "strdup"
    );
    assert_eq!(
        of("/bin/p", &[("[stack unknown]", "", "")]),
        ["", "[stack unknown]", ""]
    );
    assert_eq!(of("/bin/p", &[]), ["", "", ""]);
}
