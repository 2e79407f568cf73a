//! `tracer view`

use std::path::Path;

use anyhow::{Context as _, ensure};

use super::args::ViewArgs;
use super::attach::runtime;
use super::check::with_generations;
use super::exit::Exit;
use super::read::read;
use super::say::say;
use super::series::{in_order_of_time, profiles_in};
use super::serve::{access, describe};
use super::signals::Signals;
use crate::export::Contents;
use crate::page::{Bounds, History, Kept, Point};
use crate::printable::Shown as _;
use crate::serve::{Bound, Saved, Server};

/// Shows saved profiles until somebody asks for the end.
pub(super) fn view(args: &ViewArgs, signals: &Signals) -> anyhow::Result<Exit> {
    let saved = saved(&args.path)?;
    let access = access(&args.access)?;
    let bound = Bound::new(&args.listen, &access)?;
    let where_it_is = describe("showing", &bound, &access, "/");
    let name = saved.name.clone();
    let until = signals.finish(None);
    let server = Server::view(bound, access, saved)?;
    say(format_args!("{where_it_is}: {name}; Ctrl-C ends it"));
    runtime()?.block_on(until);
    drop(server);
    Ok(Exit::Done)
}

/// Reads a profile, or those of a folder.
fn saved(path: &Path) -> anyhow::Result<Saved> {
    let name = path.shown().to_string();
    if !path.is_dir() {
        let mut history = History::new(Bounds::SAVED);
        add(&mut history, path, &read(path)?)?;
        return Ok(Saved {
            name,
            history,
            recorded: None,
            remarks: Vec::new(),
        });
    }
    let paths = profiles_in(path)?;
    ensure!(!paths.is_empty(), "{name} holds no profiles");
    let history = in_order_of_time(
        paths,
        || History::new(Bounds::SAVED),
        |history, path, contents| add(history, path, &contents),
    )?;
    let (shown, all) = (history.moments().len(), history.kept_once());
    ensure!(shown > 0, "{name} holds no profiles");
    let mut remarks = Vec::new();
    if (shown as u64) < all {
        remarks.push(format!(
            "{shown} of {all} profiles are shown, at even distances: more do not fit into memory."
        ));
    }
    Ok(Saved {
        name,
        recorded: with_generations(path)?,
        history,
        remarks,
    })
}

fn add(history: &mut History, path: &Path, contents: &Contents) -> anyhow::Result<()> {
    let Contents { profile, kinds } = contents;
    let kept = Kept::of(profile, kinds);
    let kept = kept.with_context(|| format!("{} could not be packed", path.shown()))?;
    history.note(Point::of(profile, None));
    ensure!(
        history.keep(kept),
        "{} has the same time as the one before: name one of the two",
        path.shown()
    );
    Ok(())
}
