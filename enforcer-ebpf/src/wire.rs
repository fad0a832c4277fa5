//! What goes out, judged by the address that it goes to: the stop behind every hook that sees what an application names.
//!
//! A program is a chain of functions that hand numbers on, because the stack of all frames in a chain has 512 bytes.

use crate::{
    answer::{self, Delivery},
    attempt, count, emit, flow, lookups,
    maps::{self, PolicySlot, Sender},
    peers::{self, Way},
    queries,
    settings::setting,
    skb::{Head, Skb, is_loopback},
    transport::glance,
    trust,
};
use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, bpf_sock, bpf_sock_tuple},
    helpers::{
        bpf_ktime_get_boot_ns, bpf_probe_read_kernel,
        generated::{bpf_sk_fullsock, bpf_sk_lookup_tcp, bpf_sk_release, bpf_skb_cgroup_id},
    },
    programs::SkBuffContext,
};
use core::ptr::NonNull;
use enforcer_common::{
    Address, Attempt, Decision, Reach, Verdict,
    bound::opaque,
    control::{Control, Counter},
    event::Kind,
    flow::{Flow, OPENED_BY_PEER, OPENED_HERE, Pass, Seals, Standing},
    packet::{Bytes as _, TCP, UDP, flag},
    wire::{ICMPV6, Route, STATIONS_MAX, is_dhcp, is_upkeep, serves_link, transport},
};

const SOCK_RAW: u32 = 3;
/// `enum sock_type`'s two that have connections and ports of their own.
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
/// `TCP_LISTEN` (`include/net/tcp_states.h`).
const LISTEN: u32 = 10;

/// How [`standing`] packs a [`Standing`].
const ALLOWED: u64 = 1;
/// Names that are over do not end a flow; what names the address ends it.
const ESTABLISHED: u64 = NAMED;
const UNKNOWN: u64 = 0;

/// Bits beside the offset of an address in the number that says what is judged: only rules that name it, the address inside
/// it, for this packet alone.
const NAMED: u64 = 1 << 32;
const BESIDE: u64 = 1 << 33;
const DATED: u64 = 1 << 34;
/// Above them, the version of the policy that judges.
const VERSION: u32 = 36;

/// Beside a packed [`Route`]: the source is judged, too.
const ANSWERED: u32 = 51;

/// How [`excuse`] answers: not, for as long as the flow lives, or for this packet.
const NONE: u64 = 0;
const FLOW: u64 = NAMED;
const PACKET: u64 = NAMED | DATED;

/// Judges one packet.
#[inline(always)]
pub(crate) fn judge(ctx: &SkBuffContext) -> Delivery {
    let version = maps::control(Control::Version);
    let skb = ctx.skb.skb;
    if is_of_known_flow(skb, version) != 0 {
        return Delivery::Deliver;
    }
    let canary = canary();
    if version == 0 && canary == 0 {
        return Delivery::Deliver;
    }
    let mut route = read_route(skb);
    if canary != 0 {
        match is_canary(skb, route) {
            0 => {}
            OURS => return Delivery::Drop,
            _ => return Delivery::Deliver,
        }
    }
    if version == 0 {
        return Delivery::Deliver;
    }
    if route == 0 {
        count::add(Counter::PacketsUnreadable, 1);
        return if answer::enforces_something() { Delivery::Drop } else { Delivery::Deliver };
    }
    let moment = moment();
    let standing = standing(skb, route, version, moment);
    if is_loopback(&SkBuffContext::new(skb)) {
        route |= is_answered_elsewhere(skb, route) << ANSWERED;
    }
    if standing == ALLOWED && others(route) == 0 {
        return Delivery::Deliver;
    }
    // The destination first.
    let mut flow = standing & ESTABLISHED;
    let mut index = opaque(0);
    while index <= others(route) && index <= u64::from(STATIONS_MAX) + 1 {
        if judge_address(skb, route, version << VERSION | place(route, index) | flow, moment) != 0 {
            return Delivery::Drop;
        }
        flow = 0;
        index += 1;
    }
    Delivery::Deliver
}

