//! What happens when there is no room: nothing is forgotten that denies, and nothing is allowed that would not be.

use super::*;

fn nth(n: u32) -> String {
    std::net::Ipv4Addr::from(0xcb00_0000 + n).to_string()
}

#[test]
fn a_flood_of_other_names_takes_no_room_of_denied_ones() {
    let policy = policy(1, DENY);
    let mut table = NameTable::default();
    for n in 0..OTHERS_MAX as u32 + 3 {
        table.record(&answer(&[&format!("h{n}.example")], &nth(n), 60, NOW), &policy);
    }
    assert_eq!(table.usage().refused, Refused { addresses: 3, ..Refused::default() });
    table.record(&answer(&["www.evil.example"], "198.51.100.7", 60, NOW), &policy);
    let Usage { addresses, denied, nameless, refused } = table.usage();
    assert_eq!((addresses, denied, nameless, refused.total()), (OTHERS_MAX + 1, 1, 0, 3));
    assert_eq!(table.names(&address("198.51.100.7")).len(), 1);
    assert_eq!(rules(table.truth(&policy, NOW).get(&address("198.51.100.7"))), [0]);
}

#[test]
fn a_name_with_thousands_of_addresses_is_denied_at_each() {
    let policy = policy(1, DENY);
    let mut table = NameTable::default();
    const COUNT: u32 = 5000;
    for n in 0..COUNT {
        table.record(&answer(&["www.evil.example"], &nth(n), 1, NOW), &policy);
    }
    let Usage { addresses, nameless, refused, .. } = table.usage();
    assert_eq!(addresses, ADDRESSES_OF_A_NAME_MAX as usize);
    assert_eq!(
        (nameless, refused.of_a_name),
        ((COUNT - ADDRESSES_OF_A_NAME_MAX) as usize, (COUNT - ADDRESSES_OF_A_NAME_MAX).into())
    );
    for age in [0, 99] {
        let truth = table.truth(&policy, NOW + age * SECOND);
        assert!((0..COUNT).all(|n| rules(truth.get(&address(&nth(n)))) == [0]), "{age} s");
    }
    // Another name still finds room, and what is over gives its room back.
    table.record(&answer(&["x.evil.example"], &nth(COUNT), 1, NOW + 50 * SECOND), &policy);
    assert_eq!(table.names(&address(&nth(COUNT))).len(), 1);
    assert!(table.expire(&policy, NOW + 100 * SECOND));
    let Usage { addresses, denied, nameless, .. } = table.usage();
    assert_eq!((addresses, denied, nameless), (1, 1, 0));
    table.record(&answer(&["www.evil.example"], X, 1, NOW + 100 * SECOND), &policy);
    assert_eq!(table.usage().addresses, 2);
}

#[test]
fn a_crowded_address_still_learns_that_it_is_denied() {
    let policy = policy(1, &format!("{DENY}{ALLOW}"));
    let mut table = NameTable::default();
    for n in 0..SIGHTINGS_MAX {
        table.record(&answer(&[&format!("h{n}.example")], X, 60, NOW), &policy);
    }
    assert!(table.usage().refused.of_an_address > 0);
    // What allows has no room of its own, and keeps what it says until it would have ended.
    table.record(&answer(&["good.example"], X, 60, NOW), &policy);
    table.record(&answer(&["www.evil.example"], X, 60, NOW), &policy);
    assert!(table.names(&address(X)).contains(&Name::from_policy("www.evil.example")));
    for (age, expected) in [(0, vec![0, 1]), (59, vec![0, 1]), (61, vec![0])] {
        let now = NOW + age * SECOND;
        let truth = table.truth(&policy, now);
        assert_eq!(rules(truth.get(&address(X))), expected, "{age} s");
    }
}

#[test]
fn a_table_that_is_full_says_so_until_something_ends() {
    let policy = policy(1, DENY);
    let mut table = NameTable::default();
    let mut denied = Binding { expiry: NOW + SECOND, ..Binding::IDENTITY };
    denied.any.insert(0);
    let fresh: Vec<_> = (0..NAMELESS_MAX as u32).map(|n| (address(&nth(n)), denied)).collect();
    assert_eq!(table.adopt(&fresh, &policy, NOW), NAMELESS_MAX);
    assert!(table.is_full());
    let count = SIGHTINGS_MAX as u64;
    for n in 0..=count {
        table.record(&answer(&[&format!("h{n}.evil.example")], "198.51.100.7", 60, NOW), &policy);
    }
    assert_eq!(table.usage().refused, Refused { of_an_address: 1, nameless: 1, ..Refused::default() });
    assert!(table.expire(&policy, NOW + 100 * SECOND));
    assert!(!table.is_full());
}

