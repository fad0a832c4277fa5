//! Lookups that a rule refuses: the query never arrives, however it is sent; nothing else is held back.

use std::net::Ipv4Addr;

use enforcer_tests::{Attempt, Backend, Client, Daemon, Lab, Machine};
use serde_json::Value;

use crate::message::{hex, name, query, with_id};
use crate::scenario::{SOON, attempt, policy};
use crate::translated::{ASKED, translate};

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 53);

const POLICY: &str = r#"
rules:
  - name: c2
    action: deny
    to: { names: [".evil.example", "ads-*.good.example"], except: { names: ["ok.evil.example"] } }
    ports: [443]
    refuseLookup: true
  - { name: plain, action: deny, to: { names: ["plain.good.example"] } }
"#;

/// Sends each message in its way, and says what became of it: an answer, none, or an error.
const ASK: &str = r#"
import errno, itertools, socket, struct, time
GOOD = bytes.fromhex("GOODQUERY")
UDP_SEGMENT, TCP_FASTOPEN_NO_COOKIE, SERVER = 103, 34, ("ADDRESS", 53)
numbers = itertools.count(7)
def udp(message, connected, parts):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        if parts > 1:
            client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(message) // parts)
        if connected:
            client.connect(SERVER)
            client.send(message)
        else:
            client.sendto(message, SERVER)
        client.recv(4096)
def fragments(message):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect(SERVER)
        source, port = client.getsockname()
        datagram = struct.pack("!4H", port, 53, 8 + len(message), 0) + message
        number = next(numbers)
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            for offset, part in (0x2000, datagram[:16]), (2, datagram[16:]):
                ends = socket.inet_aton(source) + socket.inet_aton(SERVER[0])
                header = struct.pack("!BBHHHBBH", 0x45, 0, 0, number, offset, 64, 17, 0) + ends
                raw.sendto(header + part, (SERVER[0], 0))
        client.recv(4096)
def tcp(pieces, fast=False):
    with socket.socket() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if fast:
            client.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1)
            client.sendto(pieces.pop(0), socket.MSG_FASTOPEN, SERVER)
        else:
            client.connect(SERVER)
        client.settimeout(1)
        for piece in pieces:
            client.sendall(piece)
            time.sleep(0.02)
        if not client.recv(4096):
            raise TimeoutError
def tcp_later(first, second):
    with socket.create_connection(SERVER, 1) as client:
        client.sendall(first)
        client.recv(4096)
        client.sendall(second)
        client.recv(4096)
def framed(message):
    return len(message).to_bytes(2, "big") + message
WAYS = {
    "tcp": lambda message: tcp([framed(message)]),
    "length": lambda message: tcp([framed(message)[:2], message]),
    "bytes": lambda message: tcp([bytes([byte]) for byte in framed(message)]),
    "behind": lambda message: tcp([framed(GOOD) + framed(message)]),
    "later": lambda message: tcp_later(framed(GOOD), framed(message)),
    "fast": lambda message: tcp([framed(message)], True),
    "fragments": fragments,
    "to": lambda message: udp(message, False, 1),
    "connected": lambda message: udp(message, True, 1),
    "two": lambda message: udp(message, True, 2),
}
for ask in "ASKS".split():
    way, message = ask.split(":")
    try:
        WAYS[way](bytes.fromhex(message))
        print("answered")
    except TimeoutError:
        print("nothing")
    except OSError as error:
        print(errno.errorcode[error.errno])
"#;

/// A message, the way it is sent, and what becomes of it otherwise and where the policy is in force.
#[derive(Clone, Debug)]
struct Ask {
    way: &'static str,
    message: Vec<u8>,
    otherwise: &'static str,
    attached: &'static str,
}

impl Ask {
    fn answered(way: &'static str, host: &str) -> Self {
        Self { way, message: query(host), otherwise: "answered", attached: "answered" }
    }

    fn refused(way: &'static str, host: &str) -> Self {
        Self { attached: "EPERM", ..Self::answered(way, host) }
    }
}

fn outcomes(client: Client<'_>, server: Ipv4Addr, asks: &[Ask]) -> Vec<String> {
    let asks: Vec<String> =
        asks.iter().map(|Ask { way, message, .. }| format!("{way}:{}", hex(&[message]))).collect();
    let source = ASK.replace("GOODQUERY", &hex(&[query("good.example")])).replace("ASKS", &asks.join(" "));
    let source = source.replace("ADDRESS", &server.to_string());
    let outcome = client.python(&source).unwrap();
    assert!(outcome.success(), "{}", outcome.stderr);
    outcome.stdout.lines().map(str::to_owned).collect()
}

