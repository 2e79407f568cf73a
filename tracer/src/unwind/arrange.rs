//! Which entry covers which addresses, where they overlap and where there is none.

use std::ops::Range;

use tracer_common::Rule;

use super::frames::Fde;
use super::statistics::Statistics;

/// Addresses that one entry describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) source: Source,
}

/// Where the rules come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The entry at this offset of `.eh_frame`.
    EhFrame(u32),
    /// The entry at this offset of `.debug_frame`.
    DebugFrame(u32),
    /// Nothing describes it; the rule was found by looking at the code.
    Code(Rule),
}

/// Sorts the entries and settles overlaps: of two for one address the later start wins, of two
/// with one start the first in the section, and `.eh_frame`, which the program itself unwinds by,
/// wins over `.debug_frame`. An entry that another one interrupts does not come back behind it.
pub(super) fn arrange(
    eh_frame: Vec<Fde>,
    debug_frame: Vec<Fde>,
    statistics: &mut Statistics,
) -> Vec<Piece> {
    let mut pieces = sorted(eh_frame, Source::EhFrame, statistics);
    if !debug_frame.is_empty() {
        let more = sorted(debug_frame, Source::DebugFrame, statistics);
        let all = more.len() + pieces.len();
        let uncovered = more
            .into_iter()
            .filter(|piece| !covers(&pieces, piece.start));
        let uncovered: Vec<_> = uncovered.collect();
        pieces.extend(uncovered);
        statistics.fdes_ignored += (all - pieces.len()) as u64;
        pieces.sort_unstable_by_key(|piece| piece.start);
        cut_overlaps(&mut pieces);
    }
    statistics.fdes = pieces.len() as u64;
    pieces
}

/// Adds ranges that no piece covers.
pub(super) fn insert(pieces: &mut Vec<Piece>, found: Vec<(Range<u32>, Rule)>) {
    if found.is_empty() {
        return;
    }
    pieces.extend(found.into_iter().map(|(range, rule)| Piece {
        start: range.start,
        end: range.end,
        source: Source::Code(rule),
    }));
    pieces.sort_unstable_by_key(|piece| piece.start);
    cut_overlaps(pieces);
}

/// Code that no piece covers; both must be sorted and disjoint.
pub(super) fn gaps<'a>(
    code: &'a [Range<u32>],
    pieces: &'a [Piece],
) -> impl Iterator<Item = Range<u32>> + 'a {
    code.iter().flat_map(move |code| {
        let first = pieces.partition_point(|piece| piece.end <= code.start);
        let after = pieces.partition_point(|piece| piece.start < code.end);
        let inside = pieces.get(first..after).unwrap_or_default();
        let starts = inside.iter().map(|piece| piece.start).chain([code.end]);
        let ends = [code.start]
            .into_iter()
            .chain(inside.iter().map(|piece| piece.end));
        ends.zip(starts)
            .filter(|(start, end)| start < end)
            .map(|(start, end)| start..end)
    })
}

fn sorted(
    mut fdes: Vec<Fde>,
    source: fn(u32) -> Source,
    statistics: &mut Statistics,
) -> Vec<Piece> {
    fdes.sort_unstable_by_key(|fde| (fde.start, fde.offset));
    let before = fdes.len();
    fdes.dedup_by_key(|fde| fde.start);
    statistics.fdes_ignored += (before - fdes.len()) as u64;
    let mut pieces: Vec<_> = fdes
        .into_iter()
        .map(|fde| Piece {
            start: fde.start,
            end: fde.end,
            source: source(fde.offset),
        })
        .collect();
    cut_overlaps(&mut pieces);
    pieces
}

/// Ends each piece where the next begins, at the latest. Starts must be sorted and distinct.
fn cut_overlaps(pieces: &mut [Piece]) {
    let mut next = u32::MAX;
    for piece in pieces.iter_mut().rev() {
        piece.end = piece.end.min(next);
        next = piece.start;
    }
}

fn covers(pieces: &[Piece], address: u32) -> bool {
    let next = pieces.partition_point(|piece| piece.start <= address);
    next.checked_sub(1)
        .and_then(|index| pieces.get(index))
        .is_some_and(|piece| address < piece.end)
}

#[cfg(test)]
mod tests {
    use tracer_common::Rule;

    use super::{Piece, Source, arrange, gaps, insert};
    use crate::unwind::frames::Fde;
    use crate::unwind::statistics::Statistics;

    fn fde(start: u32, end: u32, offset: u32) -> Fde {
        Fde { start, end, offset }
    }

    fn piece(start: u32, end: u32, source: Source) -> Piece {
        Piece { start, end, source }
    }

    #[test]
    fn the_later_start_wins_and_of_equal_ones_the_first() {
        let mut statistics = Statistics::default();
        let fdes = vec![
            fde(50, 60, 1),
            fde(10, 55, 2),
            fde(10, 90, 3),
            fde(20, 30, 4),
        ];
        let expected = [
            piece(10, 20, Source::EhFrame(2)),
            piece(20, 30, Source::EhFrame(4)),
            piece(50, 60, Source::EhFrame(1)),
        ];
        assert_eq!(arrange(fdes, Vec::new(), &mut statistics), expected);
        assert_eq!((statistics.fdes, statistics.fdes_ignored), (3, 1));
    }

    #[test]
    fn debug_frame_only_fills_gaps() {
        let mut statistics = Statistics::default();
        let eh = vec![fde(10, 20, 1), fde(40, 50, 2)];
        let debug = vec![
            fde(10, 20, 3),
            fde(15, 30, 4),
            fde(20, 45, 5),
            fde(60, 70, 6),
        ];
        let expected = [
            piece(10, 20, Source::EhFrame(1)),
            piece(20, 40, Source::DebugFrame(5)),
            piece(40, 50, Source::EhFrame(2)),
            piece(60, 70, Source::DebugFrame(6)),
        ];
        assert_eq!(arrange(eh, debug, &mut statistics), expected);
        assert_eq!((statistics.fdes, statistics.fdes_ignored), (4, 2));
    }

    #[test]
    fn gaps_lie_between_pieces_and_at_both_ends() {
        let mut statistics = Statistics::default();
        let pieces = arrange(
            vec![fde(10, 20, 1), fde(20, 25, 2), fde(90, 120, 3)],
            Vec::new(),
            &mut statistics,
        );
        let code = [0..50, 80..100, 100..130];
        let found: Vec<_> = gaps(&code, &pieces).collect();
        assert_eq!(found, [0..10, 25..50, 80..90, 120..130]);
    }

    #[test]
    fn what_the_code_says_is_sorted_in() {
        let mut pieces = vec![piece(50, 60, Source::EhFrame(1))];
        let found = vec![(10..20, Rule::SIGNAL), (15..25, Rule::STOP)];
        insert(&mut pieces, found);
        let expected = [
            piece(10, 15, Source::Code(Rule::SIGNAL)),
            piece(15, 25, Source::Code(Rule::STOP)),
            piece(50, 60, Source::EhFrame(1)),
        ];
        assert_eq!(pieces, expected);
    }
}
