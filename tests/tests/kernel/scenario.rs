//! What the scenarios have in common.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use enforcer_tests::{Attempt, Backend, Cgroup, Client, Daemon, Lab};
use serde_json::Value;

/// Longer than anything here takes, guests being emulated.
pub const SOON: Duration = Duration::from_secs(20);

/// Denies every name below evil.test ..
pub const DENY: &str = r#"
rules:
  - { name: malware, action: deny, to: { names: ["*.evil.test"] } }
"#;
/// .. or nothing but them.
pub const ALLOW: &str = r#"
default: deny
rules:
  - { name: registry, action: allow, to: { names: ["*.evil.test"] } }
"#;

/// A policy that trusts the lab's resolver and says this as well.
pub fn policy(text: &str) -> String {
    format!("version: 1\ndns: {{ trustedResolvers: [\"198.18.0.53\"] }}\n{text}")
}

/// A resolver of `trustedResolvers` from whose address only this unit may answer.
pub fn held_by(resolver: impl Display, unit: &Cgroup) -> String {
    format!("{{ address: {resolver}, unit: {} }}", unit.name().trim_start_matches('/'))
}

/// Edits, and waits until the edit is in force.
pub fn reload(daemon: &Daemon, edit: impl FnOnce()) -> Value {
    let mark = daemon.mark().unwrap();
    edit();
    daemon.wait_for_event_since(mark, SOON, |event| event["event"] == "PolicyReloaded").unwrap()
}

/// A lab in which each of so many names, [`EACH_NAME`], has an address of its own: what was learned of one says nothing
/// about the next.
pub fn lab_of_names(count: u32) -> Lab {
    let first = u32::from(Ipv4Addr::new(198, 19, 0, 1));
    Lab::with(|dnsmasq| {
        let name =
            |number: u32| (EACH_NAME.replace("{}", &number.to_string()), Ipv4Addr::from(first + number));
        (0..count).map(name).fold(dnsmasq, |dnsmasq, (name, address)| dnsmasq.name(&name, address))
    })
    .unwrap()
}

/// The names of [`lab_of_names`], `{}` being 0, 1, ..
pub const EACH_NAME: &str = "h{}.evil.test";

/// How much of a default of deny a backend enforces: only security modules see packet sockets.
pub fn state_of_default_deny(backend: Backend) -> &'static str {
    match backend {
        Backend::Cgroup => "Degraded",
        Backend::Lsm => "Enforced",
    }
}

/// How many attempts were refused.
pub fn refusals(attempts: &[Attempt]) -> usize {
    attempts.iter().filter(|attempt| attempt.errno() == Some("EPERM")).count()
}

/// How many worked.
pub fn connections(attempts: &[Attempt]) -> usize {
    attempts.iter().filter(|attempt| attempt.is_ok()).count()
}

/// What a connection comes to while the policy is in force; before and after, it works.
#[derive(Clone, Copy, Debug)]
pub struct Case<'lab> {
    client: Client<'lab>,
    host: &'lab str,
    port: u16,
    errno: Option<&'lab str>,
    /// What the event names; `Some(None)` is the default.
    rule: Option<Option<&'lab str>>,
}

impl<'lab> Case<'lab> {
    /// The connection works.
    pub fn open(client: Client<'lab>, host: &'lab str, port: u16) -> Self {
        Self { client, host, port, errno: None, rule: None }
    }

    /// The connection ends with the error.
    pub fn refused(client: Client<'lab>, host: &'lab str, port: u16, errno: &'lab str) -> Self {
        Self { client, host, port, errno: Some(errno), rule: None }
    }

    /// .. and the event names this rule.
    pub fn by(self, rule: &'lab str) -> Self {
        Self { rule: Some(Some(rule)), ..self }
    }

    /// .. and the event says that no rule decided.
    pub fn by_default(self) -> Self {
        Self { rule: Some(None), ..self }
    }

    fn attempt(&self) -> Attempt {
        attempt(self.client, self.host, self.port)
    }
}

/// The only attempt that connecting to a host makes.
pub fn attempt(client: Client<'_>, host: &str, port: u16) -> Attempt {
    let attempts = client.connect(host, port).unwrap();
    let [attempt] = attempts.as_slice() else { panic!("{host}:{port} has one address: {attempts:?}") };
    attempt.clone()
}

/// The connection works.
#[track_caller]
pub fn connects(client: Client<'_>, host: &str, port: u16) -> SocketAddr {
    let attempt = attempt(client, host, port);
    assert!(attempt.is_ok(), "{host}:{port}: {attempt}");
    attempt.address().unwrap()
}

/// The connection ends with the error.
#[track_caller]
pub fn refused(client: Client<'_>, host: &str, port: u16, errno: &str) -> SocketAddr {
    let attempt = attempt(client, host, port);
    assert_eq!(attempt.errno(), Some(errno), "{host}:{port}: {attempt}");
    attempt.address().unwrap()
}

/// Looks at the connections before a daemon enforces the policy, while it does, and after it has ended. `attached` may
/// look at more.
#[track_caller]
pub fn enforced(lab: &Lab, backend: Backend, text: &str, cases: &[Case<'_>], attached: impl FnOnce(&Daemon)) {
    everything_connects(cases, "before the daemon");
    let mut daemon = lab.daemon(backend).policy("policy", text).start().unwrap();
    for case in cases {
        let mark = daemon.mark().unwrap();
        let attempt = case.attempt();
        assert_eq!(attempt.errno(), case.errno, "{case:?}: {attempt}");
        assert_eq!(attempt.is_ok(), case.errno.is_none(), "{case:?}: {attempt}");
        let Some(rule) = case.rule else { continue };
        let event = daemon.connect_event(mark, attempt.address().unwrap()).unwrap();
        assert_eq!(event["rule"].as_str(), rule, "{case:?}: {event}");
        assert_eq!(event["blocked"], case.errno.is_some(), "{case:?}: {event}");
    }
    attached(&daemon);
    assert!(daemon.stop().unwrap().success(), "{}", daemon.stderr().unwrap());
    everything_connects(cases, "after the daemon");
}

#[track_caller]
fn everything_connects(cases: &[Case<'_>], when: &str) {
    for case in cases {
        let attempt = case.attempt();
        assert!(attempt.is_ok(), "{when}: {case:?}: {attempt}");
    }
}
