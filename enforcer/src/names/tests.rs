use super::*;

mod room;

use crate::live::KnownSighting;
use policy_schema::{NoLists, Policy, PolicySet, Source};

const SECOND: u64 = 1_000_000_000;
pub(crate) const NOW: u64 = 1_000 * SECOND;
const X: &str = "203.0.113.7";

pub(crate) fn policy(version: u64, rules: &str) -> Compiled {
    let text = format!("version: 1\nname: p\nhold: {{ deny: 100s, allow: 10s }}\nrules:\n{rules}");
    let (policy, _) = Policy::parse(&Source { path: "p.yaml".into(), text }, &NoLists).unwrap();
    let (set, _) = PolicySet::new(vec![policy], None).unwrap();
    Compiled::new(set, [version; 8], |_| None).unwrap().numbered(version)
}

const DENY: &str = "  - { name: bad, action: deny, to: { names: [\"*.evil.example\"] } }\n";
const ALLOW: &str = "  - { name: fine, action: allow, to: { names: [\"good.example\"] } }\n";
const GLOB: &str = "  - { name: glob, action: deny, to: { names: [\"ads-*.example\"] } }\n";

fn address(text: &str) -> Address {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

/// A trusted answer.
pub(crate) fn answer(chain: &[&str], to: &str, ttl: u32, time: u64) -> Answer {
    let chain: Vec<Name> = chain.iter().map(|name| Name::from_policy(name)).collect();
    Answer {
        time,
        server: Address::default(),
        client_port: 0,
        trusted: true,
        unparsed_by_kernel: false,
        cgroup: 0,
        question: chain[0].clone(),
        chain,
        addresses: vec![(address(to), ttl)],
        unrelated: 0,
        complete: true,
        beyond_binder: false,
    }
}

fn rules(binding: Option<&Binding>) -> Vec<u16> {
    binding.map(|binding| binding.any.classes().collect()).unwrap_or_default()
}

#[test]
fn names_come_nearest_to_the_question_first_and_once() {
    let policy = policy(1, DENY);
    let mut table = NameTable::default();
    table.record(&answer(&["www.example", "cdn.example"], X, 60, NOW), &policy);
    table.record(&answer(&["shop.example", "cdn.example"], X, 60, NOW), &policy);
    let names: Vec<String> = table.names(&address(X)).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["www.example", "shop.example", "cdn.example"]);
    assert!(table.names(&address("203.0.113.8")).is_empty());
}

#[test]
fn allow_and_deny_bits_end_with_their_own_hold() {
    let policy = policy(1, &format!("{DENY}{ALLOW}"));
    let mut table = NameTable::default();
    table.record(&answer(&["good.example", "x.evil.example"], X, 1, NOW), &policy);
    for (age, expected) in [(0, vec![0, 1]), (9, vec![0, 1]), (11, vec![0]), (99, vec![0]), (101, vec![])] {
        let truth = table.truth(&policy, NOW + age * SECOND);
        assert_eq!(rules(truth.get(&address(X))), expected, "{age} s");
    }
}

#[test]
fn a_later_answer_prolongs_and_never_shortens() {
    let policy = policy(1, ALLOW);
    let mut table = NameTable::default();
    table.record(&answer(&["good.example"], X, 300, NOW), &policy);
    table.record(&answer(&["good.example"], X, 1, NOW + SECOND), &policy);
    assert_eq!(rules(table.truth(&policy, NOW + 299 * SECOND).get(&address(X))), [0]);
    assert!(table.truth(&policy, NOW + 302 * SECOND).is_empty());
}

#[test]
fn what_is_over_is_forgotten_and_the_next_change_is_known() {
    let policy = policy(1, &format!("{DENY}{ALLOW}"));
    let mut table = NameTable::default();
    table.record(&answer(&["good.example"], X, 20, NOW), &policy);
    assert_eq!(table.next_change(&policy, NOW), Some(NOW + 20 * SECOND));
    assert_eq!(table.next_change(&policy, NOW + 20 * SECOND), Some(NOW + 100 * SECOND));
    assert!(!table.expire(&policy, NOW + 99 * SECOND));
    assert!(table.expire(&policy, NOW + 100 * SECOND));
    assert_eq!(table.usage().addresses, 0);
}

#[test]
fn only_unread_messages_are_late() {
    let policy = policy(1, &format!("{DENY}{GLOB}"));
    let mut table = NameTable::default();
    assert!(!table.record(&answer(&["ads-1.example"], X, 60, NOW), &policy).late);
    assert!(!table.record(&answer(&["www.evil.example"], X, 60, NOW), &policy).late);
    let unread = Answer { unparsed_by_kernel: true, ..answer(&["www.evil.example"], X, 60, NOW) };
    assert!(table.record(&unread, &policy).late);
    let unread = Answer { unparsed_by_kernel: true, ..answer(&["other.example"], X, 60, NOW) };
    assert!(!table.record(&unread, &policy).late);
}

