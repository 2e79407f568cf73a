//! Whether a level grows, and whether its growth goes on: statistics over the steps of one series.
//!
//! The steps are tested, not the levels. What is live now is what was live a moment ago and a
//! little more or less, so levels carry their past along, and a test for a trend in levels (that of
//! Mann and Kendall, say) finds one in every second random walk. Steps do not. The reasons and the
//! figures are in `docs/design/0010-leak-verdict.md`.

/// Steps at most: more windows than that are taken together, so that no stack costs more, and
/// single windows are less noisy.
const MAX_BLOCKS: usize = 48;

/// Steps at least; with fewer nothing is concluded.
pub(super) const MIN_BLOCKS: usize = 8;

/// The growth rate fell from start to end by this share of its mean: enough to call it slowing,
/// where noise does not explain it.
const SLOWING: f64 = 0.3;

/// The same, whatever the noise.
const SLOWING_ANYWAY: f64 = 1.05;

/// Standard errors that a fall of the rate must be away from none.
const SLOWING_ERRORS: f64 = 4.0;

/// What a filling shows as the fall of its rate when it comes near its end within the time it was
/// watched: about 1.9, less a margin.
const ENDING: f64 = 1.8;

/// What the last blocks may still grow, as a share of the others, to have stopped.
const STOPPED_SHARE: f64 = 0.25;

/// Standard errors that the last blocks must lie below the others to have stopped.
const STOPPED_ERRORS: f64 = 4.5;

/// Standard errors between a growth and one that comes to its end, where nothing else tells the two apart.
pub(super) const CERTAIN_ALONE: f64 = 3.3;

/// Where the steps are: the same for all stacks of a series.
#[derive(Clone, Debug, Default)]
pub(super) struct Axis {
    /// Windows at whose end a block ends; the first is where the first block begins.
    bounds: Vec<usize>,
    /// Width of each block.
    widths: Vec<f64>,
}

impl Axis {
    /// Blocks of equally many windows, from about the end of window `from` to the last: what does
    /// not go into blocks is left out at the start. `at` says where each window ends, in seconds or
    /// operations.
    pub(super) fn new(at: &[f64], from: usize) -> Self {
        let steps = at.len().saturating_sub(from + 1);
        let size = steps.div_ceil(MAX_BLOCKS).max(1);
        let blocks = steps / size;
        if blocks == 0 {
            return Self::default();
        }
        let from = from + steps % size;
        let bounds: Vec<_> = (0..=blocks).map(|block| from + block * size).collect();
        let widths = bounds.windows(2).map(|pair| at[pair[1]] - at[pair[0]]);
        Self {
            widths: widths.collect(),
            bounds,
        }
    }

    /// Blocks of about the same width, however unevenly `at` grows: a window that adds little is taken
    /// together with those that follow.
    pub(super) fn even(at: &[f64], from: usize) -> Self {
        let (Some(&start), Some(&end)) = (at.get(from), at.last()) else {
            return Self::default();
        };
        let least = (end - start) / MAX_BLOCKS as f64;
        let mut axis = Self {
            bounds: vec![from],
            widths: Vec::new(),
        };
        let mut last = start;
        for (window, &now) in at.iter().enumerate().skip(from + 1) {
            // With the sum of rounded widths a little below the whole, so many blocks at most.
            if now - last >= least && now > last && axis.widths.len() < MAX_BLOCKS {
                axis.bounds.push(window);
                axis.widths.push(now - last);
                last = now;
            }
        }
        // What is left over belongs to the last block.
        if let (Some(bound), Some(width)) = (axis.bounds.last_mut(), axis.widths.last_mut()) {
            *bound = at.len() - 1;
            *width += end - last;
        }
        axis
    }

    /// Number of blocks.
    pub(super) const fn blocks(&self) -> usize {
        self.widths.len()
    }

    /// Whether every block has a width, so that rates can be had.
    pub(super) fn is_usable(&self) -> bool {
        self.widths.iter().all(|&width| width > 0.0)
    }

    /// Width of all blocks.
    pub(super) fn width(&self) -> f64 {
        self.widths.iter().sum()
    }

