//! The identity of a stack.

/// Hashes return addresses, leaf first, to the 64-bit identity of their stack.
///
/// A step is a multiplication and a shift, both bijections, as is the finaliser of MurmurHash3 (public
/// domain, Austin Appleby) at the end: two stacks of one length that differ in one frame never
/// collide; among 100,000 unrelated stacks a collision has a chance of about 3 in 10 billion.
#[derive(Clone, Copy, Debug, Default)]
pub struct StackHash(u64);

impl StackHash {
    /// Of no frames.
    #[inline(always)]
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Takes in the next frame.
    #[inline(always)]
    #[must_use]
    pub const fn push(self, frame: u64) -> Self {
        let product = (self.0 ^ frame).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // Not 0 for a frame of 0, so that each frame counts.
        Self((product ^ (product >> 32)).wrapping_add(1))
    }

    /// The identity; zero is kept for "no stack".
    #[inline(always)]
    #[must_use]
    pub const fn finish(self) -> u64 {
        match mix(self.0) {
            0 => 1,
            hash => hash,
        }
    }
}

/// Words of a thread's name, as the kernel has it (`TASK_COMM_LEN`).
pub const THREAD_NAME_WORDS: usize = 2;

/// A number for threads of this name; never 0. Two of a thousand names share one by a chance of 1 in 10,000.
#[inline(always)]
#[must_use]
pub const fn thread_id(name: [u64; THREAD_NAME_WORDS]) -> u32 {
    let hash = StackHash::new().push(name[0]).push(name[1]).finish();
    (hash >> 32) as u32 | 1
}

#[inline(always)]
pub(crate) const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

#[cfg(test)]
mod tests {
    use super::StackHash;

    fn hash(frames: &[u64]) -> u64 {
        let pushed = frames
            .iter()
            .fold(StackHash::default(), |hash, &frame| hash.push(frame));
        pushed.finish()
    }

    #[test]
    fn order_length_and_every_frame_count() {
        let stacks: [&[u64]; 6] = [&[], &[0], &[0, 0], &[1, 2], &[2, 1], &[1, 2, 0]];
        for (i, one) in stacks.iter().enumerate() {
            assert_ne!(hash(one), 0);
            for other in &stacks[..i] {
                assert_ne!(hash(one), hash(other), "{one:?} {other:?}");
            }
        }
    }
}
