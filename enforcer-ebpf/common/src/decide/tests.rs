use super::*;
use crate::{image::ImageBuilder, repeat::HostLoop};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::RangeInclusive,
};

const RANDOM: [u64; 8] = [0x1234_5678_9abc_def1, 0xfeed_face_cafe_beef, 3, 4, 5, 6, 7, 8];
const NOW: u64 = 1_000;
const DESTINATION: &str = "203.0.113.7";

/// The maps of one policy slot.
struct Host {
    image: Vec<Vector>,
    fresh: BTreeMap<Address, Binding>,
    older: BTreeMap<Address, Binding>,
    truth: BTreeMap<Address, Binding>,
    cidrs: BTreeMap<Address, CidrEntry>,
    users: BTreeMap<u32, Vector>,
    cgroup: Option<CgroupSubjects>,
    ancestor: Option<Vector>,
    resolvers: BTreeSet<Address>,
    no_map: bool,
}

impl Lookup for Host {
    type Image = Vec<Vector>;
    type Loop = HostLoop;

    fn image(&self) -> &Vec<Vector> {
        &self.image
    }
    fn fresh(&self, address: &Address) -> Result<Option<&Binding>, Error> {
        Ok(self.fresh.get(address))
    }
    fn older(&self, address: &Address) -> Result<Option<&Binding>, Error> {
        Ok(self.older.get(address))
    }
    fn truth(&self, address: &Address) -> Result<Option<&Binding>, Error> {
        if self.no_map { Err(Error::NoMap) } else { Ok(self.truth.get(address)) }
    }
    fn cidr(&self, address: &Address) -> Result<Option<&CidrEntry>, Error> {
        Ok(self.cidrs.get(address))
    }
    fn user(&self, uid: u32) -> Result<Option<&Vector>, Error> {
        Ok(self.users.get(&uid))
    }
    fn cgroup(&self) -> Result<Option<&CgroupSubjects>, Error> {
        Ok(self.cgroup.as_ref())
    }
    fn ancestor(&self) -> Result<Option<&Vector>, Error> {
        Ok(self.ancestor.as_ref())
    }
    fn is_resolver(&self, address: &Address) -> bool {
        self.resolvers.contains(address)
    }
}

/// One rule, as the compiler would hand it over; its class is its place in the list.
#[derive(Clone, Debug)]
struct Rule {
    deny: bool,
    enforced: bool,
    any_destination: bool,
    all_sightings: bool,
    everyone: bool,
    by_cgroup: bool,
    errno: u8,
    ports: &'static [(Protocol, RangeInclusive<u16>)],
}

const DENY: Rule = Rule {
    deny: true,
    enforced: true,
    any_destination: false,
    all_sightings: false,
    everyone: true,
    by_cgroup: false,
    errno: EPERM,
    ports: &[],
};
const ALLOW: Rule = Rule { deny: false, ..DENY };
const AUDIT_DENY: Rule = Rule { enforced: false, ..DENY };
const AUDIT_ALLOW: Rule = Rule { enforced: false, ..ALLOW };

#[derive(Clone, Copy, Debug)]
struct Defaults {
    deny: bool,
    enforced: bool,
    literal_deny: bool,
    literal_enforced: bool,
}

const DEFAULT_ALLOW: Defaults =
    Defaults { deny: false, enforced: true, literal_deny: false, literal_enforced: false };
const DEFAULT_DENY: Defaults = Defaults { deny: true, ..DEFAULT_ALLOW };
const DEFAULT_AUDITED_DENY: Defaults = Defaults { deny: true, enforced: false, ..DEFAULT_ALLOW };
const LITERAL_DENY: Defaults = Defaults { literal_deny: true, literal_enforced: true, ..DEFAULT_ALLOW };
const LITERAL_AUDITED: Defaults = Defaults { literal_deny: true, ..DEFAULT_ALLOW };

