//! What one stack is: the rules, on top of the tests of [`super::trend`].

use super::history::Levels;
use super::load::{Explained, Load};
use super::trend::{Axis, CERTAIN_ALONE, Course, MIN_BLOCKS, Trend};
use super::verdict::{Caveat, Class, Confidence, Filling, Lack, Leak, Options};

/// Blocks with growth from which on it is no longer a one-off.
const ONE_OFF_RISES: u32 = 2;

/// Blocks with growth below which a leak has few events.
const FEW_RISES: u32 = 12;

/// Standard errors between a growth and one that comes to its end, for the growth to go on.
const CERTAIN: f64 = 2.5;

/// Objects that came of age from which on a stack counts as tested.
const TESTED_EVENTS: f64 = 6.0;

/// Old objects freed, as a share of those that come of age, up to which old ones do not die.
const RETAINED: f64 = 0.05;

/// Growth of the old stock from one half to the other from which on it can be compared.
const COMPARABLE_GROWTH: f64 = 1.5;

/// Share of the growth that may have been lost again, and of the old objects that may have been
/// freed, where what is left counts as kept.
const STEADY: f64 = 0.2;

/// Allocated bytes per byte ever live from which on it is churn.
const CHURN: f64 = 10.0;

/// What all stacks are judged by.
pub(super) struct Judge<'a> {
    /// Windows after which a generation is old.
    pub(super) age: Option<usize>,
    /// Blocks in seconds for what is live.
    pub(super) live: &'a Axis,
    /// Blocks in seconds for what is old.
    pub(super) old: &'a Axis,
    /// Blocks for the course of what is live: in operations, where they are counted.
    pub(super) live_course: &'a Axis,
    /// Blocks for the course of what is old.
    pub(super) old_course: &'a Axis,
    /// How the load went, where operations are not counted.
    pub(super) load: &'a Load,
    /// Operations in the blocks.
    pub(super) operations: Option<f64>,
    /// Frees of memory from before the recording, in the blocks.
    pub(super) older_frees: f64,
    /// The ends of the windows.
    pub(super) seconds: Vec<f64>,
}

/// A stack's judgement before the number of stacks is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draft {
    /// It had enough data to be accused.
    pub(super) tested: bool,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Settled(Class),
    /// A leak, if chance can be excluded; [`Leak::false_alarm`] is still for this stack alone.
    Leak(Leak),
}

impl Draft {
    /// Nothing can be said of any stack.
    pub(super) const fn too_few_windows(have: usize) -> Self {
        let lack = Lack::Windows {
            have,
            need: MIN_BLOCKS,
        };
        Self {
            tested: false,
            outcome: Outcome::Settled(Class::TooLittleData { lack }),
        }
    }

    /// The class, now that it is known among how many stacks this one stands out.
    pub(super) fn decide(self, tested: usize, options: &Options) -> Class {
        match self.outcome {
            Outcome::Settled(class) => class,
            Outcome::Leak(mut leak) => {
                leak.false_alarm = (leak.false_alarm * tested.max(1) as f64).min(1.0);
                if leak.false_alarm > options.false_alarms {
                    leak.caveats.push(Caveat::ChanceNotExcluded);
                }
                let allowed = leak.caveats.iter().map(|caveat| caveat.leaves());
                leak.confidence = allowed.min().unwrap_or(Confidence::High);
                Class::Leak(leak)
            }
        }
    }
}

/// The growth that a leak is claimed from.
struct Growth<'a> {
    trend: Trend,
    course: Course,
    /// Whether the load explains where it does not go on.
    explained: Explained,
    axis: &'a Axis,
    objects: f64,
    bytes: f64,
}

