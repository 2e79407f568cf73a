//! The frames of a stack that has arrived and has no names yet, packed: a hundred thousand may wait for the
//! end of a window, and return addresses are mostly near each other.

/// Return addresses, leaf first: differences from one to the next, in bytes of seven bits each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frames(Box<[u8]>);

impl Frames {
    /// Packs addresses.
    pub(super) fn pack(addresses: &[u64]) -> Self {
        let mut packed = Vec::with_capacity(addresses.len() * 10);
        let mut last = 0;
        for &address in addresses {
            let difference = address.wrapping_sub(last).cast_signed();
            // The sign in the lowest bit, so that a short way back is a small number too.
            let mut left = ((difference << 1) ^ (difference >> 63)).cast_unsigned();
            while left >= 0x80 {
                packed.push(left as u8 | 0x80);
                left >>= 7;
            }
            packed.push(left as u8);
            last = address;
        }
        Self(packed.as_slice().into())
    }

    /// The addresses.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let mut bytes = self.0.iter();
        let mut last = 0_u64;
        std::iter::from_fn(move || {
            let mut number = 0;
            let mut shift = 0;
            loop {
                let byte = *bytes.next()?;
                number |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
                shift += 7;
            }
            let difference = (number >> 1) ^ (number & 1).wrapping_neg();
            last = last.wrapping_add(difference);
            Some(last)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Frames;

    #[test]
    fn near_addresses_take_little() {
        let code = (0..20).map(|frame| 0x55d4_7000_1000 + frame % 3 * 0x400);
        let code: Vec<u64> = code.collect();
        assert!(Frames::pack(&code).0.len() < 50);
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out(addresses in proptest::collection::vec(
            prop_oneof![any::<u64>(), 0x7f00_0000_0000..0x7f00_0001_0000_u64, Just(u64::MAX), Just(0)],
            0..130,
        )) {
            let packed = Frames::pack(&addresses);
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), addresses);
        }
    }
}