fn host(default: Defaults, rules: &[Rule]) -> Host {
    let mut builder = ImageBuilder::new(1, rules.len() as u16, 0, RANDOM).unwrap();
    builder.default(default.deny, default.enforced);
    builder.literal(default.literal_deny, default.literal_enforced);
    for (class, rule) in rules.iter().enumerate() {
        let class = class as u16;
        for (vector, marked) in [
            (ClassVector::Deny, rule.deny),
            (ClassVector::Enforced, rule.enforced),
            (ClassVector::AnyDestination, rule.any_destination),
            (ClassVector::AllSightings, rule.all_sightings),
            (ClassVector::Everyone, rule.everyone),
            (ClassVector::ByCgroup, rule.by_cgroup),
        ] {
            if marked {
                builder.mark(vector, class);
            }
        }
        builder.errno(class, rule.errno);
        for (protocol, ports) in rule.ports {
            builder.port(class, *protocol, ports.clone());
        }
    }
    Host {
        image: builder.build().unwrap(),
        fresh: BTreeMap::new(),
        older: BTreeMap::new(),
        truth: BTreeMap::new(),
        cidrs: BTreeMap::new(),
        users: BTreeMap::new(),
        cgroup: None,
        ancestor: None,
        resolvers: BTreeSet::new(),
        no_map: false,
    }
}

impl Host {
    fn named(mut self, address: &str, binding: Binding) -> Self {
        self.fresh.insert(to(address), binding);
        self
    }
    fn in_cidr(mut self, address: &str, classes: &[u16], except: &[u16]) -> Self {
        self.cidrs.insert(
            to(address),
            CidrEntry { to: vector(classes), except: vector(except), ..CidrEntry::EMPTY },
        );
        self
    }
    fn decide(&self, attempt: Attempt) -> Decision {
        decide(self, &attempt).unwrap()
    }
    /// What becomes of a connect to [`DESTINATION`].
    fn destination(&self) -> Decision {
        self.decide(attempt(DESTINATION))
    }
}

fn to(address: &str) -> Address {
    address.parse::<IpAddr>().unwrap().into()
}

fn vector(classes: &[u16]) -> Vector {
    let mut vector = Vector::EMPTY;
    classes.iter().for_each(|class| vector.insert(*class));
    vector
}

fn attempt(address: &str) -> Attempt {
    Attempt {
        address: to(address).destination(),
        port: 443,
        protocol: Protocol::Tcp,
        uid: 1000,
        now: NOW,
        reach: Reach::All,
    }
}

/// One live sighting that these classes match.
fn sighting(classes: &[u16]) -> Binding {
    Binding { any: vector(classes), all: vector(classes), except: Vector::EMPTY, expiry: NOW }
}

fn except(classes: &[u16]) -> Binding {
    Binding { except: vector(classes), ..sighting(&[]) }
}

/// Both readings agree.
fn both(verdict: Verdict, rule: u16) -> (Verdict, RuleId, Verdict, RuleId) {
    (verdict, RuleId(rule), verdict, RuleId(rule))
}

fn readings(decision: Decision) -> (Verdict, RuleId, Verdict, RuleId) {
    (decision.verdict, decision.rule, decision.effective, decision.effective_rule)
}

const UNMATCHED: u16 = RuleId::DEFAULT.0;
const BUILTIN: u16 = RuleId::BUILTIN.0;
use Verdict::{Allow, Deny};

#[test]
fn deny_comes_before_allow() {
    let host = host(DEFAULT_ALLOW, &[DENY, ALLOW]).named(DESTINATION, sighting(&[0, 1]));
    assert_eq!(readings(host.destination()), both(Deny, 0));
}

#[test]
fn a_rule_that_does_not_match_is_passed_over() {
    let host = host(DEFAULT_DENY, &[DENY, ALLOW]).named(DESTINATION, sighting(&[1]));
    assert_eq!(readings(host.destination()), both(Allow, 1));
}

#[test]
fn the_default_decides_what_no_rule_matches() {
    assert_eq!(readings(host(DEFAULT_ALLOW, &[DENY]).destination()), both(Allow, UNMATCHED));
    assert_eq!(readings(host(DEFAULT_DENY, &[ALLOW]).destination()), both(Deny, UNMATCHED));
    assert_eq!(
        readings(host(DEFAULT_AUDITED_DENY, &[ALLOW]).destination()),
        (Deny, RuleId::DEFAULT, Allow, RuleId::DEFAULT)
    );
    assert_eq!(readings(host(DEFAULT_DENY, &[]).destination()), both(Deny, UNMATCHED));
}

