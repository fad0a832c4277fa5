//! From a policy set to what the kernel programs look up. Pure: no clock, no I/O; randomness and users come in.

use crate::name::Name;
use enforcer_common::{
    Address, CgroupSubjects, CidrEntry, Vector, decide,
    image::{self, ClassVector, ImageBuilder, ImageError, Protocol},
};
use policy_schema::{
    Action, Inbound, Location, Mode, OnError, OtherResolvers, PolicySet, Rule, SharedAddress,
};
use std::{collections::BTreeMap, net::IpAddr};

mod cidrs;
mod host;
mod judge;
mod names;
mod users;

pub use cidrs::Prefix;
pub use host::HostMaps;
pub use judge::Contribution;

const _: () = assert!(
    policy_schema::NAT64_MAX <= image::TRANSLATORS_MAX as usize,
    "an image holds every prefix of a policy"
);

/// A policy, ready for the kernel and for judging sightings.
#[derive(Clone)]
pub struct Compiled {
    /// Number of the policy.
    pub version: u64,
    /// What was compiled.
    pub policy: PolicySet,
    /// The policy image.
    pub image: Vec<Vector>,
    /// Policy prefixes, each with its ancestors folded in.
    pub cidrs: BTreeMap<Prefix, CidrEntry>,
    /// Rules by user id.
    pub users: BTreeMap<u32, Vector>,
    /// Names that a policy writes for users this machine does not have.
    pub unknown_users: Vec<String>,
    /// Deny rules.
    pub deny: Vector,
    /// How long sightings count at least; shortest first.
    pub holds: Vec<Hold>,
    /// The longest of them for what allows, or spares from a deny.
    pub hold_allow: u64,
    binds_everything: bool,
}

/// Why a policy fits no image.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// It has too much of something.
    #[error(transparent)]
    Image(ImageError),
    /// Its globs are more than the automaton that matches them may have states.
    #[error(
        "the names with a `*` inside a label are too many to be told apart, most of them in rule `{rule}` ({location})"
    )]
    TooManyGlobs {
        /// The rule that takes the most states.
        rule: String,
        /// Where it stands.
        location: Location,
    },
}

/// For which rules a sighting counts for how long, at least.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Hold {
    /// Nanoseconds.
    pub length: u64,
    /// Rules that match through it.
    pub matches: Vector,
    /// Rules that it keeps from matching.
    pub narrows: Vector,
}

impl CompileError {
    fn new(error: ImageError, policy: &PolicySet) -> Self {
        let ImageError::TooManyGlobs { class } = error else { return Self::Image(error) };
        match policy.rules().get(usize::from(class)) {
            Some(rule) => {
                Self::TooManyGlobs { rule: rule.name().to_owned(), location: rule.location().clone() }
            }
            None => Self::Image(error),
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Image(ImageError::TooManySets) => Some("let rules share their lists whole, or merge rules"),
            Self::Image(_) => None,
            Self::TooManyGlobs { .. } => Some(
                "merge patterns that differ before their last `*`: `ads-*.example.com` says what `ads-a*.example.com` and \
                 `ads-b*.example.com` say; patterns with a `*` at both ends of a word cost the most",
            ),
        }
    }
}

impl Compiled {
    /// The number that a policy is compiled with.
    pub const FIRST: u64 = 1;

