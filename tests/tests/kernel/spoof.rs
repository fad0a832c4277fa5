//! Answers that are not what they seem: whatever they say, nothing more is allowed than before.

use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use enforcer_tests::{Backend, Cgroup, Client, Daemon, Dnsmasq, Lab, Machine, Netns, Running, ask, wait_for};
use serde_json::Value;

use crate::message::{self, answer, header, query, question, with_id};
use crate::scenario::{SOON, connects, held_by, refused, reload};

/// Trusted, and played by the test.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 54);
/// Not trusted.
const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 66);

const ALLOW: &str = r#"
version: 1
dns: { trustedResolvers: ["198.18.0.54"] }
default: deny
rules:
  - { name: registry, action: allow, to: { names: ["*.registry.test"] } }
  # In a guest everybody is in scope.
  - { name: servers, action: allow, to: { cidrs: ["198.18.0.54/32", "198.18.0.66/32"] } }
"#;

/// Every so many packets is genuine.
const GENUINE: u32 = 100;

/// Packets of all kinds together.
fn packets() -> u32 {
    let told = env::var("ENFORCER_SPOOFS").ok().and_then(|count| count.parse().ok());
    let soak = env::var_os("ENFORCER_SOAK").is_some();
    told.unwrap_or(match (Machine::current().is_guest(), soak) {
        (false, false) => 100_000,
        (false, true) => 1_000_000,
        (true, false) => 4_000,
        (true, true) => 100_000,
    })
}

/// How an answer is not what it seems.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Spoof {
    /// Nobody has asked.
    Unsolicited,
    /// The query was answered already.
    Second,
    /// Another query was asked, by its id ..
    WrongId,
    /// .. or by its question.
    WrongQuestion,
    /// Another server was asked.
    OtherServer,
    /// Whoever was asked is not trusted.
    Stranger,
    /// It does not come from the port of DNS.
    WrongPort,
    /// It goes to a socket that has not asked.
    WrongSocket,
    /// Its record is about another name than the question.
    OtherName,
}

impl Spoof {
    const ALL: [Self; 9] = [
        Self::Unsolicited,
        Self::Second,
        Self::WrongId,
        Self::WrongQuestion,
        Self::OtherServer,
        Self::Stranger,
        Self::WrongPort,
        Self::WrongSocket,
        Self::OtherName,
    ];

    /// What the spoofed answers of this kind say the name has.
    fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(203, 0, 113, 200 + self as u8)
    }

    /// Whether nothing but the address of the server, its port and the names in the answer would keep it from allowing.
    fn is_caught_by_address(self) -> bool {
        matches!(self, Self::Stranger | Self::WrongPort | Self::OtherName)
    }
}

/// The sockets of one conversation.
struct Stage {
    resolver: UdpSocket,
    stranger: UdpSocket,
    wrong_port: UdpSocket,
    client: UdpSocket,
    other_client: UdpSocket,
}

impl Stage {
    /// In the namespace of the calling thread.
    fn set() -> Self {
        let bind = |address, port| {
            let socket = UdpSocket::bind((address, port)).unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket
        };
        let client = Ipv4Addr::new(127, 0, 0, 77);
        Self {
            resolver: bind(RESOLVER, 53),
            stranger: bind(STRANGER, 53),
            wrong_port: bind(RESOLVER, 5353),
            client: bind(client, 0),
            other_client: bind(client, 0),
        }
    }

    /// Asks as the name's number says, so that no two questions are alike.
    fn ask(&self, server: &UdpSocket, query: &[u8]) {
        self.client.send_to(query, server.local_addr().unwrap()).unwrap();
        server.recv(&mut [0; 2048]).unwrap();
    }

    /// Sends an answer, and takes it in: whatever is not believed is delivered all the same.
    fn answer(&self, server: &UdpSocket, answer: &[u8]) {
        Self::deliver(server, &self.client, answer);
    }

