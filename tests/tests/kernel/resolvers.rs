//! Resolvers and clients as they are, over UDP and TCP: what each of them answers and asks is bound before the first
//! connect.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use enforcer_tests::{Bind9, Daemon, Dnsmasq, Machine, Netns, Unbound, Zone, announce, wait_for};
use serde_json::Value;

use crate::scenario::{ALLOW, DENY, SOON, attempt, connects, refused};
use clients::{ALL_AT_ONCE, Clients, ONE_BY_ONE, PORT};

mod clients;

/// How an answer leads from the name to its address, or addresses.
const SHAPES: [&str; 6] = ["plain", "chain", "short-lived", "wildcard", "round-robin", "truncated"];

/// How many addresses it has: some, or more than an answer by UDP has room for, without EDNS and with dig's.
fn addresses(shape: &str) -> usize {
    match shape {
        "round-robin" => 20,
        "truncated" => 100,
        _ => 1,
    }
}

#[test]
fn names_of_dnsmasq() {
    let netns = Netns::new().unwrap();
    let dnsmasq = zone().tell(Dnsmasq::builder(&netns).at(Unbound::ADDRESS)).ttl(0).start().unwrap();
    first_connects(&netns, "dnsmasq");
    drop(dnsmasq);
}

#[test]
fn names_of_unbound() {
    if Machine::current().is_guest() {
        // The guests have dnsmasq alone. What an answer looks like does not depend on the kernel.
        return;
    }
    let netns = Netns::new().unwrap();
    let unbound = Unbound::start(&netns, &zone()).unwrap();
    first_connects(&netns, "unbound");
    drop(unbound);
}

#[test]
fn names_of_bind() {
    if Machine::current().is_guest() {
        // As above.
        return;
    }
    let netns = Netns::new().unwrap();
    let bind = Bind9::start(&netns, &zone(), false).unwrap();
    first_connects(&netns, "bind9");
    drop(bind);
}

#[test]
fn every_address_of_a_long_answer() {
    if Machine::current().is_guest() {
        // As above.
        return;
    }
    let addresses: Vec<Ipv4Addr> = (1..=100).map(|last| Ipv4Addr::new(192, 0, 2, last)).collect();
    let zone = Zone::default().addresses("big.evil.test", 60, &addresses);
    let netns = Netns::new().unwrap();
    let unbound = Unbound::start(&netns, &zone).unwrap();
    long_answer(&netns, "unbound", &["+bufsize=4096"]);
    drop(unbound);
    let bind = Bind9::start(&netns, &zone, false).unwrap();
    long_answer(&netns, "bind9", &["+bufsize=4096"]);
    drop(bind);
    let bind = Bind9::start(&netns, &zone, true).unwrap();
    long_answer(&netns, "bind9, signed", &["+bufsize=4096", "+dnssec"]);
    drop(bind);
}

/// The answer is longer than what fits into an unfragmented packet everywhere, and each of its addresses is bound.
fn long_answer(netns: &Netns, resolver: &str, options: &[&str]) {
    Machine::one_backend(|backend| {
        let clients = Clients::new(netns);
        let daemon = Machine::current().daemon(backend, &clients.cgroup).policy("policy", &policy(DENY));
        let daemon = daemon.start().unwrap();
        let arguments = [options, &["+ignore", "A", "big.evil.test"]].concat();
        let answer = clients.one().run("dig", &arguments).unwrap().stdout;
        let size = answer.lines().find_map(|line| line.strip_prefix(";; MSG SIZE  rcvd: ")).unwrap();
        announce(&format!("{resolver} answered with {size} bytes"));
        assert!(size.parse::<u32>().unwrap() > 1232, "{answer}");
        assert_eq!(answer.contains("RRSIG"), options.contains(&"+dnssec"), "{answer}");
        for last in 1..=100 {
            refused(clients.one(), &Ipv4Addr::new(192, 0, 2, last).to_string(), PORT, "EPERM");
        }
        for counter in ["answersUnparsed", "lateBinds", "nameless"] {
            assert_eq!(daemon.counter(counter).unwrap(), 0, "{counter}");
        }
        drop(daemon);
        connects(clients.one(), "192.0.2.1", PORT);
    });
}