    /// Compiles a policy. `random` keys the name hash, `user_id` finds users by name.
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn new(
        policy: PolicySet,
        random: [u64; 8],
        user_id: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self, CompileError> {
        let mut image = names::image(&policy, random).map_err(|error| CompileError::new(error, &policy))?;
        let mut deny = Vector::EMPTY;
        let mut holds: BTreeMap<u64, Hold> = BTreeMap::new();
        for (class, rule) in numbered(&policy) {
            mark(&mut image, class, rule);
            if rule.action() == Action::Deny {
                deny.insert(class);
            }
            holds.entry(nanoseconds(rule.hold())).or_default().matches.insert(class);
            if can_be_narrowed(rule) {
                holds.entry(nanoseconds(rule.spare())).or_default().narrows.insert(class);
            }
        }
        let default = policy.default();
        image.default(default.action == Action::Deny, default.mode == Mode::Enforce);
        if policy.inbound() == Inbound::Judge {
            image.judge_inbound();
        }
        for prefix in &policy.dns().nat64 {
            image.translator(IpAddr::from(prefix.addr()).into(), prefix.prefix_len());
        }
        let literal = policy.literal_addresses();
        let literal_deny = literal.action != policy_schema::LiteralAddresses::Allow;
        image.literal(literal_deny, literal.mode() == Mode::Enforce);
        let hold_allow = nanoseconds(policy.longest_allowance());
        if literal_deny {
            // What was looked up is remembered as long as that counts, with or without rules.
            holds.entry(hold_allow).or_default();
        }
        let holds: Vec<Hold> = holds.into_iter().map(|(length, hold)| Hold { length, ..hold }).collect();
        image.hold_allow(hold_allow);
        let (users, unknown_users) = users::by_id(&policy, user_id);
        let all_sightings = policy.rules().iter().any(|rule| rule.shared_address() == SharedAddress::All);
        Ok(Self {
            version: Self::FIRST,
            image: image.build().map_err(|error| CompileError::new(error, &policy))?,
            cidrs: cidrs::fold(&policy),
            users,
            unknown_users,
            deny,
            holds,
            hold_allow,
            binds_everything: all_sightings || literal_deny,
            policy,
        })
    }

    /// Lets go of the names, and of the lists that they lie in: the image has them.
    #[must_use]
    pub fn without_names(self) -> Self {
        Self { policy: self.policy.without_names(), ..self }
    }

    /// The same policy with another number.
    #[must_use]
    pub fn numbered(mut self, version: u64) -> Self {
        self.version = version;
        image::renumber(&mut self.image, version);
        self
    }

    /// What happens to queries to servers that are no trusted resolvers.
    pub fn other_resolvers(&self) -> decide::OtherResolvers {
        let dns = self.policy.dns();
        match (dns.other_resolvers, dns.other_resolvers_mode) {
            (OtherResolvers::Allow, _) => decide::OtherResolvers::Allow,
            (OtherResolvers::Deny, Mode::Audit) => decide::OtherResolvers::Audit,
            (OtherResolvers::Deny, Mode::Enforce) => decide::OtherResolvers::Deny,
        }
    }

    /// Whether internal errors of the kernel programs refuse.
    pub fn errors_deny(&self) -> bool {
        let deny = match self.policy.on_error() {
            OnError::Allow => false,
            OnError::Default => self.policy.default().action == Action::Deny,
            OnError::Deny => true,
        };
        deny && self.policy.mode() == Mode::Enforce
    }

    /// What the policy says about a cgroup, by its path below the mount point.
    pub fn cgroup(&self, path: &str) -> CgroupSubjects {
        // Stand-ins for whatever may be created below; a subject that holds for all of them holds for any.
        const BELOW: [&str; 3] = ["/\u{1}a", "/\u{1}a/\u{1}b", "/\u{1}a/\u{1}b/\u{1}c"];
        let base = path.trim_end_matches('/');
        let exempt = |unit: &str| self.policy.sockets().exempt.iter().any(|own| &**own == unit);
        let mut subjects =
            CgroupSubjects { exempt: path.split('/').any(exempt).into(), ..CgroupSubjects::default() };
        for (class, rule) in numbered(&self.policy) {
            let Some(rule) = rule.subjects() else { continue };
            if rule.is_match_cgroup(path) {
                subjects.own.insert(class);
            }
            if BELOW.iter().all(|below| rule.is_match_cgroup(&format!("{base}{below}"))) {
                subjects.below.insert(class);
            }
        }
        subjects
    }

    /// Whether the policy tells cgroups apart: some rule has a cgroup or unit among its subjects, or some sockets are refused
    /// except to units.
    pub fn has_cgroup_subjects(&self) -> bool {
        self.policy.default().action == Action::Deny || self.policy.rules().iter().any(has_cgroups)
    }

    /// Whether answers that no rule matches are bound too.
    pub fn binds_everything(&self) -> bool {
        self.binds_everything
    }

    /// The allow rules that may have this special-use address, with all deny rules.
    fn may_resolve(&self, address: &Address) -> Vector {
        let mut rules = self.deny;
        if let Some(entry) = cidrs::longest(&self.cidrs, address) {
            rules.union(&entry.may_resolve);
        }
        rules
    }

    /// The address for which one stands: that behind a translator of `dns.nat64`, else itself. Names are known of that.
    pub fn meant(&self, address: &Address) -> Address {
        image::translated(&self.image, address).unwrap_or(*address)
    }

    /// The longest policy prefix that holds the address.
    pub fn cidr(&self, address: &Address) -> Option<&CidrEntry> {
        cidrs::longest(&self.cidrs, address)
    }

    /// The rules that may have this address by a name: all of them, unless it is of special use.
    pub fn allowed(&self, address: &Address) -> Vector {
        if address.is_special_use() { self.may_resolve(address) } else { Vector::FULL }
    }

    /// How long a sighting counts at least for some rule, in nanoseconds.
    pub fn longest_hold(&self) -> u64 {
        self.holds.last().map_or(0, |hold| hold.length)
    }

    /// What a sighting adds to the bindings of its addresses.
    pub fn judge(&self, chain: &[Name], trusted: bool) -> Contribution {
        judge::judge(self, chain, trusted)
    }
}

fn numbered(policy: &PolicySet) -> impl Iterator<Item = (u16, &Rule)> {
    policy.rules().iter().enumerate().map(|(class, rule)| (class as u16, rule))
}

fn mark(image: &mut ImageBuilder, class: u16, rule: &Rule) {
    let mut mark = |vector, holds: bool| {
        if holds {
            image.mark(vector, class);
        }
    };
    mark(ClassVector::Deny, rule.action() == Action::Deny);
    mark(ClassVector::Enforced, rule.mode() == Mode::Enforce);
    mark(ClassVector::AnyDestination, rule.is_any());
    mark(ClassVector::AllSightings, rule.shared_address() == SharedAddress::All);
    mark(ClassVector::Everyone, rule.subjects().is_none());
    mark(ClassVector::ByCgroup, has_cgroups(rule));
    mark(ClassVector::RefusesLookup, rule.refuse_lookup() && names_anything(rule));
    image.errno(class, rule.errno().number() as u8);
    for range in rule.ports() {
        let both =
            [(policy_schema::Protocol::Tcp, Protocol::Tcp), (policy_schema::Protocol::Udp, Protocol::Udp)];
        for (_, protocol) in
            both.into_iter().filter(|(named, _)| range.protocol.is_none_or(|own| own == *named))
        {
            image.port(class, protocol, range.first..=range.last);
        }
    }
}

fn has_cgroups(rule: &Rule) -> bool {
    rule.subjects().is_some_and(|subjects| !subjects.cgroups().is_empty() || !subjects.units().is_empty())
}

/// Whether there is a name that the rule could refuse to look up.
fn names_anything(rule: &Rule) -> bool {
    !rule.name_set().is_empty()
}

/// Whether a sighting can keep an address out of the rule.
fn can_be_narrowed(rule: &Rule) -> bool {
    rule.shared_address() == SharedAddress::All || !rule.except_name_set().is_empty()
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