#[test]
fn an_address_that_no_lookup_preceded_is_denied_where_the_policy_says_so() {
    let looked_up = |default, expiry| {
        host(default, &[ALLOW]).named(DESTINATION, Binding { expiry, ..sighting(&[]) }).destination()
    };
    const LITERAL: RuleId = RuleId::LITERAL;
    assert_eq!(readings(host(LITERAL_DENY, &[ALLOW]).destination()), both(Deny, LITERAL.0));
    assert_eq!(readings(host(LITERAL_DENY, &[]).destination()), both(Deny, LITERAL.0));
    assert_eq!(readings(host(LITERAL_AUDITED, &[]).destination()), (Deny, LITERAL, Allow, RuleId::DEFAULT));
    assert_eq!(readings(looked_up(LITERAL_DENY, NOW)), both(Allow, UNMATCHED));
    // It counts no longer than what it could allow.
    assert_eq!(readings(looked_up(LITERAL_DENY, NOW - 1)), both(Deny, LITERAL.0));
    let by_cidr = host(LITERAL_DENY, &[ALLOW]).in_cidr(DESTINATION, &[0], &[]);
    assert_eq!(readings(by_cidr.destination()), both(Allow, 0));
    assert_eq!(readings(host(LITERAL_DENY, &[]).decide(attempt("127.0.0.1"))), both(Allow, BUILTIN));
    let audited_deny = Defaults { literal_deny: true, ..DEFAULT_DENY };
    assert_eq!(readings(host(audited_deny, &[]).destination()), (Deny, LITERAL, Deny, RuleId::DEFAULT));
}

#[test]
fn an_audit_rule_changes_what_the_rules_say_and_nothing_else() {
    let all = sighting(&[0, 1]);
    for (default, rules, expected) in [
        (DEFAULT_ALLOW, [AUDIT_DENY, ALLOW], (Deny, RuleId(0), Allow, RuleId(1))),
        (DEFAULT_ALLOW, [AUDIT_DENY, DENY], (Deny, RuleId(0), Deny, RuleId(1))),
        (DEFAULT_DENY, [AUDIT_ALLOW, ALLOW], (Allow, RuleId(0), Allow, RuleId(1))),
        (DEFAULT_ALLOW, [AUDIT_DENY, AUDIT_ALLOW], (Deny, RuleId(0), Allow, RuleId::DEFAULT)),
        (DEFAULT_DENY, [AUDIT_ALLOW, AUDIT_DENY], (Allow, RuleId(0), Deny, RuleId::DEFAULT)),
        (DEFAULT_DENY, [DENY, AUDIT_DENY], (Deny, RuleId(0), Deny, RuleId(0))),
    ] {
        let host = host(default, &rules).named(DESTINATION, all);
        assert_eq!(readings(host.destination()), expected, "{rules:?}");
    }
}

#[test]
fn an_audit_rule_and_the_enforced_one_may_be_words_apart() {
    let mut rules = vec![AUDIT_DENY; 400];
    rules[300] = Rule { errno: 111, ..DENY };
    let host = host(DEFAULT_ALLOW, &rules).named(DESTINATION, sighting(&[70, 300, 399]));
    let decision = host.destination();
    assert_eq!(readings(decision), (Deny, RuleId(70), Deny, RuleId(300)));
    assert_eq!(decision.errno, 111);
}

#[test]
fn the_first_match_is_found_in_every_word() {
    for class in [0, 1, 63, 64, 127, 128, 200, 320, 447, 448, 510, 511] {
        let host = host(DEFAULT_ALLOW, &vec![DENY; 512]).named(DESTINATION, sighting(&[class, 511]));
        assert_eq!(readings(host.destination()), both(Deny, class));
    }
}

#[test]
fn each_class_refuses_with_its_errno() {
    for (class, errno) in [(0, 13), (7, 111), (8, 101), (100, 1), (511, 113)] {
        let mut rules = vec![DENY; 512];
        rules[class as usize].errno = errno;
        let host = host(DEFAULT_ALLOW, &rules).named(DESTINATION, sighting(&[class]));
        assert_eq!(host.destination().errno, errno);
    }
    assert_eq!(host(DEFAULT_DENY, &[]).destination().errno, EPERM);
}

/// The LSM hook returns `-errno`: with 0 it would let the connection pass.
#[test]
fn a_refusal_never_has_errno_zero() {
    let host = host(DEFAULT_ALLOW, &[Rule { errno: 0, ..DENY }]).named(DESTINATION, sighting(&[0]));
    let decision = host.destination();
    assert_eq!(decision.effective, Deny);
    assert_eq!(decision.errno, EPERM);
}

#[test]
fn an_excepted_cidr_takes_an_address_out_of_the_names() {
    let host = host(DEFAULT_ALLOW, &[DENY, DENY]).named(DESTINATION, sighting(&[0, 1])).in_cidr(
        DESTINATION,
        &[],
        &[0],
    );
    assert_eq!(readings(host.destination()), both(Deny, 1));
}

