use std::time::Duration;

use super::*;
use crate::policy_set::PolicySet;
use crate::source::{ListFile, NoLists};
use crate::terms::{
    Errno, Inbound, LiteralAddresses, OnDeny, OnError, OtherResolvers, Protocol, SharedAddress,
};
use crate::{PortRange, Resolver, TrustedResolvers, User};

const EXAMPLE: &str = r#"
version: 1
name: ci-guard                 # default: the file's stem
mode: enforce                  # audit | enforce (default enforce); --mode on the command line overrides all
default: allow                 # allow | deny: what happens to a connection that no rule matches
onError: default               # default (= the policy's `default`) | allow | deny
inbound: allow                 # allow | judge
literalAddresses: allow        # allow | audit | deny: an address that no lookup preceded
hold: { deny: 1h, allow: 10m } # a binding lives at least this long after its last sighting; also per rule
dns: { trustedResolvers: ["192.0.2.53", {address: 127.0.0.1, unit: dnsmasq.service}], otherResolvers: deny, nat64: ["64:ff9b::/96"] }
sockets: { exempt: ["my.service"] }
rules:
  - name: malware              # unique within the file
    action: deny               # allow | deny
    to:                        # or `to: any`
      names: ["*.evil.example", "bad.test", "ads-*.example.com"]
      lists: ["lists/malware.txt"]        # path relative to this file, file or directory, format detected
      cidrs: ["203.0.113.0/24", "2001:db8::/32"]
      except: { names: ["ok.evil.example"], cidrs: [] }
    ports: [443, "8000-8100", "53/udp"]   # default: every port, tcp and udp
    subjects: { units: ["nginx.service"], cgroups: ["/ci/**"], users: ["www-data", 1000] }   # default: everyone
    mode: audit                # a rule can be audit inside an enforcing policy
    sharedAddress: all         # any | all
    errno: ECONNREFUSED        # EPERM | EACCES | ECONNREFUSED | ENETUNREACH
    refuseLookup: true         # deny rules: also refuse the DNS query itself
    onDeny: close              # drop | close: what happens to live flows when this deny comes into force
    hold: { deny: 2d }
  - name: registry
    action: allow
    to: { names: ["registry.corp.example", ".both.corp.example", "*.below.corp.example"] }
    mayResolveTo: ["10.1.0.0/16"]         # allow rules: special-use ranges these names may have
    preResolve: true                      # allow rules
    allowBroad: false
"#;

/// Answers every path with its own name as a list.
struct Echo;

impl ReadList for Echo {
    fn read(&self, path: &Path) -> std::io::Result<Vec<ListFile>> {
        assert_eq!(path, Path::new("/etc/enforcer/lists/malware.txt"));
        Ok(vec![ListFile { path: path.to_path_buf(), bytes: Box::new(b"listed.test\nbad.test\n".to_vec()) }])
    }
}

fn source(text: &str) -> Source {
    Source { path: "/etc/enforcer/guard.yaml".into(), text: text.to_owned() }
}

fn found(text: &str) -> Vec<Diagnostic> {
    match policy(&source(text), &NoLists) {
        Ok((_, warnings)) => warnings,
        Err(report) => report.into_diagnostics(),
    }
}

