//! The identity of a stack.

/// Hashes return addresses (leaf first) to the 64-bit identity of their stack.
///
/// Each word goes through the finaliser of MurmurHash3 (public domain, Austin Appleby), which is
/// a bijection, so two stacks that differ in one frame never collide; among 100,000 unrelated
/// stacks a collision has a chance of about 3 in 10 billion. Zero is kept for "no stack".
///
/// The loop runs to the constant bound so that the verifier can follow it.
#[inline(always)]
#[must_use]
pub fn stack_hash(frames: &[u64; crate::limits::MAX_FRAMES], len: usize) -> u64 {
    let mut hash = len as u64;
    let mut i = 0;
    while i < crate::limits::MAX_FRAMES {
        if i >= len {
            break;
        }
        hash = mix(hash ^ frames[i]).wrapping_add(0x9e37_79b9_7f4a_7c15);
        i += 1;
    }
    if hash == 0 { 1 } else { hash }
}

#[inline(always)]
const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}
