//! The compiled policy and the reference evaluator agree: the same random policies, sightings and connections go through
//! `policy_schema::decide`, and through the image, the name table and the `decide` that the kernel runs.

use super::*;
use crate::{dns::Answer, names::NameTable};
use enforcer_common::{
    Attempt, Binding, Decision, Lookup, RuleId, Verdict, decide, decide::Error, repeat::HostLoop,
};
use policy_schema::{Connection, Decider, DomainName, NoLists, Policy, Sighting, Source};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::FileFailurePersistence};
use std::{fmt::Write as _, net::IpAddr};

/// A world small enough that everything meets everything.
const NAMES: &[&str] = &[
    "example",
    "a.example",
    "b.a.example",
    "ads-1.a.example",
    "evil.example",
    "www.evil.example",
    "notevil.example",
    "good.test",
    "x.good.test",
    "evil.example.good.test",
];
const PATTERNS: &[&str] = &[
    "a.example",
    "*.a.example",
    ".a.example",
    "*.example",
    "evil.example",
    ".evil.example",
    "*.good.test",
    "good.test",
    "ads-*.a.example",
    "*evil.example",
    "b.a.example",
];
const ADDRESSES: &[&str] = &[
    "203.0.113.7",
    "198.18.0.9",
    "2001:db8::7",
    "::ffff:203.0.113.7",
    "10.1.2.3",
    "127.0.0.1",
    "::1",
    "192.0.2.53",
    "0.0.0.0",
];
const CIDRS: &[&str] = &[
    "203.0.113.0/24",
    "203.0.113.7/32",
    "198.18.0.0/15",
    "2001:db8::/32",
    "10.0.0.0/8",
    "127.0.0.0/8",
    "192.0.2.53/32",
    "0.0.0.0/0",
    "::/0",
];
const RESOLVER: &str = "192.0.2.53";
const PORTS: &[&str] = &["443", "\"8000-8100\"", "\"53/udp\"", "\"443/tcp\"", "53"];
const CGROUPS: &[&str] = &["/", "/ci", "/ci/job", "/ci/job/step", "/system.slice/nginx.service"];

#[derive(Clone, Debug)]
struct RuleText {
    deny: bool,
    any: bool,
    names: Vec<&'static str>,
    cidrs: Vec<&'static str>,
    except_names: Vec<&'static str>,
    except_cidrs: Vec<&'static str>,
    ports: Vec<&'static str>,
    subjects: Option<&'static str>,
    audit: bool,
    all: bool,
    errno: &'static str,
    may: bool,
}

impl RuleText {
    fn write(&self, text: &mut String, number: usize) {
        let list =
            |items: &[&str]| items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ");
        let action = if self.deny { "deny" } else { "allow" };
        let _ = writeln!(text, "  - name: r{number}\n    action: {action}");
        if self.any {
            let _ = writeln!(text, "    to: any");
        } else {
            let _ = writeln!(text, "    to:");
            for (key, items) in [("names", &self.names), ("cidrs", &self.cidrs)] {
                if !items.is_empty() {
                    let _ = writeln!(text, "      {key}: [{}]", list(items));
                }
            }
            if !self.except_names.is_empty() || !self.except_cidrs.is_empty() {
                let _ = writeln!(
                    text,
                    "      except: {{ names: [{}], cidrs: [{}] }}",
                    list(&self.except_names),
                    list(&self.except_cidrs)
                );
            }
        }
        if !self.ports.is_empty() {
            let _ = writeln!(text, "    ports: [{}]", self.ports.join(", "));
        }
        if let Some(subjects) = self.subjects {
            let _ = writeln!(text, "    subjects: {subjects}");
        }
        let _ = writeln!(text, "    mode: {}", if self.audit { "audit" } else { "enforce" });
        let _ = writeln!(text, "    sharedAddress: {}", if self.all { "all" } else { "any" });
        if self.deny {
            let _ = writeln!(text, "    errno: {}", self.errno);
        } else if self.may && !self.names.is_empty() && !self.any {
            let _ = writeln!(text, "    mayResolveTo: [\"10.0.0.0/8\"]");
        }
    }
}

prop_compose! {
    fn rule()(
        deny in any::<bool>(),
        any in prop::bool::weighted(0.08),
        names in vec(select(PATTERNS), 0..4),
        cidrs in vec(select(CIDRS), 0..2),
        except_names in vec(select(PATTERNS), 0..2),
        except_cidrs in vec(select(CIDRS), 0..2),
        with_except in prop::bool::weighted(0.3),
        ports in prop_oneof![3 => Just(Vec::new()), 1 => vec(select(PORTS), 1..3)],
        subjects in prop_oneof![
            5 => Just(None),
            1 => select(&[
                "{ users: [1000] }", "{ cgroups: [\"/ci/**\"] }", "{ cgroups: [\"/ci/*\"], users: [0] }",
                "{ units: [\"nginx.service\"] }",
            ][..]).prop_map(Some),
        ],
        audit in prop::bool::weighted(0.3),
        all in prop::bool::weighted(0.3),
        errno in select(&["EPERM", "EACCES", "ECONNREFUSED", "ENETUNREACH"][..]),
        may in any::<bool>(),
    ) -> RuleText {
        let mut names = names;
        if names.is_empty() && cidrs.is_empty() {
            names.push("a.example");
        }
        let (except_names, except_cidrs) = if with_except { (except_names, except_cidrs) } else { (Vec::new(), Vec::new()) };
        RuleText { deny, any, names: unique(names), cidrs: unique(cidrs), except_names: unique(except_names),
            except_cidrs: unique(except_cidrs), ports: unique(ports), subjects, audit, all, errno, may }
    }
}

