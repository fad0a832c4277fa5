//! Addresses that are translated on the way to the resolver: who answers is whom the application asked.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::thread;

use enforcer_tests::{Backend, Dnsmasq, Lab, Machine, Netns};

use crate::message::{answer, question, with_id};
use crate::scenario::{connects, refused};

/// Whom the application asks. Nobody has this address, as nobody has that of a service in Kubernetes: what is sent there
/// goes elsewhere.
pub const ASKED: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// A default of deny, and the resolver of this address trusted.
fn trusting(resolver: Ipv4Addr) -> String {
    format!(
        "version: 1\ndns: {{ trustedResolvers: [\"{resolver}\"], otherResolvers: deny }}\ndefault: deny\n\
         rules:\n  - {{ name: good, action: allow, to: {{ names: [\"*.good.example\"] }} }}\n"
    )
}

/// Has the namespace translate what is sent from it to the asked address.
pub fn translate(netns: &Netns, to: &str) {
    let rules = format!(
        "add table ip nat
         add chain ip nat out {{ type nat hook output priority -100; }}
         add rule ip nat out ip daddr {ASKED} udp dport 53 dnat to {to}
         add rule ip nat out ip daddr {ASKED} tcp dport 53 dnat to {to}"
    );
    let outcome = netns.command("nft").unwrap().arg(rules).output().unwrap();
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
}

/// Believed where the asked address is trusted, over UDP and TCP; not where only the real one is.
#[track_caller]
fn is_believed_by_the_asked_address(lab: &Lab, backend: Backend, real: Ipv4Addr) {
    lab.netns.set_resolvers(&[IpAddr::V4(ASKED)]).unwrap();
    connects(lab.client(), "www.good.example", 443);
    let daemon = lab.daemon(backend).policy("policy", &trusting(ASKED)).start().unwrap();
    connects(lab.client(), "www.good.example", 443);
    drop(daemon);
    let daemon = lab.daemon(backend).policy("policy", &trusting(ASKED)).start().unwrap();
    let attempts = lab.client().connect_each_over_tcp("www.good.example", 443, 1).unwrap();
    assert!(attempts.iter().all(|attempt| attempt.is_ok()) && !attempts.is_empty(), "{attempts:?}");
    drop(daemon);
    let policy = trusting(real).replace("otherResolvers: deny", "otherResolvers: allow");
    let daemon = lab.daemon(backend).policy("policy", &policy).start().unwrap();
    refused(lab.client(), "www.good.example", 443, "EPERM");
    drop(daemon);
    connects(lab.client(), "www.good.example", 443);
}

#[test]
fn a_resolver_behind_a_translated_address_is_believed() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        lab.netns.add_local("10.96.0.0/16").unwrap();
        translate(&lab.netns, "198.18.0.53");
        is_believed_by_the_asked_address(&lab, backend, Ipv4Addr::new(198, 18, 0, 53));
    });
}

#[test]
fn a_routed_resolver_behind_a_translated_address_is_believed() {
    const REAL: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let machine = Netns::new().unwrap();
        let pair = format!("link add inside type veth peer name outside netns {}\n", machine.name());
        lab.netns
            .ip_batch(&format!("{pair}address add 10.78.0.2/24 dev inside\nlink set inside up\n"))
            .unwrap();
        lab.netns.ip_batch("route add 10.96.0.0/16 dev inside\n").unwrap();
        machine.ip_batch("address add 10.78.0.1/24 dev outside\nlink set outside up\n").unwrap();
        let dnsmasq = Dnsmasq::builder(&machine).at(REAL).domain("good.example", Lab::GOOD).start().unwrap();
        translate(&lab.netns, &REAL.to_string());
        is_believed_by_the_asked_address(&lab, backend, REAL);
        drop((dnsmasq, machine));
    });
}

/// As Docker does it: the resolver of a container listens at another port.
#[test]
fn a_resolver_behind_a_translated_port_is_believed() {
    const REAL: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 18, 0, 53), 5300);
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let socket = lab.netns.run(|| UdpSocket::bind(REAL).unwrap()).unwrap();
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query) {
                let id = u16::from_be_bytes([query[0], query[1]]);
                let (mut said, asked) = (
                    answer("www.good.example", Ipv4Addr::new(198, 51, 100, 7)),
                    question("www.good.example"),
                );
                if query[12..length] != asked {
                    // The name has no IPv6 address.
                    said.truncate(12 + asked.len());
                    said[7] = 0;
                    said[12..].copy_from_slice(&query[12..12 + asked.len()]);
                }
                let _ = socket.send_to(&with_id(said, id), client);
            }
        });
        lab.netns.add_local("10.96.0.0/16").unwrap();
        translate(&lab.netns, &format!("{}:{}", REAL.0, REAL.1));
        lab.netns.set_resolvers(&[IpAddr::V4(ASKED)]).unwrap();
        let daemon = lab.daemon(backend).policy("policy", &trusting(ASKED)).start().unwrap();
        connects(lab.client(), "www.good.example", 443);
        drop(daemon);
    });
}
