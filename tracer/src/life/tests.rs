//! Histories of processes, told in the orders that the two streams can come in, and in any order at all.

use std::collections::{HashMap, HashSet};

use super::early::{MAX_EXPECTED, MAX_KEPT};
use super::{Decision, Event, Image, Lives, MAX_PENDING};

const MAIN: u32 = 100;
const FIRST: u32 = 1;

/// A mapping that says whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mapping {
    /// The image it belongs to; 0 where the process is not followed.
    of: u32,
    time_ns: u64,
}

/// A small generator: many orders have to be tried in little time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// What happened, and how the two streams tell it: in order within a process and a stream.
#[derive(Default)]
struct History {
    ring: Vec<(u64, Event<Mapping>)>,
    sideband: Vec<(u64, Event<Mapping>)>,
    /// The mappings of followed images.
    truth: HashSet<Mapping>,
}

/// A history of followed and other processes, whose pids are few, so that they come back.
fn history(random: &mut Random, steps: usize) -> History {
    let mut history = History::default();
    let mut followed = HashMap::from([(MAIN, FIRST)]);
    let mut others: HashSet<u32> = HashSet::from([200]);
    let (mut images, mut time_ns) = (FIRST, 10);
    for _ in 0..steps {
        time_ns += 10;
        let free = (0..6).map(|n| MAIN + n);
        let free = free.filter(|pid| !followed.contains_key(pid) && !others.contains(pid));
        let free: Vec<u32> = free.collect();
        let alive: Vec<(u32, u32)> = {
            let mut alive: Vec<_> = followed.iter().map(|(&pid, &image)| (pid, image)).collect();
            alive.sort_unstable();
            alive
        };
        let (pid, image) = alive
            .get(random.below(alive.len().max(1)))
            .copied()
            .unwrap_or((0, 0));
        match random.below(8) {
            0 if !free.is_empty() && image != 0 => {
                let child = free[random.below(free.len())];
                images += 1;
                followed.insert(child, images);
                history
                    .sideband
                    .push((time_ns, Event::Born { parent: pid, child }));
                let event = Event::Forked {
                    parent: pid,
                    parent_image: image,
                    child,
                    image: Image {
                        number: images,
                        heap: images,
                    },
                    time_ns,
                };
                history.ring.push((time_ns, event));
            }
            1 if image != 0 => {
                images += 1;
                followed.insert(pid, images);
                history
                    .sideband
                    .push((time_ns, Event::Replacing { pid, time_ns }));
                for after in 1..=2 {
                    history.map(pid, images, time_ns + after);
                }
                time_ns += 5;
                let event = Event::Execed {
                    pid,
                    old: image,
                    image: Some(Image {
                        number: images,
                        heap: images,
                    }),
                    time_ns,
                };
                history.ring.push((time_ns, event));
            }
            2 if image != 0 && pid != MAIN => {
                followed.remove(&pid);
                let event = Event::Exited {
                    pid,
                    image,
                    is_borrowed: false,
                };
                history.ring.push((time_ns, event));
            }
            3 if !free.is_empty() => {
                let child = free[random.below(free.len())];
                others.insert(child);
                history
                    .sideband
                    .push((time_ns, Event::Born { parent: 200, child }));
                history.sideband.push((
                    time_ns + 1,
                    Event::Replacing {
                        pid: child,
                        time_ns: time_ns + 1,
                    },
                ));
                history.map(child, 0, time_ns + 2);
            }
            4 => {
                let ended: Vec<u32> = others.iter().copied().filter(|&pid| pid != 200).collect();
                if let Some(&pid) = ended.first() {
                    others.remove(&pid);
                }
            }
            _ if image != 0 => history.map(pid, image, time_ns),
            _ => {}
        }
    }
    history
}

impl History {
    fn map(&mut self, pid: u32, of: u32, time_ns: u64) {
        let mapping = Mapping { of, time_ns };
        if of != 0 {
            self.truth.insert(mapping);
        }
        self.sideband.push((
            time_ns,
            Event::Mapped {
                pid,
                time_ns,
                mapping,
            },
        ));
    }
}