    fn deliver(server: &UdpSocket, client: &UdpSocket, answer: &[u8]) {
        let to: SocketAddr = client.local_addr().unwrap();
        server.send_to(answer, to).unwrap();
        assert_eq!(client.recv(&mut [0; 2048]).unwrap(), answer.len());
    }

    /// A conversation in which the resolver says what it was asked.
    fn genuine(&self, number: u32) {
        let host = format!("g{number}.registry.test");
        let id = number as u16;
        self.ask(&self.resolver, &with_id(query(&host), id));
        self.answer(&self.resolver, &with_id(answer(&host, genuine_address(number)), id));
    }

    /// A conversation in which somebody plays the resolver.
    fn spoof(&self, spoof: Spoof, number: u32) {
        let Self { resolver, stranger, wrong_port, client: _, other_client } = self;
        let host = format!("s{number}.registry.test");
        let id = number as u16;
        let (query, said) = (with_id(query(&host), id), with_id(answer(&host, spoof.address()), id));
        // What the application would have been told, or would be now.
        let truth = with_id(answer(&host, Ipv4Addr::new(198, 51, 100, 1)), id);
        match spoof {
            Spoof::Unsolicited => self.answer(resolver, &said),
            Spoof::Second => {
                self.ask(resolver, &query);
                self.answer(resolver, &truth);
                self.answer(resolver, &said);
            }
            Spoof::WrongId => {
                self.ask(resolver, &query);
                self.answer(resolver, &with_id(said, id ^ (1 << (number % 16))));
                self.answer(resolver, &truth);
            }
            Spoof::WrongQuestion => {
                self.ask(resolver, &query);
                self.answer(resolver, &with_id(answer(&format!("x.{host}"), spoof.address()), id));
                self.answer(resolver, &truth);
            }
            Spoof::OtherServer => {
                self.ask(stranger, &query);
                self.answer(resolver, &said);
                self.answer(stranger, &truth);
            }
            Spoof::Stranger => {
                self.ask(stranger, &query);
                self.answer(stranger, &said);
            }
            Spoof::WrongPort => {
                self.ask(resolver, &query);
                self.answer(wrong_port, &said);
                self.answer(resolver, &truth);
            }
            Spoof::WrongSocket => {
                self.ask(resolver, &query);
                Self::deliver(resolver, other_client, &said);
                self.answer(resolver, &truth);
            }
            Spoof::OtherName => {
                self.ask(resolver, &query);
                let mut record = message::name("elsewhere.test");
                record.extend(b"\0\x01\0\x01\0\0\x02\x58\0\x04");
                record.extend(spoof.address().octets());
                self.answer(resolver, &with_id([header(1), question(&host), record].concat(), id));
            }
        }
    }
}

/// Each genuine answer has an address of its own.
fn genuine_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 19, 0, 1)) + number / GENUINE)
}

fn start(lab: &Lab, backend: Backend, arguments: &[&str]) -> Daemon {
    let daemon = lab.daemon(backend).policy("policy", ALLOW);
    arguments.iter().fold(daemon, |daemon, argument| daemon.argument(argument)).start().unwrap()
}

