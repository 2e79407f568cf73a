//! Whether a return address is one: whether the instruction before it is a call.
//!
//! Bytes in, yes or no out. Must not say no to a true return address.

/// Bytes before a return address that matter: the longest call without prefixes.
pub const BEFORE: usize = 7;
/// Bytes from it on: those of a signal trampoline.
pub const AFTER: usize = 9;

/// What the code around an address says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// It follows a call.
    Call,
    /// It is where a signal handler returns to, which nothing calls; what it interrupted need not have
    /// called anything either.
    Trampoline,
    /// Neither.
    No,
}

/// `mov $15, %rax; syscall`, see [`super::elf`].
const TRAMPOLINE: [u8; AFTER] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];

/// Judges an address by the bytes before it, of which there may be fewer than [`BEFORE`], and from it on.
#[must_use]
pub fn judge(before: &[u8], after: &[u8]) -> Return {
    if after.starts_with(&TRAMPOLINE) {
        Return::Trampoline
    } else if ends_in_call(before) {
        Return::Call
    } else {
        Return::No
    }
}

/// Whether bytes end in a near call, in any of its forms.
fn ends_in_call(bytes: &[u8]) -> bool {
    let at = |back: usize| Some(*bytes.get(bytes.len().checked_sub(back)?)?);
    // call rel32
    if at(5) == Some(0xe8) {
        return true;
    }
    // call r/m64: the operand's byte says how long the instruction is.
    (2..=BEFORE).any(|length| {
        at(length) == Some(0xff)
            && at(length - 1).is_some_and(|operand| {
                operand & 0x38 == 0x10 && {
                    let sib = (operand & 0xc7 < 0xc0 && operand & 7 == 4).then(|| at(length - 2));
                    operand_length(operand, sib.flatten()) == length
                }
            })
    })
}

/// Bytes of opcode, operand byte and what belongs to that.
const fn operand_length(operand: u8, sib: Option<u8>) -> usize {
    let with_sib = match sib {
        Some(_) => 1,
        None => 0,
    };
    let displacement = match (operand >> 6, operand & 7, sib) {
        (0, 5, _) => 4,
        (0, 4, Some(sib)) if sib & 7 == 5 => 4,
        (1, ..) => 1,
        (2, ..) => 4,
        _ => 0,
    };
    2 + with_sib + displacement
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions, Instruction};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_a_call_is_known() {
        let calls: [&[u8]; 16] = [
            &[0xe8, 0x01, 0x02, 0x03, 0x04],
            &[0x67, 0xe8, 0x01, 0x02, 0x03, 0x04],
            &[0xff, 0xd0],                   // call *%rax
            &[0x41, 0xff, 0xd7],             // call *%r15
            &[0x3e, 0xff, 0xd2],             // notrack call *%rdx
            &[0xff, 0x10],                   // call *(%rax)
            &[0xff, 0x14, 0x24],             // call *(%rsp)
            &[0xff, 0x14, 0xc1],             // call *(%rcx,%rax,8)
            &[0xff, 0x50, 0x18],             // call *0x18(%rax)
            &[0xff, 0x54, 0x24, 0x08],       // call *8(%rsp)
            &[0xff, 0x90, 0, 1, 0, 0],       // call *0x100(%rax)
            &[0xff, 0x94, 0x24, 0, 1, 0, 0], // call *0x100(%rsp)
            &[0xff, 0x14, 0xc5, 0, 1, 0, 0], // call *0x100(,%rax,8)
            &[0xff, 0x15, 0, 1, 0, 0],       // call *0x100(%rip)
            &[0x41, 0xff, 0x54, 0xc5, 0x00], // call *0(%r13,%rax,8)
            &[0x66, 0x48, 0xe8, 0, 0, 0, 0], // as __tls_get_addr is called
        ];
        for call in calls {
            let padded = [&[0x90; BEFORE][..], call].concat();
            assert_eq!(judge(&padded, &[]), Return::Call, "{call:x?}");
        }
    }

    #[test]
    fn what_is_no_call_is_none() {
        let others: [&[u8]; 7] = [
            &[0xe9, 0x01, 0x02, 0x03, 0x04], // jmp
            &[0xff, 0xe0],                   // jmp *%rax
            &[0xff, 0x25, 0, 1, 0, 0],       // jmp *0x100(%rip)
            &[0xff, 0xf0],                   // push %rax
            &[0xc3],
            &[0x90],
            &[],
        ];
        for other in others {
            let padded = [&[0x90; BEFORE][..], other].concat();
            assert_eq!(judge(&padded, &[]), Return::No, "{other:x?}");
        }
        assert_eq!(judge(&[], &TRAMPOLINE), Return::Trampoline);
        assert_eq!(judge(&[0xe8], &[]), Return::No);
    }

    proptest! {
        /// Whatever the decoder takes for a near call is one here, too.
        #[test]
        fn no_call_is_missed(bytes in proptest::collection::vec(any::<u8>(), 2..12), kind in 0..4_u8) {
            let mut bytes = bytes;
            match kind {
                0 => bytes[0] = 0xe8,
                1 => bytes[0] = 0xff,
                2 => { bytes[0] = 0x41; bytes[1] = 0xff; }
                _ => {}
            }
            let mut decoder = Decoder::new(64, &bytes, DecoderOptions::NONE);
            let instruction: Instruction = decoder.decode();
            if instruction.is_call_near() || instruction.is_call_near_indirect() {
                let is_short = instruction.op_count() == 1
                    && instruction.code() == iced_x86::Code::Call_rel16;
                prop_assume!(!is_short);
                let padded = [&[0x90; BEFORE], &bytes[..instruction.len()]].concat();
                prop_assert_eq!(judge(&padded, &[]), Return::Call);
            }
        }
    }
}