    /// The growth of `levels` in the last third of the blocks, as a share of that in the first third; less
    /// one and a quarter standard errors of the former.
    pub(super) fn late_share(&self, levels: &[f64]) -> f64 {
        let blocks = self.blocks();
        let third = (blocks / 3).max(1);
        let rate = |block: usize| {
            let step = levels[self.bounds[block + 1]] - levels[self.bounds[block]];
            step / self.widths[block]
        };
        let mean = |from: usize| (from..from + third).map(rate).sum::<f64>() / third as f64;
        if blocks < MIN_BLOCKS {
            return 0.0;
        }
        let (early, late) = (mean(0), mean(blocks - third));
        let squares = (blocks - third..blocks).map(|block| (rate(block) - late).powi(2));
        let variance = squares.sum::<f64>() / (third as f64 - 1.0).max(1.0);
        let least = late - 1.25 * (variance / third as f64).sqrt();
        if early > 0.0 { least / early } else { 0.0 }
    }

    /// The window at whose end the first block begins, and those halfway and at the end.
    pub(super) fn halves(&self) -> Option<[usize; 3]> {
        let bound = |index: usize| self.bounds.get(index).copied();
        Some([
            bound(0)?,
            bound(self.blocks() / 2)?,
            bound(self.blocks().checked_sub(1)? + 1)?,
        ])
    }
}

/// How growth went on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Course {
    /// As it began.
    On {
        /// Standard errors between it and a growth that comes to its end.
        certainty: f64,
    },
    /// Its rate fell.
    Slowing,
    /// It came to an end.
    Stopped,
}

impl Course {
    /// Whether it goes on, and that by itself is certain.
    pub(super) fn is_certain(self) -> bool {
        matches!(self, Self::On { certainty } if certainty >= CERTAIN_ALONE)
    }
}

/// The steps of one level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trend {
    /// Growth over all blocks.
    pub(super) net: f64,
    /// Blocks that grew.
    pub(super) rises: u32,
    /// What was lost over the blocks that shrank.
    pub(super) fallen: f64,
    /// The largest block's share of the net growth.
    pub(super) largest_share: f64,
    /// Probability, at most, of growth like this in a level that has no trend.
    pub(super) chance: f64,
    /// How it went on.
    pub(super) course: Course,
    /// Its rate rose.
    pub(super) rising: bool,
}

impl Trend {
    /// Whether chance is unlikely to have made this growth, for one stack by itself.
    pub(super) fn is_growth(&self) -> bool {
        self.net > 0.0 && self.chance <= 0.01
    }

    /// As for its course.
    pub(super) fn goes_on(&self) -> bool {
        self.course.is_certain()
    }

    /// The trend of `levels`, one for each window, over the blocks of `axis`. `None` with fewer
    /// than [`MIN_BLOCKS`].
    pub(super) fn of(levels: &[f64], axis: &Axis) -> Option<Self> {
        let blocks = axis.blocks();
        if blocks < MIN_BLOCKS || axis.bounds.last().is_none_or(|&last| last >= levels.len()) {
            return None;
        }
        let mut rates = [0.0; MAX_BLOCKS];
        let mut net = 0.0;
        let mut largest = 0.0_f64;
        let mut rises = 0;
        let mut falls = 0;
        let mut fallen = 0.0;
        for (block, rate) in rates.iter_mut().enumerate().take(blocks) {
            let step = levels[axis.bounds[block + 1]] - levels[axis.bounds[block]];
            *rate = step / axis.widths[block];
            net += step;
            largest = largest.max(step);
            rises += u32::from(step > 0.0);
            falls += u32::from(step < 0.0);
            fallen += (-step).max(0.0);
        }
        let rates = &rates[..blocks];
        let moments = Moments::of(rates);
        Some(Self {
            net,
            rises,
            fallen,
            largest_share: if net > 0.0 { largest / net } else { 0.0 },
            chance: chance(&moments, rises, falls),
            course: course(&moments, rates),
            rising: moments.changed(-moments.decline),
        })
    }
}

/// Mean, variance, and the straight line through the rates.
struct Moments {
    count: f64,
    mean: f64,
    /// Variance around the mean.
    variance: f64,
    /// By how much the line falls from the first to the last block, as a share of the mean.
    decline: f64,
    /// Standard error of that.
    decline_error: f64,
}