fn unique(mut items: Vec<&'static str>) -> Vec<&'static str> {
    items.sort_unstable();
    items.dedup();
    items
}

fn policy(rules: &[RuleText], default: &str, literal: &str) -> PolicySet {
    let mut text = format!(
        "version: 1\nname: random\ndefault: {default}\nliteralAddresses: {literal}\nrules:{}\n",
        if rules.is_empty() { " []" } else { "" }
    );
    for (number, rule) in rules.iter().enumerate() {
        rule.write(&mut text, number);
    }
    let source = Source { path: "random.yaml".into(), text: text.clone() };
    let (policy, _) =
        Policy::parse(&source, &NoLists).unwrap_or_else(|report| panic!("{}\n{text}", report.render()));
    PolicySet::new(vec![policy], None).unwrap().0
}

/// The maps of one policy, as the daemon fills them.
struct Maps<'a> {
    compiled: &'a Compiled,
    truth: BTreeMap<Address, Binding>,
    fresh: BTreeMap<Address, Binding>,
    cgroup: Option<CgroupSubjects>,
}

impl Lookup for Maps<'_> {
    type Image = Vec<Vector>;
    type Loop = HostLoop;

    fn image(&self) -> &Vec<Vector> {
        &self.compiled.image
    }
    fn fresh(&self, address: &Address) -> Result<Option<&Binding>, Error> {
        Ok(self.fresh.get(address))
    }
    fn older(&self, _: &Address) -> Result<Option<&Binding>, Error> {
        Ok(None)
    }
    fn truth(&self, address: &Address) -> Result<Option<&Binding>, Error> {
        Ok(self.truth.get(address))
    }
    fn cidr(&self, address: &Address) -> Result<Option<&CidrEntry>, Error> {
        Ok(cidrs::longest(&self.compiled.cidrs, address))
    }
    fn user(&self, uid: u32) -> Result<Option<&Vector>, Error> {
        Ok(self.compiled.users.get(&uid))
    }
    fn cgroup(&self) -> Result<Option<&CgroupSubjects>, Error> {
        Ok(self.cgroup.as_ref())
    }
    fn ancestor(&self) -> Result<Option<&Vector>, Error> {
        Ok(None)
    }
    fn is_resolver(&self, address: &Address) -> bool {
        *address == RESOLVER.parse::<IpAddr>().unwrap().into()
    }
}

const NOW: u64 = 1_000_000_000_000;

fn answer(chain: &[&str], address: Address) -> Answer {
    let chain: Vec<Name> = chain.iter().map(|name| Name::from_policy(name)).collect();
    Answer {
        time: NOW,
        server: Address::default(),
        client_port: 0,
        trusted: true,
        unparsed_by_kernel: false,
        cgroup: 0,
        question: chain[0].clone(),
        chain,
        addresses: vec![(address, 300)],
        unrelated: 0,
        complete: true,
        beyond_binder: false,
    }
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn compiled_and_reference_agree(
        rules in vec(rule(), 0..12),
        default in select(&["allow", "deny"][..]),
        literal in select(&["allow", "allow", "audit", "deny"][..]),
        cases in vec((
            select(ADDRESSES),
            vec(vec(select(NAMES), 1..4), 0..3),
            select(&[443_u16, 80, 8050, 53, 853][..]),
            any::<bool>(),
            select(&[0_u32, 1000, 33][..]),
            select(CGROUPS),
        ), 8),
    ) {
        let policy = policy(&rules, default, literal);
        let compiled = Compiled::new(policy.clone(), [3, 5, 7, 11, 13, 17, 19, 23], |_| None).unwrap();
        for (address, sightings, port, udp, uid, cgroup) in cases {
            let ip: IpAddr = address.parse().unwrap();
            let mut table = NameTable::default();
            for chain in &sightings {
                table.record(&answer(chain, Address::from(ip).destination()), &compiled);
            }
            let maps = Maps {
                compiled: &compiled,
                truth: table.truth(&compiled, NOW + 1),
                fresh: BTreeMap::new(),
                cgroup: Some(compiled.cgroup(cgroup)),
            };
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            let attempt = Attempt { address: Address::from(ip).destination(), port, protocol, uid, now: NOW + 1 };
            let ours = decide(&maps, &attempt).unwrap();

            let mut connection = Connection::new(
                ip, port, if udp { policy_schema::Protocol::Udp } else { policy_schema::Protocol::Tcp },
            );
            connection.uid = Some(uid);
            connection.cgroup = Some(cgroup.to_owned());
            connection.resolver = address == RESOLVER;
            connection.sightings = sightings.iter().map(|chain| Sighting {
                question: name(chain[0]),
                chain: chain[1..].iter().map(|member| name(member)).collect(),
            }).collect();
            let reference = policy.decide(&connection);

            let verdict = |verdict| match verdict {
                policy_schema::Verdict::Allow => Verdict::Allow,
                policy_schema::Verdict::Deny => Verdict::Deny,
            };
            let rule = |decider| match decider {
                Decider::Builtin => RuleId::BUILTIN,
                Decider::Default => RuleId::DEFAULT,
                Decider::LiteralAddress => RuleId::LITERAL,
                Decider::Rule(class) => RuleId(class.index() as u16),
            };
            let expected = (verdict(reference.verdict), rule(reference.rule), verdict(reference.effective), rule(reference.effective_rule));
            let Decision { verdict, rule, effective, effective_rule, errno } = ours;
            prop_assert_eq!(
                (verdict, rule, effective, effective_rule), expected,
                "{} {:?} port {} uid {} cgroup {} rules {:#?}", address, sightings, port, uid, cgroup, rules
            );
            if let Some(expected) = reference.errno {
                prop_assert_eq!(i32::from(errno), expected.number());
            }
        }
    }
}