/// Whether a glance tells that the packet belongs to what was allowed, and that nothing has changed since: as nearly every one
/// does. What it does not tell, a closer look does.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_of_known_flow(skb: *mut __sk_buff, version: u64) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    let Some(plain) = glance(ctx) else { return 0 };
    if version == 0 || maps::control(Control::Canary) != 0 {
        return 0;
    }
    if is_loopback(ctx)
        && plain.source != plain.destination
        && (plain.protocol == UDP || plain.opens(&Head(ctx)))
    {
        // Its source is judged, too.
        return 0;
    }
    let moment = maps::moment();
    let Some(flow) = queries::socket_of(ctx).and_then(flow::known) else { return 0 };
    let seals = flow::seals(&plain.destination, plain.ports.destination, plain.protocol, [version, moment]);
    // SAFETY: a value of the storage; whole words.
    let pass = unsafe { (&raw const (*flow.as_ptr()).wire).read_volatile() };
    matches!(pass.standing(&seals), Standing::Allowed).into()
}

/// Whether what stays on this machine names a source that is not its destination: whoever gets it answers there, also if
/// nobody here has that address (`IPV6_FREEBIND`), and peers may be answered. Of a connection its first packet counts.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_answered_elsewhere(skb: *mut __sk_buff, route: u64) -> u64 {
    let packet = Skb(&SkBuffContext::new(skb));
    let Some(route) = Route::unpack(route) else { return 1 };
    if route.protocol == TCP
        && let Some([flags]) = packet.load(route.payload + 13)
        && !flag::opens(flags)
    {
        return 0;
    }
    let source = route.address(&packet, route.source_at());
    (source.is_none() || source != route.address(&packet, route.destination_at())).into()
}

/// The destination of the canary, if one is under way. A subprogram, for its frame, as the next.
#[inline(never)]
fn canary() -> u64 {
    maps::control(Control::Canary)
}

#[inline(never)]
fn moment() -> u64 {
    maps::moment()
}

/// A canary that is refused here.
const OURS: u64 = 1;
/// One that another program refuses.
const ANOTHERS: u64 = 2;

/// Whether the packet is a canary, and whose; 0 = none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_canary(skb: *mut __sk_buff, route: u64) -> u64 {
    let packet = Skb(&SkBuffContext::new(skb));
    let Some(route) = Route::unpack(route) else { return 0 };
    let Some(address) = route.address(&packet, route.destination_at()) else { return 0 };
    if attempt::is_canary_at_wire(&address, port_at(&route, &packet, route.destination_at())) {
        OURS
    } else if lookups::is_canary(packet.0) {
        ANOTHERS
    } else {
        0
    }
}

/// Remembers whom a datagram comes from.
#[inline(always)]
pub(crate) fn receive(ctx: &SkBuffContext) {
    if glance(ctx).is_some_and(|plain| plain.protocol != UDP) {
        return;
    }
    let Some(route) = Route::unpack(read_route(ctx.skb.skb)) else { return };
    let packet = Skb(ctx);
    if route.protocol == UDP
        && let (Some(source), Some(own), Some((port, _))) = (
            route.address(&packet, route.source_at()),
            route.address(&packet, route.destination_at()),
            route.ports(&packet),
        )
    {
        peers::receive(ctx, &source, port, &own);
    }
}

/// [`Route::of`] a packet, packed; 0 if it cannot be read.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn read_route(skb: *mut __sk_buff) -> u64 {
    Route::of(&Skb(&SkBuffContext::new(skb))).map_or(0, Route::pack)
}

/// Judges one address, by the rules that name it alone where the default does not hold; 1 = the packet is not sent.
#[inline(always)]
fn judge_address(skb: *mut __sk_buff, route: u64, mut what: u64, moment: u64) -> u64 {
    let mut packed = decide_packet(skb, route, what, moment);
    if what & NAMED == 0 && denies(packed) {
        what |= excuse(skb, route, what);
        if what & NAMED != 0 {
            packed = decide_packet(skb, route, what, moment);
        }
    }
    if route >> 48 & 1 != 0 {
        packed = attempt::join(packed, decide_packet(skb, route, what | BESIDE, moment));
    }
    conclude_packet(skb, route, what, packed, moment)
}