impl Judge<'_> {
    /// Judges one stack.
    pub(super) fn draft(&self, levels: &Levels) -> Draft {
        let aged = self.over(self.old, &levels.aged_objects);
        let allocated = self.over(self.live, &levels.alloc_objects);
        let relevant = if self.age.is_some() { aged } else { allocated };
        let growth = self
            .growth_of_old(levels)
            .or_else(|| self.growth_of_live(levels));
        let outcome = match growth {
            Some(Outcome::Settled(Class::BoundedFilling { .. })) if self.load.carries(levels) => {
                Outcome::Settled(load_fell(self.over(self.live, &levels.live_bytes)))
            }
            Some(outcome) => outcome,
            None => Outcome::Settled(self.without_growth(levels)),
        };
        Draft {
            tested: relevant >= TESTED_EVENTS,
            outcome,
        }
    }

    /// Growth of a level over all blocks.
    fn over(&self, axis: &Axis, levels: &[f64]) -> f64 {
        axis.halves()
            .map_or(0.0, |[first, _, last]| levels[last] - levels[first])
    }

    /// What survives its youth grows in number.
    fn growth_of_old(&self, levels: &Levels) -> Option<Outcome> {
        self.age?;
        let trend = Trend::of(&levels.old_objects, self.old)?;
        let bytes = self.over(self.old, &levels.old_bytes);
        if !trend.is_growth() || bytes <= 0.0 {
            return None;
        }
        let course = Trend::of(&levels.old_objects, self.old_course)?.course;
        let live = Trend::of(&levels.live_objects, self.live_course)?;
        // What is old knows an end of the growth only later than what is live, where that is not
        // drowned by what comes and goes.
        let ending = |live: &Trend| match live.course {
            Course::Slowing | Course::Stopped if live.is_growth() => Some(live.course),
            _ => None,
        };
        let final_course = ending(&live).unwrap_or(course);
        let explained = self.explained(final_course, &levels.old_objects, self.old, |live, old| {
            let old = Trend::of(&levels.old_objects, old)?;
            let live = Trend::of(&levels.live_objects, live)?;
            let course = ending(&live).unwrap_or(old.course);
            Some(Trend { course, ..old })
        });
        let growth = Growth {
            trend,
            course,
            explained,
            axis: self.old,
            objects: trend.net,
            bytes,
        };
        let mut caveats = Vec::new();
        if let Some(class) = self.turnover(levels, &growth, &mut caveats) {
            return Some(Outcome::Settled(class));
        }
        let course = final_course;
        Some(self.leak_or_filling(levels, &Growth { course, ..growth }, caveats))
    }

    /// Whether old objects die, and how their deaths go with their number. In a population that
    /// fills up to a balance, deaths follow the number; in front of a leak, or of a consumer that is
    /// too slow, they do not.
    fn turnover(
        &self,
        levels: &Levels,
        growth: &Growth<'_>,
        caveats: &mut Vec<Caveat>,
    ) -> Option<Class> {
        let [first, middle, last] = self.old.halves()?;
        let filling = |why| Some(Class::BoundedFilling { why });
        let aged = |from: usize, to: usize| levels.aged_objects[to] - levels.aged_objects[from];
        let early = levels.old_deaths(first, middle);
        let late = levels.old_deaths(middle, last);
        let share = late / aged(middle, last).max(1.0);
        let average = |from: usize, to: usize| {
            let stock = &levels.old_objects[from + 1..=to];
            stock.iter().sum::<f64>() / stock.len().max(1) as f64
        };
        let stock_growth = average(middle, last) / average(first, middle).max(1.0);
        if share > 0.5
            && matches!(growth.course, Course::Slowing | Course::Stopped)
            && growth.explained == Explained::No
        {
            return filling(Filling::Evicting);
        }
        if share <= RETAINED {
            return None;
        }
        // Where less is done, what comes and goes also lives longer: more of the same is old.
        let live = self.over(self.old, &levels.live_objects);
        if self.load.fell() && live < 0.5 * growth.objects {
            return Some(load_fell(growth.bytes));
        }
        if stock_growth < COMPARABLE_GROWTH {
            caveats.push(Caveat::OldOnesTurnOver);
            return None;
        }
        // Of those that come of age the share that dies rises with the stock, or it does not;
        // the border is halfway between, on a scale of ratios.
        let early_share = early.max(1.0) / aged(first, middle).max(1.0);
        let ratio = (share / early_share).ln();
        let halfway = 0.5 * stock_growth.ln();
        let error = (1.0 / late.max(1.0) + 1.0 / early.max(1.0)).sqrt();
        if ratio - error > halfway {
            return filling(Filling::Evicting);
        }
        caveats.push(if ratio < halfway {
            Caveat::Backlog
        } else {
            Caveat::OldOnesTurnOver
        });
        None
    }

    /// Growth of what is live, where age says nothing: blocks that are moved each time they grow
    /// are always young, and saved profiles know no generations.
    fn growth_of_live(&self, levels: &Levels) -> Option<Outcome> {
        let bytes = Trend::of(&levels.live_bytes, self.live)?;
        if !bytes.is_growth() {
            return None;
        }
        let objects = self.over(self.live, &levels.live_objects);
        let peak = levels.live_objects.iter().copied().fold(0.0, f64::max);
        let mut caveats = Vec::new();
        if objects < 0.02 * peak + 0.5 {
            caveats.push(Caveat::GrowingBlock);
        } else if self.age.is_some() {
            caveats.push(Caveat::OnlyYoung);
        }
        if self.age.is_none() {
            caveats.push(Caveat::GenerationsUnknown);
        }
        let course = Trend::of(&levels.live_bytes, self.live_course)?.course;
        let growth = Growth {
            trend: bytes,
            course,
            explained: self.explained(course, &levels.live_bytes, self.live, |live, _| {
                Trend::of(&levels.live_bytes, live)
            }),
            axis: self.live,
            objects,
            bytes: bytes.net,
        };
        Some(self.leak_or_filling(levels, &growth, caveats))
    }

    fn explained(
        &self,
        course: Course,
        levels: &[f64],
        axis: &Axis,
        against: impl FnOnce(&Axis, &Axis) -> Option<Trend>,
    ) -> Explained {
        self.load
            .explains(course, levels, axis, &self.seconds, against)
    }

    fn leak_or_filling(
        &self,
        levels: &Levels,
        growth: &Growth<'_>,
        mut caveats: Vec<Caveat>,
    ) -> Outcome {
        let filling = |why| Outcome::Settled(Class::BoundedFilling { why });
        let certainty = match (growth.course, growth.explained) {
            (_, Explained::Yes) => {
                caveats.push(Caveat::LoadFell);
                f64::INFINITY
            }
            (Course::On { certainty }, _) => certainty,
            (_, Explained::Perhaps) => {
                return Outcome::Settled(load_fell(growth.bytes));
            }
            (Course::Slowing, _) => return filling(Filling::Slowing),
            (Course::Stopped, _) => return filling(Filling::Stopped),
        };
        let allocated = self.over(self.live, &levels.alloc_objects);
        let kept = self.over(self.live, &levels.live_objects);
        if kept > 0.99 * allocated {
            caveats.push(Caveat::NothingFreed);
        }
        let alone = caveats.contains(&Caveat::NothingFreed)
            || caveats.contains(&Caveat::GenerationsUnknown);
        if certainty < if alone { CERTAIN_ALONE } else { CERTAIN } {
            caveats.push(Caveat::MaySlowDown);
        }
        if growth.trend.rises < FEW_RISES {
            caveats.push(Caveat::FewEvents);
        }
        if self.older_frees > 0.5 * growth.objects.max(1.0) {
            caveats.push(Caveat::OlderMemoryFreed);
        }
        let seconds = growth.axis.width();
        Outcome::Leak(Leak {
            confidence: Confidence::Low,
            caveats,
            false_alarm: growth.trend.chance,
            bytes_per_second: growth.bytes / seconds,
            objects_per_second: growth.objects / seconds,
            bytes_per_operation: self.operations.map(|operations| growth.bytes / operations),
            since_seconds: self.first_growth(levels),
            seconds_to_limit: None,
        })
    }

    /// The end of the first window that has left something behind for good.
    fn first_growth(&self, levels: &Levels) -> f64 {
        let (kept, delay) = match self.age {
            Some(age) if levels.old_bytes.iter().any(|&bytes| bytes > 0.0) => {
                (&levels.old_bytes, age)
            }
            _ => (&levels.live_bytes, 0),
        };
        let first = kept.iter().position(|&bytes| bytes > 0.0).unwrap_or(0);
        self.seconds[first.saturating_sub(delay)]
    }

    /// The stacks that do not keep growing.
    fn without_growth(&self, levels: &Levels) -> Class {
        let Some([first, _, last]) = self.live.halves() else {
            return Class::Flat;
        };
        let bytes = &levels.live_bytes[first..=last];
        let peak = bytes.iter().copied().fold(0.0, f64::max);
        if self.is_sawtooth(levels, first, last) {
            return Class::Sawtooth {
                peak_bytes: peak as u64,
            };
        }
        let allocated = levels.alloc_bytes[last] - levels.alloc_bytes[first];
        // What is kept: old where that is known, so that noise of the young does not hide it.
        let (kept, axis) = match self.age {
            Some(_) => (&levels.old_bytes, self.old),
            None => (&levels.live_bytes, self.live),
        };
        if let Some(steps) = Trend::of(kept, axis)
            && steps.net > 0.0
            && steps.fallen <= STEADY * steps.net
            && levels.old_deaths(first, last) <= STEADY * self.over(self.old, &levels.aged_objects)
        {
            if steps.rises <= ONE_OFF_RISES || steps.largest_share > 0.8 {
                return Class::OneOff {
                    seconds: self.largest_step(bytes, first),
                    bytes: steps.net as u64,
                };
            }
            return Class::TooLittleData {
                lack: Lack::Events {
                    have: steps.rises,
                    bytes: steps.net as u64,
                },
            };
        }
        if allocated > CHURN * peak.max(1.0) {
            Class::Churn
        } else {
            Class::Flat
        }
    }

    /// Half of what was live is given back at some time, and that is more than noise.
    fn is_sawtooth(&self, levels: &Levels, first: usize, last: usize) -> bool {
        let mut peak = 0.0_f64;
        levels.live_objects[first..=last].iter().any(|&objects| {
            peak = peak.max(objects);
            let drop = peak - objects;
            drop >= 0.5 * peak && drop > 6.0 * peak.sqrt()
        })
    }

    /// When the largest step of these levels, the first of which is at the end of window `first`,
    /// ended.
    fn largest_step(&self, levels: &[f64], first: usize) -> f64 {
        let steps = levels.windows(2).map(|pair| pair[1] - pair[0]).enumerate();
        let largest = steps.max_by(|a, b| a.1.total_cmp(&b.1));
        self.seconds[first + largest.map_or(0, |(index, _)| index + 1)]
    }
}

/// Growth by so many bytes that can't be told from a load that fell.
const fn load_fell(bytes: f64) -> Class {
    Class::TooLittleData {
        lack: Lack::Load {
            bytes: bytes as u64,
        },
    }
}