#[test]
fn no_spoofed_answer_allows_anything() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        for spoof in Spoof::ALL {
            connects(lab.client(), &spoof.address().to_string(), 443);
        }
        let daemon = start(&lab, backend, &[]);
        let count = packets();
        lab.netns
            .run(|| {
                let stage = Stage::set();
                for number in 0..count {
                    if number % GENUINE == 0 {
                        stage.genuine(number);
                    } else {
                        stage.spoof(Spoof::ALL[number as usize % Spoof::ALL.len()], number);
                    }
                }
            })
            .unwrap();
        for spoof in Spoof::ALL {
            refused(lab.client(), &spoof.address().to_string(), 443, "EPERM");
        }
        let mut visitor = lab.client().visit((RESOLVER, 53).into()).unwrap();
        for number in (0..count).step_by(GENUINE as usize) {
            visitor.say(&format!("connect {} 443", genuine_address(number))).unwrap();
            let attempt = visitor.attempt(SOON).unwrap();
            assert!(attempt.is_ok(), "genuine answer {number}: {attempt}");
        }
        for cause in ["unsolicited", "untrustedServer"] {
            let is_told = |event: &Value| event["event"] == "DNSAnswerRejected" && event["cause"] == cause;
            let event = daemon.wait_for_event(SOON, is_told).unwrap();
            assert!(event["count"].as_u64() > Some(0), "{event}");
        }
        let of_kind = u64::from(count / Spoof::ALL.len() as u32);
        for (counter, at_least) in
            [("answersUnsolicited", of_kind * 6 * 9 / 10), ("answersUntrusted", of_kind * 9 / 10)]
        {
            let counted = daemon.counter(counter).unwrap();
            assert!(counted >= at_least, "{counter}: {counted}, of {count} packets");
        }
        for counter in ["errors", "noScratch", "queriesUnrecorded", "answersRefused"] {
            assert_eq!(daemon.counter(counter).unwrap(), 0, "{counter}");
        }
        eprintln!("{count} packets, {} of them genuine", count.div_ceil(GENUINE));
        drop(daemon);
        connects(lab.client(), &Spoof::Second.address().to_string(), 443);
    });
}

#[test]
fn by_the_address_alone_spoofed_answers_are_believed() {
    if Machine::current().is_guest() {
        // It is a test of the test above, which is the same there.
        return;
    }
    let lab = Lab::new().unwrap();
    let daemon = start(&lab, Backend::Cgroup, &["--trust-by-address"]);
    lab.netns
        .run(|| {
            let stage = Stage::set();
            for (spoof, number) in Spoof::ALL.into_iter().zip(1..) {
                stage.spoof(spoof, number);
            }
        })
        .unwrap();
    for spoof in Spoof::ALL {
        let address = spoof.address().to_string();
        if spoof.is_caught_by_address() {
            refused(lab.client(), &address, 443, "EPERM");
        } else {
            connects(lab.client(), &address, 443);
        }
    }
    drop(daemon);
}

/// What is asked, and answered, by a user in namespaces of his own, where he is root.
const PRIVATE: &str = r#"
import socket, subprocess, sys
for command in ["link set lo up", "route add local 198.18.0.0/15 dev lo"]:
    subprocess.run(["ip", *command.split()], check=True)
resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
resolver.bind(("198.18.0.54", 53))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.bind(("127.0.0.77", 0))
client.settimeout(10)
for number in range(COUNT):
    label = b"p%d" % number
    question = bytes([len(label)]) + label + b"\x08registry\x04test\0\0\x01\0\x01"
    id = (number & 0xffff).to_bytes(2, "big")
    client.sendto(id + b"\x01\0\0\x01" + bytes(6) + question, ("198.18.0.54", 53))
    resolver.recv(2048)
    record = b"\xc0\x0c\0\x01\0\x01\0\0\x02X\0\x04" + bytes([203, 0, 113, 190])
    resolver.sendto(id + b"\x81\x80\0\x01\0\x01" + bytes(4) + question + record, client.getsockname())
    client.recv(2048)
print("played")
"#;

/// Has user 1000 play the resolver.
fn play_in_private(lab: &Lab, count: u32) {
    let script = PRIVATE.replace("COUNT", &count.to_string());
    let user = lab.client().uid(1000);
    let outcome = user.run("unshare", &["-Urn", "/usr/bin/python3", "-c", &script]).unwrap();
    assert_eq!(outcome.stdout.trim(), "played", "{outcome:?}");
}