#[test]
fn a_new_policy_judges_the_old_sightings() {
    let old = policy(1, ALLOW);
    let mut table = NameTable::default();
    table.record(&answer(&["www.evil.example"], X, 60, NOW), &old);
    assert!(table.truth(&old, NOW).is_empty());
    let new = policy(2, DENY);
    table.rejudge(&new, Vector::clone);
    assert_eq!(rules(table.truth(&new, NOW).get(&address(X))), [0]);
}

#[test]
fn a_binding_that_no_record_explains_denies_as_long_as_any_deny_and_allows_until_its_end() {
    let policy = policy(1, &format!("{DENY}{ALLOW}"));
    let mut table = NameTable::default();
    let mut bound = Binding::IDENTITY;
    bound.any.insert(0);
    bound.any.insert(1);
    bound.expiry = NOW + 5 * SECOND;
    assert_eq!(table.adopt(&[(address(X), bound)], &policy, NOW), 1);
    for (age, expected) in [(0, vec![0, 1]), (4, vec![0, 1]), (5, vec![0]), (99, vec![0]), (100, vec![])] {
        let truth = table.truth(&policy, NOW + age * SECOND);
        assert_eq!(rules(truth.get(&address(X))), expected, "{age} s");
        // .. and it prolongs nothing that was allowed.
        assert!(truth.get(&address(X)).is_none_or(|binding| binding.expiry == NOW + 5 * SECOND));
    }
    // Another name of the address prolongs no allowance of what is not known.
    table.record(&answer(&["other.evil.example"], X, 60, NOW), &policy);
    assert_eq!(rules(table.truth(&policy, NOW + 6 * SECOND).get(&address(X))), [0]);

    // An untrusted answer leaves no expiry: held as long as any deny.
    let mut table = NameTable::default();
    bound = Binding { expiry: 0, ..Binding::IDENTITY };
    bound.any.insert(0);
    table.adopt(&[(address(X), bound)], &policy, NOW);
    assert_eq!(rules(table.truth(&policy, NOW + 99 * SECOND).get(&address(X))), [0]);
    assert!(table.truth(&policy, NOW + 100 * SECOND).is_empty());
}

#[test]
fn an_untrusted_answer_whose_record_was_lost_is_no_lookup() {
    let policy = policy(1, DENY);
    let mut table = NameTable::default();
    let mut denied = Binding::IDENTITY;
    denied.any.insert(0);
    table.adopt(&[(address(X), denied)], &policy, NOW);
    assert_eq!(table.truth(&policy, NOW)[&address(X)].expiry, 0);
}

#[test]
fn a_name_that_was_lost_spares_no_deny_and_lets_nothing_through_under_a_new_policy() {
    let all = |action: &str| {
        format!(
            "  - {{ name: all, action: {action}, sharedAddress: all, to: {{ names: [\"good.example\"] }} }}\n"
        )
    };
    for (action, strikes) in [("deny", true), ("allow", false)] {
        let (old, new) = (policy(1, DENY), policy(2, &all(action)));
        let mut table = NameTable::default();
        let mut nameless = Binding::IDENTITY;
        nameless.any.insert(0);
        nameless.expiry = NOW + 5 * SECOND;
        table.adopt(&[(address(X), nameless)], &old, NOW);
        table.record(&answer(&["good.example"], X, 60, NOW), &old);
        table.rejudge(&new, |_| Vector::EMPTY);
        let truth = table.truth(&new, NOW);
        let binding = &truth[&address(X)];
        assert_eq!(rules(Some(binding)), [0], "{action}");
        assert_eq!(binding.all.classes().any(|class| class == 0), strikes, "{action}");
    }
}

#[test]
fn a_binding_that_a_sighting_explains_is_not_adopted() {
    let policy = policy(1, DENY);
    let mut table = NameTable::default();
    table.record(&answer(&["www.evil.example"], X, 60, NOW), &policy);
    let mut denied = Binding::IDENTITY;
    denied.any.insert(0);
    denied.expiry = NOW + 5 * SECOND;
    assert_eq!(table.adopt(&[(address(X), denied)], &policy, NOW), 0);
}