/// What becomes of each message before the policy is in force, while it is, and afterwards.
#[track_caller]
fn asked(backend: Backend, text: &str, asks: &[Ask], attached: impl FnOnce(&Lab, &Daemon)) {
    let lab = Lab::new().unwrap();
    asked_at(SERVER, &lab, backend, text, asks, attached);
}

/// The same, in this place and of this server.
#[track_caller]
fn asked_at(
    server: Ipv4Addr,
    lab: &Lab,
    backend: Backend,
    text: &str,
    asks: &[Ask],
    attached: impl FnOnce(&Lab, &Daemon),
) {
    let otherwise: Vec<&str> = asks.iter().map(|ask| ask.otherwise).collect();
    assert_eq!(outcomes(lab.client(), server, asks), otherwise, "before the daemon: {asks:?}");
    let mut daemon = lab.daemon(backend).policy("policy", &policy(text)).start().unwrap();
    let expected: Vec<&str> = asks.iter().map(|ask| ask.attached).collect();
    assert_eq!(outcomes(lab.client(), server, asks), expected, "{asks:?}\n{:?}", daemon.stderr());
    attached(lab, &daemon);
    assert!(daemon.stop().unwrap().success(), "{}", daemon.stderr().unwrap());
    assert_eq!(outcomes(lab.client(), server, asks), otherwise, "after the daemon: {asks:?}");
}

/// The event about the name, or about a message that cannot be read.
fn told(daemon: &Daemon, mark: usize, question: Option<&str>) -> Value {
    let about = |event: &Value| event["event"] == "DNSQueryRefused" && event["question"].as_str() == question;
    daemon.wait_for_event_since(mark, SOON, about).unwrap()
}

#[test]
fn a_query_for_a_refused_name_does_not_leave() {
    Machine::each_backend(|backend| {
        let asks = [
            Ask::refused("to", "www.evil.example"),
            Ask::refused("connected", "www.evil.example"),
            Ask::refused("to", "evil.example"),
            Ask::refused("to", "wWw.EviL.eXaMpLe"),
            Ask::refused("to", "ads-7.good.example"),
            Ask::answered("to", "ok.evil.example"),
            Ask::answered("to", "ads.good.example"),
            Ask::answered("to", "plain.good.example"),
            Ask::answered("connected", "notevil.good.example"),
        ];
        asked(backend, POLICY, &asks, |lab, daemon| {
            let event = told(daemon, 0, Some("www.evil.example"));
            for (key, expected) in [
                ("dstIP", "198.18.0.53"),
                ("proto", "udp"),
                ("verdict", "deny"),
                ("mode", "enforce"),
                ("rule", "c2"),
                ("effectiveRule", "c2"),
                ("comm", "python3"),
                ("cgroup", &lab.cgroup.name()),
            ] {
                assert_eq!(event[key], expected, "{key}: {event}");
            }
            assert_eq!((&event["dstPort"], &event["uid"]), (&53.into(), &0.into()), "{event}");
            assert_eq!((&event["wouldDeny"], &event["blocked"]), (&true.into(), &true.into()), "{event}");
            assert!(event["pid"].is_u64(), "{event}");
            assert_eq!(daemon.counter("lookupsRefused").unwrap(), 5);
            // As programs ask.
            let attempt = attempt(lab.client(), "www.evil.example", 443);
            assert!(matches!(attempt, Attempt::Unresolved(_)), "{attempt}");
            // Once is enough for a name, a user and a cgroup.
            let events = daemon.events().unwrap();
            let of_name = events.iter().filter(|event| event["question"] == "www.evil.example");
            assert_eq!(of_name.count(), 1, "{events:?}");
        });
    });
}

