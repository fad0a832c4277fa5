//! Several datagrams in one packet: what a server sends at once (`UDP_SEGMENT`) reaches a socket at once that wants it so
//! (`UDP_GRO`), and each of them is an answer.

use std::net::{Ipv4Addr, TcpListener};

use enforcer_tests::{Backend, Cgroup, Client, Lab, Machine};

use crate::message::{answer, hex, query, with_id};
use crate::scenario::{connects, held_by, policy, refused};

const DENY: &str = r#"
rules:
  - { name: malware, action: deny, to: { names: ["*.evil.example"] } }
"#;

/// Not trusted: a denied name denies all the same.
const STRANGER: &str = "198.18.0.99";
/// Trusted.
const RESOLVER: &str = "198.18.0.72";

/// Sends the queries, answers all of them at once, and prints the length of what the client gets at once.
const EXCHANGE: &str = r#"
import socket
UDP_SEGMENT, UDP_GRO = 103, 104
queries, answers = [bytes.fromhex(q) for q in "QUERIES".split()], [bytes.fromhex(a) for a in "ANSWERS".split()]
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("SERVER", 53))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
client.bind(("127.0.0.77", 0))
client.settimeout(2)
if QUERIES_AT_ONCE:
    client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(queries[0]))
    queries = [b"".join(queries)]
for query in queries:
    client.sendto(query, ("SERVER", 53))
server.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(answers[0]))
server.sendto(b"".join(answers), client.getsockname())
try:
    print(len(client.recv(65535)))
except TimeoutError:
    print("timeout")
"#;

/// What is said to a client, in one packet.
struct Exchange<'a> {
    server: &'a str,
    /// Names and their addresses, each with a query of its own.
    names: &'a [(&'a str, Ipv4Addr)],
    /// The last answer ends early.
    cut: bool,
    /// The queries are one packet, too.
    queries_at_once: bool,
}

impl<'a> Exchange<'a> {
    fn new(server: &'a str, names: &'a [(&'a str, Ipv4Addr)]) -> Self {
        Self { server, names, cut: false, queries_at_once: false }
    }

    /// What the client got at once; it has to be all of it, or nothing.
    #[track_caller]
    fn is_received(&self, client: Client<'_>) -> bool {
        let Self { server, names, cut, queries_at_once } = *self;
        let ids = || (0..).map(|number| 0x5000 + number);
        let queries: Vec<Vec<u8>> =
            names.iter().zip(ids()).map(|((host, _), id)| with_id(query(host), id)).collect();
        let mut answers: Vec<Vec<u8>> = names
            .iter()
            .zip(ids())
            .map(|((host, address), id)| with_id(answer(host, *address), id))
            .collect();
        let last = answers.last_mut().unwrap();
        last.truncate(last.len() - usize::from(cut));
        let length: usize = answers.iter().map(Vec::len).sum();
        let source = EXCHANGE
            .replace("QUERIES_AT_ONCE", if queries_at_once { "True" } else { "False" })
            .replace("QUERIES", &hex(&queries))
            .replace("ANSWERS", &hex(&answers))
            .replace("SERVER", server);
        let outcome = client.python(&source).unwrap();
        match outcome.stdout.trim() {
            "timeout" => false,
            received => {
                assert_eq!(received, length.to_string(), "not at once: {outcome:?}");
                true
            }
        }
    }
}

const GOOD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// An address that nothing else here has.
fn evil(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, 150 + number)
}

#[test]
fn each_of_several_answers_is_bound() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let second = [("a.good.example", GOOD), ("b.evil.example", evil(0))];
        let last: Vec<(&str, Ipv4Addr)> =
            std::iter::repeat_n(second[0], 30).chain([("c.evil.example", evil(1))]).collect();
        let cut = [("a.good.example", GOOD), ("d.evil.example", evil(2))];
        let queried = [("a.good.example", GOOD), ("e.evil.example", evil(3))];
        let good = [("a.good.example", GOOD), ("b.good.example", GOOD)];
        let exchanges = [
            (Exchange::new(STRANGER, &second), evil(0), true),
            (Exchange::new(STRANGER, &last), evil(1), true),
            (Exchange { cut: true, ..Exchange::new(STRANGER, &cut) }, evil(2), false),
            (Exchange { queries_at_once: true, ..Exchange::new(STRANGER, &queried) }, evil(3), true),
        ];
        let everything_connects = || {
            for (exchange, address, _) in &exchanges {
                assert!(exchange.is_received(lab.client()));
                connects(lab.client(), &address.to_string(), 443);
            }
        };
        everything_connects();
        let mut daemon = lab.daemon(backend).policy("policy", &policy(DENY)).start().unwrap();
        assert!(Exchange::new(STRANGER, &good).is_received(lab.client()));
        connects(lab.client(), &GOOD.to_string(), 443);
        for (exchange, address, received) in &exchanges {
            assert_eq!(exchange.is_received(lab.client()), *received, "{address}");
            if *received {
                refused(lab.client(), &address.to_string(), 443, "EPERM");
            }
        }
        assert_eq!(daemon.counter("answersRefused").unwrap(), 1);
        assert!(daemon.stop().unwrap().success(), "{}", daemon.stderr().unwrap());
        everything_connects();
    });
}

