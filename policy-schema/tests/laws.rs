//! Laws of the language over random policies and connections.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests may stop at the first surprise")]

use policy_schema::{
    Connection, Decider, Decision, DomainName, Explanation, Mode, NoLists, Policy, PolicySet, Protocol,
    Sighting, Source, Verdict,
};
use proptest::prelude::*;

/// A rule in the language's own words, so that the laws hold for what people can write.
#[derive(Clone, Debug)]
struct RuleText {
    deny: bool,
    audit: bool,
    all: bool,
    names: Vec<String>,
    cidrs: Vec<String>,
    except_names: Vec<String>,
    except_cidrs: Vec<String>,
    may_resolve_to: bool,
    ports: bool,
    uid: bool,
}

impl RuleText {
    fn write(&self, index: usize) -> String {
        let action = if self.deny { "deny" } else { "allow" };
        let mode = if self.audit { "audit" } else { "enforce" };
        let shared = if self.all { "all" } else { "any" };
        let to = if self.names.is_empty() && self.cidrs.is_empty() {
            "any".to_owned()
        } else {
            format!(
                "{{ names: {:?}, cidrs: {:?}, except: {{ names: {:?}, cidrs: {:?} }} }}",
                self.names, self.cidrs, self.except_names, self.except_cidrs
            )
        };
        let mut text =
            format!("name: r{index}, action: {action}, mode: {mode}, sharedAddress: {shared}, to: {to}");
        if self.may_resolve_to && !self.deny {
            text.push_str(", mayResolveTo: [10.0.0.0/8]");
        }
        if self.ports {
            text.push_str(", ports: [443, 53/udp]");
        }
        if self.uid {
            text.push_str(", subjects: { users: [7] }");
        }
        format!("  - {{ {text} }}\n")
    }
}

fn pattern() -> impl Strategy<Value = String> {
    "(\\*\\.|\\.)?([ab]{1,2}\\.){0,2}(x|a\\*)\\.test"
}

fn cidr() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "203.0.113.0/24",
        "203.0.113.1",
        "10.0.0.0/8",
        "127.0.0.0/8",
        "2001:db8::/32",
        "0.0.0.0/0",
    ])
    .prop_map(str::to_owned)
}

prop_compose! {
    fn rule()(
        deny: bool, audit: bool, all: bool, may_resolve_to: bool,
        ports in prop::bool::weighted(0.2), uid in prop::bool::weighted(0.2),
        names in prop::collection::vec(pattern(), 0..3),
        cidrs in prop::collection::vec(cidr(), 0..2),
        except_names in prop::collection::vec(pattern(), 0..2),
        except_cidrs in prop::collection::vec(cidr(), 0..2),
    ) -> RuleText {
        RuleText { deny, audit, all, names, cidrs, except_names, except_cidrs, may_resolve_to, ports, uid }
    }
}

fn name() -> impl Strategy<Value = DomainName> {
    "([ab]{1,2}\\.){0,3}(x|a[ab]?)\\.test".prop_map(|text| DomainName::parse(&text).unwrap())
}

prop_compose! {
    fn connection()(
        address in prop::sample::select(vec![
            "203.0.113.1", "203.0.113.2", "10.0.0.1", "127.0.0.1", "0.0.0.0", "192.168.0.1", "2001:db8::1",
            "2606::1", "::1", "::ffff:203.0.113.1", "::ffff:10.0.0.1", "224.0.0.1",
        ]),
        port in prop::sample::select(vec![443, 53, 853, 25]),
        udp: bool, resolver in prop::bool::weighted(0.2), uid in 6u32..9,
        sightings in prop::collection::vec((name(), prop::collection::vec(name(), 0..2)), 0..3),
    ) -> Connection {
        let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
        let mut connection = Connection::new(address.parse().unwrap(), port, protocol);
        connection.uid = Some(uid);
        connection.resolver = resolver;
        connection.sightings =
            sightings.into_iter().map(|(question, chain)| Sighting::new(question, chain)).collect();
        connection
    }
}

fn set(rules: &[RuleText], default: &str, mode: Option<Mode>) -> PolicySet {
    let rules: String = rules.iter().enumerate().map(|(index, rule)| rule.write(index)).collect();
    let text = format!(
        "version: 1\ndefault: {default}\nrules:\n{}\n",
        if rules.is_empty() { "  []" } else { &rules }
    );
    let source = Source { path: "laws.yaml".into(), text };
    let (policy, _) = Policy::parse(&source, &NoLists).unwrap_or_else(|report| panic!("{}", report.render()));
    PolicySet::new(vec![policy], mode).unwrap().0
}