#[test]
fn several_queries_leave_together_or_not_at_all() {
    Machine::one_backend(|backend| {
        let two = |hosts: [&str; 2], attached| {
            let message =
                hosts.into_iter().zip(1..).flat_map(|(host, id)| with_id(query(host), id)).collect();
            Ask { way: "two", message, otherwise: "answered", attached }
        };
        let asks = [
            two(["a.good.example", "b.good.example"], "answered"),
            two(["a.good.example", "b.evil.example"], "EPERM"),
            two(["a.evil.example", "b.good.example"], "EPERM"),
        ];
        asked(backend, POLICY, &asks, |_, daemon| {
            assert_eq!(told(daemon, 0, Some("b.evil.example"))["rule"], "c2");
            assert_eq!(daemon.counter("lookupsRefused").unwrap(), 2);
        });
    });
}

#[test]
fn a_query_over_tcp_does_not_leave_in_any_pieces() {
    Machine::one_backend(|backend| {
        let held = |way| Ask { attached: "nothing", ..Ask::answered(way, "www.evil.example") };
        let asks = [
            Ask::answered("tcp", "www.good.example"),
            Ask::answered("length", "www.good.example"),
            Ask::answered("bytes", "www.good.example"),
            Ask::answered("behind", "www.good.example"),
            Ask::answered("later", "www.good.example"),
            Ask::answered("fast", "www.good.example"),
            Ask::answered("tcp", "ok.evil.example"),
            held("tcp"),
            held("length"),
            held("bytes"),
            held("behind"),
            held("later"),
            held("fast"),
        ];
        asked(backend, POLICY, &asks, |lab, daemon| {
            let event = told(daemon, 0, Some("www.evil.example"));
            assert_eq!((&event["proto"], &event["rule"]), (&"tcp".into(), &"c2".into()), "{event}");
            assert!(daemon.counter("lookupsRefused").unwrap() >= 6);
            // As programs ask.
            let attempts = lab.client().connect_each_over_tcp("www.good.example", 443, 1).unwrap();
            assert!(attempts[0].is_ok(), "{attempts:?}");
        });
    });
}

#[test]
fn a_connection_whose_beginning_nobody_saw_asks_nothing() {
    const OLD: &str = r#"
import socket, sys, time
client = socket.create_connection(("198.18.0.53", 53), 10)
client.settimeout(1)
print("connected", flush=True)
for message in map(bytes.fromhex, "QUERY QUERY QUERY".split()):
    sys.stdin.readline()
    client.sendall(len(message).to_bytes(2, "big") + message)
    try:
        print("answered" if client.recv(4096) else "nothing", flush=True)
    except TimeoutError:
        print("nothing", flush=True)
"#;
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let source = OLD.replace("QUERY", &hex(&[query("www.good.example")]));
        let mut client = lab.client().spawn("/usr/bin/python3", &["-c", &source]).unwrap();
        assert_eq!(client.line(SOON).unwrap(), "connected");
        client.say("").unwrap();
        assert_eq!(client.line(SOON).unwrap(), "answered");
        let daemon = lab.daemon(backend).policy("policy", &policy(POLICY)).start().unwrap();
        client.say("").unwrap();
        assert_eq!(client.line(SOON).unwrap(), "nothing");
        drop(daemon);
        // TCP has kept it, and sends it once it may.
        client.say("").unwrap();
        assert_eq!(client.line(SOON).unwrap(), "answered");
    });
}

/// Addresses are translated before a packet is seen: who is asked is whom the socket names, at the port of DNS.
#[test]
fn a_translated_query_does_not_leave() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        lab.netns.add_local("10.96.0.0/16").unwrap();
        // Where nothing is at the port of DNS, and everything is echoed.
        translate(&lab.netns, &format!("{}:443", Lab::GOOD));
        let asks = [
            Ask::answered("to", "www.good.example"),
            Ask::answered("connected", "www.good.example"),
            Ask::answered("tcp", "www.good.example"),
            Ask::refused("to", "www.evil.example"),
            Ask::refused("connected", "www.evil.example"),
            Ask { attached: "nothing", ..Ask::answered("tcp", "www.evil.example") },
        ];
        asked_at(ASKED, &lab, backend, POLICY, &asks, |_, daemon| {
            assert_eq!(told(daemon, 0, Some("www.evil.example"))["rule"], "c2");
            assert!(daemon.counter("lookupsRefused").unwrap() >= 3);
        });
    });
}

/// Whoever cuts a query himself hides what it asks for.
#[test]
fn a_query_in_fragments_does_not_leave() {
    Machine::one_backend(|backend| {
        let asks = ["www.good.example", "www.evil.example"].map(|host| Ask::refused("fragments", host));
        asked(backend, POLICY, &asks, |_, daemon| {
            assert_eq!(told(daemon, 0, None)["rule"], "c2");
        });
    });
}