#[test]
fn both_crates_call_the_same_addresses_special() {
    let mut state = 7_u64;
    for round in 0..300_000_u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let v6 = u128::from(state) << 64 | u128::from(state.rotate_left(17) ^ round);
        let edges = policy_schema::SPECIAL_USE[(state >> 40) as usize % policy_schema::SPECIAL_USE.len()];
        for ip in [
            IpAddr::from(((v6 >> 64) as u32).to_be_bytes()),
            IpAddr::from(v6.to_be_bytes()),
            edges.network(),
            edges.broadcast(),
        ] {
            assert_eq!(Address::from(ip).is_special_use(), policy_schema::is_special_use(ip), "{ip}");
        }
    }
}

#[test]
fn a_prefix_holds_what_the_prefixes_around_it_say() {
    let wide = RuleText { cidrs: vec!["203.0.113.0/24"], names: Vec::new(), deny: true, ..plain() };
    let narrow = RuleText { cidrs: vec!["203.0.113.7/32"], names: Vec::new(), deny: true, ..plain() };
    let compiled = Compiled::new(policy(&[wide, narrow], "allow", "allow"), [1; 8], |_| None).unwrap();
    let classes = |text: &str| {
        let address = text.parse::<IpAddr>().unwrap().into();
        cidrs::longest(&compiled.cidrs, &address).map(|entry| entry.to.classes().collect::<Vec<_>>())
    };
    assert_eq!(classes("203.0.113.7"), Some(vec![0, 1]));
    assert_eq!(classes("203.0.113.8"), Some(vec![0]));
    assert_eq!(classes("203.0.114.8"), None);
}

#[test]
fn a_subject_that_holds_for_everything_below_is_known_as_such() {
    let rule = |subjects| RuleText { subjects: Some(subjects), deny: true, ..plain() };
    let rules = [
        rule("{ cgroups: [\"/ci/**\"] }"),
        rule("{ cgroups: [\"/ci/*\"] }"),
        rule("{ units: [\"nginx.service\"] }"),
    ];
    let compiled = Compiled::new(policy(&rules, "allow", "allow"), [1; 8], |_| None).unwrap();
    let subjects = |path| {
        let CgroupSubjects { own, below } = compiled.cgroup(path);
        (own.classes().collect::<Vec<_>>(), below.classes().collect::<Vec<_>>())
    };
    assert_eq!(subjects("/ci"), (vec![], vec![0]));
    assert_eq!(subjects("/ci/job"), (vec![0, 1], vec![0]));
    assert_eq!(subjects("/system.slice/nginx.service"), (vec![2], vec![2]));
    assert_eq!(subjects("/other"), (vec![], vec![]));
}

#[test]
fn users_without_an_account_are_told() {
    let rule = RuleText { subjects: Some("{ users: [nobody-here, 7] }"), ..plain() };
    let compiled = Compiled::new(policy(&[rule], "allow", "allow"), [1; 8], |_| None).unwrap();
    assert_eq!(compiled.unknown_users, ["nobody-here"]);
    assert_eq!(compiled.users.keys().copied().collect::<Vec<_>>(), [7]);
}

fn plain() -> RuleText {
    RuleText {
        deny: false,
        any: false,
        names: vec!["a.example"],
        cidrs: Vec::new(),
        except_names: Vec::new(),
        except_cidrs: Vec::new(),
        ports: Vec::new(),
        subjects: None,
        audit: false,
        all: false,
        errno: "EPERM",
        may: false,
    }
}
