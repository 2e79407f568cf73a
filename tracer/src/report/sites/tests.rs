//! Tests of the table of sites: what people and machines get to see.

use regex::Regex;

use super::{GroupBy, SitesOptions, sites};
use crate::export::example::{counter_service, estimated};
use crate::profile::{Filter, Profile, ValueKind};
use crate::sites::tests::service;

#[test]
fn a_row_says_where_what_for_and_what() {
    let options = SitesOptions {
        max_width: Some(160),
        ..SitesOptions::default()
    };
    insta::assert_snapshot!(sites(&service(), &options), @r"
    Verdict: complete
    Type:    inuse_space, total 1.95kB
    Showing 2 of 2 sites, 2000B of 2000B (100%)

         value  share    sum  where                       line                                 for                             what
         1000B 50.00% 50.00%  hyper::Buffered::poll_read  hyper-1.12.0/src/proto/h1/io.rs:181  axum::serve::handle_connection  bytes::BytesMut
         1000B 50.00%   100%  service::count              service/src/main.rs:30                                               String
    ");
}

#[test]
fn a_narrow_terminal_has_two_lines_a_row() {
    let options = SitesOptions {
        max_width: Some(80),
        ..SitesOptions::default()
    };
    let text = sites(&service(), &options).to_string();
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    insta::assert_snapshot!(text, @r"
    Verdict: complete
    Type:    inuse_space, total 1.95kB
    Showing 2 of 2 sites, 2000B of 2000B (100%)

         value  share    sum  where                       line
         1000B 50.00% 50.00%  hyper::Buffered::poll_read  ….0/src/proto/h1/io.rs:181
                              bytes::BytesMut for axum::serve::handle_connection
         1000B 50.00%   100%  service::count              service/src/main.rs:30
                              String
    ");
}

#[test]
fn stacks_of_one_file_crate_and_module_are_put_together() {
    let names = |group: GroupBy| {
        let options = SitesOptions {
            group,
            ..SitesOptions::default()
        };
        let table = sites(&service(), &options);
        let rows = table.rows.into_iter();
        rows.map(|row| (row.name.unwrap_or_default(), row.value, row.stacks))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(GroupBy::Crate),
        [
            ("hyper".to_owned(), 1_000, 1),
            ("service".to_owned(), 1_000, 1)
        ]
    );
    assert_eq!(names(GroupBy::Module), [("service".to_owned(), 2_000, 2)]);
    let lines = names(GroupBy::Line);
    assert!(
        lines
            .iter()
            .any(|(name, ..)| name == "/build/service/src/main.rs:30"),
        "{lines:?}"
    );
    assert_eq!(names(GroupBy::File).len(), 2);
}

#[test]
fn estimates_have_errors() {
    let options = SitesOptions {
        by: ValueKind::AllocSpace,
        max_width: Some(160),
        ..SitesOptions::default()
    };
    insta::assert_snapshot!(sites(&estimated(), &options), @"
    Source:  attach to counter-service (pid 4711) for 30.0 s
    Verdict: sampled
             Only windows were seen.
    Type:    alloc_space, total 3.93MB ±4%
    Sampled: by rare calls, 45 windows of 200.0 ms together: 0.67% of what was done; all alike ±3.0%
    Showing 4 of 4 sites, 4028.59kB of 4028.59kB (100%)

         value         share    sum  where                   line            what
        3000kB    ±4% 74.47% 74.47%  counter::Cache::insert  src/cache.rs:9
        1024kB   ±10% 25.42% 99.89%  main                    src/main.rs:12  libc.so.6+0x8f2c1
        3.91kB  ~±70% 0.097%   100%  counter::walk           src/walk.rs:3
        0.68kB   ±20% 0.017%   100%  counter::handle         src/main.rs:44  libc.so.6+0x8f2c1

    ±: standard error of what is estimated
    ~: half of the amount or more may be error
    ");
}

#[test]
fn a_filter_is_said() -> Result<(), regex::Error> {
    let options = SitesOptions {
        filter: Filter {
            focus: Some(Regex::new("walk")?),
            ..Filter::default()
        },
        ..SitesOptions::default()
    };
    let table = sites(&counter_service(), &options);
    assert_eq!(table.rows.len(), 1);
    assert_eq!(table.header.total, 3_097_576);
    assert!(table.to_string().contains("Filter:  focus = walk"));
    Ok(())
}

#[test]
fn what_has_no_symbols_says_what_would_help() {
    let mut profile = crate::sites::tests::profile(
        "/usr/bin/doxygen",
        &[&[("doxygen+0x79ddd6", "", ""), ("main", "", "")]],
    );
    profile.mappings[0].build_id = "acc1720".to_owned();
    let text = sites(&profile, &SitesOptions::default()).to_string();
    assert!(text.contains("doxygen+0x79ddd6 [stripped]"), "{text}");
    assert!(text.contains("-dbgsym"), "{text}");
    assert!(text.contains("doxygen  build id acc1720"), "{text}");
}

#[test]
fn nameless_functions_are_put_together_in_who_calls_them() {
    const LIB: &str = "/usr/lib/x86_64-linux-gnu/libsqlite3.so.0";
    let stack = |nameless: &'static str, caller: &'static str| {
        vec![
            ("sqlite3Malloc", "", LIB),
            (nameless, "", LIB),
            (caller, "", LIB),
            ("sqlite3_step", "", LIB),
            ("sqlite3+0x200c3", "", ""),
        ]
    };
    let mut stacks = [
        stack("libsqlite3.so.0+0x10", "sqlite3BtreeInsert"),
        stack("libsqlite3.so.0+0x20", "sqlite3BtreeInsert"),
        stack("libsqlite3.so.0+0x20", "sqlite3BtreeDelete"),
        // Symbols of the language's own library would say nothing.
        vec![(
            "libstdc++.so.6+0x30",
            "",
            "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
        )],
    ];
    // Where one of the stacks is of the allocator alone, what the other asks for is said.
    stacks[1].remove(0);
    let stacks: Vec<&[_]> = stacks.iter().map(Vec::as_slice).collect();
    let profile = crate::sites::tests::profile("/usr/bin/sqlite3", &stacks);
    let options = SitesOptions {
        max_width: Some(160),
        ..SitesOptions::default()
    };
    insta::assert_snapshot!(sites(&profile, &options), @"
    Verdict: complete
    Type:    inuse_space, total 3.91kB
    Showing 3 of 3 sites, 4000B of 4000B (100%)

         value  share    sum  where                                       for           what
         2000B 50.00% 50.00%  libsqlite3.so.0+… in sqlite3BtreeInsert     sqlite3_step  sqlite3Malloc, …
         1000B 25.00% 75.00%  libsqlite3.so.0+0x20 in sqlite3BtreeDelete  sqlite3_step  sqlite3Malloc
         1000B 25.00%   100%  libstdc++.so.6+0x30 [stripped]

    Stripped, so that functions have no names there. Install their -dbgsym (or -debuginfo) packages, or put the debug file
    of the build id under /usr/lib/debug/.build-id (debuginfod-find debuginfo ID fetches it), and record again:
      libsqlite3.so.0
    ");
    let options = SitesOptions {
        group: GroupBy::Line,
        ..options
    };
    insta::assert_snapshot!(sites(&profile, &options), @"
    Verdict: complete
    Type:    inuse_space, total 3.91kB
    Showing 3 of 3 lines, 4000B of 4000B (100%)

         value  share    sum  line                                        for           what
         2000B 50.00% 50.00%  libsqlite3.so.0+… in sqlite3BtreeInsert     sqlite3_step  sqlite3Malloc, …
         1000B 25.00% 75.00%  libsqlite3.so.0+0x20 in sqlite3BtreeDelete  sqlite3_step  sqlite3Malloc
         1000B 25.00%   100%  libstdc++.so.6+0x30 [stripped]

    Stripped, so that functions have no names there. Install their -dbgsym (or -debuginfo) packages, or put the debug file
    of the build id under /usr/lib/debug/.build-id (debuginfod-find debuginfo ID fetches it), and record again:
      libsqlite3.so.0
    ");
}

#[test]
fn machines_get_stable_names() -> serde_json::Result<()> {
    let options = SitesOptions {
        limit: Some(1),
        ..SitesOptions::default()
    };
    insta::assert_snapshot!(serde_json::to_string_pretty(&sites(&service(), &options))?, @r#"
    {
      "report": "sites",
      "header": {
        "source": "",
        "verdict": "complete",
        "reasons": [],
        "sample_type": "inuse_space",
        "unit": "bytes",
        "total": 2000
      },
      "by": "site",
      "sites": 2,
      "rows": [
        {
          "value": 1000,
          "percent": 50.0,
          "sum_percent": 50.0,
          "stacks": 1,
          "name": null,
          "where": {
            "function": "<hyper::proto::h1::io::Buffered<T, B>>::poll_read",
            "file": "/home/me/.cargo/registry/src/index-1/hyper-1.12.0/src/proto/h1/io.rs",
            "line": 181,
            "module": "/srv/service",
            "build_id": "",
            "kind": "dependency",
            "is_named": true
          },
          "in": null,
          "where_differs": false,
          "for": {
            "function": "axum::serve::handle_connection::<L, M, S>",
            "file": "/home/me/.cargo/registry/src/index-1/axum-0.8.9/src/serve/mod.rs",
            "line": 400,
            "module": "/srv/service",
            "build_id": "",
            "kind": "dependency",
            "is_named": true
          },
          "what": "bytes::BytesMut",
          "what_differs": false
        }
      ]
    }
    "#);
    Ok(())
}

#[test]
fn an_empty_profile_has_an_empty_table() {
    let text = sites(&Profile::default(), &SitesOptions::default()).to_string();
    assert!(text.contains("No stack holds any inuse_space."), "{text}");
}

#[test]
fn no_line_is_wider_than_asked_for() {
    for profile in [service(), counter_service(), estimated()] {
        for width in [40, 80, 119, 120, 160] {
            let options = SitesOptions {
                max_width: Some(width),
                ..SitesOptions::default()
            };
            let text = sites(&profile, &options).to_string();
            let text = crate::report::fitted(&text, Some(width));
            assert!(
                text.lines().all(|line| line.chars().count() <= width),
                "{width}: {text}"
            );
        }
    }
}
