use super::*;
use crate::{image::ImageBuilder, name::Form, repeat::HostLoop};
use hickory_proto::{
    op::{Message as HickoryMessage, Query},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{
            A, AAAA, CNAME, HTTPS, SVCB, TXT,
            svcb::{Alpn, IpHint, SvcParamKey, SvcParamValue, Unknown},
        },
    },
};
use proptest::prelude::*;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

const RANDOM: [u64; 8] = [0x1234_5678_9abc_def1, 0xfeed_face_cafe_beef, 3, 4, 5, 6, 7, 8];
const NOW: u64 = 1_000_000_000_000;
const SECOND: u64 = 1_000_000_000;
const HOLD: u64 = 600 * SECOND;
const QUESTION: &[u8] = &[0xc0, 12];

/// One rule; its class is its place in the list.
#[derive(Clone, Copy, Debug)]
struct Rule {
    deny: bool,
    enforced: bool,
    all_sightings: bool,
    /// `example.com`, `*.example.com`, `.example.com` or `*`, as policies have them.
    names: &'static [&'static str],
    except: &'static [&'static str],
    may_resolve: &'static [&'static str],
}

const fn deny(names: &'static [&'static str]) -> Rule {
    Rule { deny: true, enforced: true, all_sightings: false, names, except: &[], may_resolve: &[] }
}

const fn allow(names: &'static [&'static str]) -> Rule {
    Rule { deny: false, ..deny(names) }
}

/// A policy slot on the host.
struct Host {
    image: Vec<Vector>,
    cidrs: BTreeMap<Address, CidrEntry>,
    fresh: RefCell<BTreeMap<Address, Binding>>,
    capacity: usize,
}

impl Buckets for Host {
    fn bucket(&self, index: u32) -> Option<&Vector> {
        self.image.bucket(index)
    }
}

impl Slot for Host {
    type Loop = HostLoop;

    fn cidr(&self, address: &Address) -> Option<&CidrEntry> {
        self.cidrs.get(address)
    }

    /// As the kernel programs do: insert, or join into what is there.
    fn bind(&self, address: &Address, binding: &Binding) -> bool {
        let mut fresh = self.fresh.borrow_mut();
        if let Some(known) = fresh.get_mut(address) {
            known.any.union(&binding.any);
            known.all.intersect(&binding.all);
            known.except.union(&binding.except);
            known.expiry = known.expiry.max(binding.expiry);
            return true;
        }
        let room = fresh.len() < self.capacity;
        if room {
            fresh.insert(*address, *binding);
        }
        room
    }
}

fn patterns(pattern: &str) -> Vec<(&str, Form)> {
    match (pattern.strip_prefix("*."), pattern.strip_prefix('.')) {
        (Some(below), _) => vec![(below, Form::Below)],
        (_, Some(name)) => vec![(name, Form::Below), (name, Form::Exact)],
        _ if pattern == "*" => vec![("", Form::Below)],
        _ => vec![(pattern, Form::Exact)],
    }
}

fn host(rules: &[Rule]) -> Host {
    let mut builder = ImageBuilder::new(1, rules.len() as u16, 100, RANDOM).unwrap();
    builder.hold_allow(HOLD);
    let mut cidrs = BTreeMap::<Address, CidrEntry>::new();
    for (class, rule) in (0..).zip(rules) {
        for (vector, marked) in [
            (ClassVector::Deny, rule.deny),
            (ClassVector::Enforced, rule.enforced),
            (ClassVector::AllSightings, rule.all_sightings),
        ] {
            if marked {
                builder.mark(vector, class);
            }
        }
        for (list, except) in [(rule.names, false), (rule.except, true)] {
            for (name, form) in list.iter().flat_map(|pattern| patterns(pattern)) {
                builder
                    .names(
                        [name.as_bytes()],
                        if form == Form::Exact { &[Form::Exact] } else { &[Form::Below] },
                        class,
                        except,
                    )
                    .unwrap();
            }
        }
        for address in rule.may_resolve {
            cidrs.entry(to(address)).or_default().may_resolve.insert(class);
        }
    }
    Host { image: builder.build().unwrap(), cidrs, fresh: RefCell::default(), capacity: usize::MAX }
}

impl Host {
    fn reads(&self, message: &[u8], trusted: bool) -> Outcome {
        self.reads_at(message, trusted, NOW)
    }

    fn reads_at(&self, message: &[u8], trusted: bool, now: u64) -> Outcome {
        let mut scratch = Scratch::new();
        // What an earlier answer left behind.
        scratch.record.message = [0xa5; MESSAGE_MAX];
        scratch.record.message[..message.len()].copy_from_slice(message);
        scratch.record.header.length = message.len() as u32;
        scratch.record.header.trusted = trusted.into();
        scratch.read(self, now)
    }

    fn binding(&self, address: &str) -> Binding {
        self.fresh.borrow().get(&to(address)).copied().unwrap_or(Binding::IDENTITY)
    }

    /// Rules that match a sighting of the address.
    fn any(&self, address: &str) -> Vec<u16> {
        self.binding(address).any.classes().collect()
    }

    fn is_bound(&self, address: &str) -> bool {
        self.fresh.borrow().contains_key(&to(address))
    }
}

fn to(address: &str) -> Address {
    address.parse::<IpAddr>().unwrap().into()
}

fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire.push(label.len() as u8);
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// An answer, written by hand.
#[derive(Clone)]
struct Answer(Vec<u8>);

impl Answer {
    fn to(question: &str) -> Self {
        Self::to_wire(&wire(question))
    }

    fn to_wire(question: &[u8]) -> Self {
        let mut message = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(question);
        message.extend([0, 1, 0, 1]);
        Self(message)
    }

    fn record(mut self, owner: &[u8], kind: u16, class: u16, ttl: u32, data: &[u8]) -> Self {
        let count = u16::from_be_bytes([self.0[6], self.0[7]]) + 1;
        self.0[6..8].copy_from_slice(&count.to_be_bytes());
        self.0.extend(owner);
        self.0.extend(kind.to_be_bytes());
        self.0.extend(class.to_be_bytes());
        self.0.extend(ttl.to_be_bytes());
        self.0.extend((data.len() as u16).to_be_bytes());
        self.0.extend(data);
        self
    }

    fn address(self, owner: &[u8], address: &str) -> Self {
        self.address_for(owner, address, 60)
    }