#[test]
fn an_excepted_name_takes_an_address_out_of_the_cidrs() {
    let host = host(DEFAULT_ALLOW, &[DENY, DENY]).named(DESTINATION, except(&[0])).in_cidr(
        DESTINATION,
        &[0, 1],
        &[],
    );
    assert_eq!(readings(host.destination()), both(Deny, 1));
}

#[test]
fn an_excepted_cidr_takes_an_address_out_of_the_cidrs_too() {
    let host = host(DEFAULT_ALLOW, &[DENY, DENY]).in_cidr(DESTINATION, &[0, 1], &[0]);
    assert_eq!(readings(host.destination()), both(Deny, 1));
}

/// Name against name is settled sighting by sighting, before the vectors are joined.
#[test]
fn an_excepted_name_does_not_touch_the_names() {
    let host =
        host(DEFAULT_ALLOW, &[DENY]).named(DESTINATION, Binding { except: vector(&[0]), ..sighting(&[0]) });
    assert_eq!(readings(host.destination()), both(Deny, 0));
}

#[test]
fn any_destination_needs_no_name_and_has_no_exception() {
    let rule = Rule { any_destination: true, ..DENY };
    let host = host(DEFAULT_ALLOW, &[rule]).named(DESTINATION, except(&[0])).in_cidr(DESTINATION, &[], &[0]);
    assert_eq!(readings(host.destination()), both(Deny, 0));
    assert_eq!(readings(host.decide(attempt("2001:db8::1"))), both(Deny, 0));
}

#[test]
fn a_shared_address_is_judged_by_any_sighting_or_by_all() {
    let all = |rule| Rule { all_sightings: true, ..rule };
    // Two answers named the address; the rule matches the first.
    let shared = Binding { any: vector(&[0]), all: Vector::EMPTY, except: Vector::EMPTY, expiry: NOW };
    for (rule, binding, expected) in [
        (DENY, sighting(&[0]), both(Deny, 0)),
        (DENY, shared, both(Deny, 0)),
        (all(DENY), sighting(&[0]), both(Deny, 0)),
        (all(DENY), shared, both(Allow, UNMATCHED)),
        // No sighting at all leaves `all` full; that is no match.
        (all(DENY), Binding::IDENTITY, both(Allow, UNMATCHED)),
    ] {
        let host = host(DEFAULT_ALLOW, std::slice::from_ref(&rule)).named(DESTINATION, binding);
        assert_eq!(readings(host.destination()), expected, "{rule:?} {binding:?}");
    }
    assert_eq!(readings(host(DEFAULT_ALLOW, &[all(DENY)]).destination()), both(Allow, UNMATCHED));
}

#[test]
fn sightings_of_all_three_maps_are_joined() {
    let rules = [Rule { all_sightings: true, ..DENY }, DENY, ALLOW];
    for (fresh, older, truth, expected) in [
        (sighting(&[0]), sighting(&[0]), sighting(&[0]), both(Deny, 0)),
        (sighting(&[0]), sighting(&[0]), sighting(&[]), both(Allow, UNMATCHED)),
        (sighting(&[]), sighting(&[0]), sighting(&[0]), both(Allow, UNMATCHED)),
        (sighting(&[0]), sighting(&[]), sighting(&[0, 1]), both(Deny, 1)),
        (sighting(&[0]), sighting(&[2]), sighting(&[]), both(Allow, 2)),
        (Binding::IDENTITY, Binding::IDENTITY, sighting(&[0]), both(Deny, 0)),
    ] {
        let mut host = host(DEFAULT_ALLOW, &rules);
        host.fresh.insert(to(DESTINATION), fresh);
        host.older.insert(to(DESTINATION), older);
        host.truth.insert(to(DESTINATION), truth);
        assert_eq!(readings(host.destination()), expected, "{fresh:?} {older:?} {truth:?}");
    }
}

#[test]
fn an_exception_in_any_map_counts() {
    for map in 0..3 {
        let mut host = host(DEFAULT_ALLOW, &[DENY]).in_cidr(DESTINATION, &[0], &[]);
        let Host { fresh, older, truth, .. } = &mut host;
        [fresh, older, truth][map].insert(to(DESTINATION), except(&[0]));
        assert_eq!(readings(host.destination()), both(Allow, UNMATCHED));
    }
}