/// What was decided, held against what must always be so.
#[derive(Default)]
struct Held {
    begun: HashSet<u32>,
    ended: HashSet<u32>,
    mapped: Vec<(u32, Mapping)>,
    read: HashSet<u32>,
}

impl Held {
    fn take(&mut self, decision: Decision<Mapping>) {
        match decision {
            Decision::Begin { image, .. } => {
                assert!(self.begun.insert(image.number), "{image:?} begins twice");
            }
            Decision::Map { image, mapping } => {
                let is_there = image == FIRST || self.begun.contains(&image);
                assert!(
                    is_there && !self.ended.contains(&image),
                    "{image} has {mapping:?}"
                );
                self.mapped.push((image, mapping));
            }
            Decision::End { image, .. } => {
                assert!(image == FIRST || self.begun.contains(&image));
                assert!(self.ended.insert(image), "{image} ends twice");
            }
            Decision::Read { image } => {
                self.read.insert(image);
            }
            Decision::ChildNotFollowed => {}
        }
    }
}

/// Tells a history in batches, as a session reads them: a part of the ring, and all that the side-band has
/// up to then, sorted by time.
fn tell(history: &History, random: &mut Random) -> (Lives<Mapping>, Held) {
    let mut lives = Lives::new(MAIN, FIRST, true);
    let mut held = Held::default();
    let (mut rung, mut noted) = (0, 0);
    while rung < history.ring.len() || noted < history.sideband.len() {
        let ring_end = (rung + random.below(4)).min(history.ring.len());
        let now = history.ring[..ring_end].last().map_or(0, |&(time, _)| time);
        let by_then = history.sideband.partition_point(|&(time, _)| time <= now);
        // The rest, when the ring has nothing more.
        let noted_end = if ring_end == history.ring.len() {
            history.sideband.len()
        } else {
            by_then.max(noted)
        };
        let mut batch: Vec<_> = history.ring[rung..ring_end]
            .iter()
            .chain(&history.sideband[noted..noted_end])
            .map(|&(time, event)| match event {
                Event::Born { .. } => (0, event),
                _ => (time, event),
            })
            .collect();
        batch.sort_by_key(|&(time, _)| time);
        for (_, event) in batch {
            lives.take(event, &mut |decision| held.take(decision));
        }
        lives.settle();
        (rung, noted) = (ring_end, noted_end);
    }
    (lives, held)
}