impl Moments {
    fn of(rates: &[f64]) -> Self {
        let count = rates.len() as f64;
        let mean = rates.iter().sum::<f64>() / count;
        let middle = (count - 1.0) / 2.0;
        let mut squares = 0.0;
        let mut product = 0.0;
        let mut spread = 0.0;
        for (index, rate) in rates.iter().enumerate() {
            let place = index as f64 - middle;
            squares += (rate - mean).powi(2);
            product += place * (rate - mean);
            spread += place * place;
        }
        let slope = product / spread;
        let residual = ((squares - slope * product) / (count - 2.0)).max(0.0);
        // Perfectly even steps have no noise; the floor keeps the quotients finite.
        let residual = residual.max((0.02 * mean).powi(2)).max(f64::MIN_POSITIVE);
        let over_all = (count - 1.0) / mean.abs().max(f64::MIN_POSITIVE);
        Self {
            count,
            mean,
            variance: squares / (count - 1.0),
            decline: -slope * over_all,
            decline_error: (residual / spread).sqrt() * over_all,
        }
    }
}

impl Moments {
    /// Whether the rate changed by this share of its mean from start to end, and noise does not explain it.
    fn changed(&self, by: f64) -> bool {
        by > SLOWING_ANYWAY || (by > SLOWING && by > SLOWING_ERRORS * self.decline_error)
    }
}

/// Probability, at most, of the steps in a level without a trend, by the better of two tests.
fn chance(moments: &Moments, rises: u32, falls: u32) -> f64 {
    if moments.mean <= 0.0 {
        return 1.0;
    }
    let freedom = moments.count - 1.0;
    let t_squared = moments.mean.powi(2) * moments.count / moments.variance;
    let by_mean = if t_squared.is_finite() {
        // Wallace's approximation turns Student's t into a normal deviate, and Chernoff's bound
        // that into a probability; both err on the large side in the tail.
        let z_squared = freedom
            * (t_squared / freedom).ln_1p()
            * ((8.0 * freedom + 1.0) / (8.0 * freedom + 3.0)).powi(2);
        0.5 * (-z_squared / 2.0).exp()
    } else {
        0.0
    };
    // No test says more than that all of the steps went the same way.
    let by_mean = by_mean.max(0.5_f64.powf(moments.count));
    // Nothing ever fell: each block that changed could as well have gone down.
    let by_sign = if falls == 0 {
        0.5_f64.powf(f64::from(rises))
    } else {
        1.0
    };
    (2.0 * by_mean.min(by_sign)).min(1.0)
}

fn course(moments: &Moments, rates: &[f64]) -> Course {
    if has_stopped(rates) {
        return Course::Stopped;
    }
    let Moments {
        decline,
        decline_error,
        ..
    } = *moments;
    if moments.changed(decline) {
        Course::Slowing
    } else {
        Course::On {
            certainty: (ENDING - decline) / decline_error,
        }
    }
}

