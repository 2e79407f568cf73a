//! The few forms of DWARF expressions that a table row can say.
//!
//! An expression is run with a value that is only known as "a register plus an offset", or as the
//! word that lies there. What this cannot follow has no known form.

use gimli::{Encoding, Expression, Operation, X86_64};

use super::Slice;

/// What offsets are counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Cfa,
    Sp,
    Bp,
}

/// The value of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Base plus offset.
    Offset(Base, i64),
    /// The word at base plus the first offset, plus the second.
    Deref(Base, i64, i64),
    /// The linker's expression for its stubs, see
    /// [`RuleKind::Plt`](tracer_common::RuleKind::Plt).
    Plt {
        /// Added to `rsp`.
        offset: i64,
        /// Value of the low four bits of `rip` from which on the stub has pushed.
        threshold: i64,
    },
}

impl Value {
    fn add(self, more: i64) -> Option<Self> {
        Some(match self {
            Self::Offset(base, offset) => Self::Offset(base, offset.checked_add(more)?),
            Self::Deref(base, offset, second) => {
                Self::Deref(base, offset, second.checked_add(more)?)
            }
            Self::Plt { .. } => return None,
        })
    }
}

/// The value of an expression, if it has a known form. `start` is what the machine's stack holds
/// at the beginning: the CFA, where the expression is a register's.
pub(super) fn value(
    expression: Expression<Slice<'_>>,
    encoding: Encoding,
    start: Option<Base>,
) -> Option<Value> {
    if let Some(value) = plt(expression.0.slice()) {
        return Some(value);
    }
    let mut value = start.map(|base| Value::Offset(base, 0));
    // A constant on top of the value, until an operation takes it.
    let mut constant: Option<i64> = None;
    let mut operations = expression.operations(encoding);
    while let Some(operation) = operations.next().ok()? {
        if let Some(more) = constant.take() {
            value = Some(match operation {
                Operation::Plus => value?.add(more)?,
                Operation::Minus => value?.add(more.checked_neg()?)?,
                _ => return None,
            });
            continue;
        }
        match operation {
            Operation::RegisterOffset {
                register, offset, ..
            } => {
                let base = match register {
                    X86_64::RSP => Base::Sp,
                    X86_64::RBP => Base::Bp,
                    _ => return None,
                };
                // On top of the CFA, which is never looked at then.
                value = Some(Value::Offset(base, offset));
            }
            Operation::PlusConstant { value: more } => {
                value = Some(value?.add(i64::try_from(more).ok()?)?);
            }
            Operation::UnsignedConstant { value } => constant = Some(i64::try_from(value).ok()?),
            Operation::SignedConstant { value } => constant = Some(value),
            Operation::Deref {
                size: 8,
                space: false,
                ..
            } => {
                let Value::Offset(base, offset) = value? else {
                    return None;
                };
                value = Some(Value::Deref(base, offset, 0));
            }
            Operation::Nop => {}
            _ => return None,
        }
    }
    if constant.is_some() { None } else { value }
}

/// `rsp + 8 + ((rip & 15 >= threshold) << 3)`, as GNU ld and gold write it.
fn plt(bytes: &[u8]) -> Option<Value> {
    const BREG7: u8 = 0x77;
    const LIT0: u8 = 0x30;
    let [
        BREG7,
        offset @ 0..=0x3f,
        0x80, // breg16
        0,
        0x3f, // lit15
        0x1a, // and
        threshold @ LIT0..=0x3f,
        0x2a, // ge
        0x33, // lit3
        0x24, // shl
        0x22, // plus
    ] = bytes
    else {
        return None;
    };
    Some(Value::Plt {
        offset: i64::from(*offset),
        threshold: i64::from(threshold - LIT0),
    })
}

#[cfg(test)]
mod tests {
    use super::{Base, Value, value};
    use gimli::{Encoding, EndianSlice, Expression, Format, LittleEndian};

    fn value_of(bytes: &[u8], start: Option<Base>) -> Option<Value> {
        let encoding = Encoding {
            format: Format::Dwarf32,
            version: 1,
            address_size: 8,
        };
        value(
            Expression(EndianSlice::new(bytes, LittleEndian)),
            encoding,
            start,
        )
    }

    #[test]
    fn registers_with_offsets() {
        assert_eq!(value_of(&[0x77, 8], None), Some(Value::Offset(Base::Sp, 8)));
        let minus_eight = [0x76, 0x78];
        assert_eq!(
            value_of(&minus_eight, Some(Base::Cfa)),
            Some(Value::Offset(Base::Bp, -8))
        );
        // By rbx.
        assert_eq!(value_of(&[0x73, 8], None), None);
    }

    #[test]
    fn the_cfa_and_a_constant() {
        let start = Some(Base::Cfa);
        assert_eq!(value_of(&[], start), Some(Value::Offset(Base::Cfa, 0)));
        let expected = Some(Value::Offset(Base::Cfa, -16));
        // const1s -16; plus
        assert_eq!(value_of(&[0x09, 0xf0, 0x22], start), expected);
        // lit16; minus
        assert_eq!(value_of(&[0x40, 0x1c], start), expected);
        // plus_uconst 16
        let expected = Some(Value::Offset(Base::Cfa, 16));
        assert_eq!(value_of(&[0x23, 16], start), expected);
    }

    #[test]
    fn a_word_in_memory() {
        // breg6 -8; deref
        let expected = Some(Value::Deref(Base::Bp, -8, 0));
        assert_eq!(value_of(&[0x76, 0x78, 0x06], None), expected);
        // breg7 72; deref; plus_uconst 8
        let expected = Some(Value::Deref(Base::Sp, 72, 8));
        assert_eq!(value_of(&[0x77, 0xc8, 0, 0x06, 0x23, 8], None), expected);
    }

    #[test]
    fn the_stubs_of_a_linker() {
        let bytes = [
            0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22,
        ];
        let expected = Some(Value::Plt {
            offset: 8,
            threshold: 11,
        });
        assert_eq!(value_of(&bytes, None), expected);
    }

    #[test]
    fn what_has_no_known_form() {
        let forms: [&[u8]; 8] = [
            &[],                    // nothing on the stack
            &[0x22],                // plus
            &[0x06],                // deref
            &[0x31, 0x22],          // lit1; plus
            &[0x77, 0, 0x31],       // breg7 0; lit1
            &[0x77, 0, 0x06, 0x06], // breg7 0; deref; deref
            &[0x77, 0, 0x94, 4],    // breg7 0; deref_size 4
            &[0x2f, 0xfd, 0xff],    // skip to itself
        ];
        for form in forms {
            assert_eq!(value_of(form, None), None, "{form:x?}");
        }
    }
}