#[test]
fn each_of_several_answers_has_a_sender() {
    const BELIEVED: &str = "203.0.113.160";
    const PLAYED: &str = "203.0.113.161";
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let (unit, other) = (Cgroup::service().unwrap(), Cgroup::service().unwrap());
        let policy = format!(
            "version: 1\ndns: {{ trustedResolvers: [{}] }}\ndefault: deny\n\
             rules:\n  - {{ name: registry, action: allow, to: {{ names: [\"*.registry.test\"] }} }}\n",
            held_by(RESOLVER, &unit)
        );
        let play = |cgroup: &Cgroup, host: &str, address: &str| {
            let names = [("a.nothing.test1", GOOD), (host, address.parse().unwrap())];
            let client = Client::new(&lab.netns).cgroup(cgroup);
            assert!(Exchange::new(RESOLVER, &names).is_received(client));
        };
        for address in [BELIEVED, PLAYED] {
            connects(lab.client(), address, 443);
        }
        let daemon = lab.daemon(backend).policy("policy", &policy).start().unwrap();
        play(&other, "b.registry.test", PLAYED);
        refused(lab.client(), PLAYED, 443, "EPERM");
        assert!(daemon.counter("answersImpersonated").unwrap() >= 2);
        play(&unit, "c.registry.test", BELIEVED);
        connects(lab.client(), BELIEVED, 443);
        drop(daemon);
        connects(lab.client(), PLAYED, 443);
    });
}

/// Asks by ways that pass `sendmsg` hooks by: a connected socket, several queries at once; data with the SYN (RFC 7413).
const ASK: &str = r#"
import errno, socket
UDP_SEGMENT = 103
def several():
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 30)
    client.connect(("SERVER", 53))
    client.send(bytes(60))
def fast_open():
    with socket.socket() as client:
        client.sendto(bytes(30), socket.MSG_FASTOPEN, ("SERVER", 53))
for way in several, fast_open:
    try:
        way()
        print("ok")
    except OSError as error:
        print(errno.errorcode[error.errno])
"#;

#[test]
fn other_resolvers_are_not_asked_by_other_ways() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let listen = || [STRANGER, RESOLVER].map(|address| TcpListener::bind((address, 53)).unwrap());
        let _listening = lab.netns.run(listen).unwrap();
        let ask = |server: &str| {
            let outcome = lab.client().python(&ASK.replace("SERVER", server)).unwrap();
            let said: Vec<String> = outcome.stdout.lines().map(str::to_owned).collect();
            <[String; 2]>::try_from(said).unwrap()
        };
        assert_eq!(ask(STRANGER), ["ok", "ok"]);
        let policy = format!(
            "version: 1\ndns: {{ trustedResolvers: [\"{RESOLVER}\"], otherResolvers: deny }}\nrules: []\n"
        );
        let daemon = lab.daemon(backend).policy("policy", &policy).start().unwrap();
        let [several, fast_open] = ask(STRANGER);
        assert_eq!(several, "EPERM");
        if backend == Backend::Cgroup {
            // `lsm/socket_connect` is not called for it (`net/ipv4/tcp.c` `tcp_sendmsg_fastopen`).
            assert_eq!(fast_open, "EPERM");
        }
        assert_eq!(ask(RESOLVER), ["ok", "ok"]);
        drop(daemon);
        assert_eq!(ask(STRANGER), ["ok", "ok"]);
    });
}
