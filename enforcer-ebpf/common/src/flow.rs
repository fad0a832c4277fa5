//! What is remembered of a socket, so that a flow is judged once and not with each packet.
//!
//! Programs on several CPUs change it at once. Each word says something by itself: what was allowed is one keyed hash of all
//! that it depends on, so that no two halves of different destinations can ever stand for a third.

use crate::{Address, name};

/// The value of a socket's storage. A socket that is accepted begins with a copy of its listener's.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// What was allowed on the wire.
    pub wire: Pass,
    /// What was allowed to a message that named its destination.
    pub sent: Pass,
    /// Destination of the last `connect`, as [`Seals::place`]; 0 = none.
    pub connected: u64,
    /// .. and of the last message.
    pub addressed: u64,
    /// 1 = what goes elsewhere than it was named is translated: seen since it was made, and never connected to two places.
    pub translatable: u64,
    /// Who opened the connection: [`OPENED_HERE`], [`OPENED_BY_PEER`], 0 = not known.
    pub opened: u64,
    /// What the last event told of, as [`Seals::place`].
    pub told: u64,
    /// When it was refused last and told, in nanoseconds of `CLOCK_BOOTTIME`.
    pub told_at: u64,
    /// Id of the cgroup (v2) of whoever used the socket last; 0 = nobody has, by a call that was seen.
    pub cgroup: u64,
    /// His process id, in the initial namespace.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Process id of the parent.
    pub ppid: u32,
    /// Real user id.
    pub uid: u32,
    /// Name of the thread.
    pub comm: [u8; 16],
    /// When it was connected last, in nanoseconds of `CLOCK_BOOTTIME`; 0 = not by a call that was seen.
    pub since: u64,
}

#[cfg(feature = "user")]
impl Flow {
    /// Reads what is remembered of a socket from the bytes of its storage; `None` unless the size is exactly right.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == size_of::<Self>()).then(|| {
            // SAFETY: the length was checked, every bit pattern is a valid `Flow` (integers and arrays of them without
            // padding), and `read_unaligned` asks for no alignment.
            unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() }
        })
    }
}

const _: () = assert!(size_of::<Flow>() == 2 * 16 + 8 * 8 + 4 * 4 + 16, "no padding");

/// This machine opened the connection.
pub const OPENED_HERE: u64 = 1;
/// The peer opened it.
pub const OPENED_BY_PEER: u64 = 2;

/// The destination that was allowed last.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pass {
    /// [`Seals::fresh`]: by this version, with what was known at that moment.
    pub fresh: u64,
    /// [`Seals::version`]: by this version.
    pub version: u64,
}

/// How far an allowance still holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Nothing has changed since.
    Allowed,
    /// The names may have changed: what names the address can deny, an allowance that is over cannot.
    Established,
    /// Another destination, another policy, or none yet.
    Unknown,
}

/// Hashes of a destination. 0 is none of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seals {
    /// Of the destination alone.
    pub place: u64,
    /// .. and the version of the policy.
    pub version: u64,
    /// .. and what is known of names at that moment.
    pub fresh: u64,
}

impl Seals {
    /// Of a destination. `key` is secret: who does not know it finds no two destinations of one hash.
    #[inline(always)]
    pub fn of(
        key: [u64; 2],
        address: &Address,
        port: u16,
        protocol: u8,
        [version, moment]: [u64; 2],
    ) -> Self {
        let [start, multiplier] = key;
        let (high, low) = address.halves();
        let add = |hash: u64, word: u64| name::mix((hash ^ word).wrapping_mul(multiplier | 1));
        let place = add(add(add(start, high), low), u64::from(port) << 8 | u64::from(protocol));
        let by_version = add(place, version);
        Self { place: place | 1, version: by_version | 1, fresh: add(by_version, moment) | 1 }
    }
}

impl Pass {
    /// The pass of what has just been allowed.
    #[inline(always)]
    pub fn of(seals: &Seals) -> Self {
        Self { fresh: seals.fresh, version: seals.version }
    }

    /// How far it holds for a destination.
    #[inline(always)]
    pub fn standing(&self, seals: &Seals) -> Standing {
        if self.fresh == seals.fresh {
            Standing::Allowed
        } else if self.version == seals.version {
            Standing::Established
        } else {
            Standing::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, net::IpAddr};

    const KEY: [u64; 2] = [0x1234_5678_9abc_def1, 0xfeed_face_cafe_beef];

    fn seals(address: &str, port: u16, protocol: u8, version: u64, epoch: u64) -> Seals {
        Seals::of(KEY, &address.parse::<IpAddr>().unwrap().into(), port, protocol, [version, epoch])
    }

    #[test]
    fn a_pass_holds_for_one_destination_until_something_changes() {
        let now = seals("203.0.113.7", 443, 6, 3, 8);
        let pass = Pass::of(&now);
        assert_eq!(pass.standing(&now), Standing::Allowed);
        assert_eq!(pass.standing(&seals("203.0.113.7", 443, 6, 3, 9)), Standing::Established);
        for other in [
            seals("203.0.113.7", 443, 6, 4, 8),
            seals("203.0.113.8", 443, 6, 3, 8),
            seals("203.0.113.7", 444, 6, 3, 8),
            seals("203.0.113.7", 443, 17, 3, 8),
            seals("2001:db8::7", 443, 6, 3, 8),
        ] {
            assert_eq!(pass.standing(&other), Standing::Unknown, "{other:?}");
        }
        assert_eq!(Pass::default().standing(&now), Standing::Unknown);
    }

    #[test]
    fn halves_of_two_addresses_do_not_make_a_third() {
        let mut seen = BTreeSet::new();
        for high in ["2001:db8:1:1", "2001:db8:1:2"] {
            for low in ["0:0:0:1", "0:0:0:2"] {
                let Seals { place, version, fresh } = seals(&format!("{high}:{low}"), 443, 6, 1, 1);
                assert!([place, version, fresh].iter().all(|seal| *seal != 0 && seen.insert(*seal)));
            }
        }
    }
}
