//! Quantiles of the normal distribution, Student's t and Poisson's, as in Abramowitz and Stegun's handbook.

/// Degrees of freedom at least: with fewer the expansion below is off by more than 1%.
pub(super) const MIN_DEGREES: f64 = 3.0;

/// What a normal deviate exceeds with this probability, up to a half; off by 0.00045 at most (26.2.23).
pub(super) fn normal(tail: f64) -> f64 {
    let t = (-2.0 * tail.clamp(1e-9, 0.5).ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    (t - above / below).max(0.0)
}

/// The same for Student's t, whose degrees need not be whole (26.7.5); fewer than [`MIN_DEGREES`] count as
/// so many.
pub(super) fn student(tail: f64, degrees: f64) -> f64 {
    let z = normal(tail);
    let share = 1.0 / degrees.max(MIN_DEGREES);
    let square = z * z;
    let first = (square + 1.0) / 4.0;
    let second = ((5.0 * square + 16.0) * square + 3.0) / 96.0;
    let third = (((3.0 * square + 19.0) * square + 17.0) * square - 15.0) / 384.0;
    let fourth = ((((79.0 * square + 776.0) * square + 1482.0) * square - 1920.0) * square - 945.0)
        / 92_160.0;
    z * (1.0 + share * (first + share * (second + share * (third + share * fourth))))
}

/// The number of events that is expected at least where so many were seen, not less than 0. `deviate` is
/// that of the probability wanted. Byar's approximation of the exact bound: 1% too low for 5 events, 7%
/// for 2.
pub(super) fn poisson_lower(events: f64, deviate: f64) -> f64 {
    if events <= 0.0 {
        return 0.0;
    }
    let root = 1.0 - 1.0 / (9.0 * events) - deviate / (3.0 * events.sqrt());
    events * root.max(0.0).powi(3)
}

/// The same for the number that is expected at most; off by 1% at most.
pub(super) fn poisson_upper(events: f64, deviate: f64) -> f64 {
    let next = events + 1.0;
    let root = 1.0 - 1.0 / (9.0 * next) + deviate / (3.0 * next.sqrt());
    next * root.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64, share: f64) {
        assert!(
            (value / expected - 1.0).abs() < share,
            "{value} for {expected}"
        );
    }

    #[test]
    fn the_tables_are_met() {
        for (tail, z) in [
            (0.25, 0.674_49),
            (0.1, 1.281_55),
            (0.025, 1.959_96),
            (0.005, 2.575_83),
            (0.0005, 3.290_53),
        ] {
            near(normal(tail), z, 0.001);
        }
        for (degrees, t_95, t_99) in [
            (3.0, 3.182_4, 5.840_9),
            (4.0, 2.776_4, 4.604_1),
            (7.0, 2.364_6, 3.499_5),
            (11.0, 2.201_0, 3.105_8),
            (30.0, 2.042_3, 2.750_0),
            (f64::INFINITY, 1.960_0, 2.575_8),
        ] {
            near(student(0.025, degrees), t_95, 0.003);
            near(student(0.005, degrees), t_99, 0.015);
        }
    }

    #[test]
    fn a_half_is_the_middle() {
        assert!(normal(0.5) < 0.001);
        assert!(student(0.5, 5.0) < 0.001);
    }

    #[test]
    fn few_degrees_count_as_three() {
        assert_eq!(student(0.025, 0.5), student(0.025, MIN_DEGREES));
    }

    #[test]
    fn poisson_intervals_are_met() {
        // The exact intervals of 95%.
        for (events, lower, upper) in [
            (0.0, 0.0, 3.689),
            (3.0, 0.619, 8.767),
            (5.0, 1.623, 11.668),
            (20.0, 12.217, 30.888),
            (100.0, 81.364, 121.627),
        ] {
            if lower > 0.0 {
                near(poisson_lower(events, 1.96), lower, 0.04);
            }
            near(poisson_upper(events, 1.96), upper, 0.01);
        }
        assert_eq!(poisson_lower(0.0, 1.96), 0.0);
        assert_eq!(poisson_lower(0.5, 4.0), 0.0);
    }
}