/// Each client asks for names of its own, in each shape.
fn zone() -> Zone {
    let mut zone = Zone::default();
    for (number, client) in (0..).zip(ONE_BY_ONE.into_iter().chain(ALL_AT_ONCE)) {
        let address = |shape: u8| Ipv4Addr::new(198, 51, 100, 1 + number + shape * 10);
        let several = |shape, third| -> Vec<_> {
            (1..=addresses(shape) as u8).map(|last| Ipv4Addr::new(198, 19, third, last)).collect()
        };
        let (hop, end) = (format!("{client}.hop.test"), format!("{client}.end.test"));
        zone = zone
            .addresses(&host(client, "plain"), 60, &[address(0)])
            .alias(&host(client, "chain"), &hop)
            .alias(&hop, &end)
            .addresses(&end, 60, &[address(1)])
            .addresses(&host(client, "short-lived"), 0, &[address(2)])
            .wildcard(&format!("{client}.wildcard.evil.test"), address(3))
            .addresses(&host(client, "round-robin"), 60, &several("round-robin", number))
            .addresses(&host(client, "truncated"), 60, &several("truncated", 100 + number));
    }
    zone
}

fn host(client: &str, shape: &str) -> String {
    let below = if shape == "wildcard" { "any." } else { "" };
    format!("{below}{client}.{shape}.evil.test")
}

fn policy(text: &str) -> String {
    format!("version: 1\ndns: {{ trustedResolvers: [\"{}\"] }}\n{text}", Unbound::ADDRESS)
}

/// The first connect of each client to each of its names, while it denies them and while it allows nothing else; before
/// and after a daemon, they work.
fn first_connects(netns: &Netns, resolver: &str) {
    Machine::one_backend(|backend| {
        let clients = Clients::new(netns);
        let open = |when| {
            for shape in SHAPES {
                assert_eq!(clients.connect("glibc", shape), Ok(()), "{when} the daemon: {shape}");
            }
        };
        open("before");
        for (text, expected) in [(DENY, Err("EPERM".to_owned())), (ALLOW, Ok(()))] {
            let daemon = Machine::current().daemon(backend, &clients.cgroup);
            let daemon = daemon.policy("policy", &policy(text)).start().unwrap();
            let unasked = attempt(clients.one(), "198.51.100.1", PORT);
            assert_eq!(unasked.is_ok(), expected.is_err(), "nobody has asked yet: {unasked}");
            for (client, shape) in clients.one_by_one() {
                assert_eq!(clients.connect(client, shape), expected, "{client}, {shape}: {text}");
            }
            for client in ALL_AT_ONCE {
                assert_eq!(clients.connect_at_once(client), expected, "{client}: {text}");
            }
            for counter in ["answersUnparsed", "lateBinds", "nameless"] {
                assert_eq!(daemon.counter(counter).unwrap(), 0, "{counter}: {text}");
            }
            let by_tcp = wait_for(SOON, || (asked_by_tcp(&daemon) == clients.by_tcp()).then_some(()));
            assert!(by_tcp.is_some(), "{} and not {}", asked_by_tcp(&daemon), clients.by_tcp());
            drop(daemon);
            open("after");
        }
        let asked: BTreeSet<_> = clients.one_by_one().map(|(client, _)| client).collect();
        announce(&format!("{resolver}: {SHAPES:?} by {asked:?}, {ALL_AT_ONCE:?}"));
    });
}

/// How many processes have connected to the resolver.
fn asked_by_tcp(daemon: &Daemon) -> usize {
    let events = daemon.events().unwrap();
    let to_resolver = |event: &&Value| event["event"] == "NetTCPConnect" && event["dstPort"] == 53;
    events.iter().filter(to_resolver).map(|event| event["pid"].as_u64()).collect::<BTreeSet<_>>().len()
}