#[test]
fn an_exception_with_a_glob_spares_what_it_matches() {
    let except = |action: &str| {
        format!(
            "  - {{ name: r, action: {action}, to: {{ names: [\".zone.test\"], except: {{ names: [\"x-*.zone.test\"] }} }} }}\n"
        )
    };
    for action in ["deny", "allow"] {
        let policy = policy(1, &except(action));
        let mut table = NameTable::default();
        table.record(&answer(&["x-1.zone.test"], X, 60, NOW), &policy);
        table.record(&answer(&["y.zone.test"], "203.0.113.8", 60, NOW), &policy);
        let truth = table.truth(&policy, NOW);
        assert!(rules(truth.get(&address(X))).is_empty(), "{action}");
        assert_eq!(rules(truth.get(&address("203.0.113.8"))), [0], "{action}");
    }
}

#[test]
fn live_sightings_are_found_by_address_and_by_any_of_their_names() {
    let policy = policy(1, DENY);
    let mut table = NameTable::default();
    table.record(&answer(&["www.good.example", "x.evil.example"], X, 60, NOW), &policy);
    let known = table.sightings(&address(X), &policy, NOW + 99 * SECOND);
    let expected = KnownSighting {
        chain: vec!["www.good.example".to_owned(), "x.evil.example".to_owned()],
        trusted: true,
        seen: NOW,
        ttl: 60 * SECOND,
    };
    assert_eq!(known, [expected]);
    // Over for the rule that holds longest.
    assert_eq!(table.sightings(&address(X), &policy, NOW + 101 * SECOND), []);
    for name in ["www.good.example", "x.evil.example"] {
        assert_eq!(table.addresses(&Name::from_policy(name)), [address(X)], "{name}");
    }
    assert_eq!(table.addresses(&Name::from_policy("good.example")), []);
}

#[test]
fn sightings_of_one_address_are_bounded_and_counted() {
    let policy = policy(1, DENY);
    let mut table = NameTable::default();
    for n in 0..SIGHTINGS_MAX + 3 {
        table.record(&answer(&[&format!("h{n}.evil.example")], X, 60, NOW), &policy);
    }
    assert_eq!((table.usage().addresses, table.usage().refused.of_an_address), (1, 3));
    assert_eq!(rules(table.truth(&policy, NOW).get(&address(X))), [0]);
}

#[test]
fn what_spares_from_a_deny_lasts_as_long_as_an_allowance() {
    let policy = policy(
        1,
        "  - { name: net, action: deny, to: { cidrs: [203.0.113.0/24], except: { names: [ok.example] } } }\n",
    );
    let mut table = NameTable::default();
    table.record(&answer(&["ok.example"], X, 1, NOW), &policy);
    let spares = |age| {
        let now = NOW + age * SECOND;
        table.truth(&policy, now).get(&address(X)).is_some_and(|b| b.except.contains(0) && b.expiry >= now)
    };
    assert!(spares(0) && spares(9) && !spares(10) && !spares(99));
}

#[test]
fn answers_may_be_read_in_any_order() {
    let policy = policy(1, ALLOW);
    for order in [[0_usize, 1], [1, 0]] {
        let answers = [answer(&["good.example"], X, 15, NOW), answer(&["good.example"], X, 1, NOW + SECOND)];
        let mut table = NameTable::default();
        for at in order {
            table.record(&answers[at], &policy);
        }
        for (age, expected) in [(10, vec![0]), (14, vec![0]), (15, vec![])] {
            assert_eq!(rules(table.truth(&policy, NOW + age * SECOND).get(&address(X))), expected, "{age} s");
        }
    }
}

#[test]
fn what_is_behind_a_translator_is_known_by_the_address_it_stands_for() {
    const BEHIND: &str = "2001:db8:64::203.0.113.7";
    let translating = "  []\ndns: { nat64: [\"2001:db8:64::/96\"] }\n";
    let (with, without) = (policy(1, translating), policy(2, "  []\n"));
    let mut table = NameTable::default();
    table.record(&answer(&["a.example"], BEHIND, 60, NOW), &with);
    table.record(&answer(&["a.example"], X, 60, NOW), &with);
    table.record(&answer(&["b.example"], X, 60, NOW), &with);
    let names = |table: &NameTable, of: &str| -> Vec<String> {
        table.names(&address(of)).iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(&table, X), ["a.example", "b.example"]);
    assert!(names(&table, BEHIND).is_empty());
    assert_eq!(table.addresses(&Name::from_policy("a.example")), [address(X), address(BEHIND)]);
    // Without the prefix it stands for itself, and with it again not.
    table.rejudge(&without, Vector::clone);
    assert_eq!(names(&table, BEHIND), ["a.example"]);
    assert_eq!(names(&table, X), ["a.example", "b.example"]);
    table.rejudge(&with, Vector::clone);
    assert!(names(&table, BEHIND).is_empty());
}
