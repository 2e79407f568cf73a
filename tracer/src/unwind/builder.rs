//! Writes rows in order of addresses: equal neighbours become one, equal rules one entry.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tracer_common::{Row, Rule};

use super::UnwindTable;
use super::arrange::Piece;
use super::error::UnwindError;
use super::state::State;
use super::statistics::{Statistics, Unsupported};

/// Rows of a module, 128 MiB. libLLVM has a million.
const MAX_ROWS: usize = 16 << 20;

/// Index of [`Rule::NONE`] in every dictionary.
const NONE: u16 = 0;
/// Index of the rule that stands for all that cannot be followed.
pub(super) const UNSUPPORTED: u16 = 1;

/// A table that is being written.
pub(super) struct Builder {
    base: u64,
    rows: Vec<Row>,
    rules: Vec<Rule>,
    index: HashMap<Rule, u16, RandomState>,
    statistics: Statistics,
    /// The piece whose rows come now.
    start: u32,
    end: u32,
    /// The last state that was pushed and where its rule is, to save the way there.
    last: Option<(State, u16)>,
}

impl Builder {
    pub(super) fn new(base: u64, pieces: usize, statistics: Statistics) -> Self {
        let rules = vec![Rule::NONE, Rule::UNSUPPORTED];
        let index = rules.iter().copied().zip(NONE..).collect();
        Self {
            base,
            // Ten is what large libraries have; a guess saves copies and costs nothing if wrong.
            rows: Vec::with_capacity(pieces.saturating_mul(10).min(MAX_ROWS)),
            rules,
            index,
            statistics,
            start: 0,
            end: 0,
            last: None,
        }
    }

    /// Goes on to the next piece, which must lie behind the one before.
    pub(super) fn begin(&mut self, piece: &Piece) -> Result<(), UnwindError> {
        if self.end < piece.start {
            self.push_row(self.end, NONE)?;
        }
        self.start = piece.start;
        self.end = piece.end;
        Ok(())
    }

    /// Whether an address lies behind the piece.
    pub(super) fn is_behind(&self, address: u64) -> bool {
        address
            .checked_sub(self.base)
            .is_some_and(|pc| pc >= u64::from(self.end))
    }

    /// What holds from an address on; addresses must not fall within a piece.
    pub(super) fn push(&mut self, address: u64, state: &State) -> Result<(), UnwindError> {
        let rule = match self.last {
            Some((last, rule)) if last == *state => rule,
            _ => {
                let rule = self.rule_of(state);
                self.last = Some((*state, rule));
                rule
            }
        };
        self.push_at(address, rule)
    }

    /// From an address on, something holds that a row cannot say.
    pub(super) fn push_unsupported(
        &mut self,
        address: u64,
        kind: Unsupported,
    ) -> Result<(), UnwindError> {
        self.statistics.count(kind);
        self.push_at(address, UNSUPPORTED)
    }

    /// The same for the whole piece.
    pub(super) fn push_unsupported_here(&mut self, kind: Unsupported) -> Result<(), UnwindError> {
        self.statistics.count(kind);
        self.push_row(self.start, UNSUPPORTED)
    }

    /// A rule for the whole piece.
    pub(super) fn push_here(&mut self, rule: Rule) -> Result<(), UnwindError> {
        let rule = self.index_of(rule);
        self.push_row(self.start, rule)
    }

    /// Closes the last piece.
    pub(super) fn finish(mut self) -> Result<UnwindTable, UnwindError> {
        self.push_row(self.end, NONE)?;
        self.rows.shrink_to_fit();
        self.statistics.rows = self.rows.len() as u64;
        self.statistics.rules = self.rules.len() as u64;
        Ok(UnwindTable {
            rows: self.rows,
            rules: self.rules,
            segments: Vec::new(),
            base: self.base,
            statistics: self.statistics,
        })
    }

    fn rule_of(&mut self, state: &State) -> u16 {
        match state.rule() {
            Ok((rule, rbp_is_lost)) => {
                if rbp_is_lost {
                    self.statistics.count(Unsupported::SavedRbp);
                }
                self.index_of(rule)
            }
            Err(kind) => {
                self.statistics.count(kind);
                UNSUPPORTED
            }
        }
    }

    fn index_of(&mut self, rule: Rule) -> u16 {
        if let Some(index) = self.index.get(&rule) {
            return *index;
        }
        let Ok(index) = u16::try_from(self.rules.len()) else {
            self.statistics.count(Unsupported::Dictionary);
            return UNSUPPORTED;
        };
        self.rules.push(rule);
        self.index.insert(rule, index);
        index
    }

    /// Entries may begin before their piece, and go on behind it.
    fn push_at(&mut self, address: u64, rule: u16) -> Result<(), UnwindError> {
        let pc = address.saturating_sub(self.base);
        match u32::try_from(pc) {
            Ok(pc) if pc < self.end => self.push_row(pc.max(self.start), rule),
            _ => Ok(()),
        }
    }

    fn push_row(&mut self, pc: u32, rule: u16) -> Result<(), UnwindError> {
        if self.rows.last().is_some_and(|last| last.pc == pc) {
            self.rows.pop();
        }
        if self.rows.last().map_or(NONE, |last| last.rule) == rule {
            return Ok(());
        }
        if self.rows.len() == MAX_ROWS {
            return Err(UnwindError::TooLarge {
                what: "unwind table",
                amount: MAX_ROWS as u64 + 1,
                limit: MAX_ROWS as u64,
            });
        }
        self.rows.push(Row {
            pc,
            rule,
            reserved: 0,
        });
        Ok(())
    }
}