#[test]
fn nobody_plays_the_resolver_in_a_namespace_of_his_own() {
    const ADDRESS: &str = "203.0.113.190";
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        connects(lab.client(), ADDRESS, 443);
        let daemon = start(&lab, backend, &[]);
        let count = packets() / 20;
        play_in_private(&lab, count);
        refused(lab.client(), ADDRESS, 443, "EPERM");
        assert!(daemon.counter("answersForeign").unwrap() >= u64::from(count));
        drop(daemon);

        // .. and by the address alone he would.
        let daemon = start(&lab, backend, &["--trust-by-address"]);
        play_in_private(&lab, 1);
        connects(lab.client(), ADDRESS, 443);
        drop(daemon);
    });
}

/// A resolver in another namespace, at the other end of a pair of interfaces, as a container has it.
fn routed(lab: &Lab) -> (Netns, Dnsmasq) {
    let machine = Netns::new().unwrap();
    let pair = format!("link add inside type veth peer name outside netns {}\n", machine.name());
    let inside = format!("{pair}address add 10.77.0.2/24 dev inside\nlink set inside up\n");
    lab.netns.ip_batch(&inside).unwrap();
    machine.ip_batch("address add 10.77.0.1/24 dev outside\nlink set outside up\n").unwrap();
    let dnsmasq = Dnsmasq::builder(&machine).at(ROUTED).domain("good.example", Lab::GOOD).start().unwrap();
    lab.netns.set_resolvers(&[IpAddr::V4(ROUTED)]).unwrap();
    (machine, dnsmasq)
}

const ROUTED: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const GOOD: &str =
    "default: deny\nrules:\n  - { name: good, action: allow, to: { names: [\"*.good.example\"] } }\n";

#[test]
fn a_routed_resolver_is_believed_in_a_container() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let routed = routed(&lab);
        connects(lab.client(), "www.good.example", 443);
        let policy = format!("version: 1\ndns: {{ trustedResolvers: [\"{ROUTED}\"] }}\n{GOOD}");
        let daemon = lab.daemon(backend).policy("policy", &policy).start().unwrap();
        refused(lab.client(), "203.0.113.99", 443, "EPERM");
        connects(lab.client(), "www.good.example", 443);
        drop(daemon);
        connects(lab.client(), "203.0.113.99", 443);
        drop(routed);
    });
}

#[test]
fn a_change_of_the_machines_resolvers_is_followed() {
    const RESOLV_CONF: &str = "/etc/resolv.conf";
    if !Machine::current().is_guest() {
        // This machine's own is left alone.
        return;
    }
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let routed = routed(&lab);
        let before = fs::read(RESOLV_CONF).unwrap();
        fs::write(RESOLV_CONF, "nameserver 10.77.0.9\n").unwrap();
        let server = format!("  - {{ name: server, action: allow, to: {{ cidrs: [\"{ROUTED}\"] }} }}\n");
        let policy = format!("version: 1\n{GOOD}{server}");
        let daemon = lab.daemon(backend).policy("policy", &policy).start().unwrap();
        refused(lab.client(), "www.good.example", 443, "EPERM");

        fs::write(RESOLV_CONF, format!("nameserver {ROUTED}\n")).unwrap();
        let resolvers = || daemon.status().unwrap()["resolvers"].clone();
        let followed = wait_for(SOON, || (resolvers() == serde_json::json!([ROUTED])).then_some(()));
        assert!(followed.is_some(), "{}", resolvers());
        connects(lab.client(), "www.good.example", 443);

        fs::write(RESOLV_CONF, before).unwrap();
        drop((daemon, routed));
    });
}

