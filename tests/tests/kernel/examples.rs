//! The policies that are shipped as examples, each at work.

use std::fs;
use std::path::{Path, PathBuf};

use enforcer_tests::{Attempt, Backend, Lab, Machine, enforcer, sibling};
use serde_json::Value;

/// What the events say of a host: error number, rule, `wouldDeny`.
type Expected<'text> = (&'text str, u16, Option<&'text str>, Option<&'text str>, bool);

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/policies")
}

fn lab() -> Lab {
    Lab::with(|dnsmasq| {
        ["denied", "malware", "status.evil", "api.crates", "git"]
            .iter()
            .zip(20..)
            .fold(dnsmasq, |dnsmasq, (name, last)| {
                dnsmasq.name(&format!("{name}.example"), [203, 0, 113, last])
            })
            .name("good.example", Lab::GOOD)
            .name("track-1.ads.example", [203, 0, 113, 30])
            .name("dns.google", [203, 0, 113, 31])
    })
    .unwrap()
}

/// Connects to each of the hosts, all confined at once by an example, and looks at what became of it.
fn exercise(backend: Backend, example: &str, cases: &[Expected<'_>]) {
    let lab = lab();
    let events = tempfile::NamedTempFile::new().unwrap();
    let peer = sibling("peer").unwrap();
    let mut script = String::new();
    for (host, port, ..) in cases {
        script.push_str(&format!("{} connect {host} {port}\n", peer.display()));
    }
    script.push_str("true\n");
    let (policy, sink) = (directory().join(example), format!("json={}", events.path().display()));
    let arguments = ["exec", "--policy", policy.to_str().unwrap(), "--backend", backend.as_str()];
    let command = ["--events", &sink, "--", "sh", "-c", &script];

    let before = lab.client().run("sh", &["-c", &script]).unwrap();
    let outcome = lab
        .client()
        .run(enforcer().unwrap().to_str().unwrap(), &[&arguments[..], &command].concat())
        .unwrap();

    assert!(before.stdout.lines().all(|line| line.starts_with("ok ")), "{before:?}");
    assert!(outcome.success(), "{outcome:?}");
    let events = fs::read_to_string(events.path()).unwrap();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut lines = outcome.stdout.lines();
    for &(host, port, errno, rule, would_deny) in cases {
        let attempt = Attempt::parse(lines.next().unwrap()).unwrap();
        assert_eq!(attempt.errno(), errno, "{host}: {attempt}");
        let ip = attempt.address().unwrap().ip().to_string();
        let event = events.iter().find(|event| event["dstIP"] == *ip && event["dstPort"] == port);
        let event = event.unwrap_or_else(|| panic!("{host} in {events:?}"));
        assert_eq!(event["rule"].as_str(), rule, "{host}: {event}");
        assert_eq!(event["wouldDeny"], would_deny, "{host}: {event}");
        assert_eq!(event["blocked"], errno.is_some(), "{host}: {event}");
    }
}

#[test]
fn block_malicious_domains() {
    Machine::one_backend(|backend| {
        let refused = |host, rule| (host, 443, Some("EPERM"), Some(rule), true);
        exercise(
            backend,
            "block-malicious-domains.yaml",
            &[
                refused("www.evil.example", "known-bad"),
                refused("denied.example", "known-bad"),
                refused("malware.example", "known-bad"),
                refused("203.0.113.200", "bad-networks"),
                refused("2001:db8:bad::1", "bad-networks"),
                ("track-1.ads.example", 443, Some("ECONNREFUSED"), Some("tracking-hosts"), true),
                ("status.evil.example", 443, None, None, false),
                ("good.example", 443, None, None, false),
            ],
        );
    });
}

#[test]
fn allow_only() {
    Machine::one_backend(|backend| {
        exercise(
            backend,
            "allow-only.yaml",
            &[
                ("good.example", 80, None, Some("packages"), false),
                ("api.crates.example", 443, None, Some("packages"), false),
                ("git.example", 443, None, Some("source"), false),
                ("git.example", 8080, Some("EPERM"), None, true),
                ("www.evil.example", 443, Some("EPERM"), None, true),
                ("198.51.100.99", 443, Some("EPERM"), None, true),
                ("127.0.0.1", 443, None, Some("builtin"), false),
            ],
        );
    });
}

#[test]
fn audit_everything() {
    Machine::one_backend(|backend| {
        exercise(
            backend,
            "audit-everything.yaml",
            &[
                ("www.evil.example", 443, None, None, true),
                ("198.51.100.99", 443, None, None, true),
                ("www.good.example", 443, None, Some("expected"), false),
                ("good.example", 80, None, Some("expected"), false),
            ],
        );
    });
}

#[test]
fn block_encrypted_dns() {
    Machine::one_backend(|backend| {
        exercise(
            backend,
            "block-encrypted-dns.yaml",
            &[
                ("dns.google", 443, Some("EPERM"), Some("dns-over-https"), true),
                ("good.example", 853, Some("EPERM"), Some("encrypted-dns"), true),
                ("good.example", 443, None, None, false),
            ],
        );
    });
}

#[test]
fn every_example_is_exercised_and_without_a_finding() {
    let mut names: Vec<String> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".yaml") && !name.ends_with(".test.yaml"))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "allow-only.yaml",
            "audit-everything.yaml",
            "block-encrypted-dns.yaml",
            "block-malicious-domains.yaml"
        ]
    );
    for name in names {
        let path = directory().join(&name);
        let outcome =
            std::process::Command::new(enforcer().unwrap()).arg("check").arg(path).output().unwrap();
        assert!(outcome.status.success(), "{name}: {outcome:?}");
        let stdout = String::from_utf8_lossy(&outcome.stdout).into_owned();
        assert!(stdout.contains(" 0 warnings, 0 errors"), "{name}: {stdout}");
    }
}