#[test]
fn expired_allow_bits_do_not_count_and_deny_bits_do() {
    let aged = |expiry| Binding { expiry, ..sighting(&[0]) };
    for (rule, default, expiry, expected) in [
        (ALLOW, DEFAULT_DENY, NOW, both(Allow, 0)),
        (ALLOW, DEFAULT_DENY, NOW - 1, both(Deny, UNMATCHED)),
        (ALLOW, DEFAULT_DENY, 0, both(Deny, UNMATCHED)),
        (DENY, DEFAULT_ALLOW, NOW - 1, both(Deny, 0)),
        (DENY, DEFAULT_ALLOW, 0, both(Deny, 0)),
    ] {
        let host = host(default, std::slice::from_ref(&rule)).named(DESTINATION, aged(expiry));
        assert_eq!(readings(host.destination()), expected, "{rule:?} {expiry}");
    }
}

#[test]
fn each_binding_expires_for_itself() {
    let mut host = host(DEFAULT_DENY, &[ALLOW, ALLOW]);
    host.fresh.insert(to(DESTINATION), Binding { expiry: NOW - 1, ..sighting(&[0]) });
    host.truth.insert(to(DESTINATION), sighting(&[1]));
    assert_eq!(readings(host.destination()), both(Allow, 1));
}

#[test]
fn a_rule_with_ports_matches_those() {
    let rule = Rule {
        ports: &[(Protocol::Tcp, 443..=443), (Protocol::Tcp, 8000..=8100), (Protocol::Udp, 53..=53)],
        ..DENY
    };
    let host = host(DEFAULT_ALLOW, &[rule, DENY]).named(DESTINATION, sighting(&[0]));
    for (port, protocol, expected) in [
        (443, Protocol::Tcp, Deny),
        (442, Protocol::Tcp, Allow),
        (8000, Protocol::Tcp, Deny),
        (8100, Protocol::Tcp, Deny),
        (8101, Protocol::Tcp, Allow),
        (443, Protocol::Udp, Allow),
        (53, Protocol::Udp, Deny),
        (53, Protocol::Tcp, Allow),
    ] {
        let decision = host.decide(Attempt { port, protocol, ..attempt(DESTINATION) });
        assert_eq!(decision.effective, expected, "{port} {protocol:?}");
    }
}

#[test]
fn a_rule_with_users_matches_those() {
    let rule = Rule { everyone: false, ..DENY };
    let mut host = host(DEFAULT_ALLOW, &[rule]).named(DESTINATION, sighting(&[0]));
    host.users.insert(0, vector(&[0]));
    assert_eq!(host.decide(Attempt { uid: 0, ..attempt(DESTINATION) }).effective, Deny);
    assert_eq!(host.decide(Attempt { uid: 1000, ..attempt(DESTINATION) }).effective, Allow);
}

#[test]
fn a_classified_cgroup_has_its_own_subjects_only() {
    let by_cgroup = |rule| Rule { everyone: false, by_cgroup: true, ..rule };
    for (own, below, expected) in [
        (&[0][..], &[][..], both(Deny, 0)),
        (&[], &[0], both(Allow, UNMATCHED)),
        (&[1], &[0], both(Allow, 1)),
        (&[], &[], both(Allow, UNMATCHED)),
    ] {
        let mut host =
            host(DEFAULT_ALLOW, &[by_cgroup(DENY), by_cgroup(ALLOW)]).named(DESTINATION, sighting(&[0, 1]));
        host.cgroup = Some(CgroupSubjects { own: vector(own), below: vector(below), exempt: 0 });
        // The nearest ancestor is not asked about a classified cgroup.
        host.ancestor = Some(vector(&[0, 1]));
        assert_eq!(readings(host.destination()), expected, "{own:?} {below:?}");
    }
}

#[test]
fn an_unclassified_cgroup_has_every_deny_subject_and_no_allow_subject() {
    let by_cgroup = |rule| Rule { everyone: false, by_cgroup: true, ..rule };
    let by_user = |rule| Rule { everyone: false, ..rule };
    let with = |rules: &[Rule]| host(DEFAULT_ALLOW, rules).named(DESTINATION, sighting(&[0]));
    assert_eq!(readings(with(&[by_cgroup(DENY)]).destination()), both(Deny, 0));
    assert_eq!(readings(with(&[by_cgroup(ALLOW)]).destination()), both(Allow, UNMATCHED));
    // Not a cgroup subject: a user that is another one.
    assert_eq!(readings(with(&[by_user(DENY), by_cgroup(ALLOW)]).destination()), both(Allow, UNMATCHED));
}

