//! The values of the verdict maps.

use crate::Vector;

/// What the answers about one address say to each rule. A *sighting* is one answer's question plus its CNAME chain.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Binding {
    /// Rules that match at least one sighting of the address.
    pub any: Vector,
    /// Rules that match every sighting of the address; no sighting = every rule.
    pub all: Vector,
    /// Rules whose `except.names` a sighting of the address matches.
    pub except: Vector,
    /// Nanoseconds of `CLOCK_BOOTTIME` until which allow bits count. Deny bits stay until user space takes them.
    pub expiry: u64,
}

impl Binding {
    /// No sighting: the value that changes nothing when combined with another.
    pub const IDENTITY: Self =
        Self { any: Vector::EMPTY, all: Vector::FULL, except: Vector::EMPTY, expiry: 0 };
}

/// One word of what a sighting matches.
#[derive(Clone, Copy, Debug)]
pub struct SightingWord {
    /// Rules that the question matches.
    pub question: u64,
    /// Rules that the question or a CNAME target matches.
    pub chain: u64,
    /// Rules that except the question.
    pub question_except: u64,
    /// Rules that except the question or a CNAME target.
    pub chain_except: u64,
}

impl SightingWord {
    /// What the sighting adds to a binding: words of `any`, `all` and `except`. A deny rule matches through any member, an
    /// allow rule through the question alone. Doubt only makes stricter: what an untrusted server says can deny, and can
    /// spoil an allow rule's wish for all sightings; it never allows.
    #[inline(always)]
    pub fn says(self, denies: u64, trusted: bool) -> (u64, u64, u64) {
        let matched = self.chain & denies | self.question & !denies;
        let except = self.chain_except & !denies;
        if trusted {
            (matched, matched, except | self.question_except & denies)
        } else {
            (matched & denies, matched | denies, except)
        }
    }
}

/// What the CIDRs of a policy say about one prefix, the ancestors of the prefix folded in.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CidrEntry {
    /// Rules with a CIDR that holds the prefix.
    pub to: Vector,
    /// Rules with an `except` CIDR that holds the prefix.
    pub except: Vector,
    /// Allow rules whose `mayResolveTo` holds the prefix.
    pub may_resolve: Vector,
}

impl CidrEntry {
    /// No rule.
    pub const EMPTY: Self = Self { to: Vector::EMPTY, except: Vector::EMPTY, may_resolve: Vector::EMPTY };
}

/// What the subjects of a policy say about one cgroup.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CgroupSubjects {
    /// Rules with a cgroup or unit subject that this cgroup is.
    pub own: Vector,
    /// Rules whose subject holds for every cgroup below this one, whatever its name.
    pub below: Vector,
    /// 1 if it may open sockets that no rule can judge (`sockets.exempt`).
    pub exempt: u64,
}

const _: () = assert!(size_of::<Binding>() == 3 * 64 + 8, "a binding has no padding");
