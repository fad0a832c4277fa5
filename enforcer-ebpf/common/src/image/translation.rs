//! Translators to IPv4: which addresses of IPv6 stand for one of IPv4 (RFC 6052).
//!
//! A bucket says of one prefix all that is done to an address, so that no length is told from another in the kernel:
//! both halves under a mask are compared, then each half gives its part of the IPv4 address by a shift and a mask.

use super::{Buckets, Meta, TRANSLATORS};
use crate::Address;

/// Prefixes in an image.
pub const TRANSLATORS_MAX: u32 = 4;

/// The IPv4 address for which `address` stands, if it has the prefix of a translator: whoever connects there reaches that.
/// Not loopback, which no translator reaches.
#[inline(always)]
pub fn translated(image: &impl Buckets, address: &Address) -> Option<Address> {
    if address.v4().is_some() || !Meta::of(image)?.translates() {
        return None;
    }
    let (high, low) = address.halves();
    for index in 0..TRANSLATORS_MAX {
        let [high_mask, own_high, low_mask, own_low, left, keep_left, right, keep_right] =
            image.bucket(TRANSLATORS + index)?.0;
        // A bucket without a prefix has no mask.
        if high_mask != 0 && high & high_mask == own_high && low & low_mask == own_low {
            let v4 = (high << (left & 63) & keep_left) | (low >> (right & 63) & keep_right);
            let inside = Address::from_v4((v4 as u32).to_be_bytes());
            return if v4 == 0 || inside.is_loopback() { None } else { Some(inside) };
        }
    }
    None
}

/// The bucket of a prefix. Bits 64 to 71 of an address are no part of what is inside.
#[cfg(feature = "user")]
pub(super) fn bucket(prefix: &Address, length: u8) -> crate::Vector {
    let (high, low) = prefix.halves();
    let bits = u32::from(length.clamp(32, 96));
    let (of_high, of_low) = (bits.min(64), bits.saturating_sub(64));
    let masked = |half: u64, bits: u32| {
        let mask = !u64::MAX.checked_shr(bits).unwrap_or(0);
        [mask, half & mask]
    };
    let ([high_mask, high], [low_mask, low]) = (masked(high, of_high), masked(low, of_low));
    // How many bits of the IPv4 address are behind bit 71.
    let behind = of_high - 32;
    let behind_mask = (1_u64 << behind) - 1;
    let right = if of_low == 0 { 56 - behind } else { 0 };
    crate::Vector([
        high_mask,
        high,
        low_mask,
        low,
        behind.into(),
        0xffff_ffff & !behind_mask,
        right.into(),
        behind_mask,
    ])
}

#[cfg(test)]
mod tests;
