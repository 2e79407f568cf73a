//! What must be true of every unwind table, whatever it was made from.

mod program;

pub use program::program;
use tracer::unwind::UnwindTable;
use tracer_common::{Registers, Rule, Step, step};

/// Panics where a table breaks a promise.
pub fn check(table: &UnwindTable, input: &[u8]) {
    let rows = table.rows();
    assert!(rows.is_sorted_by(|one, next| one.pc < next.pc));
    assert!(table.rules().first() == Some(&Rule::NONE));
    // A row takes at least a byte of instructions, or is one of two around an entry of 8 bytes and
    // more; what is compressed is compressed 200-fold at most.
    assert!(rows.len() <= 200 * input.len());
    let mut rule = 0;
    for row in rows {
        assert!(row.rule != rule, "neighbours are merged");
        rule = row.rule;
        assert!(usize::from(rule) < table.rules().len());
    }
    assert!(rule == 0, "nothing is known behind the last function");
    // Every rule, over memory of which each word holds its own address.
    let registers = Registers {
        ip: 0x40_1000,
        sp: 0x7fff_0000,
        bp: 0x7fff_0100,
    };
    for rule in table.rules() {
        if let Step::Caller {
            registers: caller,
            is_return_address,
            ..
        } = step(rule, registers, &mut Some)
        {
            assert!(caller.sp % 8 == 0);
            assert!(caller.sp > registers.sp || !is_return_address);
        }
    }
}