    fn address_for(self, owner: &[u8], address: &str, ttl: u32) -> Self {
        match address.parse().unwrap() {
            IpAddr::V4(v4) => self.record(owner, 1, 1, ttl, &v4.octets()),
            IpAddr::V6(v6) => self.record(owner, 28, 1, ttl, &v6.octets()),
        }
    }

    fn cname(self, owner: &[u8], target: &[u8]) -> Self {
        self.cname_for(owner, target, 60)
    }

    fn cname_for(self, owner: &[u8], target: &[u8], ttl: u32) -> Self {
        self.record(owner, 5, 1, ttl, target)
    }

    /// A HTTPS record, and each parameter as key and value.
    fn https(self, owner: &[u8], priority: u16, target: &[u8], parameters: &[(u16, &[u8])]) -> Self {
        let mut data = priority.to_be_bytes().to_vec();
        data.extend(target);
        for (key, value) in parameters {
            data.extend(key.to_be_bytes());
            data.extend((value.len() as u16).to_be_bytes());
            data.extend(*value);
        }
        self.record(owner, 65, 1, 60, &data)
    }
}

const X: &str = "203.0.113.7";
const Y: &str = "203.0.113.8";

/// Rules that match an answer to `question`.
fn matches(rules: &[Rule], question: &str) -> Vec<u16> {
    let host = host(rules);
    let outcome = host.reads(&Answer::to(question).address(QUESTION, X).0, true);
    assert!(outcome.parsed, "{question}");
    host.any(X)
}

#[test]
fn exact_and_suffix_names_match_whole_labels() {
    let rules = [deny(&["example.com"]), deny(&["*.example.com"]), allow(&[".example.com"]), allow(&["*"])];
    for (question, expected) in [
        ("example.com", &[0, 2, 3][..]),
        ("www.example.com", &[1, 2, 3]),
        ("a.b.c.example.com", &[1, 2, 3]),
        ("notexample.com", &[3]),
        ("example.com.evil.test", &[3]),
        ("com", &[3]),
        ("example", &[3]),
        ("xample.com", &[3]),
    ] {
        assert_eq!(matches(&rules, question), expected, "{question}");
    }
}

#[test]
fn case_does_not_matter() {
    assert_eq!(matches(&[deny(&["*.evil.example"])], "wWw.EVIL.eXaMpLe"), [0]);
}

#[test]
fn only_letters_are_folded() {
    let host = host(&[deny(&["a`{b.test"])]);
    host.reads(&Answer::to("a@[b.test").address(QUESTION, X).0, true);
    assert_eq!(host.any(X), []);
}

#[test]
fn a_dot_inside_a_label_is_no_label_boundary() {
    let rules = [deny(&["*.example.com"]), deny(&["evil.example.com"])];
    let host = host(&rules);
    let question = b"\x0cevil.example\x03com\0";
    host.reads(&Answer::to_wire(question).address(QUESTION, X).0, true);
    assert_eq!(host.any(X), []);
    let question = b"\x03a.b\x07example\x03com\0";
    host.reads(&Answer::to_wire(question).address(QUESTION, Y).0, true);
    assert_eq!(host.any(Y), [0]);
}

#[test]
fn owners_are_compared_whatever_their_case_and_compression() {
    let host = host(&[deny(&["www.evil.example"])]);
    // 12 www, 16 evil, 21 example
    let message = Answer::to("www.evil.example")
        .address(QUESTION, "192.0.2.1")
        .address(&wire("WWW.evil.EXAMPLE"), "192.0.2.2")
        .address(b"\x03www\xc0\x10", "192.0.2.3")
        .address(b"\x03wWw\x04evil\xc0\x15", "192.0.2.4")
        .address(QUESTION, "192.0.2.5")
        .address(QUESTION, "192.0.2.6")
        .address(&[0xc0, 16], "192.0.2.7")
        .address(QUESTION, "192.0.2.8")
        .address(&wire("other.test"), "192.0.2.9")
        .address(QUESTION, "192.0.2.10");
    let outcome = host.reads(&message.0, true);
    assert_eq!(outcome, Outcome { parsed: true, denied: true, bound: 10, unbound: 0, unrelated: 2 });
    for n in [1, 2, 3, 4, 5, 6, 8, 10] {
        assert_eq!(host.any(&format!("192.0.2.{n}")), [0], "{n}");
    }
    assert!([7, 9].iter().all(|n| host.binding(&format!("192.0.2.{n}")).expiry == 0));
}

#[test]
fn a_pointer_to_a_pointer_is_followed() {
    let host = host(&[deny(&["www.evil.example"])]);
    let message = Answer::to("www.evil.example").address(b"\x03www\xc0\x10", X);
    let second = (message.0.len() - 14 - 2 - 4) as u8;
    let message = message.address(&[0xc0, second], Y);
    assert_eq!(host.reads(&message.0, true).bound, 2);
}

#[test]
fn a_deny_rule_matches_any_member_of_the_chain_and_an_allow_rule_the_question() {
    let rules = [deny(&["cdn.evil.test"]), deny(&["a.test"]), allow(&["cdn.evil.test"]), allow(&["a.test"])];
    let host = host(&rules);
    let message = Answer::to("a.test")
        .cname(QUESTION, &wire("b.test"))
        .cname(&wire("b.test"), &wire("cdn.evil.test"))
        .cname(&wire("cdn.evil.test"), &wire("c.test"))
        .address(&wire("c.test"), X);
    let outcome = host.reads(&message.0, true);
    assert_eq!(outcome, Outcome { parsed: true, denied: true, bound: 1, unbound: 0, unrelated: 0 });
    assert_eq!(host.any(X), [0, 1, 3]);
    assert_eq!(host.binding(X).all, host.binding(X).any);
}

#[test]
fn only_enforced_deny_rules_make_an_answer_denied() {
    let audited = Rule { enforced: false, ..deny(&["a.test"]) };
    for (rule, expected) in [(deny(&["a.test"]), true), (audited, false), (allow(&["a.test"]), false)] {
        for trusted in [true, false] {
            let outcome = host(&[rule]).reads(&Answer::to("a.test").address(QUESTION, X).0, trusted);
            assert_eq!(outcome.denied, expected, "{rule:?}");
        }
    }
}

