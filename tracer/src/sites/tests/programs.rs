//! Stacks of real programs in which the marks were once wrong.

use super::{marks, of, profile};
use crate::sites::{Kind, Rules, Sites};

const LIB: &str = "/usr/lib/x86_64-linux-gnu/";

/// What, where, in which function if it has no name, and for.
fn all(program: &str, stack: &[(&str, &str, &str)]) -> [String; 4] {
    let profile = profile(program, &[stack]);
    let sites = Sites::new(&profile, &Rules::default());
    let caller = sites.marks(&profile.samples[0]).caller;
    let caller = caller.map(|frame| profile.functions[frame.function].name.clone());
    let [what, place, purpose] = marks(&profile, &Rules::default()).remove(0);
    [what, place, caller.unwrap_or_default(), purpose]
}

#[test]
fn an_allocators_nameless_function_is_no_place() {
    let program = "/usr/lib/postgresql/15/bin/postgres";
    for (names, expected) in [
        (
            &["postgres+0x5c78fb", "palloc", "btbeginscan", "ExecScan"][..],
            ["palloc", "btbeginscan"],
        ),
        (
            &["postgres+0x5c785f", "palloc", "lappend", "pg_plan_queries"],
            ["lappend", "pg_plan_queries"],
        ),
        (
            &[
                "postgres+0x5c785f",
                "postgres+0x5c7adc",
                "repalloc",
                "enlargeStringInfo",
                "pq_sendbytes",
            ],
            ["enlargeStringInfo", "pq_sendbytes"],
        ),
        // Too far away, or with a named function between: what calls the wrapper is something else.
        (
            &["postgres+1", "f", "palloc", "btbeginscan"],
            ["", "postgres+1"],
        ),
    ] {
        let stack: Vec<_> = names.iter().map(|name| (*name, "", "")).collect();
        let [what, place, purpose] = of(program, &stack);
        assert_eq!([&*what, &*place], expected, "{names:?}");
        assert!(!purpose.contains("+0x"), "{purpose}");
    }
    // What a library calls back is not its allocator.
    let glib = &format!("{LIB}libglib-2.0.so.0");
    let stack = [("p+0x10", "", ""), ("g_hash_table_insert", "", glib)];
    assert_eq!(of("/usr/bin/p", &stack)[1], "p+0x10");
}

#[test]
fn a_nameless_place_is_shown_in_the_function_that_calls_it() {
    let sqlite = &format!("{LIB}libsqlite3.so.0.8.6");
    let stack = [
        ("libsqlite3.so.0.8.6+0xa7503", "", sqlite.as_str()),
        ("sqlite3Malloc", "", sqlite),
        ("libsqlite3.so.0.8.6+0x3974d", "", sqlite),
        ("libsqlite3.so.0.8.6+0x3b40d", "", sqlite),
        ("sqlite3BtreeInsert", "", sqlite),
        ("sqlite3VdbeExec", "", sqlite),
        ("sqlite3_step", "", sqlite),
        ("sqlite3+0x200c3", "", ""),
        ("sqlite3+0x286b4", "", ""),
    ];
    assert_eq!(
        all("/usr/bin/sqlite3", &stack),
        [
            "sqlite3Malloc",
            "libsqlite3.so.0.8.6+0x3974d",
            "sqlite3BtreeInsert",
            "sqlite3_step"
        ]
    );
    // Not in what calls everything, and not in another file.
    for caller in [
        ("main", "", ""),
        ("_PyEval_EvalFrameDefault", "", ""),
        ("sqlite3_step", "", sqlite),
    ] {
        let stack = [("p+0x10", "", ""), ("p+0x20", "", ""), caller];
        let [_, place, inside, purpose] = all("/usr/bin/p", &stack);
        assert_eq!([&*place, &*inside, &*purpose], ["p+0x10", "", "p+0x10"]);
    }
}

#[test]
fn an_interpreter_is_not_what_its_user_has_written() {
    let etree = "/usr/lib/python3/dist-packages/lxml/etree.cpython-311-x86_64-linux-gnu.so";
    let python = "/usr/bin/python3.11";
    let stack = [
        ("xmlNewText", "", etree),
        ("xmlSAX2Characters", "", etree),
        ("xmlCtxtParseDocument", "", etree),
        ("PyObject_Vectorcall", "", ""),
        ("python3.11+0x247d96", "", ""),
        ("Py_BytesMain", "", ""),
    ];
    assert_eq!(
        of(python, &stack),
        ["", "xmlNewText", "xmlCtxtParseDocument"]
    );
    let stack = [
        ("PyList_Append", "", ""),
        ("_PyAccu_Accumulate", "", ""),
        ("_PyObject_MakeTpCall", "", ""),
        ("Py_BytesMain", "", ""),
    ];
    assert_eq!(
        of(python, &stack),
        ["_PyAccu_Accumulate", "_PyObject_MakeTpCall", ""]
    );
    for (program, kind) in [
        ("/usr/bin/python3.11", Kind::Runtime),
        ("/usr/bin/python3", Kind::Runtime),
        ("/usr/bin/node", Kind::Runtime),
        ("/usr/bin/ruby3.1", Kind::Runtime),
        ("/usr/sbin/php-fpm8.2", Kind::Runtime),
        ("/usr/lib/jvm/java-17/bin/java", Kind::Runtime),
        ("/usr/bin/javaws", Kind::Own),
        ("/srv/node-exporter", Kind::Own),
        ("/srv/perlbal", Kind::Own),
    ] {
        let profile = profile(program, &[&[("f", "", "")]]);
        let sites = Sites::new(&profile, &Rules::default());
        let frame = sites.frames(&profile.samples[0]).next();
        assert_eq!(frame.map(|frame| frame.kind), Some(kind), "{program}");
    }
}

