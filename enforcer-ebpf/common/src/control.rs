//! The words through which user space steers the running programs, and the counters through which they report.

use crate::Address;

/// Index of a word of the control map. Each is one `u64`, which user space alone writes unless it says otherwise.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Control {
    /// Version of the policy in force; its slot is `version % 2`. 0 = none.
    Version,
    /// Epoch of fresh bindings that the binder writes.
    Epoch,
    /// Bit mask of the slots for which answers are judged: one, or both during a reload.
    Slots,
    /// Verdict of an internal error: 0 allow, 1 deny.
    OnError,
    /// Destination of the canary, as [`canary`] packs it; 0 = none under way.
    Canary,
    /// `CLOCK_BOOTTIME` of the last wake-up of the event reader; the programs write this one.
    LastWake,
    /// [`crate::decide::OtherResolvers`] of the policy in force.
    OtherResolvers,
    /// `CLOCK_BOOTTIME` of the last answer that nobody asked for and that was handed over; the programs write this one.
    LastUnsolicited,
    /// How often an answer has bound what a rule denies; the programs write this one.
    Learned,
    /// How often user space has replaced what decisions read beside the policy.
    Replaced,
}

/// A destination that a canary may have, in one word, never 0: an address of 127.0.0.0/8 and a port, for a hook of IPv6 that
/// address at the end of `ff01::/96`, a group that nothing leaves its interface for (RFC 4291 section 2.7).
#[inline(always)]
pub fn canary(address: &Address, port: u16) -> Option<u64> {
    const LOOPBACK: u32 = 127;
    const INTERFACE: u64 = 0xff01 << 48;
    let v4 = address.v4().or_else(|| {
        let (high, low) = address.halves();
        (high == INTERFACE && low >> 32 == 0).then_some(low as u32)
    })?;
    (v4 >> 24 == LOOPBACK).then_some(u64::from(v4) << 16 | u64::from(port))
}

/// The canary of the wire has another port than those of the hooks before it: the word differs by this.
pub const CANARY_AT_WIRE: u64 = 1;
/// .. and that of the program that judges lookups by this. The wire lets it pass.
pub const CANARY_AT_LOOKUPS: u64 = 2;

/// Words of the control map.
pub const CONTROLS: usize = 10;

/// Something that a program counted.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Counter {
    /// Attempts judged.
    Judged,
    /// Attempts refused.
    Refused,
    /// Events that found the ring full.
    EventsLost,
    /// Answers that found the ring full; their bindings have no name.
    AnswersLost,
    /// DNS answers seen.
    Answers,
    /// Answers with a damaged or unreadable message; packets of more datagrams than are read.
    AnswersUnparsed,
    /// Addresses bound.
    Bound,
    /// Addresses that found the map full.
    BindingsFull,
    /// Answers not delivered, because a deny rule matches and they could not be bound.
    AnswersRefused,
    /// Records that belong to no name of the question's chain.
    RecordsUnrelated,
    /// Answers from a server that is not a trusted resolver.
    AnswersUntrusted,
    /// No scratch memory was free.
    NoScratch,
    /// Attempts judged by the verdict for internal errors.
    Errors,
    /// Canaries refused.
    Canaries,
    /// Answers that nobody asked for; nothing was bound by them.
    AnswersUnsolicited,
    /// Answers that match no query of a socket some query of which was forgotten.
    AnswersUnmatched,
    /// Answers received in a network namespace that belongs to a user.
    AnswersForeign,
    /// Answers sent on this machine by another process than the one that holds the resolver.
    AnswersImpersonated,
    /// Queries forgotten because a newer one took their place, or that could not be read, as several in one packet.
    QueriesForgotten,
    /// Queries for which their socket got no memory.
    QueriesUnrecorded,
    /// Queries not sent, because the server is no trusted resolver.
    QueriesRefused,
    /// Segments of DNS over TCP that came out of order, or could not be read at that moment: TCP sends them again.
    SegmentsHeld,
    /// Segments of DNS over TCP in whose stream it is not known where messages begin.
    SegmentsUnread,
    /// Packets that only the program at the wire refused.
    PacketsRefused,
    /// Packets to be sent whose headers cannot be read.
    PacketsUnreadable,
    /// Sockets for which there was no memory: each of their packets is judged for itself.
    FlowsUnrecorded,
    /// Sockets refused because no rule can judge where they send to.
    SocketsRefused,
    /// Queries not sent, because a rule refuses lookups of the name.
    LookupsRefused,
}

/// Number of counters.
pub const COUNTERS: usize = 28;