#[test]
fn an_excepted_name_is_not_matched() {
    let rule = Rule { except: &["ok.evil.test", "*.good.evil.test"], ..deny(&["*.evil.test"]) };
    for (question, expected) in [
        ("bad.evil.test", &[0][..]),
        ("ok.evil.test", &[]),
        ("www.ok.evil.test", &[0]),
        ("good.evil.test", &[0]),
        ("www.good.evil.test", &[]),
    ] {
        let host = host(&[rule]);
        let outcome = host.reads(&Answer::to(question).address(QUESTION, X).0, true);
        assert_eq!(host.any(X), expected, "{question}");
        assert_eq!(outcome.denied, !expected.is_empty());
        assert_eq!(host.binding(X).except.contains(0), expected.is_empty(), "{question}");
    }
}

#[test]
fn an_exception_of_one_member_does_not_spare_another() {
    let rule = Rule { except: &["ok.evil.test"], ..deny(&["*.evil.test"]) };
    let host = host(&[rule]);
    let message =
        Answer::to("ok.evil.test").cname(QUESTION, &wire("bad.evil.test")).address(&wire("bad.evil.test"), X);
    assert!(host.reads(&message.0, true).denied);
    assert_eq!(host.any(X), [0]);
}

/// `except` makes a deny rule weaker and an allow rule stronger; doubt only makes stricter.
#[test]
fn an_exception_weakens_a_deny_by_a_trusted_question_and_an_allow_by_any_member() {
    let rules = [
        Rule { except: &["q.test"], ..deny(&["evil.test"]) },
        Rule { except: &["q.test"], ..allow(&["good.test"]) },
        Rule { except: &["target.test"], ..deny(&["evil.test"]) },
        Rule { except: &["target.test"], ..allow(&["good.test"]) },
    ];
    let message = Answer::to("q.test").cname(QUESTION, &wire("target.test")).address(&wire("target.test"), X);
    for (trusted, expected) in [(true, &[0, 1, 3][..]), (false, &[1, 3])] {
        let host = host(&rules);
        host.reads(&message.0, trusted);
        assert_eq!(host.binding(X).except.classes().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn records_of_other_names_are_counted_and_can_be_denied_only() {
    let host = host(&[deny(&["a.test"]), allow(&["other.test"]), allow(&["a.test"])]);
    let message = Answer::to("a.test")
        .address(&wire("other.test"), Y)
        .cname(&wire("other.test"), &wire("a.test"))
        .record(QUESTION, 16, 1, 60, b"\x02hi")
        .record(QUESTION, 46, 1, 60, &[])
        .record(QUESTION, 1, 3, 60, &[192, 0, 2, 9])
        .address(QUESTION, X);
    let outcome = host.reads(&message.0, true);
    assert_eq!(outcome, Outcome { parsed: true, denied: true, bound: 2, unbound: 0, unrelated: 2 });
    assert_eq!(host.any(X), [0, 2]);
    assert_eq!(host.any(Y), [0]);
    assert_eq!((host.binding(Y).all, host.binding(Y).expiry), (Vector::FULL, 0));
}

#[test]
fn records_of_other_names_in_an_answer_that_is_not_denied_are_not_bound() {
    let host = host(&[allow(&["a.test", "other.test"])]);
    let message = Answer::to("a.test").address(&wire("other.test"), Y).address(QUESTION, X);
    assert_eq!(host.reads(&message.0, true).bound, 1);
    assert_eq!(host.fresh.borrow().keys().copied().collect::<Vec<_>>(), [to(X)]);
}

#[test]
fn every_name_of_the_chain_counts() {
    let host = host(&[deny(&["b.test"]), allow(&["a.test"])]);
    let message = Answer::to("a.test")
        .cname(QUESTION, &wire("b.test"))
        .address(QUESTION, X)
        .address(&wire("b.test"), Y);
    let outcome = host.reads(&message.0, true);
    assert_eq!(outcome, Outcome { parsed: true, denied: true, bound: 2, unbound: 0, unrelated: 0 });
    assert_eq!((host.any(X), host.any(Y)), (vec![0, 1], vec![0, 1]));
}

#[test]
fn the_order_of_the_records_does_not_matter() {
    let records: [fn(Answer) -> Answer; 4] = [
        |answer| answer.cname_for(&wire("a.test"), &wire("b.test"), 7_000),
        |answer| answer.cname_for(&wire("b.test"), &wire("C.test"), 8_000),
        |answer| answer.cname_for(&wire("c.test"), &wire("d.evil.test"), 9_000),
        |answer| answer.address_for(&wire("d.evil.test"), X, 10_000),
    ];
    for order in 0..256_usize {
        let order = [order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6];
        if (0..4).any(|record| !order.contains(&record)) {
            continue;
        }
        let host = host(&[deny(&["*.evil.test"]), allow(&["a.test"])]);
        let message = order.iter().fold(Answer::to("a.test"), |answer, record| records[*record](answer));
        let outcome = host.reads(&message.0, true);
        assert_eq!(
            outcome,
            Outcome { parsed: true, denied: true, bound: 1, unbound: 0, unrelated: 0 },
            "{order:?}"
        );
        assert_eq!(host.any(X), [0, 1], "{order:?}");
        assert_eq!(host.binding(X).expiry, NOW + 7_000 * SECOND, "{order:?}: the least of the chain");
    }
}

#[test]
fn of_two_ways_the_longer_lived_counts() {
    for turned in [false, true] {
        let short = |answer: Answer| answer.cname_for(QUESTION, &wire("c.test"), 1_000);
        let long = |answer: Answer| {
            answer.cname_for(&wire("b.test"), &wire("c.test"), 4_000).cname_for(
                QUESTION,
                &wire("b.test"),
                5_000,
            )
        };
        let answer = Answer::to("a.test");
        let answer = if turned { short(long(answer)) } else { long(short(answer)) };
        let host = host(&[allow(&["a.test"])]);
        assert!(host.reads(&answer.address_for(&wire("c.test"), X, 9_000).0, true).parsed);
        assert_eq!(host.binding(X).expiry, NOW + 4_000 * SECOND);
    }
}

#[test]
fn a_chain_that_leads_back_ends() {
    let host = host(&[deny(&["b.test"])]);
    let message = Answer::to("a.test")
        .cname(&wire("b.test"), &wire("a.test"))
        .cname(QUESTION, &wire("b.test"))
        .cname(QUESTION, QUESTION)
        .address(&wire("b.test"), X);
    let outcome = host.reads(&message.0, true);
    assert_eq!(outcome, Outcome { parsed: true, denied: true, bound: 1, unbound: 0, unrelated: 0 });
}

/// `aliases` CNAME records from `n0.test` on, the last first, and an address at their end.
fn chain(aliases: usize) -> Answer {
    let name = |number: usize| wire(&format!("n{number}.test"));
    let answer = (0..aliases)
        .rev()
        .fold(Answer::to("n0.test"), |answer, number| answer.cname(&name(number), &name(number + 1)));
    answer.address(&name(aliases), X)
}

#[test]
fn a_chain_has_16_names_at_most() {
    for (aliases, expected) in [(1, true), (15, true), (16, false), (32, false)] {
        let host = host(&[deny(&["n1.test"])]);
        let outcome = host.reads(&chain(aliases).0, true);
        assert_eq!((outcome.parsed, outcome.denied), (expected, true), "{aliases}");
        assert_eq!(host.binding(X).expiry > 0, expected, "{aliases}");
    }
}

#[test]
fn an_answer_has_32_aliases_at_most() {
    for (aliases, expected) in [(31, true), (32, false)] {
        let mut answer = Answer::to("a.test");
        for _ in 0..aliases {
            answer = answer.cname(&wire("other.test"), QUESTION);
        }
        let message = answer.cname(QUESTION, &wire("b.test")).address(&wire("b.test"), X);
        let host = host(&[deny(&["a.test"])]);
        assert_eq!(host.reads(&message.0, true).parsed, expected, "{aliases}");
    }
}

#[test]
fn hints_are_bound_like_addresses() {
    let host = host(&[deny(&["b.test"]), allow(&["a.test"])]);
    let six = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets();
    let four = [203, 0, 113, 7, 203, 0, 113, 8];
    let message = Answer::to("a.test")
        .https(&wire("b.test"), 1, b"\0", &[(1, b"\x02h2"), (4, &four), (5, b"ech"), (6, &six), (7, b"/dns")])
        .cname(QUESTION, &wire("b.test"));
    let outcome = host.reads(&message.0, true);
    assert_eq!(outcome, Outcome { parsed: true, denied: true, bound: 3, unbound: 0, unrelated: 0 });
    for address in [X, Y, "2001:db8::1"] {
        assert_eq!(host.any(address), [0, 1], "{address}");
    }
}

#[test]
fn the_target_of_a_service_record_is_a_member_of_the_chain() {
    for (kind, priority) in [(65, 1), (65, 0), (64, 16)] {
        let host = host(&[deny(&["svc.evil.test"]), allow(&["a.test"])]);
        let mut data = u16::to_be_bytes(priority).to_vec();
        data.extend(wire("SVC.evil.test"));
        let message =
            Answer::to("a.test").record(QUESTION, kind, 1, 60, &data).address(&wire("svc.evil.test"), X);
        assert!(host.reads(&message.0, true).denied, "{kind} {priority}");
        assert_eq!(host.any(X), [0, 1], "{kind} {priority}");
    }
}

#[test]
fn hints_of_other_names_can_be_denied_only() {
    let four = [203, 0, 113, 7, 203, 0, 113, 8];
    let host = host(&[deny(&["a.test"]), allow(&["a.test", "other.test"])]);
    let message = Answer::to("a.test").https(&wire("other.test"), 1, b"\0", &[(4, &four)]);
    let outcome = host.reads(&message.0, true);
    assert_eq!(outcome, Outcome { parsed: true, denied: true, bound: 2, unbound: 0, unrelated: 1 });
    assert_eq!((host.any(X), host.binding(X).expiry), (vec![0], 0));
}

/// RFC 9460 section 2.2 says when a record is malformed; nothing of it is bound then.
#[test]
fn of_a_damaged_service_record_nothing_is_bound() {
    let four: &[u8] = &[203, 0, 113, 7];
    let data = |parameters: &[u8]| [b"\0\x01\0", parameters].concat();
    let hint = [b"\0\x04\0\x04", four].concat();
    for (what, data) in [
        ("no data", Vec::new()),
        ("no target", b"\0\x01".to_vec()),
        ("a target past the end", b"\0\x01\x05a".to_vec()),
        ("an address cut", data(b"\0\x04\0\x03\xcb\0\x71")),
        ("a value past the end", data(b"\0\x04\0\x08\xcb\0\x71\x07")),
        ("a key twice", data(&[&hint[..], &hint].concat())),
        ("keys out of order", data(&[&hint[..], b"\0\x03\0\x02\0\x50"].concat())),
        ("a byte too many", data(&[&hint[..], b"\0"].concat())),
        ("half a key", data(&[&hint[..], b"\0\x05\0"].concat())),
    ] {
        let host = host(&[deny(&["a.test"])]);
        let outcome =
            host.reads(&Answer::to("a.test").address(QUESTION, Y).record(QUESTION, 65, 1, 60, &data).0, true);
        assert_eq!((outcome.parsed, outcome.denied, outcome.bound), (false, true, 1), "{what}");
    }
}

#[test]
fn a_chain_through_a_dname_goes_by_the_cname_that_comes_with_it() {
    let host = host(&[deny(&["*.new.test"]), allow(&["*.old.test"])]);
    let message = Answer::to("www.old.test")
        .record(&wire("old.test"), 39, 1, 60, &wire("new.test"))
        .cname(QUESTION, &wire("www.new.test"))
        .address(&wire("www.new.test"), X);
    let outcome = host.reads(&message.0, true);
    assert_eq!(outcome, Outcome { parsed: true, denied: true, bound: 1, unbound: 0, unrelated: 0 });
    assert_eq!(host.any(X), [0, 1]);
}

#[test]
fn an_untrusted_answer_denies_and_never_allows() {
    let host = host(&[deny(&["a.test"]), allow(&["a.test"])]);
    let outcome = host.reads(&Answer::to("a.test").address(QUESTION, X).0, false);
    assert!(outcome.denied);
    assert_eq!(host.any(X), [0]);
}

#[test]
fn an_untrusted_answer_that_only_allow_rules_match_binds_nothing() {
    let host = host(&[allow(&["a.test"])]);
    assert_eq!(host.reads(&Answer::to("a.test").address(QUESTION, X).0, false).bound, 0);
    assert!(!host.is_bound(X));
}

#[test]
fn an_untrusted_answer_clears_all_bits_of_allow_rules_only() {
    let all = |rule| Rule { all_sightings: true, ..rule };
    let rules = [all(deny(&["a.test"])), all(allow(&["a.test"]))];
    for (trusted, expected) in [(false, &[0][..]), (true, &[])] {
        let host = host(&rules);
        host.reads(&Answer::to("a.test").address(QUESTION, X).0, true);
        host.reads(&Answer::to("other.test").address(QUESTION, X).0, trusted);
        assert_eq!(host.any(X), [0, 1]);
        assert_eq!(host.binding(X).all.classes().collect::<Vec<_>>(), expected, "trusted: {trusted}");
    }
}

#[test]
fn every_answer_is_bound_while_a_rule_asks_for_all_sightings() {
    let other = Answer::to("other.test").address(QUESTION, X).0;
    let asks = host(&[Rule { all_sightings: true, ..deny(&["a.test"]) }]);
    assert_eq!(asks.reads(&other, true).bound, 1);
    assert!(asks.binding(X).any.is_empty() && asks.binding(X).all.is_empty());
    assert_eq!(host(&[deny(&["a.test"])]).reads(&other, true).bound, 0);
}

#[test]
fn a_binding_lives_as_long_as_its_ttl_or_the_hold() {
    for (ttl, expected) in [
        (0, HOLD),
        (600, HOLD),
        (601, 601 * SECOND),
        (86_400, 86_400 * SECOND),
        // RFC 2181 section 8: the top bit means zero.
        (0x8000_0000, HOLD),
        (0xffff_ffff, HOLD),
        // Nothing is believed for longer than a week.
        (0x7fff_ffff, 604_800 * SECOND),
    ] {
        let host = host(&[allow(&["a.test"])]);
        host.reads(&Answer::to("a.test").address_for(QUESTION, X, ttl).0, true);
        assert_eq!(host.binding(X).expiry, NOW + expected, "{ttl}");
    }
}

/// Anybody can send an untrusted answer; it must not keep alive what a trusted one allowed.
#[test]
fn an_untrusted_answer_does_not_prolong_allow_bits() {
    let host = host(&[deny(&["evil.test"]), allow(&["a.test"])]);
    host.reads(&Answer::to("a.test").address(QUESTION, X).0, true);
    host.reads(&Answer::to("evil.test").address_for(QUESTION, X, 0x7fff_ffff).0, false);
    assert_eq!(host.any(X), [0, 1]);
    assert_eq!(host.binding(X).expiry, NOW + HOLD);
}

/// `literalAddresses: deny` asks whether the expiry is 0 everywhere.
#[test]
fn an_untrusted_answer_is_not_the_lookup_that_an_address_needs() {
    let mut builder = ImageBuilder::new(1, 1, 10, RANDOM).unwrap();
    builder.literal(true, true);
    let host = Host { image: builder.build().unwrap(), ..host(&[]) };
    host.reads(&Answer::to("a.test").address(QUESTION, X).0, false);
    host.reads(&Answer::to("a.test").address(QUESTION, Y).0, true);
    assert_ne!(host.binding(Y).expiry, 0);
    assert_eq!(host.binding(X).expiry, 0);
}

#[test]
fn a_special_use_address_is_not_learned_for_an_allow_rule_that_does_not_say_so() {
    let rules = [
        deny(&["a.test"]),
        allow(&["a.test"]),
        Rule { may_resolve: &["10.1.0.1"], ..allow(&["a.test"]) },
        Rule { may_resolve: &["10.1.0.1"], ..allow(&["b.test"]) },
    ];
    let host = host(&rules);
    let message = Answer::to("a.test")
        .address(QUESTION, "10.1.0.1")
        .address(QUESTION, X)
        .address(QUESTION, "169.254.169.254")
        .address(QUESTION, "fe80::1")
        .address(QUESTION, "::ffff:10.1.0.2")
        .address(QUESTION, Y);
    assert_eq!(host.reads(&message.0, true).bound, 6);
    for (address, expected) in [
        ("10.1.0.1", &[0, 2][..]),
        (X, &[0, 1, 2]),
        ("169.254.169.254", &[0]),
        ("fe80::1", &[0]),
        ("10.1.0.2", &[0]),
        (Y, &[0, 1, 2]),
    ] {
        assert_eq!(host.any(address), expected, "{address}");
    }
}

#[test]
fn a_full_map_is_reported() {
    let host = Host { capacity: 2, ..host(&[deny(&["a.test"])]) };
    let message = Answer::to("a.test")
        .address(QUESTION, "192.0.2.1")
        .address(QUESTION, "192.0.2.2")
        .address(QUESTION, "192.0.2.3")
        .address(QUESTION, "192.0.2.1");
    let outcome = host.reads(&message.0, true);
    assert_eq!(outcome, Outcome { parsed: true, denied: true, bound: 3, unbound: 1, unrelated: 0 });
}

#[test]
fn addresses_of_both_families_are_bound() {
    let host = host(&[deny(&["a.test"])]);
    let addresses = ["192.0.2.1", "2001:db8::1", "192.0.2.255", "2001:db8:ffff::ffff"];
    let message =
        addresses.iter().fold(Answer::to("a.test"), |answer, address| answer.address(QUESTION, address));
    assert_eq!(host.reads(&message.0, true).bound, 4);
    for address in addresses {
        assert_eq!(host.any(address), [0], "{address}");
    }
}

#[test]
fn the_longest_answers_are_read_whole() {
    for (count, v6) in [(145, true), (253, false)] {
        let host = host(&[deny(&["a.test"])]);
        let mut message = Answer::to("a.test");
        for n in 0..count {
            let address = if v6 { format!("2001:db8::{n:x}") } else { format!("203.0.113.{n}") };
            message = message.address(QUESTION, &address);
        }
        assert!(message.0.len() <= MESSAGE_MAX);
        let outcome = host.reads(&message.0, true);
        assert_eq!(outcome, Outcome { parsed: true, denied: true, bound: count, unbound: 0, unrelated: 0 });
        assert_eq!(host.fresh.borrow().len(), count as usize);
    }
}

/// Only the root as owner leaves room for so many.
#[test]
fn more_addresses_than_there_is_room_for_is_no_whole_answer() {
    let host = host(&[deny(&["*"])]);
    let mut message = Answer::to(".");
    for n in 0..260_u32 {
        message = message.address(&[0], &format!("198.51.{}.{}", n / 256, n % 256));
    }
    assert!(message.0.len() <= MESSAGE_MAX);
    let outcome = host.reads(&message.0, true);
    assert!(!outcome.parsed);
    assert_eq!(outcome.bound, ADDRESSES_MAX as u32);
}

/// A name with this many bytes in its text form.
fn name_of(length: usize) -> String {
    let mut name = String::new();
    while name.len() < length {
        let left = length - name.len();
        // A label, and the dot behind it; the last one fills what is left.
        let label = if left <= 63 { left } else { 63.min(left - 2) };
        name.push_str(&"x".repeat(label));
        if name.len() < length {
            name.push('.');
        }
    }
    name
}

#[test]
fn a_name_has_253_bytes_at_most() {
    for (length, expected) in [(252, true), (253, true), (254, false), (255, false), (300, false)] {
        let name = name_of(length);
        assert_eq!(name.len(), length);
        let mut builder = ImageBuilder::new(1, 1, 10, RANDOM).unwrap();
        builder.mark(ClassVector::Deny, 0);
        builder.names([name.as_bytes()], &[Form::Exact], 0, false).unwrap();
        let host = Host { image: builder.build().unwrap(), ..host(&[]) };
        let outcome = host.reads(&Answer::to(&name).address(QUESTION, X).0, true);
        assert_eq!((outcome.parsed, host.is_bound(X)), (expected, expected), "{length}");
    }
}

#[test]
fn a_name_of_127_labels_is_read() {
    let host = host(&[deny(&["*.x.x"])]);
    let question = vec!["x"; 127].join(".");
    assert!(host.reads(&Answer::to(&question).address(QUESTION, X).0, true).parsed);
    assert_eq!(host.any(X), [0]);
}

#[test]
fn loops_and_forward_pointers_are_refused() {
    for (what, owner) in [
        ("itself", &[0xc0, 24][..]),
        ("forward", &[0xc0, 40]),
        ("behind the end", &[0xff, 0xff]),
        ("a label before itself", b"\x01x\xc0\x18"),
        ("two labels", b"\x01x\x01y\xc0\x1a"),
        // 25 is the one byte of the label, taken for the length of another.
        ("into itself", b"\x02\x00x\xc0\x19"),
        ("reserved 0x40", &[0x40, 0]),
        ("reserved 0x80", &[0x80, 0]),
    ] {
        let host = host(&[deny(&["a.test"])]);
        let message = Answer::to("a.test").address(owner, X);
        assert_eq!(message.0.len() - owner.len() - 14, 24);
        let outcome = host.reads(&message.0, true);
        assert_eq!((outcome.parsed, outcome.denied, outcome.bound), (false, true, 0), "{what}");
    }
}

#[test]
fn a_question_that_cannot_be_read_says_nothing() {
    for question in [&[0xc0, 12][..], &[0xc0, 40], &[0x80, 0], b"\x01x\xc0\x0c", &[63]] {
        let host = host(&[deny(&["*"])]);
        let outcome = host.reads(&Answer::to_wire(question).address(&[0], X).0, true);
        assert_eq!(outcome, Outcome::default(), "{question:?}");
    }
}

#[test]
fn only_an_answer_to_one_standard_query_is_read() {
    let good = Answer::to("a.test").address(QUESTION, X).0;
    for (at, byte, expected) in [
        (2, 0x01, false), // a query
        (2, 0xa9, false), // an update
        (2, 0x81, true),
        (2, 0x83, true), // cut
        (3, 0x83, true), // NXDOMAIN
        (5, 0, false),
        (5, 2, false),
        (4, 1, false),
    ] {
        let host = host(&[deny(&["a.test"])]);
        let mut message = good.clone();
        message[at] = byte;
        let outcome = host.reads(&message, true);
        assert_eq!(
            (outcome.parsed, outcome.denied, host.is_bound(X)),
            (expected, expected, expected),
            "{at} {byte}"
        );
    }
}

#[test]
fn an_address_of_another_length_is_damage() {
    for (kind, length) in [(1, 3), (1, 5), (1, 16), (1, 0), (28, 4), (28, 15), (28, 17)] {
        let host = host(&[deny(&["a.test"])]);
        let message =
            Answer::to("a.test").address(QUESTION, Y).record(QUESTION, kind, 1, 60, &vec![9; length]);
        let outcome = host.reads(&message.0, true);
        assert_eq!((outcome.parsed, outcome.denied, outcome.bound), (false, true, 1), "{kind} {length}");
    }
}

#[test]
fn what_was_read_before_the_damage_is_bound() {
    let host = host(&[deny(&["a.test"])]);
    let mut message = Answer::to("a.test").address(QUESTION, X).address(QUESTION, Y).0;
    message.truncate(message.len() - 1);
    let outcome = host.reads(&message, true);
    assert_eq!(outcome, Outcome { parsed: false, denied: true, bound: 1, unbound: 0, unrelated: 0 });
    assert_eq!(host.any(X), [0]);
}

#[test]
fn a_cut_answer_never_passes_for_a_whole_one() {
    let message = Answer::to("a.test")
        .cname(QUESTION, &wire("b.evil.test"))
        .address(b"\x01b\x04evil\xc0\x0e", "192.0.2.1")
        .record(QUESTION, 16, 1, 60, b"\x02hi")
        .address(&wire("b.evil.test"), "2001:db8::1")
        .0;
    for length in 0..message.len() {
        let host = host(&[deny(&["*.evil.test"])]);
        let outcome = host.reads(&message[..length], true);
        assert!(!outcome.parsed, "{length}");
        assert_eq!(outcome.bound as usize, host.fresh.borrow().len());
    }
}

#[test]
fn one_scratch_serves_one_answer_after_the_other() {
    let host = host(&[deny(&["a.test"]), deny(&["b.test"])]);
    let mut scratch = Scratch::new();
    let mut read = |message: Vec<u8>| {
        scratch.record.message[..message.len()].copy_from_slice(&message);
        scratch.record.header.length = message.len() as u32;
        scratch.record.header.trusted = 1;
        scratch.read(&host, NOW)
    };
    assert!(read(Answer::to("a.test").address(QUESTION, X).0).denied);
    assert_eq!(read(Answer::to("c.test").address(QUESTION, Y).0).bound, 0);
    assert_eq!(read(vec![0; 12]), Outcome::default());
    assert_eq!(read(Vec::new()), Outcome::default());
    assert!(read(Answer::to("b.test").address(QUESTION, Y).0).denied);
    assert_eq!((host.any(X), host.any(Y)), (vec![0], vec![1]));
}

#[test]
fn a_slot_without_an_image_binds_nothing() {
    let host = Host { image: Vec::new(), ..host(&[]) };
    assert_eq!(host.reads(&Answer::to("a.test").address(QUESTION, X).0, true).bound, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_reader_panic(message in prop::collection::vec(any::<u8>(), 0..600), trusted: bool) {
        let host = host(&[deny(&["*"])]);
        let outcome = host.reads(&message, trusted);
        prop_assert!(host.fresh.borrow().len() <= outcome.bound as usize);
    }

    /// As above, but past the header and the question.
    #[test]
    fn no_bytes_in_the_answer_section_make_the_reader_panic(
        count: u16, tail in prop::collection::vec(prop_oneof![Just(0xc0_u8), Just(12), 0..30_u8, any::<u8>()], 0..400),
    ) {
        let mut message = Answer::to("a.test").0;
        message[6..8].copy_from_slice(&count.to_be_bytes());
        message.extend(tail);
        let host = host(&[deny(&["*"])]);
        let outcome = host.reads(&message, true);
        prop_assert!(outcome.denied);
        prop_assert_eq!(outcome.parsed, outcome.parsed && usize::from(count) * 11 <= message.len());
    }

    #[test]
    fn no_changed_byte_makes_the_reader_panic(at in 0..200_usize, byte: u8, length in 0..200_usize) {
        let mut message = Answer::to("a.test")
            .cname(QUESTION, &wire("b.evil.test"))
            .address(b"\x01b\x04evil\xc0\x0e", "192.0.2.1")
            .address(&wire("b.evil.test"), "2001:db8::1")
            .0;
        let (at, length) = (at % message.len(), length % (message.len() + 1));
        message[at] = byte;
        host(&[deny(&["*"])]).reads(&message[..length], true);
    }
}

/// Rules of every kind over the names that [`label`] makes.
const RULES: [Rule; 10] = [
    deny(&["*.evil.test"]),
    Rule { except: &["ok.evil.test", "*.example"], ..deny(&[".test"]) },
    Rule { enforced: false, ..deny(&["www.example", "a.evil.example"]) },
    Rule { all_sightings: true, ..deny(&[".evil.example"]) },
    deny(&["*.a.evil.test", "*.www.a.test"]),
    allow(&["*"]),
    Rule { except: &[".a.test"], may_resolve: &["10.0.0.1"], ..allow(&[".test"]) },
    Rule { all_sightings: true, ..allow(&["*.example"]) },
    Rule { may_resolve: &["10.0.0.1", "fd00::1"], ..allow(&["www.test", "evil.test"]) },
    Rule { enforced: false, ..allow(&["ok.evil.test"]) },
];
/// The same without a rule that asks for all sightings or matches every name.
const FEW_RULES: [Rule; 3] = [RULES[0], RULES[2], RULES[8]];

fn label() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec!["evil", "EVIL", "eViL", "www", "Www", "a", "ok", "test", "example", "a.evil"])
        .prop_map(|label| label.as_bytes().to_vec())
}

fn name() -> impl Strategy<Value = Name> {
    let top = prop::sample::select(vec!["test", "TeSt", "example", "com"]);
    (prop::collection::vec(label(), 0..4), top).prop_map(|(labels, top)| {
        Name::from_labels(labels.iter().map(Vec::as_slice).chain([top.as_bytes()])).unwrap()
    })
}

/// One of few addresses, so that answers meet.
fn address() -> impl Strategy<Value = RData> {
    prop::sample::select(vec![
        "192.0.2.1",
        "192.0.2.2",
        "10.0.0.1",
        "10.0.0.2",
        "2001:db8::1",
        "fd00::1",
        "::ffff:192.0.2.1",
    ])
    .prop_map(|address| match address.parse().unwrap() {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    })
}

fn ttl() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0_u32), Just(60), Just(7_200), Just(0x8000_0000), any::<u32>()]
}