#[test]
fn an_unclassified_cgroup_has_what_its_ancestor_says_of_all_below() {
    let by_cgroup = |rule| Rule { everyone: false, by_cgroup: true, ..rule };
    let mut host =
        host(DEFAULT_DENY, &[by_cgroup(ALLOW), by_cgroup(ALLOW)]).named(DESTINATION, sighting(&[0, 1]));
    host.ancestor = Some(vector(&[1]));
    assert_eq!(readings(host.destination()), both(Allow, 1));
}

#[test]
fn loopback_is_builtin() {
    for rules in [&[DENY][..], &[Rule { any_destination: true, ..DENY }], &[ALLOW], &[AUDIT_DENY]] {
        for address in ["127.0.0.1", "127.1.2.3", "::1", "0.0.0.0", "::"] {
            let key = IpAddr::from(to(address).destination()).to_string();
            let host = host(DEFAULT_DENY, rules).named(&key, sighting(&[0]));
            assert_eq!(readings(host.decide(attempt(address))), both(Allow, BUILTIN), "{address} {rules:?}");
        }
    }
}

#[test]
fn an_explicit_cidr_denies_loopback_and_resolvers() {
    for address in ["127.0.0.1", "::1", "192.0.2.53"] {
        let mut host = host(DEFAULT_ALLOW, &[DENY]).in_cidr(address, &[0], &[]);
        host.resolvers.insert(to("192.0.2.53"));
        assert_eq!(
            readings(host.decide(Attempt { port: 53, ..attempt(address) })),
            both(Deny, 0),
            "{address}"
        );
    }
}

#[test]
fn an_audit_cidr_deny_of_loopback_leaves_it_builtin() {
    let host = host(DEFAULT_DENY, &[AUDIT_DENY]).in_cidr("127.0.0.1", &[0], &[]);
    assert_eq!(readings(host.decide(attempt("127.0.0.1"))), (Deny, RuleId(0), Allow, RuleId::BUILTIN));
}

#[test]
fn a_resolver_is_builtin_on_the_ports_of_dns() {
    let any = Rule { any_destination: true, ..DENY };
    for (port, rules, expected) in [
        (53, &[DENY][..], both(Allow, BUILTIN)),
        (853, &[DENY], both(Allow, BUILTIN)),
        (53, std::slice::from_ref(&any), both(Allow, BUILTIN)),
        // Elsewhere it meets the default and `to: any`, but no name rule cuts it.
        (443, &[DENY], both(Deny, UNMATCHED)),
        (443, std::slice::from_ref(&any), both(Deny, 0)),
        (443, &[ALLOW], both(Allow, 0)),
    ] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let mut host = host(DEFAULT_DENY, rules).named("192.0.2.53", sighting(&[0]));
            host.resolvers.insert(to("192.0.2.53"));
            let decision = host.decide(Attempt { port, protocol, ..attempt("192.0.2.53") });
            assert_eq!(readings(decision), expected, "{port} {rules:?}");
        }
    }
    let mut named = host(DEFAULT_ALLOW, &[DENY]).named("192.0.2.53", sighting(&[0]));
    named.resolvers.insert(to("192.0.2.53"));
    assert_eq!(readings(named.decide(attempt("192.0.2.53"))), both(Allow, UNMATCHED));
}

#[test]
fn an_address_that_is_no_resolver_is_judged_on_port_53() {
    let decision = host(DEFAULT_DENY, &[]).decide(Attempt { port: 53, ..attempt(DESTINATION) });
    assert_eq!(readings(decision), both(Deny, UNMATCHED));
}

#[test]
fn what_the_maps_cannot_answer_is_an_error() {
    let mut damaged = host(DEFAULT_ALLOW, &[DENY]);
    damaged.image[0] = Vector::EMPTY;
    assert_eq!(decide(&damaged, &attempt(DESTINATION)), Err(Error::NoImage));

    let mut cut = host(DEFAULT_ALLOW, &vec![DENY; 512]);
    cut.image.swap(image::FULL as usize, 5);
    cut.image.truncate(6);
    assert_eq!(decide(&cut, &attempt(DESTINATION)), Err(Error::NoImage));

    let mut missing = host(DEFAULT_ALLOW, &[DENY]);
    missing.no_map = true;
    assert_eq!(decide(&missing, &attempt(DESTINATION)), Err(Error::NoMap));
}

#[test]
fn nothing_unpacks_to_nothing() {
    assert_eq!(Decision::unpack(0), None);
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Allow), Just(Deny)]
}

