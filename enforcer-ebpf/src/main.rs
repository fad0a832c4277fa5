//! The kernel programs: entry points, and the verdict of every internal error.
//!
//! | program | hook | does |
//! |---|---|---|
//! | `socket_connect` | `lsm/socket_connect` | judges connects, emits `NetTCPConnect` |
//! | `connect4`, `connect6` | `cgroup/connect4`, `connect6` | the same where BPF LSM does not work |
//! | `socket_sendmsg` | `lsm/socket_sendmsg` | judges messages to an address, but those of UDP; fast open |
//! | `sendmsg4`, `sendmsg6` | `cgroup/sendmsg4`, `sendmsg6` | judges datagrams to an address, emits `NetUDPSend` |
//! | `sctp_bind_connect` | `lsm/sctp_bind_connect` | judges the addresses of an SCTP association |
//! | `socket_create` | `lsm/socket_create` | refuses sockets that no rule can judge, by an enforced default |
//! | `wire_egress` | `cgroup_skb/egress` | judges packets, emits `NetPacketDenied` |
//! | `wire_ingress` | `cgroup_skb/ingress` | remembers whom a socket may answer |
//! | `name_socket` | `cgroup/sock_create` | remembers whose a socket is |
//! | `ingress` | `cgroup_skb/ingress` | binds the addresses of a DNS answer before its receiver can read it |
//! | `egress` | `cgroup_skb/egress` | records DNS queries |
//! | `refuse_lookup` | `cgroup_skb/egress` | refuses queries for names that a rule refuses, emits `DNSQueryRefused` |
//! | `vouch` | `cgroup_skb/egress` | notes which process sends DNS answers over loopback |
//! | `name_connect4`, `name_connect6` | `cgroup/connect4`, `connect6` | remember the server that is asked |
//! | `name_sendmsg4`, `name_sendmsg6` | `cgroup/sendmsg4`, `sendmsg6` | the same, and refuse queries to other resolvers |
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "aya's macros wrap the documented functions in undocumented ones")]
#![feature(asm_experimental_arch)]

use aya_ebpf::{
    helpers::bpf_set_retval,
    macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr, lsm},
    programs::{LsmContext, SkBuffContext, SockAddrContext, SockContext},
};
use enforcer_common::{Address, control::Counter, decide::EPERM, sockaddr::Named};

mod answer;
mod atomic;
mod attempt;
mod connect;
mod count;
mod emit;
mod flow;
mod kernel_memory;
mod lookups;
mod maps;
mod peers;
mod queries;
mod recent;
mod repeat;
mod scratch;
mod send;
mod settings;
mod skb;
mod sockets;
mod stream;
mod task;
mod transport;
mod trust;
mod vouch;
mod wake;
mod wire;

/// What a hook does with an attempt.
enum Outcome {
    Allow,
    Refuse(u8),
}

/// Why a hook could not judge.
#[derive(Clone, Copy)]
enum Error {
    /// The kernel's own memory could not be read.
    Unreadable,
    /// The maps could not answer.
    Undecidable,
}

/// Every internal error of the hooks that judge, and its verdict: the policy's `onError`.
fn verdict_of(error: Error) -> Outcome {
    count::add(Counter::Errors, 1);
    match error {
        Error::Unreadable | Error::Undecidable => {
            if maps::errors_deny() {
                Outcome::Refuse(EPERM)
            } else {
                Outcome::Allow
            }
        }
    }
}

/// `LSM_HOOK(int, 0, socket_connect, struct socket *sock, struct sockaddr *address, int addrlen)`
/// (`include/linux/lsm_hook_defs.h`), Linux 5.7.
#[lsm(hook = "socket_connect")]
pub fn socket_connect(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    lsm_result(connect::by_lsm(&ctx))
}

/// `LSM_HOOK(int, 0, socket_sendmsg, struct socket *sock, struct msghdr *msg, int size)`, Linux 5.7.
#[lsm(hook = "socket_sendmsg")]
pub fn socket_sendmsg(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    lsm_result(send::by_lsm(&ctx))
}

/// `LSM_HOOK(int, 0, socket_create, int family, int type, int protocol, int kern)`, Linux 5.7.
#[lsm(hook = "socket_create")]
pub fn socket_create(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(4);
    if earlier != 0 {
        return earlier;
    }
    lsm_result(sockets::by_lsm(&ctx))
}

/// `LSM_HOOK(int, 0, sctp_bind_connect, struct sock *sk, int optname, struct sockaddr *address, int addrlen)`, Linux 5.7.
#[lsm(hook = "sctp_bind_connect")]
pub fn sctp_bind_connect(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(4);
    if earlier != 0 {
        return earlier;
    }
    lsm_result(sockets::by_sctp(&ctx))
}

/// `BPF_CGROUP_INET4_CONNECT`, Linux 4.17; the errno needs `bpf_set_retval`, Linux 5.18.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    sock_addr(connect::by_cgroup4(&ctx))
}

/// `BPF_CGROUP_INET6_CONNECT`, Linux 4.17.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    sock_addr(connect::by_cgroup6(&ctx))
}

/// `BPF_CGROUP_UDP4_SENDMSG`, Linux 4.18: where the call names an address (`net/ipv4/udp.c` `udp_sendmsg`).
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    let (address, port) = connect::named4(&ctx);
    sock_addr(send::by_cgroup(&ctx, &Named { address, port, v6: false }))
}

