//! Tests of comparing: amounts, and what people and machines get to see.

use super::{CompareOptions, Side, compare};
use crate::export::example::{counter_service, estimated};
use crate::profile::{Filter, Incompatible, Profile, ValueKind, Verdict};

/// The example, and what it may look like after a change.
fn pair() -> (Profile, Profile) {
    let before = counter_service();
    let mut after = counter_service();
    after.metadata.source = "run of counter-service (pid 4712)".to_owned();
    after.verdict = Verdict::Complete;
    after.counters.clear();
    after.samples[0].values.inuse_space += 65_536;
    after.samples[0].values.inuse_objects += 64;
    // One stack is gone, and one is new.
    after.samples[1].values = counter_service().samples[2].values;
    after.samples[2].values.inuse_space = 4_096;
    after.samples[2].values.inuse_objects = 1;
    (before, after)
}

fn side<'a>(file: &'a str, profile: &'a Profile) -> Side<'a> {
    Side { file, profile }
}

#[test]
fn both_sides_and_every_change_are_shown() -> Result<(), Incompatible> {
    let (before, after) = pair();
    let options = CompareOptions {
        limit: Some(3),
        ..CompareOptions::default()
    };
    let compare = compare(side("a.pb.gz", &before), side("b.pb.gz", &after), &options)?;
    insta::assert_snapshot!(compare, @"
    A:       a.pb.gz
             attach to counter-service (pid 4711) for 30.0 s
             verdict: degraded
               2 of 3048 allocations have no stack.
    B:       b.pb.gz
             run of counter-service (pid 4712)
             verdict: complete
    Losses:           A          B
                      2          0  stack_unreadable: Stacks not read.
    Type:    inuse_space, 2.95MB in A, 3.02MB in B: +67.02kB (+2.22%)

    Showing 3 of 3 sites that changed

          change   change%          A          B  where, for and what
           +64kB    +3.20%     1.95MB     2.02MB  counter::Cache::insert  src/cache.rs:9
            +4kB       new          0        4kB  counter::handle  src/main.rs:44  libc.so.6+0x8f2c1
         -0.98kB      gone      1000B          0  counter::walk  src/walk.rs:3

    Showing 3 of 3 stacks that changed

           +64kB    +3.20%  1.95MB in A, 2.02MB in B; +64 objects
            counter::Cache::insert  src/cache.rs:9
            counter::handle  src/main.rs:44
            main  src/main.rs:12

            +4kB       new  0 in A, 4kB in B; +1 objects
            libc.so.6+0x8f2c1
            counter::handle  src/main.rs:44
            main  src/main.rs:12

         -0.98kB      gone  1000B in A, 0 in B; -10 objects
            counter::walk  src/walk.rs:3
            counter::walk  src/walk.rs:3
            counter::walk  src/walk.rs:3
            main  src/main.rs:12
    ");
    Ok(())
}

#[test]
fn changes_add_up_to_the_difference_of_the_totals() -> Result<(), Incompatible> {
    let (before, after) = pair();
    for by in ValueKind::ALL {
        let options = CompareOptions {
            by,
            ..CompareOptions::default()
        };
        let compare = compare(side("a", &before), side("b", &after), &options)?;
        let sum =
            |profile: &Profile| -> i64 { profile.samples.iter().map(|s| s.values.get(by)).sum() };
        assert_eq!(compare.total.change, sum(&after) - sum(&before));
        let of_functions: i64 = compare.function_rows.iter().map(|r| r.flat.change).sum();
        let of_stacks: i64 = compare.stack_rows.iter().map(|r| r.change.change).sum();
        assert_eq!(
            (of_functions, of_stacks),
            (compare.total.change, compare.total.change)
        );
    }
    Ok(())
}

#[test]
fn of_estimates_it_is_said_which_changes_are_more_than_chance() -> Result<(), Incompatible> {
    let (before, mut after) = (estimated(), estimated());
    let [large, small, ..] = after.samples.as_mut_slice() else {
        panic!("there are samples");
    };
    large.values.alloc_space = large.values.alloc_space / 10 * 16;
    small.values.alloc_space = small.values.alloc_space / 10 * 11;
    let options = CompareOptions {
        by: ValueKind::AllocSpace,
        ..CompareOptions::default()
    };
    let compare = compare(side("a", &before), side("b", &after), &options)?;
    assert_eq!(compare.warning, None);
    let significant: Vec<_> = compare.stack_rows.iter().map(|row| row.error).collect();
    let significant: Vec<_> = significant
        .iter()
        .map(|error| error.is_some_and(|error| error.significant))
        .collect();
    assert_eq!(significant, [true, false]);
    let text = compare.to_string();
    assert!(
        text.contains("objects, significant") || text.contains("allocations, significant"),
        "{text}"
    );
    assert!(text.contains(", not significant"), "{text}");
    assert!(text.contains("*: more than chance"), "{text}");
    // What is live is not estimated, and nothing of it is proven.
    let live = super::compare(
        side("a", &before),
        side("b", &after),
        &CompareOptions::default(),
    )?;
    assert!(
        live.warning
            .is_some_and(|warning| warning.contains("sampled"))
    );
    assert_eq!(live.total_error, None);
    Ok(())
}

#[test]
fn no_change_is_said() -> Result<(), Incompatible> {
    let profile = counter_service();
    let side = side("a.json", &profile);
    insta::assert_snapshot!(compare(side, side, &CompareOptions::default())?, @r"
    A:       a.json
             attach to counter-service (pid 4711) for 30.0 s
             verdict: degraded
               2 of 3048 allocations have no stack.
    B:       a.json
             attach to counter-service (pid 4711) for 30.0 s
             verdict: degraded
               2 of 3048 allocations have no stack.
    Losses:           A          B
                      2          2  stack_unreadable: Stacks not read.
    Type:    inuse_space, 2.95MB in A, 2.95MB in B: 0 (0%)

    No site holds more or less in B.
    ");
    Ok(())
}

#[test]
fn an_inconclusive_side_is_said_plainly() -> Result<(), Incompatible> {
    let (before, mut after) = pair();
    after.verdict = Verdict::Inconclusive {
        reasons: vec!["Nothing fired.".to_owned()],
    };
    let compare = compare(
        side("a", &before),
        side("b", &after),
        &CompareOptions::default(),
    )?;
    let text = compare.to_string();
    assert!(text.contains("WARNING: B is inconclusive"), "{text}");
    assert!(text.contains("Nothing fired."), "{text}");
    Ok(())
}

#[test]
fn a_filter_limits_the_rows_and_not_the_total() -> Result<(), Box<dyn std::error::Error>> {
    let (before, after) = pair();
    let options = CompareOptions {
        filter: Filter {
            focus: Some(regex::Regex::new("walk")?),
            ..Filter::default()
        },
        ..CompareOptions::default()
    };
    let compare = compare(side("a", &before), side("b", &after), &options)?;
    assert_eq!(compare.stacks, 1);
    assert_eq!(compare.stack_rows[0].change.change, -1_000);
    assert_eq!(compare.total.change, 65_536 + 4_096 - 1_000);
    assert!(compare.to_string().contains("Filter:  focus = walk\n"));
    Ok(())
}

#[test]
fn machines_get_stable_names() -> Result<(), Box<dyn std::error::Error>> {
    let (before, after) = pair();
    let options = CompareOptions {
        by: ValueKind::InuseObjects,
        limit: Some(1),
        ..CompareOptions::default()
    };
    let compare = compare(side("a", &before), side("b", &after), &options)?;
    insta::assert_snapshot!(serde_json::to_string_pretty(&compare)?, @r#"
    {
      "report": "diff",
      "before": {
        "file": "a",
        "source": "attach to counter-service (pid 4711) for 30.0 s",
        "verdict": "degraded",
        "reasons": [
          "2 of 3048 allocations have no stack."
        ]
      },
      "after": {
        "file": "b",
        "source": "run of counter-service (pid 4712)",
        "verdict": "complete",
        "reasons": []
      },
      "warning": null,
      "losses": [
        {
          "name": "stack_unreadable",
          "before": 2,
          "after": 0,
          "help": "Stacks not read."
        }
      ],
      "sample_type": "inuse_objects",
      "unit": "count",
      "total": {
        "before": 2011,
        "after": 2066,
        "change": 55,
        "percent": 2.734957732471407
      },
      "sites": 3,
      "site_rows": [
        {
          "where": {
            "function": "counter::Cache::insert",
            "file": "src/cache.rs",
            "line": 9,
            "module": "/usr/bin/counter-service",
            "build_id": "8f3a02",
            "kind": "own",
            "is_named": true
          },
          "in": null,
          "for": {
            "function": "counter::Cache::insert",
            "file": "src/cache.rs",
            "line": 9,
            "module": "/usr/bin/counter-service",
            "build_id": "8f3a02",
            "kind": "own",
            "is_named": true
          },
          "what": null,
          "before": 2000,
          "after": 2064,
          "change": 64,
          "percent": 3.2
        }
      ],
      "functions": 5,
      "function_rows": [
        {
          "name": "counter::Cache::insert",
          "flat": {
            "before": 2000,
            "after": 2064,
            "change": 64,
            "percent": 3.2
          },
          "cum": {
            "before": 2000,
            "after": 2064,
            "change": 64,
            "percent": 3.2
          }
        }
      ],
      "stacks": 3,
      "stack_rows": [
        {
          "fingerprint": "9f5682ee16939513",
          "before": 2000,
          "after": 2064,
          "change": 64,
          "percent": 3.2,
          "values_before": {
            "alloc_objects": 3000,
            "alloc_space": 3072000,
            "inuse_objects": 2000,
            "inuse_space": 2048000
          },
          "values_after": {
            "alloc_objects": 3000,
            "alloc_space": 3072000,
            "inuse_objects": 2064,
            "inuse_space": 2113536
          },
          "frames": [
            {
              "function": "counter::Cache::insert",
              "file": "src/cache.rs",
              "line": 9,
              "inlined": false
            },
            {
              "function": "counter::handle",
              "file": "src/main.rs",
              "line": 44,
              "inlined": false
            },
            {
              "function": "main",
              "file": "src/main.rs",
              "line": 12,
              "inlined": false
            }
          ]
        }
      ]
    }
    "#);
    Ok(())
}

#[test]
fn extreme_amounts_do_not_overflow() -> Result<(), Incompatible> {
    let (mut before, mut after) = pair();
    for sample in &mut before.samples {
        sample.values.inuse_space = i64::MIN;
    }
    for sample in &mut after.samples {
        sample.values.inuse_space = i64::MAX;
    }
    let compare = compare(
        side("a", &before),
        side("b", &after),
        &CompareOptions::default(),
    )?;
    assert_eq!(compare.total.change, i64::MAX);
    assert!(compare.to_string().contains("main"));
    Ok(())
}
