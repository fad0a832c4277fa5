//! What a rule says besides names: networks, ports, who connects, with which error, how sure.

use std::time::Duration;

use enforcer_tests::{Lab, Machine, wait_for};

use crate::scenario::{Case, attempt, connects, enforced, policy, refused};

#[test]
fn networks_ports_and_users_are_judged() {
    const POLICY: &str = r#"
rules:
  - name: bad-networks
    action: deny
    to: { cidrs: ["203.0.113.128/25", "2001:db8:bad::/48"], except: { cidrs: ["203.0.113.192/29"] } }
  - name: one-port
    action: deny
    to: { names: ["www.evil.example"] }
    ports: [443]
  - name: no-tcp
    action: deny
    to: { cidrs: ["198.51.100.50/32"] }
    ports: ["443/udp"]
  - { name: by-id, action: deny, to: { names: ["six.example"] }, subjects: { users: [1000] } }
  - { name: by-name, action: deny, to: { names: ["target.example"] }, subjects: { users: ["nobody"] } }
"#;
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        let cases = [
            Case::refused(client, "203.0.113.200", 443, "EPERM").by("bad-networks"),
            Case::refused(client, "203.0.113.200", 8080, "EPERM").by("bad-networks"),
            Case::open(client, "203.0.113.199", 443).by_default(),
            Case::open(client, "203.0.113.100", 443).by_default(),
            Case::refused(client, "2001:db8:bad::1", 443, "EPERM").by("bad-networks"),
            Case::open(client, "2001:db8:bae::1", 443).by_default(),
            Case::refused(client, "::ffff:203.0.113.200", 443, "EPERM").by("bad-networks"),
            Case::refused(client, "www.evil.example", 443, "EPERM").by("one-port"),
            Case::open(client, "www.evil.example", 8080).by_default(),
            Case::open(client, "198.51.100.50", 443).by_default(),
            Case::open(client, "six.example", 443).by_default(),
            Case::refused(client.uid(1000), "six.example", 443, "EPERM").by("by-id"),
            Case::open(client.uid(1001), "six.example", 443).by_default(),
            Case::refused(client.uid(65534), "target.example", 443, "EPERM").by("by-name"),
            Case::open(client.uid(1000), "target.example", 443).by_default(),
        ];
        enforced(&lab, backend, &policy(POLICY), &cases, |_| ());
    });
}

#[test]
fn a_cgroup_is_a_subject_however_young() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let jobs = lab.cgroup.child("jobs").unwrap();
        let early = jobs.child("early").unwrap();
        let text = format!(
            "rules:\n  - {{ name: jobs, action: deny, to: {{ names: [\"www.evil.example\"] }}, \
             subjects: {{ cgroups: [\"{}/**\"] }} }}\n",
            jobs.name()
        );
        let cases = [
            Case::open(lab.client(), "www.evil.example", 443).by_default(),
            Case::refused(lab.client().cgroup(&early), "www.evil.example", 443, "EPERM").by("jobs"),
        ];
        enforced(&lab, backend, &policy(&text), &cases, |daemon| {
            let late = jobs.child("late").unwrap();
            let mark = daemon.mark().unwrap();
            let address = refused(lab.client().cgroup(&late), "www.evil.example", 443, "EPERM");
            let event = daemon.connect_event(mark, address).unwrap();
            assert_eq!(event["cgroup"], late.name(), "{event}");
            let nested = late.child("nested").unwrap();
            refused(lab.client().cgroup(&nested), "www.evil.example", 443, "EPERM");
            // Who has not been looked at yet is taken for a job; soon the daemon knows better.
            let other = lab.cgroup.child("other").unwrap();
            let opened = wait_for(Duration::from_secs(5), || {
                attempt(lab.client().cgroup(&other), "www.evil.example", 443).is_ok().then_some(())
            });
            assert!(opened.is_some(), "a cgroup that is no job is left alone");
            // .. and the jobs stay jobs.
            refused(lab.client().cgroup(&nested), "www.evil.example", 443, "EPERM");
            refused(lab.client().cgroup(&late), "www.evil.example", 443, "EPERM");
        });
    });
}