/// Whether the last blocks, at most a third, lie far below the others. A single one is not enough:
/// what comes about once a window can miss one.
fn has_stopped(rates: &[f64]) -> bool {
    (2..=rates.len() / 3).any(|last| {
        let (before, tail) = rates.split_at(rates.len() - last);
        let count = before.len() as f64;
        let mean = before.iter().sum::<f64>() / count;
        let squares: f64 = before.iter().map(|rate| (rate - mean).powi(2)).sum();
        let variance = (squares / (count - 1.0)).max((0.1 * mean).powi(2));
        let tail_mean = tail.iter().sum::<f64>() / last as f64;
        tail_mean < STOPPED_SHARE * mean
            && mean - tail_mean > STOPPED_ERRORS * (variance / last as f64).sqrt()
    })
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    /// The trend of a level that takes these steps, one a second.
    fn trend(steps: impl IntoIterator<Item = f64>) -> Trend {
        let mut levels = vec![0.0];
        for step in steps {
            levels.push(levels.last().copied().unwrap_or_default() + step);
        }
        let at: Vec<_> = (0..levels.len()).map(|second| second as f64).collect();
        Trend::of(&levels, &Axis::new(&at, 0)).expect("enough steps")
    }

    #[test]
    fn even_growth_goes_on() {
        let trend = trend([2.0; 24]);
        assert_eq!((trend.net, trend.rises), (48.0, 24));
        assert!(trend.chance < 1e-6, "{trend:?}");
        assert!(matches!(trend.course, Course::On { certainty } if certainty > 10.0));
    }

    #[test]
    fn noise_around_nothing_is_no_growth() {
        let trend = trend((0..48).map(|i| f64::from(i * 7919 % 13) - 6.0));
        assert!(trend.chance > 0.05, "{trend:?}");
    }

    #[test]
    fn a_rate_that_falls_is_slowing() {
        let trend = trend((0..48).map(|i| 100.0 * (-f64::from(i) / 20.0).exp()));
        assert!(trend.chance < 1e-2, "{trend:?}");
        assert_eq!(trend.course, Course::Slowing);
    }

    #[test]
    fn growth_that_ends_has_stopped() {
        let trend = trend((0..48).map(|i| if i < 40 { 5.0 } else { 0.0 }));
        assert_eq!(trend.course, Course::Stopped);
    }

    #[test]
    fn growth_to_the_clock_may_miss_the_last_block() {
        let trend = trend((0..48).map(|i| if i < 47 { 1.0 } else { 0.0 }));
        assert!(matches!(trend.course, Course::On { .. }), "{trend:?}");
    }

    #[test]
    fn few_uneven_steps_are_not_certain() {
        let at = [1, 9, 14, 27, 31, 39, 46];
        let trend = trend((0..48).map(|i| f64::from(u8::from(at.contains(&i)))));
        assert!(
            matches!(trend.course, Course::On { certainty } if certainty < 2.5),
            "{trend:?}"
        );
        assert_eq!(trend.rises, 7);
    }

    #[test]
    fn a_tooth_that_drops_is_no_growth() {
        let trend = trend((0..48).map(|i| if i % 20 == 19 { -19.0 } else { 1.0 }));
        assert!(trend.chance > 0.05, "{trend:?}");
    }

    #[test]
    fn even_blocks_are_as_wide_as_a_48th_or_wider() {
        // A second, and from the thirtieth on half as much each; then nothing more.
        let mut at = vec![0.0];
        for second in 0..60 {
            let more = if second < 30 {
                1.0
            } else if second < 50 {
                0.5
            } else {
                0.0
            };
            at.push(at[second] + more);
        }
        let axis = Axis::even(&at, 4);
        assert!(axis.is_usable() && axis.blocks() <= MAX_BLOCKS);
        let least = axis.width() / MAX_BLOCKS as f64;
        assert!(
            axis.widths.iter().all(|&width| width >= least - 1e-9),
            "{axis:?}"
        );
        assert!((axis.width() - 36.0).abs() < 1e-9);
        assert_eq!((axis.bounds[0], axis.bounds.last()), (4, Some(&60)));
        for nothing in [&[][..], &[1.0], &[1.0; 20]] {
            assert_eq!(Axis::even(nothing, 0).blocks(), 0);
        }
    }

    #[test]
    fn too_few_steps_say_nothing() {
        let at: Vec<_> = (0..MIN_BLOCKS).map(|second| second as f64).collect();
        assert_eq!(Trend::of(&at, &Axis::new(&at, 0)), None);
        assert_eq!(Trend::of(&at, &Axis::new(&at, 99)), None);
    }

    #[test]
    fn blocks_cover_all_but_a_rest() {
        for windows in 3..300_usize {
            let at: Vec<_> = (0..windows).map(|window| window as f64).collect();
            let axis = Axis::new(&at, 1);
            let rest = (windows - 2) as f64 - axis.width();
            assert!(axis.is_usable() && axis.blocks() <= MAX_BLOCKS);
            let size = axis.width() / axis.blocks() as f64;
            assert!(rest >= 0.0 && rest < size, "{windows}");
            let halves = axis.halves().expect("there are blocks");
            assert_eq!(halves[2], windows - 1);
        }
        assert_eq!(Axis::new(&[1.0, 2.0], 1).blocks(), 0);
    }
}