proptest! {
    #[test]
    fn what_is_packed_unpacks(
        (verdict, effective) in (verdict(), verdict()), rule: u16, effective_rule: u16, errno: u8,
    ) {
        let decision =
            Decision { verdict, rule: RuleId(rule), effective, effective_rule: RuleId(effective_rule), errno };
        prop_assert_ne!(decision.pack(), 0);
        prop_assert_eq!(Decision::unpack(decision.pack()), Some(decision));
    }
}

/// A binding as sets of class numbers. `every` lists the classes that match every sighting.
#[derive(Clone, Debug)]
struct Learned {
    any: BTreeSet<u16>,
    every: BTreeSet<u16>,
    except: BTreeSet<u16>,
    expiry: u64,
}

/// Everything that one attempt meets.
#[derive(Clone, Debug)]
struct World {
    address: &'static str,
    port: u16,
    protocol: Protocol,
    uid: u32,
    resolver: bool,
    reach: Reach,
    learned: [Option<Learned>; 3],
    cidr: Option<(BTreeSet<u16>, BTreeSet<u16>)>,
    user: BTreeSet<u16>,
    cgroup: Option<BTreeSet<u16>>,
    ancestor: Option<BTreeSet<u16>>,
}

/// The documentation of [`decide()`], class by class.
fn naive(default: Defaults, rules: &[Rule], world: &World) -> Decision {
    let loopback = matches!(world.address, "127.0.0.1" | "::1");
    let named = world.reach == Reach::Named;
    let builtin = named || loopback || (world.resolver && (world.port == 53 || world.port == 853));
    let spared = loopback || world.resolver;
    let some_rule_by_cgroup = rules.iter().any(|rule| rule.by_cgroup);
    let learned = || world.learned.iter().flatten();

    let matches = |class: u16, rule: &Rule| {
        let to_name = learned().any(|known| known.any.contains(&class) && (rule.deny || known.expiry >= NOW))
            && (!rule.all_sightings
                || learned().all(|known| known.every.contains(&class) || (rule.deny && known.expiry < NOW)))
            && !world.cidr.as_ref().is_some_and(|(_, except)| except.contains(&class));
        let to_cidr = world.cidr.as_ref().is_some_and(|(to, _)| to.contains(&class))
            && !world.cidr.as_ref().is_some_and(|(_, except)| except.contains(&class))
            && !learned().any(|known| known.except.contains(&class) && (!rule.deny || known.expiry >= NOW));
        let to = if builtin {
            rule.deny && (to_cidr || named && to_name && !spared)
        } else {
            (to_name && !(rule.deny && spared)) || to_cidr || rule.any_destination
        };
        let port = rule.ports.is_empty()
            || rule
                .ports
                .iter()
                .any(|(protocol, ports)| *protocol == world.protocol && ports.contains(&world.port));
        let in_cgroup = some_rule_by_cgroup
            && match &world.cgroup {
                Some(own) => own.contains(&class),
                None => {
                    (rule.deny && rule.by_cgroup)
                        || world.ancestor.as_ref().is_some_and(|below| below.contains(&class))
                }
            };
        to && port && (rule.everyone || world.user.contains(&class) || in_cgroup)
    };
    let matching: Vec<(u16, &Rule)> =
        (0..).zip(rules).filter(|(class, rule)| matches(*class, rule)).collect();
    let verdict_of = |deny| if deny { Deny } else { Allow };
    let literal = default.literal_deny && learned().all(|known| known.expiry < NOW);
    let first = |found: Option<&(u16, &Rule)>, default_denies: bool, literal_denies: bool| match found {
        Some((class, rule)) => (verdict_of(rule.deny), RuleId(*class), rule.errno),
        None if builtin => (Allow, RuleId::BUILTIN, EPERM),
        None if literal_denies => (Deny, RuleId::LITERAL, EPERM),
        None => (verdict_of(default_denies), RuleId::DEFAULT, EPERM),
    };
    let (verdict, rule, _) = first(matching.first(), default.deny, literal);
    let (effective, effective_rule, errno) = first(
        matching.iter().find(|(_, rule)| rule.enforced),
        default.deny && default.enforced,
        literal && default.literal_enforced,
    );
    Decision { verdict, rule, effective, effective_rule, errno }
}