impl Counter {
    /// Every counter, with the name under which it is reported.
    pub const ALL: [(Self, &'static str); COUNTERS] = [
        (Self::Judged, "judged"),
        (Self::Refused, "refused"),
        (Self::EventsLost, "eventsLost"),
        (Self::AnswersLost, "answersLost"),
        (Self::Answers, "answers"),
        (Self::AnswersUnparsed, "answersUnparsed"),
        (Self::Bound, "bound"),
        (Self::BindingsFull, "bindingsFull"),
        (Self::AnswersRefused, "answersRefused"),
        (Self::RecordsUnrelated, "recordsUnrelated"),
        (Self::AnswersUntrusted, "answersUntrusted"),
        (Self::NoScratch, "noScratch"),
        (Self::Errors, "errors"),
        (Self::Canaries, "canaries"),
        (Self::AnswersUnsolicited, "answersUnsolicited"),
        (Self::AnswersUnmatched, "answersUnmatched"),
        (Self::AnswersForeign, "answersForeign"),
        (Self::AnswersImpersonated, "answersImpersonated"),
        (Self::QueriesForgotten, "queriesForgotten"),
        (Self::QueriesUnrecorded, "queriesUnrecorded"),
        (Self::QueriesRefused, "queriesRefused"),
        (Self::SegmentsHeld, "segmentsHeld"),
        (Self::SegmentsUnread, "segmentsUnread"),
        (Self::PacketsRefused, "packetsRefused"),
        (Self::PacketsUnreadable, "packetsUnreadable"),
        (Self::FlowsUnrecorded, "flowsUnrecorded"),
        (Self::SocketsRefused, "socketsRefused"),
        (Self::LookupsRefused, "lookupsRefused"),
    ];
}

/// What the programs must know before they are loaded: constants to the verifier.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    /// Id of the cgroup within which attempts are judged; 0 = all.
    pub scope: u64,
    /// Random: keys what ties answers to queries.
    pub query_key_start: u64,
    /// The same.
    pub query_key_multiplier: u64,
    /// 1 = the default holds for everything: for the tests that show what it must not cut.
    pub no_excuses: u64,
    /// Depth of that cgroup below the root.
    pub scope_level: u32,
    /// `offsetof(struct socket, type)`.
    pub socket_type: u32,
    /// `offsetof(struct socket, sk)`.
    pub socket_sk: u32,
    /// `offsetof(struct sock, sk_protocol)`.
    pub sock_protocol: u32,
    /// `offsetof(struct sock_common, skc_family)`.
    pub sock_family: u32,
    /// Offset of `skc_net_refcnt` in `struct sock_common`, in bits.
    pub sock_net_refcnt: u32,
    /// `offsetof(struct msghdr, msg_name)`.
    pub msghdr_name: u32,
    /// `offsetof(struct msghdr, msg_namelen)`.
    pub msghdr_namelen: u32,
    /// `offsetof(struct msghdr, msg_flags)`.
    pub msghdr_flags: u32,
    /// `offsetof(struct task_struct, real_parent)`.
    pub task_real_parent: u32,
    /// `offsetof(struct task_struct, tgid)`.
    pub task_tgid: u32,
    /// `offsetof(struct task_struct, mm)`.
    pub task_mm: u32,
    /// `offsetof(struct mm_struct, exe_file)`.
    pub mm_exe_file: u32,
    /// `offsetof(struct file, f_path)`.
    pub file_path: u32,
    /// `offsetof(struct path, mnt)`.
    pub path_mnt: u32,
    /// `offsetof(struct path, dentry)`.
    pub path_dentry: u32,
    /// `offsetof(struct dentry, d_parent)`.
    pub dentry_parent: u32,
    /// `offsetof(struct dentry, d_name) + offsetof(struct qstr, name)`.
    pub dentry_name: u32,
    /// `offsetof(struct vfsmount, mnt_root)`.
    pub vfsmount_root: u32,
    /// `offsetof(struct mount, mnt)`.
    pub mount_mnt: u32,
    /// `offsetof(struct mount, mnt_parent)`.
    pub mount_parent: u32,
    /// `offsetof(struct mount, mnt_mountpoint)`.
    pub mount_mountpoint: u32,
    /// 1 = do not bind in the kernel: for the test that shows what the binder is good for.
    pub no_binder: u32,
    /// `offsetof(struct sock_common, skc_net)`.
    pub sock_net: u32,
    /// `offsetof(struct net, user_ns)`.
    pub net_user_ns: u32,
    /// `offsetof(struct user_namespace, ns.inum)`.
    pub user_ns_inum: u32,
    /// 1 = believe an answer by its server's address alone: for the tests that show what the rest is good for.
    pub trust_by_address: u32,
    /// `offsetof(struct sock, sk_uid)`.
    pub sock_uid: u32,
}
