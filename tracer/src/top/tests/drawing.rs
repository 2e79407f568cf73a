//! What is drawn, in terminals of all sizes.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::KeyCode;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;
use ratatui::style::Color;

use super::{counter_service, empty, grown, press, press_key, screen, snapshot};
use crate::export::example::estimated;
use crate::printable::is_plain;
use crate::session::WindowsStatus;
use crate::top::draw::draw;
use crate::top::{End, State};

#[test]
fn a_usual_terminal() {
    insta::assert_snapshot!(screen(&mut grown(), 80, 24), @r"
    counter\u{1b}[2J (pid 4711)  1m  degraded  2 lost
    live 2.95 MB in 2,011 objects  resident 45.00 MB  costs 1.2% of a CPU
    allocated 3.93 MB in 3,048 objects  67.14 kB/s  51 objects/s
    2 of 3048 allocations have no stack.
    live bytes over 1m, at most 2.95 MB
                                                             ▁▁▁▂▂▂▂▃▃▃▃▄▄▅▅▅▅▆▆▆▇▇█
                                  ▁▁▁▁▂▂▂▃▃▃▄▄▄▄▅▅▅▅▆▆▇▇▇▇██████████████████████████
        ▁▁▁▁▂▂▃▃▃▃▄▄▄▅▅▅▆▆▆▆▇▇▇▇████████████████████████████████████████████████████
    inuse_space: 2.95 MB in all, 4 sites
           live▼  share   objects    alloc/s    trend where
          2000kB 66.12%      2000       50kB ▁▂▃▄▅▆▇█ counter::Cache::insert
          1024kB 33.85%         1    17.07kB ▁▂▃▄▅▆▇█ main
          0.98kB 0.032%        10     0.07kB ▁▂▃▄▅▆▇█ counter::walk
               0     0%         0     0.01kB          counter::handle








    > counter::Cache::insert  src/cache.rs:9
    v value  s sort  / filter  Enter stacks  f freeze  w save  ? help  q quit
    ");
}

#[test]
fn a_large_terminal() {
    insta::assert_snapshot!(screen(&mut grown(), 200, 50), @r"
    counter\u{1b}[2J (pid 4711)  1m  degraded  2 lost
    live 2.95 MB in 2,011 objects  resident 45.00 MB  costs 1.2% of a CPU
    allocated 3.93 MB in 3,048 objects  67.14 kB/s  51 objects/s
    2 of 3048 allocations have no stack.
    live bytes over 1m, at most 2.95 MB
                                                                                                                                                                                        ▁▁▁▂▂▂▃▃▃▃▄▄▄▅▅▅▆▆▆█
                                                                                                                                                             ▁▁▁▂▂▂▂▃▃▃▄▄▄▅▅▅▅▆▆▆▇▇▇████████████████████████
                                                                                                                                      ▁▁▁▂▂▂▃▃▃▃▄▄▄▅▅▅▆▆▆▆██████████████████████████████████████████████████
                                                                                                           ▁▁▁▂▂▂▂▃▃▃▄▄▄▅▅▅▅▆▆▆▇▇▇██████████████████████████████████████████████████████████████████████████
                                                                                    ▁▁▁▂▂▂▃▃▃▃▄▄▄▅▅▅▆▆▆▆████████████████████████████████████████████████████████████████████████████████████████████████████
                                                         ▁▁▁▂▂▂▂▃▃▃▄▄▄▅▅▅▅▆▆▆▇▇▇████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████
                                  ▁▁▁▂▂▂▃▃▃▃▄▄▄▅▅▅▆▆▆▆██████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████
       ▁▁▁▂▂▂▂▃▃▃▄▄▄▅▅▅▅▆▆▆▇▇▇██████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████████
    inuse_space: 2.95 MB in all, 4 sites
           live▼  share   objects    alloc/s            trend     change where                  line           what
          2000kB 66.12%      2000       50kB ▁▁▁▂▂▃▃▄▄▅▅▆▆▇▇█    +2000kB counter::Cache::insert src/cache.rs:9
          1024kB 33.85%         1    17.07kB ▁▁▁▂▂▃▃▄▄▅▅▆▆▇▇█    +1024kB main                   src/main.rs:12 libc.so.6+0x8f2c1
          0.98kB 0.032%        10     0.07kB ▁▁▁▂▂▃▃▄▄▅▅▆▆▇▇█    +0.98kB counter::walk          src/walk.rs:3
               0     0%         0     0.01kB                           0 counter::handle        src/main.rs:44 libc.so.6+0x8f2c1





























    > counter::Cache::insert  src/cache.rs:9
    v value  s sort  / filter  Enter stacks  f freeze  w save  ? help  q quit
    ");
}

#[test]
fn a_small_terminal() {
    insta::assert_snapshot!(screen(&mut grown(), 20, 5), @r"
    counter\u{1b}[2J (pi
           live▼ where
          2000kB cou…ert
          1024kB main
          0.98kB cou…alk
    ");
}

#[test]
fn the_smallest_terminal() {
    insta::assert_snapshot!(screen(&mut grown(), 1, 1), @"");
}

#[test]
fn allocated_bytes() {
    let mut state = grown();
    press(&mut state, "3");
    insta::assert_snapshot!(screen(&mut state, 80, 16), @r"
    counter\u{1b}[2J (pid 4711)  1m  degraded  2 lost
    live 2.95 MB in 2,011 objects  resident 45.00 MB  costs 1.2% of a CPU
    allocated 3.93 MB in 3,048 objects  67.14 kB/s  51 objects/s
    2 of 3048 allocations have no stack.
    live bytes over 1m, at most 2.95 MB
                                                             ▁▁▁▂▂▂▂▃▃▃▃▄▄▅▅▅▅▆▆▆▇▇█
                                  ▁▁▁▁▂▂▂▃▃▃▄▄▄▄▅▅▅▅▆▆▇▇▇▇██████████████████████████
        ▁▁▁▁▂▂▃▃▃▃▄▄▄▅▅▅▆▆▆▆▇▇▇▇████████████████████████████████████████████████████
    alloc_space: 3.93 MB in all, 4 sites
      allocated▼         live   objects    alloc/s    trend where
          3000kB       2000kB      2000       50kB ▁▂▃▄▅▆▇█ counter::Cache::insert
          1024kB       1024kB         1    17.07kB ▁▂▃▄▅▆▇█ main
          3.91kB       0.98kB        10     0.07kB ▁▂▃▄▅▆▇█ counter::walk
          0.68kB            0         0     0.01kB          counter::handle
    > counter::Cache::insert  src/cache.rs:9
    v value  s sort  / filter  Enter stacks  f freeze  w save  ? help  q quit
    ");
}

#[test]
fn estimates() {
    let mut state = empty();
    let mut of_windows = snapshot(30, estimated());
    of_windows.status.windows = Some(WindowsStatus::default());
    state.snapshot(of_windows);
    press(&mut state, "3");
    insta::assert_snapshot!(screen(&mut state, 100, 16), @r"
    counter\u{1b}[2J (pid 4711)  30s  sampled  2 lost
    perhaps live 2.95 MB in 2,011 objects  resident 45.00 MB  takes 0.00%
    allocated 3.93 MB in 3,048 objects  134.29 kB/s  102 objects/s
    Only windows were seen.
    perhaps live bytes over 1m, at most 2.95 MB
                                                      █
                                                      █
                                                      █
    alloc_space: 3.93 MB in all, 4 sites
      allocated▼       ±  share live at most   objects    alloc/s    trend where
          3000kB     ±4% 74.47%       2000kB      2000      100kB        █ counter::Cache::insert
          1024kB    ±10% 25.42%       1024kB         1    34.13kB        █ main
          3.91kB   ~±70% 0.097%       0.98kB        10     0.13kB        █ counter::walk
          0.68kB    ±20% 0.017%            0         0     0.02kB          counter::handle
    > counter::Cache::insert  src/cache.rs:9
    v value  s sort  / filter  Enter stacks  f freeze  w save  ? help  q quit
    ");
}

#[test]
fn stacks_of_a_site() {
    let mut state = grown();
    press_key(&mut state, KeyCode::Enter);
    insta::assert_snapshot!(screen(&mut state, 120, 20), @r"
    counter\u{1b}[2J (pid 4711)  1m  degraded  2 lost
    live 2.95 MB in 2,011 objects  resident 45.00 MB  costs 1.2% of a CPU
    allocated 3.93 MB in 3,048 objects  67.14 kB/s  51 objects/s
    2 of 3048 allocations have no stack.
    live bytes over 1m, at most 2.95 MB
                                                                                          ▁▁▁▁▂▂▂▂▂▂▃▃▃▃▃▃▄▄▄▄▅▅▅▅▅▅▆▆▆▆▇▇▇█
                                                  ▁▁▁▁▁▁▂▂▂▂▃▃▃▃▄▄▄▄▄▄▅▅▅▅▅▅▆▆▆▆▇▇▇▇▇▇██████████████████████████████████████
          ▁▁▁▁▁▁▂▂▂▂▃▃▃▃▃▃▄▄▄▄▅▅▅▅▆▆▆▆▆▆▇▇▇▇▇▇██████████████████████████████████████████████████████████████████████████████
    1 stack of counter::Cache::insert  src/cache.rs:9
    live 1.95 MB in 2,000 objects; allocated 2.93 MB in 3,000
      where counter::Cache::insert                                                          src/cache.rs:9  own code
            counter::handle                                                                 src/main.rs:44  own code
            main                                                                            src/main.rs:12  own code






    Up Down PgUp PgDn scroll   Esc back   ? help   q quit
    ");
}

#[test]
fn the_verdict() {
    let mut state = grown();
    press(&mut state, "i");
    insta::assert_snapshot!(screen(&mut state, 80, 16), @r"
    counter\u{1b}[2J (pid 4711)  1m  degraded  2 lost
    live 2.95 MB in 2,011 objects  resident 45.00 MB  costs 1.2% of a CPU
    allocated 3.93 MB in 3,048 objects  67.14 kB/s  51 objects/s
    2 of 3048 allocations have no stack.
    live bytes over 1m, at most 2.95 MB
                                                             ▁▁▁▂▂▂▂▃▃▃▃▄▄▅▅▅▅▆▆▆▇▇█
                                  ▁▁▁▁▂▂▂▃▃▃▄▄▄▄▅▅▅▅▆▆▇▇▇▇██████████████████████████
        ▁▁▁▁▂▂▃▃▃▃▄▄▄▅▅▅▆▆▆▆▇▇▇▇████████████████████████████████████████████████████
    how sure this is
    attach to counter-service (pid 4711) for 30.0 s
    verdict: degraded
      2 of 3048 allocations have no stack.
    note: The target exited before the end.


    Up Down PgUp PgDn scroll   Esc back   ? help   q quit
    ");
}

#[test]
fn the_help() {
    let mut state = empty();
    press(&mut state, "?");
    insta::assert_snapshot!(screen(&mut state, 80, 30), @r"
    counter\u{1b}[2J (pid 4711)
    waiting for the first profile






    keys, and what columns mean
    v  V  1-4    next, previous value: live bytes, live objects, bytes allocated,
      objects allocated
    s  S         sort by the next, previous column
    r            reverse the order
    /            filter sites by text in where, line, for and what; Enter keeps it,
      Esc drops it
    Esc          drop the filter; back to the table
    Up Down j k  select a site; PgUp, PgDn, Home and End go further
    Enter        show the stacks of the selected site, and whose calls they are
    f  Space     freeze: the display stands still, the recording goes on; once more:
      go on
    w            write the profile that is shown to a new file tracer-NAME-PID.pb.gz
    i            show the verdict with its reasons, and notes
    ?            show this
    q  Ctrl-C    take the probes out and leave
    ±            standard error of what is estimated; ~: half of it or more may be
      error
    trend        live bytes over the last minute; change: how many more there are
      than a minute ago

    Up Down PgUp PgDn scroll   Esc back   ? help   q quit
    ");
}

#[test]
fn nothing_yet() {
    insta::assert_snapshot!(screen(&mut empty(), 60, 6), @r"
    counter\u{1b}[2J (pid 4711)




    v value  s sort  / filter  Enter stacks  f freeze  w save  ?
    ");
}

#[test]
fn the_end() {
    let mut state = grown();
    state.end(End {
        profile: Arc::new(counter_service()),
        elapsed: Duration::from_secs(61),
        why: "the process ended".to_owned(),
    });
    let text = screen(&mut state, 80, 24);
    assert!(text.contains("ended after 1m 1s"), "{text}");
    assert!(
        text.ends_with("the process ended   w save   ? help   q quit"),
        "{text}"
    );
}

/// In every pane, none panics and none shows what a terminal obeys.
#[test]
fn all_sizes() {
    let mut states = vec![empty(), grown()];
    for keys in ["?", "i", "/nothing", "3s"] {
        let mut state = grown();
        press(&mut state, keys);
        states.push(state);
    }
    let mut detail = grown();
    press_key(&mut detail, KeyCode::Enter);
    press(&mut detail, "jjjjG");
    states.push(detail);
    let mut sampled = empty();
    sampled.snapshot(snapshot(30, estimated()));
    states.push(sampled);
    for state in &mut states {
        for columns in [0, 1, 2, 5, 11, 12, 13, 36, 37, 60, 80, 120, 200] {
            for rows in [0, 1, 2, 3, 5, 6, 9, 10, 15, 16, 24, 36] {
                let text = screen(state, columns, rows);
                let plain = |c| is_plain(c) || c == '\n';
                assert!(text.chars().all(plain), "{text}");
                press_key(state, KeyCode::PageDown);
            }
        }
    }
}

#[test]
fn colours_are_there_where_they_are_wanted() {
    let colours = |has_colours| {
        let mut state = grown();
        state.subject.has_colours = has_colours;
        state.resize(Size::new(80, 24));
        let mut terminal =
            Terminal::new(TestBackend::new(80, 24)).unwrap_or_else(|never| match never {});
        let drawn = terminal.draw(|frame| draw(&state, frame));
        drawn.unwrap_or_else(|never| match never {});
        let cells = terminal.backend().buffer().content();
        cells
            .iter()
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
            .count()
    };
    assert!(colours(true) > 0);
    assert_eq!(colours(false), 0);
}

#[test]
fn names_are_shortened_in_their_middle() {
    let mut profile = counter_service();
    for function in &mut profile.functions {
        function.name = format!("a{}z", "_long".repeat(30));
    }
    let mut state: State = empty();
    state.snapshot(snapshot(1, profile));
    let text = screen(&mut state, 80, 24);
    assert!(
        text.lines()
            .any(|line| line.contains('…') && line.ends_with("_longz")),
        "{text}"
    );
}