#[test]
fn every_mapping_is_given_to_the_image_it_belongs_to() {
    for seed in 1..=1_500 {
        let mut random = Random(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let history = history(&mut random, 40);
        let (lives, held) = tell(&history, &mut random);
        for (image, mapping) in &held.mapped {
            assert_eq!(*image, mapping.of, "seed {seed}: {mapping:?}");
        }
        let mapped: HashSet<_> = held.mapped.iter().map(|(_, mapping)| *mapping).collect();
        assert_eq!(
            mapped.len(),
            held.mapped.len(),
            "seed {seed}: some are given twice"
        );
        // Those that came after the last event of the ring may wait for the next exec.
        for missing in history.truth.difference(&mapped) {
            assert!(
                held.ended.contains(&missing.of) || held.read.contains(&missing.of),
                "seed {seed}: {missing:?} is lost"
            );
        }
        assert_eq!(lives.dropped(), 0);
    }
}

/// Streams that lose, repeat and mix up events must do no harm.
#[test]
fn any_order_of_any_events_is_survived() {
    let orders: u64 = std::env::var("TRACER_LIFE_ORDERS")
        .ok()
        .and_then(|orders| orders.parse().ok())
        .unwrap_or(3_000);
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut most_waiting = 0;
    for round in 0..orders {
        let mut lives = Lives::new(MAIN, FIRST, round % 8 != 0);
        let mut held = Held::default();
        let history = history(&mut random, 24);
        let mut events: Vec<_> = history.ring.iter().chain(&history.sideband).collect();
        random.shuffle(&mut events);
        let kept = events.len() - random.below(events.len() / 4 + 1);
        for (_, event) in &events[..kept] {
            lives.take(*event, &mut |decision| held.take_leniently(decision));
            if random.below(6) == 0 {
                lives.settle();
            }
        }
        for pid in lives.pids() {
            let image = lives.image_of(pid).unwrap_or(0);
            assert!(image == FIRST || held.begun.contains(&image));
            assert!(!held.ended.contains(&image), "{image} runs and has ended");
        }
        most_waiting = most_waiting.max(lives.waiting());
    }
    assert!(most_waiting <= 24 * 4);
}

impl Held {
    /// As [`Self::take`], for streams in which an image may end before it begins.
    fn take_leniently(&mut self, decision: Decision<Mapping>) {
        match decision {
            Decision::Begin { image, .. } => {
                self.begun.insert(image.number);
                self.ended.remove(&image.number);
            }
            decision => {
                if let Decision::End { image, .. } = decision {
                    assert!(image == FIRST || self.begun.contains(&image));
                    self.ended.insert(image);
                }
            }
        }
    }
}

/// 200,000 events of processes that nobody follows, and of one that never finishes its exec.
#[test]
fn what_waits_is_bounded() {
    let mut lives = Lives::new(MAIN, FIRST, true);
    let mut begun = 0;
    for n in 0..200_000_u64 {
        let pid = MAIN + 1 + (n % 30_000) as u32;
        let mapping = Mapping { of: 0, time_ns: n };
        let decide = &mut |_: Decision<Mapping>| begun += 1;
        if n % 3 == 0 {
            lives.take(
                Event::Born {
                    parent: MAIN,
                    child: pid,
                },
                decide,
            );
        }
        let time_ns = n;
        lives.take(
            Event::Mapped {
                pid,
                time_ns,
                mapping,
            },
            decide,
        );
        if n == 5 {
            lives.take(Event::Replacing { pid: MAIN, time_ns }, decide);
        }
        lives.take(
            Event::Mapped {
                pid: MAIN,
                time_ns,
                mapping,
            },
            decide,
        );
        if n % 1_000 == 0 {
            lives.settle();
            assert!(lives.waiting() <= MAX_KEPT + MAX_EXPECTED + MAX_PENDING);
        }
    }
    // What came before the exec; nothing else was anybody's.
    assert_eq!(begun, 5);
    assert!(lives.dropped() > 0);
}

#[test]
fn a_pid_that_comes_back_is_another_process() {
    let mut lives = Lives::new(MAIN, FIRST, true);
    let mut decided = Vec::new();
    let image = |number| Image {
        number,
        heap: number,
    };
    let fork = |image, time_ns| Event::Forked {
        parent: MAIN,
        parent_image: FIRST,
        child: 101,
        image,
        time_ns,
    };
    let map = |of, time_ns| Event::Mapped {
        pid: 101,
        time_ns,
        mapping: Mapping { of, time_ns },
    };
    let exit = |image| Event::Exited {
        pid: 101,
        image,
        is_borrowed: false,
    };
    // An unrelated process had the pid before; the last is its child's.
    let events = [
        map(0, 5),
        fork(image(2), 10),
        map(2, 11),
        exit(2),
        map(0, 15),
        fork(image(3), 20),
        map(3, 21),
        exit(3),
    ];
    for event in events {
        lives.take(event, &mut |decision| decided.push(decision));
    }
    let maps = decided.iter().filter_map(|decision| match decision {
        Decision::Map { image, mapping } => Some((*image, mapping.of)),
        _ => None,
    });
    assert_eq!(maps.collect::<Vec<_>>(), [(2, 2), (3, 3)]);
    assert_eq!(lives.pids().collect::<Vec<_>>(), [MAIN]);
    assert_eq!(lives.waiting(), 0);
}

#[test]
fn children_are_counted_where_they_are_not_followed() {
    let mut lives: Lives<Mapping> = Lives::new(MAIN, FIRST, false);
    let mut children = 0;
    for parent in [MAIN, 7] {
        lives.take(Event::Born { parent, child: 300 }, &mut |decision| {
            assert_eq!(decision, Decision::ChildNotFollowed);
            children += 1;
        });
    }
    assert_eq!((children, lives.waiting()), (1, 0));
}