#[test]
fn the_machines_own_resolver_is_believed() {
    const RESOLV_CONF: &str = "/etc/resolv.conf";
    if !Machine::current().is_guest() {
        // As above.
        return;
    }
    Machine::one_backend(|backend| {
        let before = fs::read(RESOLV_CONF).unwrap();
        fs::write(RESOLV_CONF, "nameserver 127.0.0.1\n").unwrap();
        let (lab, unit) = (Lab::new().unwrap(), Cgroup::service().unwrap());
        let script = SERVER.replace("198.18.0.54", "127.0.0.1").replace("ADDRESS", "203.0.113.7");
        let own = Client::in_initial_netns().cgroup(&unit);
        let server = own.spawn("/usr/bin/python3", &["-u", "-c", &script]).unwrap();
        assert_eq!(server.line(SOON).unwrap(), "ready");
        let daemon = lab.daemon(backend).policy("policy", &format!("version: 1\n{GOOD}")).start().unwrap();

        let client = Client::in_initial_netns().cgroup(&lab.cgroup);
        let mut visitor = client.visit((Ipv4Addr::LOCALHOST, 53).into()).unwrap();
        let mut visit = |line: &str| {
            visitor.say(line).unwrap();
            visitor.attempt(SOON).unwrap()
        };
        assert_eq!(visit("connect 203.0.113.7 443").errno(), Some("EPERM"));
        assert!(visit("ask 203.0.113.7 www.good.example").is_ok());
        // Nobody is there, but it may be looked for.
        assert_ne!(visit("connect 203.0.113.7 443").errno(), Some("EPERM"));
        assert_eq!(daemon.counter("answersImpersonated").unwrap(), 0);

        fs::write(RESOLV_CONF, before).unwrap();
        drop((daemon, server));
    });
}

/// Answers every query at the resolver's address with the address ADDRESS.
const SERVER: &str = r#"
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("198.18.0.54", 53))
print("ready", flush=True)
while True:
    query, client = server.recvfrom(2048)
    record = b"\xc0\x0c\0\x01\0\x01\0\0\x02\x58\0\x04" + socket.inet_aton("ADDRESS")
    server.sendto(query[:2] + b"\x81\x80\0\x01\0\x01" + bytes(4) + query[12:] + record, client)
"#;

/// Asks, and answers itself, from the resolver's address and port, with a raw socket, at once.
const FORGER: &str = r#"
import socket, struct
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.bind(("127.0.0.77", 0))
client.settimeout(10)
port = client.getsockname()[1]
for number in range(200):
    label = b"f%d" % number
    question = bytes([len(label)]) + label + b"\x08registry\x04test\0\0\x01\0\x01"
    record = b"\xc0\x0c\0\x01\0\x01\0\0\x02\x58\0\x04" + bytes([203, 0, 113, 191])
    id = number.to_bytes(2, "big")
    answer = id + b"\x81\x80\0\x01\0\x01" + bytes(4) + question + record
    udp = struct.pack("!HHHH", 53, port, 8 + len(answer), 0) + answer
    addresses = socket.inet_aton("198.18.0.54") + socket.inet_aton("127.0.0.77")
    packet = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses + udp
    client.sendto(id + b"\x01\0\0\x01" + bytes(6) + question, ("198.18.0.54", 53))
    raw.sendto(packet, ("127.0.0.77", 0))
    client.recv(2048)
    client.recv(2048)
print("forged")
"#;

/// A process in this cgroup that plays the resolver.
fn serve(lab: &Lab, cgroup: &Cgroup, address: &str) -> Running {
    let script = SERVER.replace("ADDRESS", address);
    let server =
        Client::new(&lab.netns).cgroup(cgroup).spawn("/usr/bin/python3", &["-u", "-c", &script]).unwrap();
    assert_eq!(server.line(SOON).unwrap(), "ready");
    server
}

/// Asks so many names of whoever plays the resolver.
fn ask_each(lab: &Lab, prefix: &str, count: u32) {
    let v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    lab.netns
        .run(|| {
            for number in 0..count {
                ask((RESOLVER, 53).into(), &format!("{prefix}{number}.registry.test"), v4, SOON).unwrap();
            }
        })
        .unwrap();
}