/// The version that judges.
#[inline(always)]
fn version_of(what: u64) -> u64 {
    what >> VERSION
}

/// Addresses that are judged beside the destination.
#[inline(always)]
fn others(route: u64) -> u64 {
    (route >> 40 & 0xff) + (route >> ANSWERED & 1)
}

/// Where an address stands: the destination, the stations, behind them the source.
#[inline(always)]
fn place(route: u64, index: u64) -> u64 {
    let v6 = route >> 48 & 1;
    match index {
        0 => 16 + 8 * v6,
        _ if index > route >> 40 & 0xff => 12 - 4 * v6,
        _ => (route >> 24 & 0xffff) + (index - 1) * (4 + 12 * v6),
    }
}

/// Whether a decision denies, for whoever asks or in fact. One that could not be made does not: it has its own verdict.
#[inline(always)]
fn denies(packed: u64) -> bool {
    Decision::unpack(packed).is_some_and(|Decision { verdict, effective, .. }| {
        matches!(verdict, Verdict::Deny) || matches!(effective, Verdict::Deny)
    })
}

/// What is known of the flow, before anything is judged.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn standing(skb: *mut __sk_buff, route: u64, version: u64, moment: u64) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    let packet = Skb(ctx);
    let Some(route) = Route::unpack(route) else { return UNKNOWN };
    let Some(socket) = socket_of(ctx) else { return UNKNOWN };
    let Some(flow) = flow::of(socket.as_ptr().cast()) else { return UNKNOWN };
    if is_kernels_upkeep(ctx, socket.as_ptr(), &route) {
        return ALLOWED;
    }
    let Some(address) = route.address(&packet, route.destination_at()) else { return UNKNOWN };
    let (_, port) = route.ports(&packet).unwrap_or_default();
    // SAFETY: a value of the storage; whole words.
    let pass = unsafe { (&raw const (*flow.as_ptr()).wire).read_volatile() };
    let standing = pass.standing(&flow::seals(&address, port, route.protocol, [version, moment]));
    if standing != Standing::Allowed && route.protocol == TCP && !route.later_fragment {
        note_opener(ctx, &route, socket.as_ptr(), flow.as_ptr());
    }
    match standing {
        Standing::Allowed => ALLOWED,
        Standing::Established => ESTABLISHED,
        Standing::Unknown => UNKNOWN,
    }
}

/// Notes who opened a TCP connection: whoever sent the SYN. Of a connection that is older than this program, whoever listens
/// at its port.
#[inline(always)]
fn note_opener(ctx: &SkBuffContext, route: &Route, socket: *mut bpf_sock, flow: *mut Flow) {
    let Some([flags]) = Skb(ctx).load(route.payload + 13) else { return };
    // SAFETY: a value of the storage; whole words.
    let known = unsafe { (&raw const (*flow).opened).read_volatile() };
    let opened = match flags & (flag::SYN | flag::ACK) {
        flag::SYN => OPENED_HERE,
        _ if known != 0 => return,
        both if both == flag::SYN | flag::ACK => OPENED_BY_PEER,
        _ if listens(ctx, route.v6, socket) => OPENED_BY_PEER,
        _ => OPENED_HERE,
    };
    // SAFETY: as above.
    unsafe { (&raw mut (*flow).opened).write_volatile(opened) };
}

