//! Whether a server that answered is believed. Who sent an answer on this machine is known where it was sent: `vouch`.

use crate::{maps, queries, settings::setting, skb::is_loopback, transport::Source, vouch};
use aya_ebpf::{
    EbpfContext as _,
    bindings::__sk_buff,
    btf_maps::HashMap,
    helpers::{bpf_probe_read_kernel, generated::bpf_skb_cgroup_id},
    macros::btf_map,
    programs::SkBuffContext,
};
use enforcer_common::{
    Address,
    dns::{Doubt, Holder},
};

/// Only user space writes.
#[btf_map]
static HOLDERS: HashMap<Holder, u64, 1024> = HashMap::new();

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
    if !depends_on_sender(ctx, &answer.server) || vouch::redeem(ctx, place, answer) {
        Ok(())
    } else {
        Err(Doubt::Process)
    }
}

/// The same for a segment of a connection.
#[inline(always)]
pub(crate) fn of_peer(ctx: &SkBuffContext, server: &Address) -> Result<(), Doubt> {
    if !depends_on_sender(ctx, server) || vouch::vouches(ctx.skb.skb) != 0 {
        Ok(())
    } else {
        Err(Doubt::Process)
    }
}

/// Whether it matters by which process of this machine the packet was sent.
#[inline(always)]
fn depends_on_sender(ctx: &SkBuffContext, server: &Address) -> bool {
    setting!(trust_by_address) == 0 && is_loopback(ctx) && is_held(server)
}

/// Whether not just anybody on this machine may answer from this address.
#[inline(always)]
pub(crate) fn is_held(address: &Address) -> bool {
    holds(address, 0)
}

/// Whether the packet was sent by a process that holds the resolver of this address.
#[inline(always)]
pub(crate) fn is_of_holder(ctx: &SkBuffContext, address: &Address) -> bool {
    // SAFETY: the context is the packet that the helper wants.
    holds(address, unsafe { bpf_skb_cgroup_id(ctx.as_ptr().cast()) })
}

#[inline(always)]
fn holds(address: &Address, cgroup: u64) -> bool {
    // SAFETY: only the presence of the entry is used.
    unsafe { HOLDERS.get(Holder { address: *address, cgroup }) }.is_some()
}

/// Whether the network namespace of the socket that sends or receives this is owned by the initial user namespace, as the
/// initial one and those of containers with a real root are. In any other, a user is root: he has every address and every port
/// there.
///
/// The socket's own namespace is read, not the task's: a socket cannot change it, whoever holds the descriptor.
#[inline(always)]
pub(crate) fn in_namespace_of_the_machine(ctx: &SkBuffContext) -> bool {
    let Some(net) = namespace(ctx) else { return false };
    let user_namespace: u64 = read(net + u64::from(setting!(net_user_ns)));
    read::<u32>(user_namespace + u64::from(setting!(user_ns_inum))) == INITIAL_USER_NAMESPACE
}

/// The `struct net` of the socket that sends or receives the packet.
#[inline(always)]
pub(crate) fn namespace(ctx: &SkBuffContext) -> Option<u64> {
    let net = namespace_of(ctx.skb.skb);
    (net != 0).then_some(net)
}

/// The same, 0 if there is none. Global, for its frame.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn namespace_of(skb: *mut __sk_buff) -> u64 {
    let Some(socket) = queries::socket_of(&SkBuffContext::new(skb)) else { return 0 };
    // The verifier allows no arithmetic on a socket, so its beginning is read as a whole.
    // SAFETY: the helper checks the address it reads.
    let head = unsafe { bpf_probe_read_kernel(socket.cast::<[u64; SOCK_COMMON]>()) };
    head.ok().and_then(|head| head.get(setting!(sock_net) as usize / 8).copied()).unwrap_or(0)
}

/// Words of `struct sock_common` up to and with `skc_net`, with some to spare.
const SOCK_COMMON: usize = 12;

/// Reads kernel memory; what cannot be read is zero.
#[inline(always)]
fn read<T: Default>(address: u64) -> T {
    // SAFETY: the helper checks the address; `T` is an integer, of which every bit pattern is valid.
    unsafe { bpf_probe_read_kernel(address as *const T) }.unwrap_or_default()
}