#[test]
fn how_a_program_begins_is_no_mark() {
    let stdcxx = &format!("{LIB}libstdc++.so.6.0.30");
    let ld = "/lib64/ld-linux-x86-64.so.2";
    let stack = [
        ("libstdc++.so.6.0.30+0xa57b9", "", stdcxx.as_str()),
        ("call_init", "", ld),
        ("_dl_init", "", ld),
        ("_dl_start_user", "", ld),
    ];
    assert_eq!(
        of("/srv/p", &stack),
        ["", "libstdc++.so.6.0.30+0xa57b9", ""]
    );
    let std = "/rustc/abc/library/alloc/src/x.rs:1";
    let stack = [
        ("<alloc::boxed::Box<u8>>::new", std, ""),
        (
            "<alloc::collections::btree::map::BTreeMap<u8, u8>>::insert",
            std,
            "",
        ),
        ("std::thread::current::set_current", std, ""),
        ("std::rt::init", std, ""),
        ("std::panicking::catch_unwind::<(), F>", std, ""),
        ("std::rt::lang_start_internal", std, ""),
        ("main", "", ""),
        ("_start", "", ""),
    ];
    assert_eq!(
        of("/srv/p", &stack)[..2],
        ["BTreeMap<u8, u8>", "std::thread::current::set_current:1"]
    );
}

#[test]
fn the_c_library_is_called_by_the_names_its_callers_know() {
    let libc = &format!("{LIB}libc.so.6");
    for (names, what) in [
        (
            &[
                "__GI__IO_file_doallocate",
                "__GI__IO_doallocbuf",
                "__GI__IO_fputs",
            ][..],
            "fputs",
        ),
        (
            &["__nss_module_allocate", "__getpwuid_r", "getpwuid"],
            "getpwuid",
        ),
        (&["__GI___strdup"], "strdup"),
        (&["_IO_new_fopen"], "fopen"),
        (&["libc.so.6+0x8f2c1"], "libc.so.6+0x8f2c1"),
    ] {
        let mut stack: Vec<_> = names
            .iter()
            .map(|name| (*name, "", libc.as_str()))
            .collect();
        stack.push(("load", "", ""));
        assert_eq!(of("/usr/bin/p", &stack)[..2], [what, "load"], "{names:?}");
    }
}

#[test]
fn containers_have_the_names_people_know() {
    let stdcxx = &format!("{LIB}libstdc++.so.6.0.30");
    let of_string = |method: &str| {
        format!(
            "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >::{method}"
        )
    };
    let what = |names: &[&str], module: &str| {
        let mut stack: Vec<_> = names.iter().map(|name| (*name, "", module)).collect();
        stack.push(("load", "", ""));
        of("/usr/bin/p", &stack)[0].clone()
    };
    let (create, append) = (
        of_string("_M_create(unsigned long&)"),
        of_string("_M_append(char const*)"),
    );
    assert_eq!(what(&[&create, &append], stdcxx), "std::string");
    let overflow = "std::__cxx11::basic_stringbuf<char, std::char_traits<char>, std::allocator<char> >::overflow(int)";
    let insert = "std::basic_ostream<char, std::char_traits<char> >& std::operator<< <std::char_traits<char> >(std::basic_ostream<char, std::char_traits<char> >&, char const*)";
    assert_eq!(
        what(&[&create, overflow, insert], stdcxx),
        "std::stringstream"
    );
    for (names, known) in [
        (
            &["std::_Deque_base<int, std::allocator<int> >::_M_initialize_map(unsigned long)"][..],
            "std::deque<int>",
        ),
        (
            &[
                "std::_Rb_tree<int, int, std::_Identity<int>, std::less<int> >::_M_insert_unique(int)",
            ],
            "std::map/set",
        ),
        (
            &[
                "llvm::SmallVectorBase<unsigned int>::mallocForGrow(unsigned long)",
                "llvm::SmallVectorTemplateBase<clang::Expr, false>::grow(unsigned long)",
            ],
            "llvm::SmallVector",
        ),
        (
            &["llvm::SmallVectorBase<unsigned int>::grow_pod(void*)"],
            "llvm::SmallVector",
        ),
        (&["<hashbrown::set::HashSet<u8>>::insert"], "HashSet<u8>"),
        // Type arguments that the inner one has are kept.
        (
            &[
                "<hashbrown::map::HashMap<u8, u8>>::insert",
                "std::collections::hash::map::HashMap<K,V,S>::insert",
            ],
            "HashMap<u8, u8>",
        ),
        // Of functions that only allocate, one with a name.
        (&["my_malloc", "p+0x10", "p+0x20"], "my_malloc"),
        (&["zmalloc", "listAddNodeHead"], "listAddNodeHead"),
        (&["zcalloc", "_dictExpand", "dictAddRaw"], "dictAddRaw"),
        (
            &[
                "v8::internal::Zone::Expand(unsigned long)",
                "v8::internal::ZoneVector<int>::Grow(unsigned long)",
            ],
            "v8::ZoneVector<int>",
        ),
        (
            &[
                "v8::internal::BackingStore::Allocate(v8::internal::Isolate*)",
                "v8::ArrayBuffer::NewBackingStoreForNodeLTS(v8::Isolate*, unsigned long)",
            ],
            "v8::ArrayBuffer::NewBackingStoreForNodeLTS",
        ),
    ] {
        let stack: Vec<&str> = names.to_vec();
        assert_eq!(what(&stack, ""), known, "{names:?}");
    }
}
