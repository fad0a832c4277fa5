//! Whether a server that answered is believed.
//!
//! An answer that was sent on this machine comes over a loopback interface. Where it was sent, egress knows by whom, and
//! *vouches* for what the resolver's own process says. Whoever else sends the same answer takes the word back: what is
//! vouched for when it arrives, nobody but the resolver has said since.

use crate::{
    answer::{self, Datagram, Source},
    atomic, maps, queries,
    scratch::{self, Claim},
    settings::setting,
};
use aya_ebpf::{
    EbpfContext as _,
    btf_maps::{Array, HashMap},
    helpers::{bpf_probe_read_kernel, generated::bpf_skb_cgroup_id},
    macros::btf_map,
    programs::SkBuffContext,
};
use enforcer_common::{
    Address,
    bound::masked,
    dns::{Doubt, Holder},
};

/// Only user space writes.
#[btf_map]
static HOLDERS: HashMap<Holder, u64, 1024> = HashMap::new();

/// Answers on their way over loopback, at the place that their [`Token`] has: few at a time, for microseconds. A token with
/// the lowest bit set is one that somebody else has sent, too.
#[btf_map]
static VOUCHED: Array<u64, TOKENS> = Array::new();

const TOKENS: usize = 16_384;
/// Index of every loopback interface (`LOOPBACK_IFINDEX`, `include/net/flow.h`).
const LOOPBACK: u32 = 1;

/// Inode number of the initial user namespace (`PROC_USER_INIT_INO`, `include/linux/proc_ns.h`).
const INITIAL_USER_NAMESPACE: u32 = 0xefff_fffd;

/// Whether what the server says, to the socket that receives this packet, may allow anything. That the socket has asked is
/// for the caller to know.
#[inline(always)]
pub(crate) fn of(ctx: &SkBuffContext, server: &Address) -> Result<(), Doubt> {
    if !maps::is_resolver(server) {
        return Err(Doubt::Server);
    }
    if setting!(trust_by_address) != 0 {
        return Ok(());
    }
    if !in_namespace_of_the_machine(ctx) {
        return Err(Doubt::Namespace);
    }
    Ok(())
}

/// Whether the answer in the scratch, if it was sent on this machine, was sent by the process that holds the resolver.
#[inline(always)]
pub(crate) fn of_sender(ctx: &SkBuffContext, place: u32, answer: &Source) -> Result<(), Doubt> {
    if setting!(trust_by_address) != 0 || !is_local(ctx) || !is_held(&answer.server) {
        return Ok(());
    }
    if Token::of(ctx, place, &answer.server, answer.client_port).is_some_and(Token::redeem) {
        Ok(())
    } else {
        Err(Doubt::Process)
    }
}

/// Notes who sends an answer to somebody on this machine. A subprogram, for its frame.
#[inline(never)]
pub(crate) fn vouch(ctx: &SkBuffContext, answer: &Datagram) {
    if !is_local(ctx) || !is_held(&answer.source) {
        return;
    }
    let Some(claim) = Claim::take() else { return };
    let place = claim.0;
    if answer::copy(ctx, answer.message, place).is_some()
        && scratch::of(place).is_some_and(|scratch| scratch.is_response())
        && let Some(token) = Token::of(ctx, place, &answer.source, answer.ports.destination)
    {
        // SAFETY: the context is the packet that the helper wants.
        let cgroup = unsafe { bpf_skb_cgroup_id(ctx.as_ptr().cast()) };
        token.issue(holds(&answer.source, cgroup));
    }
    claim.release();
}

/// The same for an answer where it is sent and where it arrives, and for no other answer: of the network namespace, both
/// ends, the id and the question.
#[derive(Clone, Copy)]
struct Token(u64);