/// What a service record says: priority, target, hints.
fn service() -> impl Strategy<Value = SVCB> {
    let hints = prop::collection::vec(address(), 0..4);
    (0..3_u16, prop::option::of(name()), hints, any::<bool>()).prop_map(|(priority, target, hints, more)| {
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for hint in hints {
            match hint {
                RData::A(a) => four.push(a),
                RData::AAAA(aaaa) => six.push(aaaa),
                _ => {}
            }
        }
        let mut parameters = Vec::new();
        if more {
            parameters.push((SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".into(), "h3".into()]))));
        }
        if !four.is_empty() {
            parameters.push((SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(four))));
        }
        if !six.is_empty() {
            parameters.push((SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(six))));
        }
        if more {
            let other = SvcParamValue::Unknown(Unknown(b"/dns-query".to_vec()));
            parameters.push((SvcParamKey::Unknown(7), other));
        }
        SVCB::new(priority, target.unwrap_or_else(Name::root), parameters)
    })
}

/// Data of a record that says something, or nothing, to the binder.
fn data() -> impl Strategy<Value = RData> {
    prop_oneof![
        6 => address(),
        1 => name().prop_map(|target| RData::CNAME(CNAME(target))),
        1 => service().prop_map(|service| RData::HTTPS(HTTPS(service))),
        1 => service().prop_map(RData::SVCB),
        1 => Just(RData::TXT(TXT::new(vec!["text".into()]))),
    ]
}

