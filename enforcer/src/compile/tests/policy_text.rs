//! Random policies, as their writers spell them.

use super::world::TRANSLATORS;
use policy_schema::{NoLists, Policy, PolicySet, Source};
use proptest::{collection::vec, prelude::*, sample::select};
use std::fmt::{self, Write as _};

const PATTERNS: &[&str] = &[
    "a.example",
    "*.a.example",
    ".a.example",
    "*.example",
    "evil.example",
    ".evil.example",
    "*.good.test",
    "good.test",
    ".good.test",
    "b.a.example",
    "ads-*.a.example",
    "*evil.example",
    "*-1.a.example",
    ".good*.test",
];
const CIDRS: &[&str] = &[
    "203.0.113.0/24",
    "203.0.113.0/28",
    "203.0.113.7",
    "198.18.0.0/15",
    "198.18.0.9",
    "2001:db8::/32",
    "2001:db8::7",
    "10.0.0.0/8",
    "127.0.0.0/8",
    "::1",
    "192.0.2.53",
    "0.0.0.0/0",
    "::/0",
];
const MAY_RESOLVE_TO: &[&str] = &["10.0.0.0/8", "10.1.0.0/16", "fc00::/7"];
const PORTS: &[&str] = &["443/tcp", "8000-8100", "53/udp", "53", "80-853/udp", "443-853/tcp", "1-65535/udp"];
const CGROUPS: &[&str] = &["/ci/**", "/ci/*", "/ci/job", "/**"];
const ERRNOS: &[&str] = &["EPERM", "EACCES", "ECONNREFUSED", "ENETUNREACH"];
const HOLDS: &[&str] = &["1m", "1m", "5m", "2h"];

/// A user who never connects.
const NOBODY: u32 = 65_534;

/// A policy file.
#[derive(Clone)]
pub(super) struct PolicyText {
    pub default_deny: bool,
    /// The mode of the file: that of its `default` and `literalAddresses`.
    pub audit: bool,
    pub literal: &'static str,
    pub rules: Vec<RuleText>,
    /// How many rules that match nothing stand in front of which rule, so that classes are not always small.
    pub filler: (usize, usize),
}

/// One rule of it.
#[derive(Clone, Debug)]
pub(super) struct RuleText {
    pub name: String,
    pub deny: bool,
    pub any: bool,
    pub names: Vec<&'static str>,
    pub cidrs: Vec<&'static str>,
    pub except_names: Vec<&'static str>,
    pub except_cidrs: Vec<&'static str>,
    pub ports: Vec<&'static str>,
    pub users: Vec<&'static str>,
    pub cgroups: Vec<&'static str>,
    pub units: Vec<&'static str>,
    pub audit: bool,
    pub all: bool,
    pub errno: &'static str,
    pub may_resolve_to: Vec<&'static str>,
    pub hold: Option<&'static str>,
}

impl PolicyText {
    /// The policy, which has no faults.
    pub(super) fn parse(&self) -> PolicySet {
        let source = Source { path: "random.yaml".into(), text: self.to_string() };
        let parsed = Policy::parse(&source, &NoLists);
        let (policy, _) = parsed.unwrap_or_else(|report| panic!("{}\n{self}", report.render()));
        PolicySet::new(vec![policy], None).unwrap().0
    }
}

impl fmt::Display for PolicyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { default_deny, audit, literal, rules, filler: (position, count) } = self;
        let (default, mode) = (action(*default_deny), mode(*audit));
        writeln!(
            f,
            "version: 1\nname: random\nmode: {mode}\ndefault: {default}\nliteralAddresses: {literal}\n\
             dns: {{ nat64: {TRANSLATORS} }}\nrules:"
        )?;
        if rules.is_empty() && *count == 0 {
            writeln!(f, "  []")?;
        }
        let (before, after) = rules.split_at((*position).min(rules.len()));
        before.iter().try_for_each(|rule| write!(f, "{rule}"))?;
        for number in 0..*count {
            writeln!(
                f,
                "  - {{ name: f{number}, action: deny, to: any, subjects: {{ users: [{NOBODY}] }} }}"
            )?;
        }
        after.iter().try_for_each(|rule| write!(f, "{rule}"))
    }
}

/// As text, so that what a failed test prints can be put into a file.
impl fmt::Debug for PolicyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

impl fmt::Display for RuleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  - {{ name: {}, action: {}, to: ", self.name, action(self.deny))?;
        if self.any {
            f.write_str("any")?;
        } else {
            // A rule that lost what it matched still stands in its place.
            let nothing = self.names.is_empty() && self.cidrs.is_empty();
            let names = if nothing { &vec!["nothing.invalid"] } else { &self.names };
            let lists = [("names", list(names)), ("cidrs", list(&self.cidrs))];
            let except = [("names", list(&self.except_names)), ("cidrs", list(&self.except_cidrs))];
            f.write_str(&map(&[lists.as_slice(), &[("except", map(&except))]].concat()))?;
        }
        let subjects =
            [("users", list(&self.users)), ("cgroups", list(&self.cgroups)), ("units", list(&self.units))];
        let hold = self.hold.map(|hold| format!("{{ {}: {hold} }}", action(self.deny)));
        let names = !self.any && !self.names.is_empty();
        let keys = [
            ("ports", list(&self.ports)),
            ("subjects", map(&subjects)),
            ("mode", mode(self.audit).to_owned()),
            ("sharedAddress", if self.all { "all".to_owned() } else { String::new() }),
            ("errno", if self.deny { self.errno.to_owned() } else { String::new() }),
            ("mayResolveTo", if !self.deny && names { list(&self.may_resolve_to) } else { String::new() }),
            ("hold", hold.unwrap_or_default()),
        ];
        for (key, value) in keys.iter().filter(|(_, value)| !value.is_empty()) {
            write!(f, ", {key}: {value}")?;
        }
        writeln!(f, " }}")
    }
}

