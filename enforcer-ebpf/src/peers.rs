//! From whom each socket has received datagrams lately: it may answer them.
//!
//! What is kept can only allow, and only what no deny rule names. A peer that is forgotten, because another one takes its
//! place, is answered by the rules. An answer leaves by the loopback interface if, and only if, what it answers came by it:
//! whoever may send from any address here can write what he likes to himself. There it is an answer only from the address that
//! was written to.

use crate::{maps, recent, settings::setting, skb::is_loopback};
use aya_ebpf::{
    EbpfContext, btf_maps::Array, helpers::generated::bpf_get_socket_cookie, macros::btf_map,
    programs::SkBuffContext,
};
use enforcer_common::{Address, bound::masked, control::Control, flow::Seals, packet::UDP};

/// By the hash of socket, peer and way, as [`recent`] says.
#[btf_map]
static PEERS: Array<u64, PLACES> = Array::new();

const PLACES: usize = 65_536;
/// How long a peer may be answered: 30 seconds.
const ANSWERED: u64 = 29;

/// The way by which a datagram comes, or goes.
#[derive(Clone, Copy)]
pub(crate) struct Way(u64);

impl Way {
    /// By the loopback interface, or by another.
    #[inline(always)]
    pub(crate) fn by(loopback: bool) -> Self {
        Self(loopback.into())
    }

    /// By the loopback interface, to or from this address of the machine.
    #[inline(always)]
    pub(crate) fn at(own: &Address) -> Self {
        Self(Seals::of(key(), own, 0, UDP, [0, 0]).fresh)
    }
}

/// Remembers that the socket receives a datagram from here, at this address of its own.
#[inline(always)]
pub(crate) fn receive(ctx: &SkBuffContext, address: &Address, port: u16, own: &Address) {
    if maps::control(Control::Version) == 0 {
        return;
    }
    let loopback = is_loopback(ctx);
    remember(ctx, address, port, Way::by(loopback));
    if loopback {
        remember(ctx, address, port, Way::at(own));
    }
}

/// A subprogram, for its frame.
#[inline(never)]
fn remember(ctx: &SkBuffContext, address: &Address, port: u16, way: Way) {
    let (Some(place), wanted) = entry(ctx, address, port, way) else { return };
    // SAFETY: a value of the map; whole words.
    unsafe {
        // Not written again and again by every CPU.
        if place.read_volatile() != wanted {
            place.write_volatile(wanted);
        }
    }
}

/// Whether the socket has received a datagram from there in the last 30 seconds, by this way.
#[inline(always)]
pub(crate) fn has_heard(ctx: &impl EbpfContext, address: &Address, port: u16, way: Way) -> bool {
    let (Some(place), wanted) = entry(ctx, address, port, way) else { return false };
    // SAFETY: a value of the map.
    recent::is_within(ANSWERED, unsafe { place.read_volatile() }, wanted)
}

/// Where it is kept, and what stands there if it is heard at this moment.
#[inline(always)]
fn entry(ctx: &impl EbpfContext, address: &Address, port: u16, way: Way) -> (Option<*mut u64>, u64) {
    const MASK: u64 = PLACES as u64 - 1;
    // SAFETY: the context is a packet or an address given to a socket, which the helper wants.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let hash = Seals::of(key(), address, port, UDP, [cookie, way.0]).fresh;
    let place = PEERS.get_ptr_mut(masked::<MASK>(hash >> 8) as u32);
    (place, recent::stamp(hash))
}

#[inline(always)]
fn key() -> [u64; 2] {
    [setting!(query_key_start), setting!(query_key_multiplier)]
}
