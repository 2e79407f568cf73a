//! Tests of the state and of what is drawn of it.

mod drawing;
mod state;

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::draw;
use super::{Effect, State, Subject};
use crate::export::example::counter_service;
use crate::process::HeapUse;
use crate::profile::Profile;
use crate::session::{Snapshot, Source, Status};

/// A display of counter-service, with the name of an attacker.
fn empty() -> State {
    State::new(Subject {
        name: "counter\x1b[2J".to_owned(),
        pid: 4711,
        ..Subject::default()
    })
}

/// The same after a minute in which it allocated as the example does, more and more.
fn grown() -> State {
    let mut state = empty();
    for second in 1..=60 {
        state.snapshot(snapshot(second, part(second)));
    }
    state
}

/// The example, of which the amounts are as many sixtieths.
fn part(sixtieths: u64) -> Profile {
    let mut profile = counter_service();
    let sixtieths = i64::try_from(sixtieths).unwrap_or(0);
    for sample in &mut profile.samples {
        let values = &mut sample.values;
        for value in [
            &mut values.alloc_objects,
            &mut values.alloc_space,
            &mut values.inuse_objects,
            &mut values.inuse_space,
        ] {
            *value = *value * sixtieths / 60;
        }
    }
    profile
}

fn snapshot(second: u64, profile: Profile) -> Snapshot {
    Snapshot {
        profile: Arc::new(profile),
        status: Status {
            source: Source::Probes,
            elapsed: Duration::from_secs(second),
            alloc_objects: 0,
            live_objects: 0,
            live_bytes: 0,
            peak_bytes: 0,
            stacks: 4,
            losses: 2,
            cut: 0,
            cost: Some(0.0123),
            windows: None,
        },
        memory: Some(HeapUse {
            all_resident: 45 << 20,
            ..HeapUse::default()
        }),
    }
}

/// Presses keys that are letters.
fn press(state: &mut State, keys: &str) -> Vec<Effect> {
    let codes = keys.chars().map(KeyCode::Char);
    codes.map(|code| press_key(state, code)).collect()
}

fn press_key(state: &mut State, code: KeyCode) -> Effect {
    state.key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// What a terminal of this size shows.
fn screen(state: &mut State, columns: u16, rows: u16) -> String {
    let backend = TestBackend::new(columns, rows);
    let mut terminal = Terminal::new(backend).unwrap_or_else(|never| match never {});
    let drawn = terminal.draw(|frame| {
        state.resize(frame.area().as_size());
        draw(state, frame);
    });
    drawn.unwrap_or_else(|never| match never {});
    let buffer = terminal.backend().buffer();
    let lines = buffer.content().chunks(usize::from(columns.max(1)));
    let lines = lines.map(|cells| {
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned()
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.trim_end().to_owned()
}
