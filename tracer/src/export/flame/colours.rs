//! Colours by whose code a frame is, and by how much it changed; all of them are told apart by people who
//! confuse colours, after Okabe and Ito's palette.

use crate::sites::Kind;

/// Red, green and blue, 0 to 255.
pub(super) type Colour = [u8; 3];

/// What more is held in, and what less; light enough for black names on them.
const GREW: Colour = [230, 120, 30];
const SHRANK: Colour = [70, 150, 215];
/// Neither.
const SAME: Colour = [222, 222, 222];
/// What inferno's scale has where nothing changed, and where most did.
const NO_CHANGE: u8 = 250;
const MOST_CHANGE: u8 = 100;

/// The colour of a kind: own code stands out, plumbing steps back.
pub(super) const fn of_kind(kind: Kind) -> Colour {
    match kind {
        Kind::Own => [240, 150, 40],
        Kind::Dependency => [112, 184, 235],
        Kind::System => [96, 190, 160],
        Kind::Container | Kind::Wrapper => [240, 228, 110],
        Kind::Allocator => [222, 190, 210],
        Kind::Standard => [205, 205, 205],
        Kind::Runtime | Kind::Nothing => [228, 228, 228],
    }
}

/// The entries of a legend.
pub(super) fn legend(differential: bool) -> Vec<(Colour, &'static str)> {
    if differential {
        return vec![
            (GREW, "grew"),
            (SAME, "unchanged"),
            (SHRANK, "shrank (its own allocations, since A)"),
        ];
    }
    [
        (Kind::Own, "own code"),
        (Kind::Dependency, "dependencies"),
        (Kind::System, "system libraries"),
        (Kind::Container, "what is allocated"),
        (Kind::Standard, "standard library"),
        (Kind::Runtime, "runtime"),
    ]
    .into_iter()
    .map(|(kind, text)| (of_kind(kind), text))
    .collect()
}

/// A shade of a colour by a name, so that neighbours differ a little.
pub(super) fn shade(colour: Colour, name: &str) -> Colour {
    const SHADES: u32 = 13;
    let sum = name.bytes().fold(7_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    // Up to 6% darker.
    let darker = sum % SHADES;
    colour.map(|part| (u32::from(part) * (200 - darker) / 200) as u8)
}

/// inferno's red and blue for a change as ours; `None` for what is no colour of its scale.
pub(super) fn of_change(fill: &str) -> Option<Colour> {
    let parts = fill.strip_prefix("rgb(")?.strip_suffix(')')?.split(',');
    let parts: Vec<u8> = parts.map_while(|part| part.parse().ok()).collect();
    let (to, part) = match parts.as_slice() {
        [255, green, blue] if green == blue => (GREW, *green),
        [red, green, 255] if red == green => (SHRANK, *red),
        [NO_CHANGE, NO_CHANGE, NO_CHANGE] => return Some(SAME),
        _ => return None,
    };
    // Even a small change is told from none.
    const LEAST: f64 = 0.2;
    let range = f64::from(NO_CHANGE - MOST_CHANGE);
    let change = f64::from(NO_CHANGE.saturating_sub(part)) / range;
    let change = LEAST + (1.0 - LEAST) * change.min(1.0);
    let mut mixed = SAME;
    for (part, to) in mixed.iter_mut().zip(to) {
        *part = (f64::from(*part) + (f64::from(to) - f64::from(*part)) * change) as u8;
    }
    Some(mixed)
}

/// As SVG has it.
pub(super) fn css([red, green, blue]: Colour) -> String {
    format!("rgb({red},{green},{blue})")
}

#[cfg(test)]
mod tests {
    use super::{GREW, SAME, SHRANK, legend, of_change, of_kind, shade};
    use crate::sites::Kind;

    #[test]
    fn changes_have_a_direction_and_a_size() {
        assert_eq!(of_change("rgb(255,100,100)"), Some(GREW));
        assert_eq!(of_change("rgb(100,100,255)"), Some(SHRANK));
        assert_eq!(of_change("rgb(250,250,250)"), Some(SAME));
        assert_eq!(of_change("rgb(1,2,3)"), None);
        assert_eq!(of_change("url(#background)"), None);
        // Blue is what less is held in, and orange what more.
        let [red, _, blue] = of_change("rgb(255,200,200)").unwrap_or_default();
        assert!(red > blue);
        let [red, _, blue] = of_change("rgb(200,200,255)").unwrap_or_default();
        assert!(blue > red);
    }

    #[test]
    fn kinds_differ_more_than_shades() {
        let distance = |a: [u8; 3], b: [u8; 3]| -> i32 {
            let parts = a.iter().zip(b);
            parts
                .map(|(a, b)| (i32::from(*a) - i32::from(b)).abs())
                .sum()
        };
        let own = of_kind(Kind::Own);
        for kind in [
            Kind::Dependency,
            Kind::System,
            Kind::Container,
            Kind::Standard,
        ] {
            assert!(distance(own, of_kind(kind)) > 2 * distance(own, shade(own, "any name")));
        }
        assert_eq!(legend(false).len(), 6);
        assert_eq!(legend(true).len(), 3);
    }
}