/// `BPF_CGROUP_UDP6_SENDMSG`, Linux 4.18.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    let (address, port) = connect::named6(&ctx);
    sock_addr(send::by_cgroup(&ctx, &Named { address, port, v6: true }))
}

/// `BPF_CGROUP_INET_EGRESS`: judges what goes out, whoever sends it and however he named where to.
#[cgroup_skb(egress)]
pub fn wire_egress(ctx: SkBuffContext) -> i32 {
    deliver(wire::judge(&ctx))
}

/// `BPF_CGROUP_INET_INGRESS`: remembers whom a socket may answer. Never refuses.
#[cgroup_skb(ingress)]
pub fn wire_ingress(ctx: SkBuffContext) -> i32 {
    wire::receive(&ctx);
    1
}

/// `BPF_CGROUP_INET_SOCK_CREATE`, Linux 4.10. Never refuses.
#[cgroup_sock(sock_create)]
pub fn name_socket(ctx: SockContext) -> i32 {
    sockets::made(&ctx);
    1
}

/// `BPF_CGROUP_INET_INGRESS`, Linux 4.10: runs before the datagram is queued on the socket (`net/core/filter.c`
/// `sk_filter_trim_cap`).
#[cgroup_skb(ingress)]
pub fn ingress(ctx: SkBuffContext) -> i32 {
    deliver(answer::judge(&ctx))
}

/// `BPF_CGROUP_INET_EGRESS`, Linux 4.10: runs after address translation (`net/ipv4/ip_output.c` `ip_finish_output`).
#[cgroup_skb(egress)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    deliver(answer::observe(&ctx))
}

/// `BPF_CGROUP_INET_EGRESS`: judges DNS queries by the name that they ask for. A program of its own, for the stack.
#[cgroup_skb(egress)]
pub fn refuse_lookup(ctx: SkBuffContext) -> i32 {
    deliver(lookups::judge(&ctx))
}

/// `BPF_CGROUP_INET_EGRESS`, Linux 4.10. A program of its own, for the stack. It never refuses.
#[cgroup_skb(egress)]
pub fn vouch(ctx: SkBuffContext) -> i32 {
    vouch::observe(&ctx);
    1
}

/// `BPF_CGROUP_INET4_CONNECT`, Linux 4.17. This and the next never refuse.
#[cgroup_sock_addr(connect4)]
pub fn name_connect4(ctx: SockAddrContext) -> i32 {
    let (address, port) = connect::named4(&ctx);
    flow::connects(&ctx, &address, port);
    queries::name_server(&ctx, address, port);
    1
}

/// `BPF_CGROUP_INET6_CONNECT`, Linux 4.17.
#[cgroup_sock_addr(connect6)]
pub fn name_connect6(ctx: SockAddrContext) -> i32 {
    let (address, port) = connect::named6(&ctx);
    flow::connects(&ctx, &address, port);
    queries::name_server(&ctx, address, port);
    1
}

/// `BPF_CGROUP_UDP4_SENDMSG`, Linux 4.18: where the call names an address (`net/ipv4/udp.c` `udp_sendmsg`).
#[cgroup_sock_addr(sendmsg4)]
pub fn name_sendmsg4(ctx: SockAddrContext) -> i32 {
    sendmsg(&ctx, connect::named4(&ctx))
}

/// `BPF_CGROUP_UDP6_SENDMSG`, Linux 4.18.
#[cgroup_sock_addr(sendmsg6)]
pub fn name_sendmsg6(ctx: SockAddrContext) -> i32 {
    sendmsg(&ctx, connect::named6(&ctx))
}

#[inline(always)]
fn deliver(delivery: answer::Delivery) -> i32 {
    match delivery {
        answer::Delivery::Deliver => 1,
        answer::Delivery::Drop => 0,
    }
}

#[inline(always)]
fn sendmsg(ctx: &SockAddrContext, (address, port): (Address, u16)) -> i32 {
    queries::name_server(ctx, address, port);
    // 0 is EPERM to the caller (`net/ipv4/udp.c` `udp_sendmsg`).
    (!queries::refuses(&address, port)).into()
}

#[inline(always)]
fn lsm_result(judged: Result<Outcome, Error>) -> i32 {
    match judged.unwrap_or_else(verdict_of) {
        Outcome::Allow => 0,
        Outcome::Refuse(errno) => negative(errno),
    }
}

#[inline(always)]
fn sock_addr(judged: Result<Outcome, Error>) -> i32 {
    match judged.unwrap_or_else(verdict_of) {
        Outcome::Allow => 1,
        Outcome::Refuse(errno) => {
            // SAFETY: a plain helper call; an earlier program's refusal stands whatever we set.
            unsafe { bpf_set_retval(negative(errno)) };
            0
        }
    }
}

/// `-errno`. The verifier knows the range of a subtraction, not of a negation, and Linux 6.12 checks it.
#[inline(always)]
fn negative(errno: u8) -> i32 {
    let mut value: i64 = 0;
    // SAFETY: arithmetic on two registers.
    unsafe {
        core::arch::asm!("{v} -= {e}", v = inout(reg) value, e = in(reg) u64::from(errno), options(pure, nomem, nostack));
    }
    value as i32
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// `bpf_loop` and the probe helpers are for GPL-compatible programs (`kernel/bpf/helpers.c`).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
