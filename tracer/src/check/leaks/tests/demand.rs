//! What made-up programs have to do, second by second.

/// How much the program has to do, second by second; 1 is what the rates are meant for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Demand {
    /// Always the same.
    Even,
    /// From then on only this share.
    Step { at: usize, to: f64 },
    /// In so many equal steps down to this share.
    Stairs { steps: usize, to: f64 },
    /// Evenly down to this share.
    Line { to: f64 },
    /// Up and down around a middle, of which the height falls to a fifth and the middle by half.
    Ebbing { period: f64 },
}

impl Demand {
    pub(super) fn at(self, second: usize, seconds: usize) -> f64 {
        let done = second as f64 / (seconds - 1).max(1) as f64;
        match self {
            Self::Even => 1.0,
            Self::Step { at, to } => {
                if second < at {
                    1.0
                } else {
                    to
                }
            }
            Self::Stairs { steps, to } => {
                let step = second * (steps + 1) / seconds;
                1.0 - (1.0 - to) * step as f64 / steps as f64
            }
            Self::Line { to } => 1.0 - (1.0 - to) * done,
            Self::Ebbing { period } => {
                let wave = (std::f64::consts::TAU * second as f64 / period).sin();
                (1.0 - 0.5 * done) * (1.0 + (1.0 - 0.8 * done) * 0.9 * wave)
            }
        }
    }
}
