//! What keys and snapshots do.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Size;

use super::{counter_service, empty, grown, part, press, press_key, screen, snapshot};
use crate::profile::{Profile, ValueKind};
use crate::top::state::{Pane, Sort};
use crate::top::{Effect, End, State};

/// Where memory is asked for, of the rows in order.
fn rows(state: &State) -> Vec<String> {
    let rows = state.shown.iter().flat_map(|shown| &shown.rows);
    rows.map(|row| row.site.place.clone()).collect()
}

fn first(state: &State) -> String {
    rows(state).into_iter().next().unwrap_or_default()
}

fn control(state: &mut State, c: char) -> Effect {
    state.key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL))
}

#[test]
fn values_turn() {
    let mut state = grown();
    for wanted in [
        ValueKind::InuseObjects,
        ValueKind::AllocSpace,
        ValueKind::AllocObjects,
        ValueKind::InuseSpace,
    ] {
        press(&mut state, "v");
        assert_eq!(state.by, wanted);
    }
    press(&mut state, "V");
    assert_eq!(state.by, ValueKind::AllocObjects);
    press(&mut state, "1");
    assert_eq!(state.by, ValueKind::InuseSpace);
    // What holds nothing of it is there, too: it may allocate.
    assert_eq!(rows(&state).len(), 4);
}

#[test]
fn columns_sort() {
    let mut state = grown();
    assert_eq!(first(&state), "counter::Cache::insert");
    press(&mut state, "r");
    assert_ne!(first(&state), "counter::Cache::insert");
    press(&mut state, "r");
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(state.sort);
        press(&mut state, "s");
    }
    let all = [
        Sort::Value,
        Sort::Objects,
        Sort::Rate,
        Sort::Change,
        Sort::Place,
    ];
    assert_eq!(seen, all);
    assert_eq!(state.sort, Sort::Value);
    press(&mut state, "S");
    assert_eq!(state.sort, Sort::Place);
    let mut sorted = rows(&state);
    sorted.sort();
    assert_eq!(rows(&state), sorted);
}

#[test]
fn a_filter_is_typed() {
    let mut state = grown();
    press(&mut state, "/CACHE");
    assert_eq!(rows(&state), ["counter::Cache::insert"]);
    press_key(&mut state, KeyCode::Backspace);
    press_key(&mut state, KeyCode::Enter);
    assert_eq!((state.filter.as_str(), &state.pane), ("CACH", &Pane::Table));
    // Letters are keys again.
    assert_eq!(press(&mut state, "q"), [Effect::Quit]);
    // Esc leaves what was there before, and once more drops it.
    press(&mut state, "/zzz");
    assert_eq!(rows(&state).len(), 0);
    press_key(&mut state, KeyCode::Esc);
    assert_eq!(state.filter, "CACH");
    press_key(&mut state, KeyCode::Esc);
    assert_eq!(rows(&state).len(), 4);
}

#[test]
fn a_selection_stays_with_its_site() {
    let mut state = grown();
    let _ = screen(&mut state, 80, 24);
    press(&mut state, "j");
    let selected = state.selected().map(|(_, row)| row.site.place.clone());
    assert_eq!(selected, rows(&state).get(1).cloned());
    press(&mut state, "r");
    assert_eq!(
        state.selected().map(|(_, row)| row.site.place.clone()),
        selected
    );
    press(&mut state, "G");
    assert_eq!(state.selected().map(|(at, _)| at), Some(3));
    press(&mut state, "jj");
    assert_eq!(state.selected().map(|(at, _)| at), Some(3));
    press(&mut state, "g");
    assert_eq!(state.selected().map(|(at, _)| at), Some(0));
    // It is gone from the table: the first is selected.
    press(&mut state, "/zzz");
    assert!(state.selected().is_none());
}

#[test]
fn a_pane_scrolls_as_far_as_it_goes() {
    let mut state = grown();
    state.resize(Size::new(80, 12));
    press(&mut state, "?");
    press(&mut state, "G");
    let Pane::Help(end) = state.pane else {
        panic!("{:?}", state.pane);
    };
    assert!(end > 0);
    press(&mut state, "jjjk");
    assert_eq!(state.pane, Pane::Help(end - 1));
    press(&mut state, "?");
    assert_eq!(state.pane, Pane::Table);
}

#[test]
fn a_frozen_display_stands_still() {
    let mut state = empty();
    state.snapshot(snapshot(1, part(1)));
    let before = screen(&mut state, 80, 24);
    press(&mut state, "f");
    state.snapshot(snapshot(2, part(30)));
    state.snapshot(snapshot(3, part(60)));
    let during = screen(&mut state, 80, 24);
    assert_eq!(during.replace("  FROZEN", ""), before);
    // Values can be looked at meanwhile, and what is shown is what is saved.
    press(&mut state, "v");
    let saved = state.shown_profile();
    assert_eq!(saved.as_deref(), Some(&part(1)));
    press(&mut state, "Vf");
    assert_eq!(state.shown_profile().as_deref(), Some(&part(60)));
    // What went by was not lost.
    let row = state.selected().map(|(_, row)| row.rate.0);
    assert_eq!(row, Some(3_072_000 / 3));
}

#[test]
fn what_is_shown_is_saved_and_where_is_said() {
    assert_eq!(press(&mut empty(), "w"), [Effect::None]);
    let mut state = grown();
    assert_eq!(press(&mut state, "w"), [Effect::Save]);
    state.saved(Ok("tracer-x-1.pb.gz".to_owned()));
    assert!(screen(&mut state, 80, 24).ends_with("wrote tracer-x-1.pb.gz"));
    state.saved(Err("it is full\x1b[2J".to_owned()));
    assert!(screen(&mut state, 80, 24).ends_with("not saved: it is full\\u{1b}[2J"));
    press(&mut state, "j");
    assert!(screen(&mut state, 80, 24).ends_with("q quit"));
}

#[test]
fn control_keys() {
    let mut state = grown();
    press(&mut state, "/");
    assert_eq!(control(&mut state, 'c'), Effect::Quit);
    assert_eq!(control(&mut state, 'z'), Effect::None);
    assert_eq!(state.filter, "");
}

#[test]
fn an_end_without_a_snapshot_is_shown() {
    let mut state = empty();
    state.end(End {
        profile: Arc::new(counter_service()),
        elapsed: Duration::from_millis(300),
        why: "the process ended".to_owned(),
    });
    assert_eq!(first(&state), "counter::Cache::insert");
}

#[test]
fn an_end_while_frozen_comes_later() {
    let mut state = grown();
    press(&mut state, "f");
    state.end(End {
        profile: Arc::new(Profile::default()),
        elapsed: Duration::from_secs(61),
        why: "the process ended".to_owned(),
    });
    assert_eq!(rows(&state).len(), 4);
    press(&mut state, "f");
    assert_eq!(rows(&state).len(), 0);
}