#[test]
fn a_lost_record_leaves_no_rule_too_open_that_wants_all_names() {
    const ALL: &str = "  - { name: a, action: allow, sharedAddress: all, to: { names: [good.example] } }\n";
    const EXCEPT: &str =
        "  - { name: a, action: allow, to: { cidrs: [203.0.113.0/24], except: { names: [bad.example] } } }\n";
    let known = |rules: &str| {
        let policy = policy(1, rules);
        let mut table = NameTable::default();
        table.record(&answer(&["good.example"], X, 60, NOW), &policy);
        (table, policy)
    };
    let holds = |table: &NameTable, policy: &Compiled, now: u64| {
        let binding = table.truth(policy, now).get(&address(X)).copied().unwrap_or(Binding::IDENTITY);
        (binding.all.contains(0), binding.except.contains(0))
    };
    // What the binder made of `good.example` and of another name whose record was lost.
    let (mut table, all) = known(ALL);
    let mut bound = Binding { all: Vector::EMPTY, expiry: NOW + 20 * SECOND, ..Binding::IDENTITY };
    bound.any.insert(0);
    assert_eq!(holds(&table, &all, NOW), (true, false));
    assert_eq!(table.adopt(&[(address(X), bound)], &all, NOW), 1);
    assert_eq!(holds(&table, &all, NOW), (false, false));
    assert_eq!(holds(&table, &all, NOW + 21 * SECOND), (true, false), "until it would have ended");

    let (mut table, except) = known(EXCEPT);
    let mut bound = Binding { expiry: NOW + 20 * SECOND, ..Binding::IDENTITY };
    bound.except.insert(0);
    assert!(!holds(&table, &except, NOW).1);
    assert_eq!(table.adopt(&[(address(X), bound)], &except, NOW), 1);
    assert!(holds(&table, &except, NOW).1);

    // What the table knows is not taken for lost, and what spares a deny is not believed without a name.
    let (mut table, all) = known(ALL);
    let mut bound = Binding { all: Vector::EMPTY, expiry: NOW + 20 * SECOND, ..Binding::IDENTITY };
    bound.any.insert(0);
    bound.all.insert(0);
    assert_eq!(table.adopt(&[(address(X), bound)], &all, NOW), 0);
    let deny = policy(1, &ALL.replace("allow", "deny"));
    let mut table = NameTable::default();
    table.record(&answer(&["good.example"], X, 60, NOW), &deny);
    bound.all = Vector::EMPTY;
    table.adopt(&[(address(X), bound)], &deny, NOW);
    assert!(holds(&table, &deny, NOW).0);
}

#[test]
fn the_hosts_file_counts_while_it_says_so_and_then_as_long_as_any_answer() {
    let policy = policy(1, &format!("{DENY}{ALLOW}"));
    let hosts = |names: &[&str]| {
        BTreeMap::from([(address(X), names.iter().map(|name| Name::from_policy(name)).collect())])
    };
    let mut table = NameTable::default();
    table.set_hosts(&hosts(&["www.evil.example", "good.example"]), &policy, NOW);
    let later = NOW + 1_000_000 * SECOND;
    assert!(!table.expire(&policy, later));
    assert_eq!(rules(table.truth(&policy, later).get(&address(X))), [0, 1]);
    assert_eq!(table.truth(&policy, later)[&address(X)].expiry, u64::MAX);
    table.set_hosts(&hosts(&["www.evil.example"]), &policy, later);
    for (age, expected) in [(9, vec![0, 1]), (11, vec![0]), (1000, vec![0])] {
        let truth = table.truth(&policy, later + age * SECOND);
        assert_eq!(rules(truth.get(&address(X))), expected, "{age} s");
    }
    table.set_hosts(&BTreeMap::new(), &policy, later);
    assert!(table.expire(&policy, later + 100 * SECOND));
    assert_eq!(table.usage().addresses, 0);
}

#[test]
fn what_would_be_if_nothing_had_ended_is_known_once_something_has() {
    let policy = policy(1, &format!("{DENY}{ALLOW}"));
    let mut table = NameTable::default();
    table.record(&answer(&["good.example", "x.evil.example"], X, 1, NOW), &policy);
    let would = |table: &NameTable, age| {
        let binding = table.if_nothing_had_ended(&address(X), &policy, NOW + age * SECOND);
        binding.map(|binding| (rules(Some(&binding)), binding.expiry))
    };
    assert_eq!(would(&table, 5), None);
    // Over for what allows, then for everything, and forgotten.
    for (age, forgotten) in [(11, false), (101, true)] {
        table.expire(&policy, NOW + age * SECOND);
        assert_eq!(table.has_ended(&address(X)), forgotten);
        assert_eq!(would(&table, age), Some((vec![0, 1], u64::MAX)), "{age} s");
    }
}