#[test]
fn only_the_unit_that_holds_a_resolver_is_believed() {
    const PLAYED: &str = "203.0.113.191";
    const TRUE: &str = "203.0.113.192";
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let (unit, other) = (Cgroup::service().unwrap(), Cgroup::service().unwrap());
        let policy = ALLOW.replace("\"198.18.0.54\"", &held_by(RESOLVER, &unit));
        connects(lab.client(), PLAYED, 443);
        let daemon = lab.daemon(backend).policy("policy", &policy).start().unwrap();
        let count = packets() / 20;

        let impostor = serve(&lab, &other, PLAYED);
        ask_each(&lab, "i", count);
        refused(lab.client(), PLAYED, 443, "EPERM");
        assert!(daemon.counter("answersImpersonated").unwrap() >= u64::from(count));
        drop(impostor);

        let server = serve(&lab, &unit, TRUE);
        let before = daemon.counter("answersImpersonated").unwrap();
        let forger = Client::new(&lab.netns).cgroup(&other).python(FORGER).unwrap();
        assert_eq!(forger.stdout.trim(), "forged", "{forger:?}");
        refused(lab.client(), PLAYED, 443, "EPERM");
        let forged = daemon.counter("answersImpersonated").unwrap() - before;
        assert!(forged > 0, "no forged answer came first");

        ask_each(&lab, "t", 10);
        connects(lab.client(), TRUE, 443);
        drop(server);

        // Without the unit, who answers does not matter.
        reload(&daemon, || daemon.write_policy("policy", ALLOW).unwrap());
        let impostor = serve(&lab, &other, PLAYED);
        ask_each(&lab, "n", 1);
        connects(lab.client(), PLAYED, 443);
        drop((impostor, daemon));
    });
}

#[test]
fn other_resolvers_are_not_asked() {
    const OTHERS: &str = "dns: { trustedResolvers: [\"198.18.0.54\"], otherResolvers: deny }\n";
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let listen = || [RESOLVER, STRANGER].map(|address| TcpListener::bind((address, 53)).unwrap());
        let _listening = lab.netns.run(listen).unwrap();
        let ask = |server: &str, connected: bool| {
            let attempts = if connected {
                lab.client().send_connected(server, 53)
            } else {
                lab.client().send(server, 53)
            };
            attempts.unwrap().remove(0)
        };
        let policy = format!("version: 1\n{OTHERS}rules: []\n");
        connects(lab.client(), "198.18.0.66", 53);

        let daemon = lab.daemon(backend).policy("policy", &policy).start().unwrap();
        let mark = daemon.mark().unwrap();
        let address = refused(lab.client(), "198.18.0.66", 53, "EPERM");
        let event = daemon.connect_event(mark, address).unwrap();
        assert_eq!((&event["rule"], &event["blocked"]), (&"otherResolvers".into(), &true.into()), "{event}");
        connects(lab.client(), "198.18.0.54", 53);
        connects(lab.client(), "198.18.0.66", 443);
        // The lab's own resolver is none of those that may be asked.
        for connected in [false, true] {
            assert_eq!(ask("198.18.0.53", connected).errno(), Some("EPERM"), "{connected}");
            assert_ne!(ask("198.18.0.54", connected).errno(), Some("EPERM"), "{connected}");
        }
        assert!(lab.client().connect("www.good.example", 443).unwrap()[0].address().is_none());
        assert!(daemon.counter("queriesRefused").unwrap() > 0);

        // In an audit nothing is refused, and the event says what would be.
        let mark = daemon.mark().unwrap();
        reload(&daemon, || daemon.write_policy("policy", &format!("{policy}mode: audit\n")).unwrap());
        let address = connects(lab.client(), "198.18.0.66", 53);
        let event = daemon.connect_event(mark, address).unwrap();
        assert_eq!(
            (&event["rule"], &event["wouldDeny"]),
            (&"otherResolvers".into(), &true.into()),
            "{event}"
        );
        connects(lab.client(), "www.good.example", 443);
        drop(daemon);
        connects(lab.client(), "198.18.0.66", 53);
    });
}