/// A question, the chain that a resolver would give, and other records; in order, or in any.
fn answer() -> impl Strategy<Value = HickoryMessage> {
    let records = prop::collection::vec((ttl(), data(), prop::option::weighted(0.2, name())), 0..8);
    let turned = prop_oneof![Just(None), any::<u64>().prop_map(Some)];
    (name(), prop::collection::vec((name(), ttl()), 0..4), records, turned).prop_map(
        |(question, targets, records, turned)| {
            let mut message = HickoryMessage::query().into_response();
            message.add_query(Query::query(question.clone(), RecordType::A));
            let mut all = Vec::new();
            let mut owner = question;
            for (target, ttl) in targets {
                all.push(Record::from_rdata(owner, ttl, RData::CNAME(CNAME(target.clone()))));
                owner = target;
            }
            for (ttl, data, other) in records {
                all.push(Record::from_rdata(other.unwrap_or_else(|| owner.clone()), ttl, data));
            }
            if let Some(seed) = turned {
                // Any key that differs from record to record makes an order.
                let mut number = seed;
                all.sort_by_cached_key(|_| {
                    number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    number >> 32
                });
            }
            message.add_answers(all);
            message
        },
    )
}

fn labels(name: &Name) -> Vec<Vec<u8>> {
    name.iter().map(<[u8]>::to_ascii_lowercase).collect()
}