#[test]
fn each_error_number_reaches_the_caller_and_audit_rules_change_nothing() {
    const ERRORS: [&str; 4] = ["EPERM", "EACCES", "ECONNREFUSED", "ENETUNREACH"];
    let rules: String = ERRORS
        .iter()
        .map(|errno| {
            format!(
                "  - {{ name: {errno}, action: deny, to: {{ names: [\"{errno}.test\"] }}, errno: {errno} }}\n"
            )
        })
        .collect();
    const AUDIT: &str = r#"
  - { name: watch, action: deny, mode: audit, to: { names: ["www.evil.example", "target.example"] } }
  - { name: block, action: deny, to: { names: ["www.evil.example"] }, errno: EACCES }
"#;
    let text = policy(&format!("rules:\n{rules}{AUDIT}"));
    let hosts: Vec<String> = ERRORS.iter().map(|errno| format!("{}.test", errno.to_lowercase())).collect();
    Machine::each_backend(|backend| {
        let lab = Lab::with(|dnsmasq| {
            hosts
                .iter()
                .zip(20..)
                .fold(dnsmasq, |dnsmasq, (host, last)| dnsmasq.name(host, [203, 0, 113, last]))
        })
        .unwrap();
        let mut cases: Vec<Case<'_>> = hosts
            .iter()
            .zip(ERRORS)
            .map(|(host, errno)| Case::refused(lab.client(), host, 443, errno).by(errno))
            .collect();
        cases.push(Case::refused(lab.client(), "www.evil.example", 443, "EACCES").by("watch"));
        cases.push(Case::open(lab.client(), "target.example", 443).by("watch"));
        enforced(&lab, backend, &text, &cases, |daemon| {
            let event = daemon.connect_event(0, (Lab::EVIL, 443).into()).unwrap();
            assert_eq!(event["effectiveRule"], "block", "{event}");
            assert_eq!((&event["verdict"], &event["mode"]), (&"deny".into(), &"audit".into()), "{event}");
            let event = daemon.connect_event(0, (Lab::TARGET, 443).into()).unwrap();
            assert!(event["effectiveRule"].is_null(), "{event}");
            assert_eq!((&event["wouldDeny"], &event["mode"]), (&true.into(), &"audit".into()), "{event}");
        });
    });
}

#[test]
fn a_shared_address_is_judged_as_the_rule_says() {
    const POLICY: &str = r#"
rules:
  - { name: any, action: deny, to: { names: ["evil.any.test"] }, sharedAddress: any }
  - { name: all, action: deny, to: { names: ["evil.all.test"] }, sharedAddress: all }
"#;
    Machine::each_backend(|backend| {
        let (any, all) = ([203, 0, 113, 60], [203, 0, 113, 61]);
        let lab = Lab::with(|dnsmasq| {
            dnsmasq
                .name("good.any.test", any)
                .name("evil.any.test", any)
                .name("good.all.test", all)
                .name("evil.all.test", all)
        })
        .unwrap();
        let client = lab.client();
        let cases = [
            Case::open(client, "good.any.test", 443).by_default(),
            Case::refused(client, "evil.any.test", 443, "EPERM").by("any"),
            Case::refused(client, "good.any.test", 443, "EPERM").by("any"),
            // As long as nobody has seen a good name there.
            Case::refused(client, "evil.all.test", 443, "EPERM").by("all"),
            Case::open(client, "good.all.test", 443).by_default(),
            Case::open(client, "evil.all.test", 443).by_default(),
        ];
        enforced(&lab, backend, &policy(POLICY), &cases, |daemon| {
            // The same once the daemon has taken the bindings over.
            std::thread::sleep(Duration::from_millis(2500));
            assert!(daemon.counter("turns").unwrap() > 0);
            refused(client, "good.any.test", 443, "EPERM");
            connects(client, "evil.all.test", 443);
        });
    });
}
