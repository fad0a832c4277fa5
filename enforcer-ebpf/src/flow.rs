//! What is remembered of sockets: who uses them, where they go, and what was allowed to them.

use crate::{atomic, connect, count, settings::setting, task};
use aya_ebpf::{
    bindings::{BPF_F_CLONE, BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE, bpf_map_type, bpf_sock},
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns,
        generated::bpf_sk_storage_get,
    },
    macros::btf_map,
    programs::SockAddrContext,
};
use core::{
    ffi::c_void,
    ptr::{NonNull, null},
};
use enforcer_common::{
    Address,
    control::Counter,
    flow::{Flow, OPENED_HERE, Seals},
};

/// `BPF_MAP_TYPE_SK_STORAGE` with `BPF_F_CLONE` (Linux 5.4), which aya's type lacks: what is accepted starts with a copy of
/// what is remembered of its listener (`net/core/bpf_sk_storage.c` `bpf_sk_storage_clone`).
#[repr(C)]
struct Flows {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const Flow,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize],
}

// SAFETY: the pointers only describe the map to the loader; nobody follows them.
unsafe impl Sync for Flows {}

#[btf_map]
static FLOWS: Flows =
    Flows { r#type: null(), key: null(), value: null(), max_entries: null(), map_flags: null() };

/// What is remembered of a socket, if anything is.
#[inline(always)]
pub(crate) fn known(socket: *mut c_void) -> Option<NonNull<Flow>> {
    storage(socket, 0)
}

/// What is remembered of a socket; made if there is memory.
#[inline(always)]
pub(crate) fn of(socket: *mut c_void) -> Option<NonNull<Flow>> {
    let flow = storage(socket, BPF_SK_STORAGE_GET_F_CREATE);
    if flow.is_none() {
        count::add(Counter::FlowsUnrecorded, 1);
    }
    flow
}

#[inline(always)]
fn storage(socket: *mut c_void, flags: u32) -> Option<NonNull<Flow>> {
    // SAFETY: the socket is the context's own; new storage is zero.
    let flow = unsafe {
        bpf_sk_storage_get((&raw const FLOWS).cast_mut().cast(), socket, core::ptr::null_mut(), flags.into())
    };
    NonNull::new(flow.cast())
}

/// The seals of a destination, by the version and the moment by which it is judged: read once, before that.
#[inline(always)]
pub(crate) fn seals(address: &Address, port: u16, protocol: u8, by: [u64; 2]) -> Seals {
    let key = [setting!(query_key_start), setting!(query_key_multiplier)];
    Seals::of(key, &address.destination(), port, protocol, by)
}

/// [`Seals::place`] of a destination.
#[inline(always)]
pub(crate) fn place(address: &Address, port: u16, protocol: u8) -> u64 {
    seals(address, port, protocol, [0; 2]).place
}

/// Remembers where the current task connects a socket to.
#[inline(always)]
pub(crate) fn connects(ctx: &SockAddrContext, address: &Address, port: u16) {
    let Some(flow) = of(socket_of(ctx).cast()) else { return };
    let at = flow.as_ptr();
    let place = place(address, port, protocol_of(ctx));
    let opens = connect::opens_connection(connect::kind(ctx));
    // SAFETY: a value of the storage, which lives as long as the socket does; whole words, as `Flow` says.
    unsafe {
        let connected = &raw mut (*at).connected;
        // What waits in a socket that names another peer now (`UDP_CORK`) goes to the first: no translation. Said before the
        // other name is there, and again if two calls were at it at once.
        let follows = |before| {
            if before != 0 && before != place {
                (&raw mut (*at).translatable).write_volatile(0);
            }
        };
        follows(connected.read_volatile());
        follows(atomic::exchange(connected, place));
        if opens {
            (&raw mut (*at).opened).write_volatile(OPENED_HERE);
        }
        (&raw mut (*at).since).write_volatile(bpf_ktime_get_boot_ns());
    }
    own(flow);
}

/// Writes down that the current task uses the socket.
#[inline(always)]
pub(crate) fn own(flow: NonNull<Flow>) {
    let flow = flow.as_ptr();
    let ids = bpf_get_current_pid_tgid();
    // SAFETY: a value of the storage; whole words, but for the name, which only events show.
    unsafe {
        (&raw mut (*flow).cgroup).write_volatile(bpf_get_current_cgroup_id());
        (&raw mut (*flow).pid).write_volatile((ids >> 32) as u32);
        (&raw mut (*flow).tid).write_volatile(ids as u32);
        (&raw mut (*flow).ppid).write_volatile(task::parent());
        (&raw mut (*flow).uid).write_volatile(task::uid());
        (*flow).comm = bpf_get_current_comm().unwrap_or_default();
    }
}

/// Nanoseconds between two events about refusals of one socket to one destination.
const TELL_PERIOD: u64 = 10_000_000_000;

/// Whether an event tells of this destination: of what passes once, of a refusal again after a while.
#[inline(always)]
pub(crate) fn tells(flow: NonNull<Flow>, place: u64, refused: bool, now: u64) -> bool {
    let flow = flow.as_ptr();
    // SAFETY: a value of the storage; whole words.
    let (told, told_at) =
        unsafe { ((&raw const (*flow).told).read_volatile(), (&raw const (*flow).told_at).read_volatile()) };
    if told == place && (!refused || told_at != 0 && now.wrapping_sub(told_at) < TELL_PERIOD) {
        return false;
    }
    // SAFETY: as above.
    unsafe {
        (&raw mut (*flow).told).write_volatile(place);
        (&raw mut (*flow).told_at).write_volatile(if refused { now } else { 0 });
    }
    true
}

/// The socket that an address is given to.
#[inline(always)]
pub(crate) fn socket_of(ctx: &SockAddrContext) -> *mut bpf_sock {
    // SAFETY: the kernel passes a valid context.
    unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk }
}

/// Its protocol's number.
#[inline(always)]
pub(crate) fn protocol_of(ctx: &SockAddrContext) -> u8 {
    // SAFETY: the kernel passes a valid context.
    unsafe { (*ctx.sock_addr).protocol as u8 }
}
