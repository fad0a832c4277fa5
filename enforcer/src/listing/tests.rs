use super::*;
use crate::names::NameTable;
use crate::names::tests::{NOW, answer, policy};

const RULES: &str = "  - { name: bad, action: deny, to: { names: [\"*.evil.example\"] } }
  - { name: fine, action: allow, to: { names: [\"good.example\"] } }
";

fn table(policy: &Compiled) -> NameTable {
    let mut table = NameTable::default();
    for (chain, to) in [
        (&["www.evil.example"][..], "203.0.113.7"),
        (&["front.test", "x.evil.example"], "203.0.113.8"),
        (&["good.example"], "203.0.113.7"),
        (&["ads-1.test"], "2001:db8::7"),
    ] {
        table.record(&Answer { cgroup: 5, ..answer(chain, to, 60, NOW) }, policy);
    }
    table
}

use crate::dns::Answer;

fn listed(query: &Query) -> Vec<String> {
    let policy = policy(1, RULES);
    let filter = Filter::new(query, &policy).unwrap();
    let page = table(&policy).list(&filter, None, &policy, NOW, |id| Some(format!("/{id}")));
    assert_eq!(page.next, None);
    page.rows.into_iter().map(|row| format!("{} {}", row.name, row.address)).collect()
}

#[test]
fn each_part_of_a_query_narrows_it() {
    let all = listed(&Query::default());
    assert_eq!(all.len(), 4);
    let by = |query: Query| listed(&query);
    let pattern = |text: &str| Query { pattern: Some(text.to_owned()), ..Query::default() };
    // An alias counts as a name.
    assert_eq!(by(pattern("*.evil.example")), ["www.evil.example 203.0.113.7", "front.test 203.0.113.8"]);
    assert_eq!(by(pattern("EVIL.example")), [""; 0]);
    assert_eq!(by(pattern(".good.example")), ["good.example 203.0.113.7"]);
    assert_eq!(by(pattern("ads-*.test")), ["ads-1.test 2001:db8::7"]);
    assert_eq!(by(pattern("*")).len(), 4);
    let network = |text: &str| Query { network: Some(text.to_owned()), ..Query::default() };
    assert_eq!(by(network("203.0.113.8")), ["front.test 203.0.113.8"]);
    assert_eq!(by(network("203.0.113.0/24")).len(), 3);
    let denied = Query { denied: true, ..Query::default() };
    assert_eq!(by(denied.clone()), ["www.evil.example 203.0.113.7", "front.test 203.0.113.8"]);
    assert_eq!(
        by(Query { network: Some("203.0.113.7".to_owned()), ..denied }),
        ["www.evil.example 203.0.113.7"]
    );
    for rule in ["fine", "p/fine"] {
        let rule = Query { rule: Some(rule.to_owned()), ..Query::default() };
        assert_eq!(by(rule.clone()), ["good.example 203.0.113.7"]);
        assert_eq!(by(Query { denied: true, ..rule }), [""; 0]);
    }
}

#[test]
fn a_query_that_cannot_be_meant_is_an_error() {
    let policy = policy(1, RULES);
    let query = |change: fn(&mut Query)| {
        let mut query = Query::default();
        change(&mut query);
        Filter::new(&query, &policy).unwrap_err()
    };
    assert!(query(|query| query.rule = Some("x".to_owned())).contains("no rule `x`"));
    assert!(query(|query| query.pattern = Some("a..b".to_owned())).contains("`a..b`"));
    assert!(query(|query| query.network = Some("1.2.3".to_owned())).contains("`1.2.3`"));
}

#[test]
fn a_row_tells_who_asked_and_what_matches_for_how_long() {
    let policy = policy(1, RULES);
    let mut table = table(&policy);
    table.record(&Answer { cgroup: 6, ..answer(&["www.evil.example"], "203.0.113.7", 1, NOW) }, &policy);
    let query = Query { pattern: Some("www.evil.example".to_owned()), ..Query::default() };
    let filter = Filter::new(&query, &policy).unwrap();
    let path = |id| (id == 5).then(|| "/ci".to_owned());
    let page = table.list(&filter, None, &policy, NOW + 70_000_000_000, path);
    let row = serde_json::to_value(&page.rows).unwrap();
    // `hold.deny` of the policy is 100 s.
    let expected = serde_json::json!([{
        "name": "www.evil.example", "aliases": [], "address": "203.0.113.7", "hostsFile": false, "trusted": true,
        "secondsAgo": 70, "ttl": 60, "secondsLeft": 30, "askedBy": ["#6", "/ci"],
        "rules": [{ "policy": "p", "rule": "bad", "action": "deny", "secondsLeft": 30 }],
    }]);
    assert_eq!(row, expected);
    assert!(table.list(&filter, None, &policy, NOW + 101_000_000_000, path).rows.is_empty());
}

#[test]
fn pages_join_to_the_whole() {
    let policy = policy(1, RULES);
    let mut table = NameTable::default();
    for n in 0..1000_u32 {
        let address = std::net::Ipv4Addr::from(0xcb00_7100 + n).to_string();
        table.record(&answer(&[&format!("h{n}.evil.example")], &address, 60, NOW), &policy);
        table.record(&answer(&["shared.example"], &address, 60, NOW), &policy);
    }
    let filter = Filter::new(&Query::default(), &policy).unwrap();
    let (mut rows, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = table.list(&filter, after, &policy, NOW, |_| None);
        assert!(page.rows.len() <= 257);
        rows.extend(page.rows);
        pages += 1;
        let Some(next) = page.next else { break };
        after = Some(next.into());
    }
    assert_eq!((rows.len(), pages), (2000, 8));
    rows.dedup();
    assert_eq!(rows.len(), 2000);
}