/// Sparse sets, so that the first match is not always among the first classes.
fn classes(count: u16) -> impl Strategy<Value = BTreeSet<u16>> {
    prop_oneof![
        1 => Just(BTreeSet::new()),
        3 => prop::collection::btree_set(0..count, 0..4),
        1 => prop::collection::btree_set(0..count, 0..40),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let ports = prop_oneof![
        6 => Just(&[][..]),
        1 => Just(&[(Protocol::Tcp, 443..=443)][..]),
        1 => Just(&[(Protocol::Udp, 50..=60), (Protocol::Tcp, 853..=8080), (Protocol::Tcp, 800..=1000)][..]),
        1 => Just(&[(Protocol::Udp, 0..=65_535_u16)][..]),
    ];
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.02), any::<bool>());
    (flags, prop::bool::weighted(0.6), any::<bool>(), 1..134_u8, ports).prop_map(
        |((deny, enforced, any_destination, all_sightings), everyone, by_cgroup, errno, ports)| Rule {
            deny,
            enforced,
            any_destination,
            all_sightings,
            everyone,
            by_cgroup: by_cgroup && !everyone,
            errno,
            ports,
        },
    )
}

fn learned(count: u16) -> impl Strategy<Value = Option<Learned>> {
    let learned = (classes(count), classes(count), classes(count), prop_oneof![Just(0), NOW - 1..NOW + 2]);
    prop::option::of(learned.prop_map(|(any, every, except, expiry)| Learned {
        // A class that matches every sighting matches one.
        any: any.union(&every).copied().collect(),
        every,
        except,
        expiry,
    }))
}

fn world(count: u16) -> impl Strategy<Value = World> {
    let to = (
        prop_oneof![6 => Just("203.0.113.7"), 2 => Just("2001:db8::7"), 1 => Just("127.0.0.1"), 1 => Just("::1")],
        prop_oneof![Just(443), Just(53), Just(853), Just(8080)],
        prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)],
        prop::bool::weighted(0.2),
        prop_oneof![3 => Just(Reach::All), 1 => Just(Reach::Named)],
    );
    let subject =
        (0..3_u32, classes(count), prop::option::of(classes(count)), prop::option::of(classes(count)));
    let cidr = prop::option::of((classes(count), classes(count)));
    (to, [learned(count), learned(count), learned(count)], cidr, subject).prop_map(
        |((address, port, protocol, resolver, reach), learned, cidr, (uid, user, cgroup, ancestor))| World {
            address,
            port,
            protocol,
            uid,
            resolver,
            reach,
            learned,
            cidr,
            user,
            cgroup,
            ancestor,
        },
    )
}

fn policy() -> impl Strategy<Value = (Defaults, Vec<Rule>, Vec<World>)> {
    let default = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(deny, enforced, literal_deny, literal_enforced)| Defaults {
            deny,
            enforced,
            literal_deny,
            literal_enforced,
        },
    );
    let count =
        prop_oneof![2 => 1..9_usize, 2 => 60..70_usize, 1 => 120..520_usize].prop_map(|count| count.min(512));
    (default, count).prop_flat_map(|(default, count)| {
        (Just(default), prop::collection::vec(rule(), count), prop::collection::vec(world(count as u16), 100))
    })
}

fn set(classes: &BTreeSet<u16>) -> Vector {
    vector(&classes.iter().copied().collect::<Vec<_>>())
}

proptest! {
    // 250 policies with 100 attempts each.
    #![proptest_config(ProptestConfig { cases: 250, max_shrink_iters: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn decide_agrees_with_the_naive_reading((default, rules, worlds) in policy()) {
        let mut host = host(default, &rules);
        for world in worlds {
            let address = to(world.address);
            host.resolvers = if world.resolver { BTreeSet::from([address]) } else { BTreeSet::new() };
            let [fresh, older, truth] = world.learned.each_ref().map(|learned| {
                let binding = |learned: &Learned| Binding {
                    any: set(&learned.any),
                    all: set(&learned.every),
                    except: set(&learned.except),
                    expiry: learned.expiry,
                };
                learned.iter().map(|learned| (address, binding(learned))).collect()
            });
            (host.fresh, host.older, host.truth) = (fresh, older, truth);
            host.cidrs = world.cidr.iter().map(|(to, except)| {
                (address, CidrEntry { to: set(to), except: set(except), ..CidrEntry::EMPTY })
            }).collect();
            host.users = BTreeMap::from([(world.uid, set(&world.user))]);
            host.cgroup = world.cgroup.as_ref().map(|own| CgroupSubjects { own: set(own), below: Vector::FULL, exempt: 0 });
            host.ancestor = world.ancestor.as_ref().map(set);
            let attempt =
                Attempt { address, port: world.port, protocol: world.protocol, uid: world.uid, now: NOW, reach: world.reach };
            prop_assert_eq!(decide(&host, &attempt), Ok(naive(default, &rules, &world)), "{:?}", world);
        }
    }
}