/// Whether somebody listens at the address and port of a socket, as they are before translation. The lookup is for a peer that
/// there is not, so that it finds no connection (`net/core/filter.c` `sk_lookup`).
#[inline(always)]
fn listens(ctx: &SkBuffContext, v6: bool, socket: *mut bpf_sock) -> bool {
    const SIZE_V4: u32 = 12;
    const SIZE_V6: u32 = 36;
    /// `BPF_F_CURRENT_NETNS`: the socket's own.
    const OWN: u64 = u64::MAX;
    // SAFETY: integers, of which all zeros are valid.
    let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
    // SAFETY: a whole socket; fields are read with their own width, and volatile keeps the loads apart.
    let size = unsafe {
        let port = ((&raw const (*socket).src_port).read_volatile() as u16).to_be();
        if v6 {
            let source = (&raw const (*socket).src_ip6).cast::<u32>();
            let word = |index| source.add(index).read_volatile();
            tuple.__bindgen_anon_1.ipv6.daddr = [word(0), word(1), word(2), word(3)];
            tuple.__bindgen_anon_1.ipv6.dport = port;
            SIZE_V6
        } else {
            tuple.__bindgen_anon_1.ipv4.daddr = (&raw const (*socket).src_ip4).read_volatile();
            tuple.__bindgen_anon_1.ipv4.dport = port;
            SIZE_V4
        }
    };
    // SAFETY: the tuple is as long as said; what is found is given back.
    unsafe {
        let found = bpf_sk_lookup_tcp(ctx.as_ptr(), &raw mut tuple, size, OWN, 0);
        if found.is_null() {
            return false;
        }
        let state = (*found).state;
        bpf_sk_release(found.cast());
        state == LISTEN
    }
}

#[inline(always)]
fn words(octets: [u8; 16]) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_ne_bytes)
}

/// [`enforcer_common::decide()`] for one address of a packet, packed; 0 if the maps cannot answer. `what` is where the
/// address stands, and the bits beside it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn decide_packet(skb: *mut __sk_buff, route: u64, what: u64, moment: u64) -> u64 {
    let version = version_of(what);
    let mut attempt = Attempt {
        address: Address::default(),
        port: packet_port(skb, route, what) as u16,
        protocol: transport(route as u8),
        uid: packet_uid(skb) as u32,
        // SAFETY: plain helper call.
        now: unsafe { bpf_ktime_get_boot_ns() },
        reach: if what & (NAMED | BESIDE) != 0 { Reach::Named } else { Reach::All },
    };
    if read_address(skb, route, what, &mut attempt.address) != 0 {
        return 0;
    }
    if attempt.address.v4().is_none() && attempt::turn(version, &mut attempt, what & BESIDE) != 0 {
        return attempt::NOTHING_BESIDE.pack();
    }
    let sender = Sender { skb, cgroup: packet_cgroup(skb) };
    attempt::packed(PolicySlot::of((version & 1) as u32, moment, sender), &attempt)
}

/// The address that is judged; 1 if it cannot be read. A subprogram, for its frame; the next are global, for the verifier too.
#[inline(never)]
fn read_address(skb: *mut __sk_buff, route: u64, what: u64, to: &mut Address) -> u64 {
    let v6 = route >> 48 & 1 != 0;
    let Some(address) = address_at(&SkBuffContext::new(skb), v6, what as u32 & 0xffff) else {
        return 1;
    };
    *to = address.destination();
    0
}

/// The port of the address that is judged, 0 if the protocol has none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_port(skb: *mut __sk_buff, route: u64, what: u64) -> u64 {
    let Some(route) = Route::unpack(route) else { return 0 };
    port_at(&route, &Skb(&SkBuffContext::new(skb)), what as u32 & 0xffff).into()
}

/// The port that belongs to the address that stands there: its own if that is the source, else the destination's.
#[inline(always)]
fn port_at(route: &Route, packet: &Skb<'_>, at: u32) -> u16 {
    let (source, destination) = route.ports(packet).unwrap_or_default();
    if at == route.source_at() { source } else { destination }
}

/// The user who used the socket last, else who made it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_uid(skb: *mut __sk_buff) -> u64 {
    match used(&SkBuffContext::new(skb)) {
        // SAFETY: a value of the storage; a whole word.
        Some(flow) => unsafe { (&raw const (*flow.as_ptr()).uid).read_volatile() }.into(),
        None => maker(skb).into(),
    }
}