/// Whether a policy name matches, label by label.
fn is_in(list: &[&str], name: &[Vec<u8>]) -> bool {
    list.iter().flat_map(|pattern| patterns(pattern)).any(|(pattern, form)| {
        let pattern: Vec<&[u8]> =
            pattern.split('.').filter(|label| !label.is_empty()).map(str::as_bytes).collect();
        let long_enough = match form {
            Form::Exact => name.len() == pattern.len(),
            Form::Below => name.len() > pattern.len(),
        };
        long_enough && name[name.len() - pattern.len()..].iter().eq(pattern)
    })
}

/// What is known of one address.
#[derive(Debug, Default, Eq, PartialEq)]
struct Known {
    any: BTreeSet<u16>,
    /// Rules that do not match every sighting.
    not_all: BTreeSet<u16>,
    except: BTreeSet<u16>,
    expiry: u64,
}

/// What design section 4 says about an answer.
fn naive(
    rules: &[Rule],
    message: &HickoryMessage,
    trusted: bool,
    known: &mut BTreeMap<IpAddr, Known>,
) -> Outcome {
    let question = labels(&message.queries[0].name);
    let seconds = |ttl: u32| if ttl > i32::MAX as u32 { 0 } else { ttl };
    // Every way from the question, tried one after the other: the names, each with the most of its ways' least TTL.
    let mut reached = BTreeMap::from([(question.clone(), u32::MAX)]);
    loop {
        let mut next = reached.clone();
        for record in &message.answers {
            let Some(ttl) = reached.get(&labels(&record.name)) else { continue };
            let target = match &record.data {
                RData::CNAME(CNAME(target)) => target,
                RData::HTTPS(HTTPS(service)) | RData::SVCB(service) if !service.target_name.is_root() => {
                    &service.target_name
                }
                _ => continue,
            };
            let known = next.entry(labels(target)).or_default();
            *known = (*known).max(seconds(record.ttl).min(*ttl));
        }
        if next == reached {
            break;
        }
        reached = next;
    }
    let chain: Vec<_> = reached.keys().cloned().collect();
    let (mut addresses, mut others) = (Vec::new(), Vec::new());
    let mut outcome = Outcome { parsed: true, ..Outcome::default() };
    for record in &message.answers {
        let named: Vec<IpAddr> = match &record.data {
            RData::A(A(v4)) => vec![(*v4).into()],
            RData::AAAA(AAAA(v6)) => vec![v6.to_canonical()],
            RData::CNAME(_) => Vec::new(),
            RData::HTTPS(HTTPS(service)) | RData::SVCB(service) => {
                let hints = service.svc_params.iter().flat_map(|(_, value)| match value {
                    SvcParamValue::Ipv4Hint(IpHint(list)) => list.iter().map(|A(v4)| (*v4).into()).collect(),
                    SvcParamValue::Ipv6Hint(IpHint(list)) => {
                        list.iter().map(|AAAA(v6)| v6.to_canonical()).collect()
                    }
                    _ => Vec::new(),
                });
                hints.collect()
            }
            _ => continue,
        };
        match reached.get(&labels(&record.name)) {
            Some(ttl) => {
                addresses.extend(named.into_iter().map(|address| (address, seconds(record.ttl).min(*ttl))));
            }
            None => {
                outcome.unrelated += 1;
                others.extend(named);
            }
        }
    }
    let (mut any, mut not_all, mut except) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (class, rule) in (0..).zip(rules) {
        let says = |name: &Vec<Vec<u8>>| is_in(rule.names, name) && !is_in(rule.except, name);
        let matched = if rule.deny { chain.iter().any(says) } else { says(&question) };
        if matched && (trusted || rule.deny) {
            any.insert(class);
        }
        if !matched && (trusted || !rule.deny) {
            not_all.insert(class);
        }
        let excepted = if rule.deny {
            trusted && is_in(rule.except, &question)
        } else {
            chain.iter().any(|name| is_in(rule.except, name))
        };
        if excepted {
            except.insert(class);
        }
        outcome.denied |= matched && rule.deny && rule.enforced;
    }
    if any.is_empty() && except.is_empty() && !rules.iter().any(|rule| rule.all_sightings) {
        return outcome;
    }
    for (address, ttl) in addresses {
        let special = Address::from(address).is_special_use();
        let learned = any.iter().copied().filter(|class| {
            let rule = &rules[usize::from(*class)];
            rule.deny || !special || rule.may_resolve.iter().any(|may| may.parse() == Ok(address))
        });
        let ttl = u64::from(ttl.min(604_800)) * SECOND;
        let known = known.entry(address).or_default();
        known.any.extend(learned);
        known.not_all.extend(&not_all);
        known.except.extend(&except);
        known.expiry = known.expiry.max(if trusted { NOW + ttl.max(HOLD) } else { 0 });
        outcome.bound += 1;
    }
    let denies: Vec<u16> = any.into_iter().filter(|class| rules[usize::from(*class)].deny).collect();
    for address in others.into_iter().filter(|_| !denies.is_empty()) {
        known.entry(address).or_default().any.extend(&denies);
        outcome.bound += 1;
    }
    outcome
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn bindings_agree_with_the_naive_reading(
        answers in prop::collection::vec((answer(), any::<bool>()), 1..4), few: bool,
    ) {
        let rules = if few { &FEW_RULES[..] } else { &RULES };
        let host = host(rules);
        let mut expected = BTreeMap::new();
        for (message, trusted) in answers {
            let wire = message.to_vec().unwrap();
            let decoded = HickoryMessage::from_vec(&wire).unwrap();
            prop_assert_eq!(host.reads(&wire, trusted), naive(rules, &decoded, trusted, &mut expected));
        }
        let bound: BTreeMap<IpAddr, Known> = host.fresh.borrow().iter().map(|(address, binding)| {
            let Binding { any, all, except, expiry } = *binding;
            let not_all = (0..rules.len() as u16).filter(|class| !all.contains(*class)).collect();
            let known = Known { any: any.classes().collect(), not_all, except: except.classes().collect(), expiry };
            (IpAddr::from(*address), known)
        }).collect();
        prop_assert_eq!(bound, expected);
    }
}

#[test]
fn the_oracle_uses_compression() {
    let name = Name::from_ascii("www.example.test.").unwrap();
    let mut message = HickoryMessage::query().into_response();
    message.add_query(Query::query(name.clone(), RecordType::A));
    message.add_answer(Record::from_rdata(name.clone(), 60, RData::A(A(Ipv4Addr::LOCALHOST))));
    message.add_answer(Record::from_rdata(name, 60, RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))));
    let wire = message.to_vec().unwrap();
    assert_eq!(wire.windows(2).filter(|pair| *pair == QUESTION).count(), 2);
}
