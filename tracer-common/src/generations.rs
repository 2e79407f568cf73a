//! Generations: what was allocated between two snapshots of a series, and where the kernel side counts
//! what of it still lives. Why it is so, and why nothing is lost or counted twice:
//! `docs/design/0012-series.md`.
//!
//! Each stack has a ring of cells, one for each of the youngest generations, and one cell for all that
//! are older. Their sum is what is live of the stack.

/// Cells of the ring. The generations that are told apart are one fewer: a cell rests for the length of
/// a window before user space empties it and gives it to the next generation.
pub const GENERATION_RING: u32 = 11;

/// Generations that are told apart at the end of a window.
pub const EXACT_GENERATIONS: u32 = GENERATION_RING - 1;

/// Cells of a stack: three cache lines.
pub const GENERATION_CELLS: u32 = GENERATION_RING + 1;

/// What is live of one generation of one stack, or of all its older ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct GenerationCell {
    /// Objects. In the cell for older generations it is below zero, in two's complement, while their
    /// frees are there already and they themselves are not.
    pub objects: u64,
    /// Bytes, likewise.
    pub bytes: u64,
}

const _: () = assert!(size_of::<GenerationCell>() == 16);

/// The cell, among those of its stack, that `generation` is counted in during the window `current`.
#[inline(always)]
#[must_use]
pub const fn generation_cell(generation: u32, current: u32) -> u32 {
    // Signed: on another CPU the next window may have begun.
    if (current.wrapping_sub(generation) as i32) < EXACT_GENERATIONS as i32 {
        generation % GENERATION_RING
    } else {
        GENERATION_RING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is counted in a cell during the window at whose end it is emptied.
    #[test]
    fn the_cell_of_the_next_generation_rests() {
        for current in 0..100 {
            let next = generation_cell(current + 1, current + 1);
            for generation in 0..=current {
                let cell = generation_cell(generation, current);
                assert_ne!(cell, next, "{generation} in {current}");
                assert!(cell < GENERATION_CELLS);
            }
        }
    }

    #[test]
    fn the_youngest_are_told_apart() {
        let cells = (91..=100).map(|generation| generation_cell(generation, 100));
        let mut seen = [false; GENERATION_CELLS as usize];
        for cell in cells {
            assert!(!core::mem::replace(&mut seen[cell as usize], true));
        }
        assert_eq!(generation_cell(90, 100), GENERATION_RING);
        assert_eq!(generation_cell(101, 100), 101 % GENERATION_RING);
    }
}