fn decided_by(set: &PolicySet, decision: &Decision) -> Option<(bool, Mode)> {
    let Decider::Rule(class) = decision.rule else { return None };
    let rule = set.rule(class).unwrap();
    Some((rule.action() == policy_schema::Action::Deny, rule.mode()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_audit_rule_never_changes_what_happens(
        rules in prop::collection::vec(rule(), 0..6), extra in rule(), deny: bool, connection in connection(),
    ) {
        let default = if deny { "deny" } else { "allow" };
        let before = set(&rules, default, None).decide(&connection);
        let mut more = rules.clone();
        more.push(RuleText { audit: true, ..extra });
        let after = set(&more, default, None).decide(&connection);
        prop_assert_eq!((before.effective, before.blocked, before.errno), (after.effective, after.blocked, after.errno));
    }

    #[test]
    fn a_further_deny_never_opens_and_a_further_allow_never_closes(
        rules in prop::collection::vec(rule(), 0..6), extra in rule(), deny: bool, connection in connection(),
    ) {
        let default = if deny { "deny" } else { "allow" };
        let before = set(&rules, default, None).decide(&connection);
        let mut more = rules.clone();
        more.push(extra.clone());
        let after = set(&more, default, None).decide(&connection);
        let stricter = |from: Verdict, to: Verdict| from <= to;
        if extra.deny {
            prop_assert!(stricter(before.verdict, after.verdict) && stricter(before.effective, after.effective));
        } else {
            prop_assert!(stricter(after.verdict, before.verdict) && stricter(after.effective, before.effective));
        }
    }

    #[test]
    fn deny_beats_allow(rules in prop::collection::vec(rule(), 1..8), connection in connection()) {
        let whole = set(&rules, "allow", None);
        let denies: Vec<RuleText> = rules.iter().filter(|rule| rule.deny).cloned().collect();
        let alone = set(&denies, "allow", None).decide(&connection);
        let decision = whole.decide(&connection);
        prop_assert_eq!(decision.verdict, alone.verdict);
        prop_assert_eq!(decision.effective, alone.effective);
        if let Some((deny, _)) = decided_by(&whole, &decision) {
            prop_assert_eq!(deny, decision.verdict == Verdict::Deny);
        }
    }

    #[test]
    fn an_explanation_has_the_decision_and_every_rule_that_matches(
        rules in prop::collection::vec(rule(), 0..6), deny: bool, connection in connection(),
    ) {
        let whole = set(&rules, if deny { "deny" } else { "allow" }, None);
        let Explanation { decision, rules: read } = whole.explain(&connection);
        prop_assert_eq!(&decision, &whole.decide(&connection));
        prop_assert_eq!(read.len(), rules.len());
        for (class, found) in &read {
            // A rule matches if it decides where it stands alone; a built-in allow comes before allow rules.
            let rule = whole.rule(*class).unwrap();
            let index = rule.name().trim_start_matches('r').parse::<usize>().unwrap();
            let alone = set(&rules[index..=index], "allow", None).decide(&connection);
            if alone.rule != Decider::Builtin {
                prop_assert_eq!(found.is_ok(), matches!(alone.rule, Decider::Rule(_)), "{:?} {:?}", rule, found);
            }
            if decision.rule == Decider::Rule(*class) {
                prop_assert_eq!(found.as_ref().ok(), Some(&decision.why));
            }
        }
    }

    #[test]
    fn the_order_of_rules_does_not_matter(
        (rules, shuffled) in prop::collection::vec(rule(), 0..6)
            .prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
        deny: bool, connection in connection(),
    ) {
        let default = if deny { "deny" } else { "allow" };
        let (one, other) = (set(&rules, default, None), set(&shuffled, default, None));
        let (one, other) = (one.decide(&connection), other.decide(&connection));
        prop_assert_eq!((one.verdict, one.effective), (other.verdict, other.effective));
    }

    #[test]
    fn audit_mode_blocks_nothing_and_says_the_same(
        rules in prop::collection::vec(rule(), 0..6), deny: bool, connection in connection(),
    ) {
        let default = if deny { "deny" } else { "allow" };
        let audit = set(&rules, default, Some(Mode::Audit)).decide(&connection);
        let enforce = set(&rules, default, Some(Mode::Enforce)).decide(&connection);
        prop_assert!(!audit.blocked && audit.errno.is_none());
        prop_assert_eq!(audit.verdict, enforce.verdict);
        prop_assert_eq!(enforce.verdict, enforce.effective);
        prop_assert_eq!((audit.rule, audit.why), (enforce.rule, enforce.why));
    }

    #[test]
    fn no_name_and_no_default_denies_loopback_or_a_resolver(
        rules in prop::collection::vec(rule(), 0..6), mut connection in connection(), loopback: bool,
    ) {
        if loopback {
            connection.address = "127.0.0.53".parse().unwrap();
        } else {
            (connection.resolver, connection.port) = (true, 53);
        }
        let set = set(&rules, "deny", None);
        let decision = set.decide(&connection);
        match decision.rule {
            Decider::Builtin => prop_assert_eq!(decision.verdict, Verdict::Allow),
            Decider::Rule(class) => prop_assert!(!set.rule(class).unwrap().cidrs().is_empty()),
            Decider::Default | Decider::LiteralAddress | Decider::OtherResolver => prop_assert!(false, "{:?}", decision.rule),
        }
    }

    #[test]
    fn the_mapped_address_is_the_address(rules in prop::collection::vec(rule(), 0..6), connection in connection()) {
        let std::net::IpAddr::V4(address) = connection.address else { return Ok(()) };
        let mapped = Connection { address: address.to_ipv6_mapped().into(), ..connection.clone() };
        let set = set(&rules, "deny", None);
        prop_assert_eq!(set.decide(&connection), set.decide(&mapped));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(version: 1\n)?(rules:\n)?[ -~\n\t]{0,80}") {
        let source = Source { path: "noise.yaml".into(), text };
        if let Err(report) = Policy::parse(&source, &NoLists) {
            prop_assert!(!report.diagnostics().is_empty());
            prop_assert!(report.render().contains("error["));
            for found in report.diagnostics() {
                let lines = source.text.lines().count();
                prop_assert!(found.line >= 1 && found.column >= 1 && found.line <= lines + 1, "{:?}", found);
            }
        }
    }
}