impl Token {
    /// Of the message in the scratch.
    #[inline(always)]
    fn of(ctx: &SkBuffContext, place: u32, server: &Address, client_port: u16) -> Option<Self> {
        let transaction = queries::transaction(place, server);
        let token = transaction ^ namespace(ctx)? ^ u64::from(client_port) << 48;
        // 0 is an empty place, and the lowest bit has its own meaning.
        (transaction != 0).then_some(Self(token & !1 | 2))
    }

    /// Where it is kept.
    #[inline(always)]
    fn place(self) -> Option<*mut u64> {
        const MASK: u64 = TOKENS as u64 - 1;
        VOUCHED.get_ptr_mut(masked::<MASK>(self.0 >> 2) as u32)
    }

    /// Vouches for an answer of the resolver's own; takes the word back for one of somebody else's.
    #[inline(always)]
    fn issue(self, own: bool) {
        let Some(place) = self.place() else { return };
        let taken_back = self.0 | 1;
        for _ in 0..4 {
            // SAFETY: a value of the map.
            let there = unsafe { place.read_volatile() };
            if own && there == taken_back {
                return;
            }
            let new = if own { self.0 } else { taken_back };
            // SAFETY: a value of the map.
            if unsafe { atomic::compare_exchange(place, there, new) } == there {
                return;
            }
        }
        // Somebody is in the way all the time: better nobody is believed.
        // SAFETY: a value of the map.
        unsafe { atomic::exchange(place, taken_back) };
    }

    /// Whether somebody vouches for it, once.
    #[inline(always)]
    fn redeem(self) -> bool {
        // SAFETY: a value of the map.
        self.place().is_some_and(|place| unsafe { atomic::compare_exchange(place, self.0, 0) } == self.0)
    }
}

/// Whether the packet goes over a loopback interface.
#[inline(always)]
fn is_local(ctx: &SkBuffContext) -> bool {
    // SAFETY: the kernel passes a valid context.
    unsafe { (*ctx.skb.skb).ifindex == LOOPBACK }
}

/// Whether not just anybody on this machine may answer from this address.
#[inline(always)]
fn is_held(address: &Address) -> bool {
    holds(address, 0)
}

#[inline(always)]
fn holds(address: &Address, cgroup: u64) -> bool {
    // SAFETY: only the presence of the entry is used.
    unsafe { HOLDERS.get(Holder { address: *address, cgroup }) }.is_some()
}

/// Whether the receiving socket's network namespace is owned by the initial user namespace, as the initial one and those
/// of containers with a real root are. In any other, a user is root: he has every address and every port there.
///
/// The socket's own namespace is read, not the task's: a socket cannot change it, whoever holds the descriptor.
#[inline(always)]
fn in_namespace_of_the_machine(ctx: &SkBuffContext) -> bool {
    let Some(net) = namespace(ctx) else { return false };
    let user_namespace: u64 = read(net + u64::from(setting!(net_user_ns)));
    read::<u32>(user_namespace + u64::from(setting!(user_ns_inum))) == INITIAL_USER_NAMESPACE
}

/// The `struct net` of the socket that sends or receives the packet.
#[inline(always)]
fn namespace(ctx: &SkBuffContext) -> Option<u64> {
    let socket = queries::socket_of(ctx)?;
    // The verifier allows no arithmetic on a socket, so its beginning is read as a whole.
    // SAFETY: the helper checks the address it reads.
    let head = unsafe { bpf_probe_read_kernel(socket.cast::<[u64; SOCK_COMMON]>()) }.ok()?;
    head.get(setting!(sock_net) as usize / 8).copied()
}

/// Words of `struct sock_common` up to and with `skc_net`, with some to spare.
const SOCK_COMMON: usize = 12;

/// Reads kernel memory; what cannot be read is zero.
#[inline(always)]
fn read<T: Default>(address: u64) -> T {
    // SAFETY: the helper checks the address; `T` is an integer, of which every bit pattern is valid.
    unsafe { bpf_probe_read_kernel(address as *const T) }.unwrap_or_default()
}