/// The user who made the socket: `sk_uid`, because `bpf_get_socket_uid` says 0 for whomever a user namespace of the network
/// namespace does not know (`net/core/filter.c`).
#[inline(always)]
fn maker(skb: *mut __sk_buff) -> u32 {
    let Some(socket) = socket_of(&SkBuffContext::new(skb)) else { return u32::MAX };
    // The verifier allows no arithmetic on a socket, but on what it finds in memory.
    let socket = socket.as_ptr() as u64;
    let offset = u64::from(setting!(sock_uid));
    // SAFETY: the helper checks the addresses it reads.
    unsafe {
        bpf_probe_read_kernel(&raw const socket)
            .and_then(|at| bpf_probe_read_kernel((at + offset) as *const u32))
            .unwrap_or(u32::MAX)
    }
}

/// The cgroup of whoever used the socket last, else of who made it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_cgroup(skb: *mut __sk_buff) -> u64 {
    match used(&SkBuffContext::new(skb)) {
        // SAFETY: a value of the storage; a whole word.
        Some(flow) => unsafe { (&raw const (*flow.as_ptr()).cgroup).read_volatile() },
        // SAFETY: the packet of the program's context.
        None => unsafe { bpf_skb_cgroup_id(skb) },
    }
}

/// What is remembered of the socket, if somebody was seen to use it.
#[inline(always)]
fn used(ctx: &SkBuffContext) -> Option<NonNull<Flow>> {
    let flow = socket_of(ctx).and_then(|socket| flow::of(socket.as_ptr().cast()))?;
    // SAFETY: a value of the storage; a whole word.
    let cgroup = unsafe { (&raw const (*flow.as_ptr()).cgroup).read_volatile() };
    (cgroup != 0).then_some(flow)
}

/// Why the default does not hold for an address of a packet: a peer wants it, the network needs it, or it is not the
/// destination that was named, because addresses are translated on the way.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn excuse(skb: *mut __sk_buff, route: u64, what: u64) -> u64 {
    let version = version_of(what);
    if setting!(no_excuses) != 0 {
        return NONE;
    }
    let ctx = &SkBuffContext::new(skb);
    let packet = Skb(ctx);
    let (Some(route), Some(socket)) = (Route::unpack(route), socket_of(ctx)) else { return NONE };
    let socket = socket.as_ptr();
    let Some(address) = route.address(&packet, route.destination_at()) else { return NONE };
    let (local, port) = route.ports(&packet).unwrap_or_default();
    // SAFETY: a whole socket; fields are read with their own width.
    let (kind, protocol) = unsafe { ((*socket).type_, (*socket).protocol) };
    if route.stations != 0 {
        return NONE;
    }
    if kind == SOCK_RAW && is_kernels(socket) {
        return FLOW;
    }
    if is_group_upkeep(&packet, &route, &address) {
        return PACKET;
    }
    if route.steered || route.later_fragment || protocol != u32::from(route.protocol) {
        return NONE;
    }
    let flow = flow::of(socket.cast());
    match (route.protocol, kind) {
        (TCP, SOCK_STREAM) => {
            // SAFETY: a value of the storage.
            if flow.is_some_and(|flow| unsafe { (*flow.as_ptr()).opened } == OPENED_BY_PEER)
                && maps::answers_peers(version)
            {
                return FLOW;
            }
        }
        (UDP, SOCK_DGRAM) => {
            let served = || serves_link(&address) || maps::is_exempt(version, packet_cgroup(skb));
            let way = way(ctx, &route, what as u32 & 0xffff);
            if peers::has_heard(ctx, &address, port, way) && maps::answers_peers(version)
                || is_dhcp(local, port) && served()
            {
                return PACKET;
            }
            if is_peer(socket, &route, &packet, port) {
                return NONE;
            }
        }
        _ => return NONE,
    }
    // Elsewhere a user translates what he likes.
    if !trust::in_namespace_of_the_machine(ctx) {
        return NONE;
    }
    let Some(flow) = flow else { return NONE };
    let place = flow::place(&address, port, route.protocol);
    let flow = flow.as_ptr();
    // SAFETY: a value of the storage; whole words, the last one only after the names.
    let (named, translatable) = unsafe {
        let connected = (&raw const (*flow).connected).read_volatile();
        let addressed = (&raw const (*flow).addressed).read_volatile();
        ([connected, addressed], (&raw const (*flow).translatable).read_volatile())
    };
    if named == [0, 0] || named.contains(&place) {
        NONE
    } else if route.protocol == TCP {
        // A hook has judged what it is connected to.
        FLOW
    } else if translatable != 0 {
        PACKET
    } else {
        NONE
    }
}

