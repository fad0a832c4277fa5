//! What happens where no rule says anything, and to what must stay reachable.

use std::net::{IpAddr, Ipv4Addr};

use enforcer_tests::{Dnsmasq, Lab, Machine};

use crate::scenario::{Case, attempt, connects, enforced, policy, refused};

const ALLOW_LIST: &str = r#"
default: deny
rules:
  - { name: registry, action: allow, to: { names: [".good.example", "six.example"] } }
  - { name: network, action: allow, to: { cidrs: ["192.0.2.0/24"] } }
  - { name: maybe, action: allow, mode: audit, to: { names: ["target.example"] } }
"#;

#[test]
fn only_what_is_allowed_connects_by_default_deny() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        let cases = [
            // At the first connect, right after the lookup.
            Case::open(client, "www.good.example", 443).by("registry"),
            Case::open(client, "six.example", 443).by("registry"),
            Case::open(client, "192.0.2.9", 443).by("network"),
            Case::refused(client, "198.51.100.99", 443, "EPERM").by_default(),
            Case::refused(client, "2001:db8::99", 443, "EPERM").by_default(),
            Case::refused(client, "www.evil.example", 443, "EPERM").by_default(),
            // An audit rule opens nothing.
            Case::refused(client, "target.example", 443, "EPERM").by("maybe"),
            // What must stay reachable.
            Case::open(client, "127.0.0.1", 443).by("builtin"),
            Case::open(client, "127.9.9.9", 443).by("builtin"),
            Case::open(client, "::1", 443).by("builtin"),
            Case::open(client, "::ffff:127.0.0.1", 443).by("builtin"),
            Case::refused(client, "198.18.0.54", 443, "EPERM").by_default(),
        ];
        enforced(&lab, backend, &policy(ALLOW_LIST), &cases, |daemon| {
            for transport in ["+notcp", "+tcp"] {
                let arguments =
                    [transport, "+short", "+time=3", "+tries=1", "@198.18.0.53", "www.good.example"];
                let outcome = client.run("dig", &arguments).unwrap();
                assert_eq!(outcome.stdout.trim(), Lab::GOOD.to_string(), "{transport}: {outcome:?}");
            }
            let event = daemon.connect_event(0, (Lab::TARGET, 443).into()).unwrap();
            assert_eq!((&event["verdict"], &event["wouldDeny"]), (&"allow".into(), &false.into()), "{event}");
            let event = daemon.connect_event(0, (Lab::EVIL, 443).into()).unwrap();
            assert_eq!((&event["verdict"], &event["blocked"]), (&"deny".into(), &true.into()), "{event}");
            assert_eq!(event["results"], serde_json::json!(["www.evil.example"]), "{event}");
        });
    });
}

#[test]
fn audit_mode_refuses_nothing_and_tells_what_it_would() {
    const POLICY: &str = r#"
mode: audit
default: deny
rules:
  - { name: malware, action: deny, to: { names: ["*.evil.example"] } }
  - { name: registry, action: allow, to: { names: [".good.example"] } }
"#;
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        let cases = [
            Case::open(client, "www.evil.example", 443).by("malware"),
            Case::open(client, "www.good.example", 443).by("registry"),
            Case::open(client, "198.51.100.99", 443).by_default(),
        ];
        enforced(&lab, backend, &policy(POLICY), &cases, |daemon| {
            let unnamed = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 99));
            for (address, would_deny) in [(Lab::EVIL, true), (Lab::GOOD, false), (unnamed, true)] {
                let event = daemon.connect_event(0, (address, 443).into()).unwrap();
                assert_eq!(event["wouldDeny"], would_deny, "{event}");
                assert_eq!((&event["blocked"], &event["mode"]), (&false.into(), &"audit".into()), "{event}");
            }
            assert_eq!(
                daemon.status().unwrap()["status"]["state"].as_str().unwrap().to_lowercase(),
                "auditonly"
            );
        });
    });
}

#[test]
fn the_command_line_overrides_the_mode() {
    const POLICY: &str = "rules:\n  - { name: malware, action: deny, to: { names: [\"*.evil.example\"] } }\n";
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let daemon =
            lab.daemon(backend).policy("policy", &policy(POLICY)).argument("--mode").argument("audit");
        let daemon = daemon.start().unwrap();
        connects(lab.client(), "www.evil.example", 443);
        let event = daemon.connect_event(0, (Lab::EVIL, 443).into()).unwrap();
        assert_eq!((&event["wouldDeny"], &event["blocked"]), (&true.into(), &false.into()), "{event}");
    });
}

#[test]
fn connecting_a_datagram_socket_is_no_attempt() {
    const POLICY: &str = r#"
rules:
  - { name: malware, action: deny, to: { names: ["*.evil.example", "six.example"] } }
"#;
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        let cases = [
            Case::refused(client, "www.evil.example", 443, "EPERM").by("malware"),
            Case::refused(client, "six.example", 443, "EPERM").by("malware"),
        ];
        enforced(&lab, backend, &policy(POLICY), &cases, |daemon| {
            let mark = daemon.mark().unwrap();
            for host in ["www.evil.example", "six.example"] {
                // connect(2) alone: getaddrinfo does so to find the source address.
                let source = format!(
                    "import socket\n\
                     for family, kind, protocol, _, address in socket.getaddrinfo('{host}', 9999, type=socket.SOCK_DGRAM):\n\
                     \x20   socket.socket(family, kind, protocol).connect(address)\n"
                );
                let outcome = client.python(&source).unwrap();
                assert!(outcome.success(), "{outcome:?}");
            }
            connects(client, "www.good.example", 443);
            daemon.connect_event(mark, (Lab::GOOD, 443).into()).unwrap();
            let events = daemon.events().unwrap();
            assert!(events.iter().skip(mark).all(|event| event["dstPort"] != 9999), "{events:?}");
        });
    });
}

#[test]
fn a_resolver_that_is_not_trusted_can_only_deny() {
    const POLICY: &str = r#"
default: deny
rules:
  - { name: malware, action: deny, to: { names: ["denied.test"] } }
  - { name: network, action: allow, to: { cidrs: ["203.0.113.0/24"] } }
  - { name: registry, action: allow, to: { names: ["www.good.example"] } }
  - { name: ask, action: allow, to: { cidrs: ["198.18.0.54/32"] }, ports: ["53/udp"] }
"#;
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let resolver = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 54));
        let _untrusted = Dnsmasq::builder(&lab.netns)
            .at(resolver)
            .name("www.good.example", [198, 51, 100, 66])
            .name("denied.test", [203, 0, 113, 66])
            .start()
            .unwrap();
        let client = lab.client();
        let cases = [
            Case::refused(client, "www.good.example", 443, "EPERM").by_default(),
            Case::refused(client, "denied.test", 443, "EPERM").by("malware"),
            Case::open(client, "203.0.113.67", 443).by("network"),
        ];
        enforced(&lab, backend, &policy(POLICY), &cases, |daemon| {
            assert!(daemon.counter("answersUntrusted").unwrap() >= 2);
            // The same name by the resolver that is trusted, at its own address.
            lab.netns.set_resolvers(&[lab.dnsmasq.address()]).unwrap();
            connects(client, "www.good.example", 443);
            assert_eq!(attempt(client, "198.51.100.66", 443).errno(), Some("EPERM"));
            refused(client, "203.0.113.66", 443, "EPERM");
            lab.netns.set_resolvers(&[resolver]).unwrap();
        });
    });
}