#[test]
fn every_key_of_the_example_arrives() {
    let (policy, warnings) = policy(&source(EXAMPLE), &Echo).unwrap();
    assert_eq!(warnings.iter().map(|found| found.code).collect::<Vec<_>>(), ["duplicate-names"]);
    assert_eq!((policy.name(), policy.mode(), policy.rules().len()), ("ci-guard", Mode::Enforce, 2));
    let [malware, registry] = policy.rules() else { panic!("two rules") };
    let names: Vec<String> = malware.names().map(|name| name.to_string()).collect();
    assert_eq!(names, ["*.evil.example", "bad.test", "listed.test"]);
    assert_eq!(malware.globs().patterns()[0].to_string(), "ads-*.example.com");
    assert_eq!(malware.except_names().map(|name| name.name).collect::<Vec<_>>(), ["ok.evil.example"]);
    assert_eq!(malware.cidrs().len(), 2);
    assert_eq!(
        malware.ports(),
        [
            PortRange { protocol: None, first: 443, last: 443 },
            PortRange { protocol: None, first: 8000, last: 8100 },
            PortRange { protocol: Some(Protocol::Udp), first: 53, last: 53 },
        ]
    );
    let subjects = malware.subjects().unwrap();
    assert_eq!(subjects.users(), [User::Name("www-data".into()), User::Id(1000)]);
    assert_eq!((&*subjects.units()[0], subjects.cgroups()[0].as_str()), ("nginx.service", "/ci/**"));
    assert_eq!((malware.mode(), malware.shared_address()), (Mode::Audit, SharedAddress::All));
    assert_eq!((malware.errno(), malware.on_deny()), (Errno::ECONNREFUSED, OnDeny::Close));
    assert!(malware.refuse_lookup());
    assert_eq!(malware.hold(), Duration::from_secs(2 * 86_400));
    assert_eq!((malware.location().line, malware.location().column), (13, 11));
    assert_eq!(malware.lists()[0].names, 1);

    assert_eq!((registry.hold(), registry.mode()), (Duration::from_secs(600), Mode::Enforce));
    assert_eq!(registry.may_resolve_to()[0].to_string(), "10.1.0.0/16");
    let resolved: Vec<&str> = registry.pre_resolve().iter().map(|name| name.as_str()).collect();
    assert_eq!(resolved, ["registry.corp.example", "both.corp.example"]);
    assert!(registry.subjects().is_none() && registry.ports().is_empty() && !registry.is_any());

    let (set, _) = PolicySet::new(vec![policy], None).unwrap();
    assert_eq!((set.on_error(), set.inbound()), (OnError::Default, Inbound::Allow));
    assert_eq!(set.literal_addresses().action, LiteralAddresses::Allow);
    assert_eq!(set.dns().other_resolvers, OtherResolvers::Deny);
    assert_eq!(set.dns().nat64[0].to_string(), "64:ff9b::/96");
    let TrustedResolvers::Listed(resolvers) = &set.dns().trusted_resolvers else { panic!("listed") };
    assert_eq!(
        resolvers.as_slice(),
        [
            Resolver { address: [127, 0, 0, 1].into(), unit: Some("dnsmasq.service".into()) },
            Resolver { address: [192, 0, 2, 53].into(), unit: None },
        ]
    );
    assert!(set.sockets().exempt.iter().any(|unit| &**unit == "my.service"));
}

#[test]
fn only_version_and_rules_are_required() {
    let text = "version: 1\nrules:\n  - { name: a, action: deny, to: { names: [a.test] } }\n";
    let (policy, warnings) = policy(&source(text), &NoLists).unwrap();
    assert!(warnings.is_empty());
    assert_eq!((policy.name(), policy.mode()), ("guard", Mode::Enforce));
    let rule = &policy.rules()[0];
    assert_eq!((rule.errno(), rule.on_deny(), rule.refuse_lookup()), (Errno::EPERM, OnDeny::Drop, false));
    assert_eq!((rule.hold(), rule.shared_address()), (Duration::from_secs(3600), SharedAddress::Any));
    let (set, _) = PolicySet::new(vec![policy], None).unwrap();
    assert_eq!(set.default().action, Action::Allow);
    assert_eq!(set.dns().trusted_resolvers, TrustedResolvers::Auto);
    assert_eq!(set.sockets().exempt.len(), 5);
}

#[test]
fn a_byte_order_mark_moves_nothing() {
    let found = found("\u{feff}defualt: deny\nversion: 1\nrules: []\n");
    assert_eq!((found[0].line, found[0].column, found[0].code), (1, 1, "unknown-key"));
}

#[test]
fn durations() {
    let cases = [("0s", 0), ("90s", 90), ("10m", 600), ("1h", 3600), ("1d", 86_400), ("365d", 31_536_000)];
    for (text, seconds) in cases {
        assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
    }
    for text in ["", "s", "90", "1w", "-1s", "1.5h", "1h30m", "366d", "99999999999999999999d", "1 h"] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

#[test]
fn findings_name_the_field() {
    let text =
        "version: 1\nrules:\n  - 17\n  - name: a\n    action: deny\n    to: { names: [ok.test, \"b..d\"] }\n";
    let fields: Vec<String> = found(text).into_iter().map(|found| found.field).collect();
    assert_eq!(fields, ["rules[0]", "rules[1].to.names[1]"]);
}

#[test]
fn settings_are_checked() {
    let text = r#"
version: 1
dns: { trustedResolvers: [nowhere, {address: 192.0.2.1, unit: x}], nat64: ["64:ff9b::/95", "10.0.0.0/8", "x"] }
sockets: { exempt: [dhclient] }
name: " padded"
rules: []
"#;
    let codes: Vec<&str> = found(text).iter().map(|found| found.code).collect();
    assert_eq!(
        codes,
        [
            "bad-address",
            "bad-unit",
            "bad-prefix",
            "bad-prefix",
            "bad-cidr",
            "bad-unit",
            "bad-label",
            "empty-policy"
        ]
    );
}

#[test]
fn a_finding_lies_in_the_file() {
    for (text, place) in [("a: [", (1, 5)), ("a: [\n", (2, 1)), ("version: 1\nrules: [", (2, 9))] {
        let source = Source { path: "a.yaml".into(), text: text.to_owned() };
        let report = Policy::parse(&source, &NoLists).unwrap_err();
        let found = &report.diagnostics()[0];
        assert_eq!((found.code, (found.line, found.column)), ("syntax", place), "{text:?}");
    }
}