/// The way that excuses an answer: where the source is judged, it is the address that was written to.
#[inline(always)]
fn way(ctx: &SkBuffContext, route: &Route, at: u32) -> Way {
    let own = if at == route.source_at() { route.address(&Skb(ctx), at) } else { None };
    own.map_or(Way::by(is_loopback(ctx)), |own| Way::at(&own))
}

/// Whether this is what a UDP socket is connected to: nobody has translated it.
#[inline(always)]
fn is_peer(socket: *mut bpf_sock, route: &Route, packet: &Skb<'_>, port: u16) -> bool {
    // SAFETY: a whole socket; fields are read with their own width, and volatile keeps the loads apart.
    unsafe {
        if (*socket).dst_port != port.to_be() {
            return false;
        }
        if route.v6 {
            let Some(octets) = packet.load::<16>(24) else { return false };
            let peer = (&raw const (*socket).dst_ip6).cast::<u32>();
            let word = |index| peer.add(index).read_volatile();
            words(octets) == [word(0), word(1), word(2), word(3)]
        } else {
            let Some(octets) = packet.load::<4>(16) else { return false };
            (*socket).dst_ip4 == u32::from_ne_bytes(octets)
        }
    }
}

/// Membership of multicast groups (IGMP, MLD) and neighbour discovery, to a group of this link.
#[inline(always)]
fn is_group_upkeep(packet: &Skb<'_>, route: &Route, address: &Address) -> bool {
    is_upkeep(route.protocol, address) && (route.protocol != ICMPV6 || is_discovery(packet, route))
}

/// What keeps the machine on its link, sent by the kernel: neighbour discovery and MLD. No rule reaches it, as none reaches
/// ARP.
#[inline(always)]
fn is_kernels_upkeep(ctx: &SkBuffContext, socket: *mut bpf_sock, route: &Route) -> bool {
    route.protocol == ICMPV6
        && route.stations == 0
        && setting!(no_excuses) == 0
        // SAFETY: a whole socket.
        && unsafe { (*socket).type_ } == SOCK_RAW
        && is_discovery(&Skb(ctx), route)
        && is_kernels(socket)
}

/// Neighbour discovery (RFC 4861 section 4) or MLD (RFC 2710, RFC 3810).
#[inline(always)]
fn is_discovery(packet: &Skb<'_>, route: &Route) -> bool {
    packet.load(route.payload).is_some_and(|[kind]| matches!(kind, 130..=137 | 143))
}

/// Whether the kernel made a socket for itself: such holds no reference to its network namespace
/// (`net/core/sock.c` `sk_alloc`).
#[inline(always)]
fn is_kernels(socket: *mut bpf_sock) -> bool {
    // The verifier allows no arithmetic on a socket, so its beginning is read as a whole.
    // SAFETY: the helper checks the address it reads.
    let Ok(head) = (unsafe { bpf_probe_read_kernel(socket.cast::<[u64; 4]>()) }) else { return false };
    let bit = setting!(sock_net_refcnt);
    head.get(bit as usize / 64).is_some_and(|word| word >> (bit % 64) & 1 == 0)
}

/// The whole socket that sends the packet.
#[inline(always)]
fn socket_of(ctx: &SkBuffContext) -> Option<NonNull<bpf_sock>> {
    // SAFETY: the kernel passes a valid context.
    let socket = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return None;
    }
    // SAFETY: a socket that is not null.
    NonNull::new(unsafe { bpf_sk_fullsock(socket) })
}