impl Default for RuleText {
    fn default() -> Self {
        Self {
            name: "r".to_owned(),
            deny: true,
            any: false,
            names: Vec::new(),
            cidrs: Vec::new(),
            except_names: Vec::new(),
            except_cidrs: Vec::new(),
            ports: Vec::new(),
            users: Vec::new(),
            cgroups: Vec::new(),
            units: Vec::new(),
            audit: false,
            all: false,
            errno: "EPERM",
            may_resolve_to: Vec::new(),
            hold: None,
        }
    }
}

/// Whether a pattern has a `*` inside a label.
pub(super) fn is_glob(pattern: &str) -> bool {
    pattern.trim_start_matches("*.").contains('*')
}

prop_compose! {
    /// A policy of few rules, so that each has a chance to decide.
    pub(super) fn policy_text()(
        default_deny: bool,
        audit in prop::bool::weighted(0.2),
        literal in select(&["allow", "allow", "allow", "audit", "deny"][..]),
        rules in vec(rule(), 0..9),
        position in 0..3_usize,
        fillers in prop_oneof![80 => Just(0), 15 => 56..67_usize, 4 => 120..130_usize, 1 => 440..500_usize],
    ) -> PolicyText {
        let number = |(number, rule)| RuleText { name: format!("r{number}"), ..rule };
        let rules = rules.into_iter().enumerate().map(number).collect();
        PolicyText { default_deny, audit, literal, rules, filler: (position, fillers) }
    }
}

prop_compose! {
    fn rule()(
        deny in prop::bool::weighted(0.47),
        (names, cidrs, any) in prop_oneof![
            16 => (some(PATTERNS, 1..4), Just(Vec::new()), Just(false)),
            4 => (Just(Vec::new()), some(CIDRS, 1..3), Just(false)),
            14 => (some(PATTERNS, 1..4), some(CIDRS, 1..3), Just(false)),
            1 => (Just(Vec::new()), Just(Vec::new()), Just(true)),
        ],
        except_names in often(1, 1, some(PATTERNS, 1..3)),
        except_cidrs in often(3, 2, some(CIDRS, 1..2)),
        ports in often(3, 1, some(PORTS, 1..3)),
        (users, cgroups, units) in prop_oneof![
            10 => Just((Vec::new(), Vec::new(), Vec::new())),
            2 => (some(&["0", "1000"], 1..2), often(3, 1, some(CGROUPS, 1..2)), Just(Vec::new())),
            2 => (Just(Vec::new()), some(CGROUPS, 1..2), often(3, 1, Just(vec!["nginx.service"]))),
            2 => (often(3, 1, some(&["0", "1000"], 1..2)), Just(Vec::new()), Just(vec!["nginx.service"])),
        ],
        audit in prop::bool::weighted(0.3),
        all in prop::bool::weighted(0.3),
        errno in select(ERRNOS),
        may_resolve_to in often(2, 5, some(MAY_RESOLVE_TO, 1..4)),
        hold in prop_oneof![1 => Just(None), 2 => select(HOLDS).prop_map(Some)],
    ) -> RuleText {
        RuleText {
            name: String::new(), deny, any, names, cidrs, except_names, except_cidrs, ports, users, cgroups, units, audit,
            all, errno, may_resolve_to, hold,
        }
    }
}

/// A few of the items, each once.
fn some<T: Clone + Copy + Ord + fmt::Debug + 'static>(
    items: &'static [T],
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<T>> {
    vec(select(items), count).prop_map(|mut items| {
        items.sort_unstable();
        items.dedup();
        items
    })
}

/// Nothing, or something, with these weights.
fn often<T: Clone + fmt::Debug>(
    nothing: u32,
    something: u32,
    items: impl Strategy<Value = Vec<T>>,
) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![nothing => Just(Vec::new()), something => items]
}

fn action(deny: bool) -> &'static str {
    if deny { "deny" } else { "allow" }
}

fn mode(audit: bool) -> &'static str {
    if audit { "audit" } else { "enforce" }
}

/// A list in YAML; empty for none.
fn list<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
    format!("[{}]", items.join(", "))
}

/// A map in YAML, of the keys that have a value; empty for none.
fn map(keys: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (key, value) in keys.iter().filter(|(_, value)| !value.is_empty()) {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}{key}: {value}");
    }
    if text.is_empty() { text } else { format!("{{ {text} }}") }
}
