//! What the page is made of: the recording as it is now, and what is remembered of it; or saved profiles.
//!
//! A look at the recording is shared by all that ask at about the same time, and so is what is made of it for the page.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::Subject;
use super::failure::Failure;
use crate::check::Recorded;
use crate::export::{Contents, ReadError};
use crate::page::{
    Bounds, History, Kept, Overview, Point, Suspects, changes, interval, moment, suspects,
};
use crate::printable::printable;
use crate::profile::{Profile, ValueKind};
use crate::session::{Asking, NoSnapshot};

/// A look at the recording is good for so long, and for so many times as long as it took: at most 5% of a CPU while
/// somebody has the page open.
const FRESH: Duration = Duration::from_secs(1);
const FRESH_PER_COST: u32 = 20;
/// Answers that are kept, so that what several pages show is made once.
const ANSWERS: usize = 8;
/// Moments that are judged: a few more than the blocks that a judgement makes of them.
const JUDGED: usize = 64;

/// Saved profiles to view.
#[derive(Debug)]
pub struct Saved {
    /// What is viewed: a file or a folder.
    pub name: String,
    /// The profiles.
    pub history: History,
    /// What is known beyond them: a series with its generations.
    pub recorded: Option<Recorded>,
    /// What is not shown, one sentence each.
    pub remarks: Vec<String>,
}

/// What the page is made of.
pub(super) struct Past {
    name: String,
    pid: Option<u32>,
    history: Mutex<History>,
    recorded: Option<Arc<Recorded>>,
    remarks: Vec<String>,
    live: Option<Live>,
    /// The last answers, by what was asked for. Held while one is made: the others wait.
    answers: tokio::sync::Mutex<Vec<Answer>>,
}

/// What work costs: the less of the last two times, since the first look at a recording gives all its stacks their
/// names. CPU time, as on a busy machine everything takes long.
#[derive(Clone, Copy, Default)]
struct Cost([Duration; 2]);

impl Cost {
    /// What this process has taken so far.
    fn spent() -> Duration {
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        let part = |part: i64| u64::try_from(part).unwrap_or(0);
        Duration::from_secs(part(spent.tv_sec)) + Duration::from_nanos(part(spent.tv_nsec))
    }

    /// Takes in what was spent since.
    fn add(&mut self, since: Duration) {
        self.0 = [self.0[1], Self::spent().saturating_sub(since)];
    }

    fn usual(&self) -> Duration {
        self.0[0].min(self.0[1])
    }
}

/// An answer that was made.
struct Answer {
    question: Question,
    bytes: Bytes,
    at: Instant,
    cost: Duration,
}

impl Answer {
    /// Whether it still answers a question. A judgement takes long where there are many stacks, and is good for as many
    /// times as long as a look is.
    fn is_of(&self, question: Question) -> bool {
        let is_judgement = |one| matches!(one, Question::Suspects(_));
        let is_fresh = self.at.elapsed() < self.cost * FRESH_PER_COST;
        self.question == question
            || (is_judgement(question) && is_judgement(self.question) && is_fresh)
    }
}

struct Live {
    asking: Asking,
    looks: tokio::sync::Mutex<Looks>,
}

#[derive(Default)]
struct Looks {
    cost: Cost,
    /// The last, and when it was.
    last: Option<(Instant, Arc<Profile>)>,
}

/// A moment that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// The recording as it is, or the newest of saved profiles.
    Now,
    /// A moment that was kept, or the nearest one where it is gone.
    Kept(u64),
}

/// What an answer is about, by the times of its profiles in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Moment(i64),
    Changes(i64, i64, ValueKind),
    /// After so many moments.
    Suspects(u64),
}

/// A profile that is there, or has to be unpacked.
#[derive(Clone)]
enum Shown {
    Whole(Arc<Profile>),
    Packed(Kept),
}

impl Shown {
    fn time(&self) -> i64 {
        match self {
            Self::Whole(profile) => profile.metadata.time_nanos,
            Self::Packed(kept) => kept.time_nanos(),
        }
    }

    fn with<T>(&self, show: impl FnOnce(&Profile, &[ValueKind]) -> T) -> Result<T, ReadError> {
        match self {
            Self::Whole(profile) => Ok(show(profile, &ValueKind::ALL)),
            Self::Packed(kept) => {
                let Contents { profile, kinds } = kept.contents()?;
                Ok(show(&profile, &kinds))
            }
        }
    }
}