/// What becomes of the packet by a packed decision; 1 = it is not sent. Remembers it, and tells.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn conclude_packet(skb: *mut __sk_buff, route: u64, what: u64, packed: u64, moment: u64) -> u64 {
    let Some(decision) = Decision::unpack(packed) else {
        count::add(Counter::Errors, 1);
        return maps::errors_deny().into();
    };
    let ctx = &SkBuffContext::new(skb);
    let packet = Skb(ctx);
    let Some(route) = Route::unpack(route) else { return 1 };
    let at = what as u32 & 0xffff;
    let Some(address) = route.address(&packet, at) else { return 1 };
    let port = port_at(&route, &packet, at);
    let seals = flow::seals(&address, port, route.protocol, [version_of(what), moment]);
    let flow = socket_of(ctx).and_then(|socket| flow::of(socket.as_ptr().cast()));
    let denied = matches!(decision.effective, Verdict::Deny);
    let is_destination = at == route.destination_at();
    if denied {
        count::add(Counter::PacketsRefused, 1);
    } else if is_destination
        && route.stations == 0
        && what & DATED == 0
        && let Some(flow) = flow
    {
        // SAFETY: a value of the storage; both words say the same destination, or are of two that were allowed.
        unsafe { (&raw mut (*flow.as_ptr()).wire).write_volatile(Pass::of(&seals)) };
    }
    if let Some(kind) = kind_told(ctx, flow, &route, &seals, &decision, port) {
        let told = emit::Told { kind, protocol: route.protocol, v6: route.v6 };
        emit::packet(
            skb,
            version_of(what),
            told.pack() | u64::from(at) << 32 | u64::from(port) << 48,
            packed,
        );
    }
    denied.into()
}

/// Which event tells of the packet, if any: the first datagram to what a socket is connected to, and what is denied here
/// and nowhere before.
#[inline(always)]
fn kind_told(
    ctx: &SkBuffContext,
    flow: Option<NonNull<Flow>>,
    route: &Route,
    seals: &Seals,
    decision: &Decision,
    port: u16,
) -> Option<Kind> {
    let denied = matches!(decision.effective, Verdict::Deny);
    let wanted = denied || matches!(decision.verdict, Verdict::Deny);
    let Some(flow) = flow else { return denied.then_some(Kind::PacketDenied) };
    // SAFETY: a value of the storage; whole words.
    let (connected, addressed) = unsafe {
        let flow = flow.as_ptr();
        ((&raw const (*flow).connected).read_volatile(), (&raw const (*flow).addressed).read_volatile())
    };
    // What a datagram socket is connected to, no hook has judged; for all others one has, if they named it.
    let datagram = route.protocol == UDP
        && (connected == seals.place
            || socket_of(ctx).is_some_and(|socket| is_peer(socket.as_ptr(), route, &Skb(ctx), port)));
    let kind = if datagram && addressed != seals.place { Kind::UdpSend } else { Kind::PacketDenied };
    let by_hook = kind == Kind::PacketDenied && (connected == seals.place || addressed == seals.place);
    if !(denied || kind == Kind::UdpSend || wanted && !by_hook) {
        return None;
    }
    // SAFETY: plain helper call.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    flow::tells(flow, seals.place, denied, now).then_some(kind)
}

/// What [`emit`] shows of a packet: where it goes.
#[inline(always)]
pub(crate) fn address_at(ctx: &SkBuffContext, v6: bool, at: u32) -> Option<Address> {
    let packet = Skb(ctx);
    if v6 { packet.load(at).map(Address::from_v6) } else { packet.load(at).map(Address::from_v4) }
}

/// Who sends it, as far as the socket knows: what is remembered, user and cgroup.
#[inline(always)]
pub(crate) fn sender(ctx: &SkBuffContext) -> (Option<NonNull<Flow>>, u32, u64) {
    (used(ctx), packet_uid(ctx.skb.skb) as u32, packet_cgroup(ctx.skb.skb))
}