#[test]
fn what_cannot_be_read_does_not_leave() {
    let edited = |edit: fn(&mut Vec<u8>)| {
        let mut message = query("www.good.example");
        edit(&mut message);
        message
    };
    // A name that ends behind itself, where some servers look.
    let mut forward = query("a");
    forward.splice(14.., [b"\xc0\x14\0\x01\0\x01".to_vec(), name("evil.example")].concat());
    let messages = [
        (b"knock".to_vec(), true),
        (forward, true),
        (edited(|two| two[5] = 2), true),
        (edited(|cut| cut.truncate(20)), true),
        // They ask for nothing.
        (edited(|response| response[2] |= 0x80), false),
        (edited(|none| none[5] = 0), false),
    ];
    let asks = messages.clone().map(|(message, _)| Ask { message, ..Ask::answered("to", "") });
    let refused = |lab: &Lab| {
        let outcomes = outcomes(lab.client(), SERVER, &asks);
        outcomes.iter().map(|outcome| outcome == "EPERM").collect::<Vec<bool>>()
    };
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let everything_leaves = || assert_eq!(refused(&lab), vec![false; messages.len()]);
        everything_leaves();
        let daemon = lab.daemon(backend).policy("policy", &policy(POLICY)).start().unwrap();
        let expected: Vec<bool> = messages.iter().map(|(_, refused)| *refused).collect();
        assert_eq!(refused(&lab), expected);
        let event = told(&daemon, 0, None);
        assert_eq!((&event["rule"], &event["blocked"]), (&"c2".into(), &true.into()), "{event}");
        drop(daemon);
        everything_leaves();
    });
}

#[test]
fn an_audit_rule_refuses_no_lookup() {
    const AUDIT: &str = r#"
rules:
  - { name: c2, action: deny, to: { names: ["*.evil.example"] }, mode: audit, refuseLookup: true }
"#;
    Machine::one_backend(|backend| {
        let asks = [Ask::answered("to", "www.evil.example")];
        asked(backend, AUDIT, &asks, |lab, daemon| {
            let event = told(daemon, 0, Some("www.evil.example"));
            assert_eq!((&event["rule"], &event["mode"]), (&"c2".into(), &"audit".into()), "{event}");
            assert_eq!((&event["wouldDeny"], &event["blocked"]), (&true.into(), &false.into()), "{event}");
            let knock = Ask { message: b"knock".to_vec(), attached: "nothing", ..asks[0].clone() };
            assert_eq!(outcomes(lab.client(), SERVER, &[knock]), ["nothing"]);
            assert_eq!(daemon.counter("lookupsRefused").unwrap(), 0);
        });
    });
}

#[test]
fn a_lookup_is_refused_to_whom_the_rule_names() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let text = policy(&format!(
            r#"
rules:
  - {{ name: by-user, action: deny, to: {{ names: ["*.evil.example"] }}, subjects: {{ users: [1000] }}, refuseLookup: true }}
  - {{ name: by-cgroup, action: deny, to: {{ names: ["*.good.example"] }}, subjects: {{ cgroups: ["{}"] }}, refuseLookup: true }}
  - {{ name: elsewhere, action: deny, to: {{ names: ["six.example"] }}, subjects: {{ cgroups: ["/nowhere"] }}, refuseLookup: true }}
"#,
            lab.cgroup.name()
        ));
        let asks = ["a.evil.example", "a.good.example", "six.example"].map(|host| Ask::answered("to", host));
        let (root, user) = (lab.client(), lab.client().uid(1000));
        let everything_is_answered = || {
            assert_eq!(outcomes(root, SERVER, &asks), ["answered"; 3]);
            assert_eq!(outcomes(user, SERVER, &asks), ["answered"; 3]);
        };
        everything_is_answered();
        let daemon = lab.daemon(backend).policy("policy", &text).start().unwrap();
        assert_eq!(outcomes(root, SERVER, &asks), ["answered", "EPERM", "answered"]);
        assert_eq!(outcomes(user, SERVER, &asks), ["EPERM", "EPERM", "answered"]);
        assert_eq!(told(&daemon, 0, Some("a.evil.example"))["uid"], 1000);
        drop(daemon);
        everything_is_answered();
    });
}