impl Past {
    pub(super) fn of_recording(subject: &Subject, asking: Asking) -> Self {
        Self {
            name: printable(&subject.name).into_owned(),
            pid: Some(subject.pid),
            history: Mutex::new(History::new(Bounds::LIVE)),
            recorded: None,
            remarks: Vec::new(),
            live: Some(Live {
                asking,
                looks: tokio::sync::Mutex::default(),
            }),
            answers: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn of_saved(saved: Saved) -> Self {
        Self {
            name: saved.name,
            pid: None,
            history: Mutex::new(saved.history),
            recorded: saved.recorded.map(Arc::new),
            remarks: saved.remarks,
            live: None,
            answers: tokio::sync::Mutex::default(),
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps moments until the recording ends.
    pub(super) async fn keep(&self) {
        let begun = Instant::now();
        let mut cost = Cost::default();
        loop {
            let spent = Cost::spent();
            if let Err(Failure::NoSnapshot(NoSnapshot::Ended)) = self.keep_one().await {
                return;
            }
            cost.add(spent);
            tokio::time::sleep(interval(begun.elapsed(), cost.usual())).await;
        }
    }

    async fn keep_one(&self) -> Result<(), Failure> {
        if let Some(profile) = self.look(Duration::ZERO).await? {
            let pack = move || Kept::of(&profile, &ValueKind::ALL);
            let kept = tokio::task::spawn_blocking(pack).await;
            self.history().keep(kept.map_err(io::Error::other)??);
        }
        Ok(())
    }

    /// The recording as it was at most `age` ago, or longer where looking takes long; `None` where there is none.
    async fn look(&self, age: Duration) -> Result<Option<Arc<Profile>>, Failure> {
        let Some(live) = &self.live else {
            return Ok(None);
        };
        // Held meanwhile: the others wait for the same look.
        let mut looks = live.looks.lock().await;
        if let Some((at, profile)) = &looks.last
            && age > Duration::ZERO
            && at.elapsed() < age.max(looks.cost.usual() * FRESH_PER_COST)
        {
            return Ok(Some(Arc::clone(profile)));
        }
        let spent = Cost::spent();
        let snapshot = live.asking.snapshot().await?;
        looks.cost.add(spent);
        looks.last = Some((Instant::now(), Arc::clone(&snapshot.profile)));
        let resident = snapshot.memory.map(|memory| memory.all_resident);
        let point = Point::of(&snapshot.profile, resident);
        self.history().note(point);
        Ok(Some(snapshot.profile))
    }

    /// The head of the page and its time line.
    pub(super) async fn overview(&self) -> Result<Bytes, Failure> {
        self.look(FRESH).await?;
        let history = self.history();
        let overview = Overview {
            name: self.name.clone(),
            pid: self.pid,
            is_live: self.live.is_some(),
            version: env!("CARGO_PKG_VERSION"),
            course: history.course(),
            moments: history.moments(),
            remarks: self.remarks.clone(),
        };
        drop(history);
        json(&overview)
    }

    /// A moment.
    pub(super) async fn moment(&self, when: When) -> Result<Bytes, Failure> {
        let shown = self.shown(when).await?;
        self.answer(Question::Moment(shown.time()), move || {
            let moment = shown.with(moment).map_err(unreadable)?;
            json(&moment)
        })
        .await
    }

    /// What changed.
    pub(super) async fn changes(
        &self,
        before: When,
        after: When,
        kind: ValueKind,
    ) -> Result<Bytes, Failure> {
        let before = self.shown(before).await?;
        let after = self.shown(after).await?;
        let question = Question::Changes(before.time(), after.time(), kind);
        self.answer(question, move || {
            let compare = |before: &Profile| after.with(|after, _| changes(before, after, kind));
            let compared = before.with(|before, _| compare(before));
            let compared = compared.and_then(|inner| inner).map_err(unreadable)?;
            json(&compared.map_err(|error| Failure::Internal(error.to_string()))?)
        })
        .await
    }

    /// Who may leak.
    pub(super) async fn suspects(&self) -> Result<Bytes, Failure> {
        let (count, moments) = {
            let history = self.history();
            (history.kept_once(), history.evenly(JUDGED))
        };
        let recorded = self.recorded.clone();
        self.answer(Question::Suspects(count), move || {
            let shown: Suspects = suspects(&moments, recorded.as_deref()).map_err(unreadable)?;
            json(&shown)
        })
        .await
    }

    async fn shown(&self, when: When) -> Result<Shown, Failure> {
        if let (When::Now, Some(profile)) = (when, self.look(FRESH).await?) {
            return Ok(Shown::Whole(profile));
        }
        let history = self.history();
        let found = match when {
            When::Now => history.last(),
            When::Kept(id) => history.near(id),
        };
        let none = || Failure::Internal("no moment has been kept yet: try again".to_owned());
        found.map(|(_, kept)| Shown::Packed(kept)).ok_or_else(none)
    }

    /// An answer that is known, or is made now.
    async fn answer(
        &self,
        question: Question,
        make: impl FnOnce() -> Result<Bytes, Failure> + Send + 'static,
    ) -> Result<Bytes, Failure> {
        let mut answers = self.answers.lock().await;
        if let Some(known) = answers.iter().rev().find(|known| known.is_of(question)) {
            return Ok(known.bytes.clone());
        }
        let spent = Cost::spent();
        let made = tokio::task::spawn_blocking(make).await;
        let bytes = made.map_err(io::Error::other)??;
        if answers.len() >= ANSWERS {
            answers.remove(0);
        }
        answers.push(Answer {
            question,
            bytes: bytes.clone(),
            at: Instant::now(),
            cost: Cost::spent().saturating_sub(spent),
        });
        Ok(bytes)
    }
}

fn json(shown: &impl Serialize) -> Result<Bytes, Failure> {
    let bytes = serde_json::to_vec(shown).map_err(io::Error::other)?;
    Ok(bytes.into())
}

fn unreadable(error: ReadError) -> Failure {
    Failure::Internal(error.to_string())
}
