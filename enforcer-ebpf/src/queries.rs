//! Queries: what each socket has asked, so that an answer is believed only by whoever asked for it.
//!
//! The hooks that see an address as the application names it (`connect`, `sendmsg`) remember the server, because address
//! translation may show egress another one. Egress records the query, ingress finds its answer.

use crate::{
    answer::{self, Delivery},
    atomic, attempt, count, maps,
    repeat::BpfLoop,
    scratch::{self, Claim},
    settings::setting,
    skb::Skb,
    transport::Datagram,
};
use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    btf_maps::SkStorage,
    helpers::generated::bpf_sk_storage_get,
    macros::btf_map,
    programs::{SkBuffContext, SockAddrContext},
};
use core::{ffi::c_void, ops::ControlFlow};
use enforcer_common::{
    Address,
    bound::masked,
    control::Counter,
    decide::{DNS, OtherResolvers},
    dns::{QUERIES_MAX, Queries},
    repeat::{Repeat, Step},
};

#[btf_map]
static QUERIES: SkStorage<Queries> = SkStorage::new();

const SOCK_DGRAM: u32 = 2;

/// Whether an answer was asked for.
pub(crate) enum Asked {
    No,
    /// It matches no query, but some query of the socket was forgotten.
    Perhaps,
    Yes,
}

/// Whether the caller may not ask this server (`otherResolvers`).
#[inline(always)]
pub(crate) fn refuses(address: &Address, port: u16) -> bool {
    if port != DNS || !is_other(&address.destination()) || !attempt::in_scope() {
        return false;
    }
    count::add(Counter::QueriesRefused, 1);
    true
}

/// Whether a server at the port of DNS is one of those that are not to be asked.
#[inline(always)]
fn is_other(server: &Address) -> bool {
    matches!(maps::other_resolvers(), OtherResolvers::Deny) && !maps::is_resolver(server)
}

/// Remembers the server that a datagram socket is about to ask.
#[inline(always)]
pub(crate) fn name_server(ctx: &SockAddrContext, address: Address, port: u16) {
    // SAFETY: the kernel passes a valid context.
    let (kind, socket) = unsafe { ((*ctx.sock_addr).type_, (*ctx.sock_addr).__bindgen_anon_1.sk) };
    if kind != SOCK_DGRAM {
        return;
    }
    let asks = port == DNS;
    let Some(queries) = storage(socket.cast(), asks) else { return };
    // SAFETY: a value of the storage, which lives as long as the socket does; whole words, as `Queries` says.
    unsafe {
        (&raw mut (*queries).named).write_volatile(asks.into());
        if asks {
            (&raw mut (*queries).server).write_volatile(address.destination());
        }
    }
}

/// Whether the socket that sends the packet has named a server to ask.
#[inline(always)]
pub(crate) fn asks(ctx: &SkBuffContext) -> bool {
    socket_of(ctx)
        .and_then(|socket| storage(socket, false))
        // SAFETY: a value of the storage.
        .is_some_and(|queries| unsafe { (*queries).named } != 0)
}

/// Records a query that is about to leave. One that cannot be recorded is not sent where its answer could be denied.
#[inline(always)]
pub(crate) fn record(ctx: &SkBuffContext, datagram: &Datagram) -> Delivery {
    let Some(socket) = socket_of(ctx) else { return Delivery::Deliver };
    let known = storage(socket, false);
    // SAFETY: a value of the storage.
    let named = known.is_some_and(|queries| unsafe { (*queries).named } != 0);
    let on_the_wire = datagram.ports.destination == DNS;
    if !named && !on_the_wire {
        return Delivery::Deliver;
    }
    let server = match known {
        // SAFETY: a value of the storage; a name that another thread is changing is one of two that were asked.
        Some(queries) if named => unsafe { (&raw const (*queries).server).read_volatile() },
        _ => datagram.destination,
    };
    if is_other(&server) && answer::in_scope(ctx) {
        count::add(Counter::QueriesRefused, 1);
        return Delivery::Drop;
    }
    let Some(queries) = known.or_else(|| storage(socket, true)) else {
        count::add(Counter::QueriesUnrecorded, 1);
        return answer::refuse_if(ctx, answer::denies_something());
    };
    let Some(claim) = Claim::take() else {
        count::add(Counter::NoScratch, 1);
        forget(queries);
        return Delivery::Deliver;
    };
    let place = claim.0;
    // Of several queries in one packet the first alone could be read.
    if answer::copy(ctx, datagram.message, place).is_none() || Skb(ctx).datagram_size() != 0 {
        forget(queries);
    } else if scratch::of(place).is_some_and(|scratch| !scratch.is_response()) {
        ask(queries, transaction(place, &server));
        if on_the_wire && server != datagram.destination {
            ask(queries, transaction(place, &datagram.destination));
        }
    }
    claim.release();
    Delivery::Deliver
}

/// Whether the receiver of the answer in the scratch has asked for it. An answer counts once.
#[inline(always)]
pub(crate) fn asked(ctx: &SkBuffContext, place: u32, server: &Address) -> Asked {
    let Some(queries) = socket_of(ctx).and_then(|socket| storage(socket, false)) else { return Asked::No };
    let wanted = transaction(place, server);
    if wanted == 0 {
        return Asked::Perhaps;
    }
    let mut found = 0;
    BpfLoop::repeat(QUERIES_MAX as u32, &mut Find { queries, wanted: &wanted, found: &mut found });
    // SAFETY: a value of the storage.
    match (found, unsafe { (*queries).forgot }) {
        (0, 0) => Asked::No,
        (0, _) => Asked::Perhaps,
        _ => Asked::Yes,
    }
}

/// The transaction of the message in the scratch. Global: verified once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn transaction(place: u32, server: *const Address) -> u64 {
    // SAFETY: the verifier checks that a pointer that is not null has a whole `Address` behind it.
    let (Some(scratch), Some(server)) = (scratch::of(place), unsafe { server.as_ref() }) else { return 0 };
    scratch.transaction::<BpfLoop>([setting!(query_key_start), setting!(query_key_multiplier)], server)
}

struct Find<'a> {
    queries: *mut Queries,
    wanted: &'a u64,
    found: &'a mut u64,
}

impl Step for Find<'_> {
    /// Looks at one place, the latest query first.
    #[inline(always)]
    fn step(&mut self, index: u32) -> ControlFlow<()> {
        let wanted = *self.wanted;
        // SAFETY: a value of the storage, and the index is masked to the length of the array.
        let taken = unsafe {
            let latest = (&raw const (*self.queries).next).read_volatile().wrapping_sub(1);
            let place = place(self.queries, latest.wrapping_sub(u64::from(index)));
            place.read_volatile() == wanted && atomic::compare_exchange(place, wanted, 0) == wanted
        };
        if taken {
            *self.found = 1;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// Adds a query; in a full ring it takes the place of the oldest.
#[inline(always)]
fn ask(queries: *mut Queries, transaction: u64) {
    if transaction == 0 {
        return forget(queries);
    }
    // SAFETY: a value of the storage, and the index is masked to the length of the array.
    let oldest = unsafe {
        let index = atomic::fetch_add(&raw mut (*queries).next, 1);
        atomic::exchange(place(queries, index), transaction)
    };
    if oldest != 0 {
        forget(queries);
    }
}

/// # Safety
/// `queries` is a value of the storage.
#[inline(always)]
unsafe fn place(queries: *mut Queries, index: u64) -> *mut u64 {
    const MASK: u64 = QUERIES_MAX as u64 - 1;
    // SAFETY: the caller's, and the index is below the length of the array.
    unsafe { (&raw mut (*queries).pending).cast::<u64>().add(masked::<MASK>(index)) }
}

#[inline(always)]
fn forget(queries: *mut Queries) {
    count::add(Counter::QueriesForgotten, 1);
    // SAFETY: a value of the storage.
    unsafe { (&raw mut (*queries).forgot).write_volatile(1) };
}

/// The socket that sends or receives the packet.
#[inline(always)]
pub(crate) fn socket_of(ctx: &SkBuffContext) -> Option<*mut c_void> {
    // SAFETY: the kernel passes a valid context.
    let socket = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    (!socket.is_null()).then_some(socket.cast())
}

/// A socket's storage; made if `create` says so and there is memory.
#[inline(always)]
fn storage(socket: *mut c_void, create: bool) -> Option<*mut Queries> {
    let flags = if create { u64::from(BPF_SK_STORAGE_GET_F_CREATE) } else { 0 };
    // SAFETY: the socket is the context's own; new storage is zero.
    let queries = unsafe {
        bpf_sk_storage_get((&raw const QUERIES).cast_mut().cast(), socket, core::ptr::null_mut(), flags)
    };
    (!queries.is_null()).then_some(queries.cast())
}

const _: () = assert!(QUERIES_MAX.is_power_of_two(), "the index is masked");
