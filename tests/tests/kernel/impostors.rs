//! Who plays the resolver over TCP: on this machine only the process that holds it is believed.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use enforcer_tests::{Cgroup, Client, Lab, Machine, Running};

use crate::message::{answer, framed, hex, query};
use crate::scenario::{SOON, connects, held_by, refused, reload};

/// Trusted, and played by the test.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 71);

const ALLOW: &str = r#"
version: 1
dns: { trustedResolvers: [HELD] }
default: deny
rules:
  - { name: registry, action: allow, to: { names: ["*.registry.test"] } }
  - { name: forged, action: allow, to: { cidrs: ["192.0.2.77/32", "198.18.0.71/32"] } }
"#;

/// Only this unit may answer from the resolver's address.
fn policy_of(unit: &Cgroup) -> String {
    ALLOW.replace("HELD", &held_by(RESOLVER, unit))
}

/// Answers a query of each connection at the resolver's address with the address ADDRESS; waits for a line of input before
/// if WAITS.
const SERVER: &str = r#"
import socket
listener = socket.create_server(("198.18.0.71", 53))
print("ready", flush=True)
while True:
    client, _ = listener.accept()
    query = client.recv(2048)[2:]
    record = b"\xc0\x0c\0\x01\0\x01\0\0\x02\x58\0\x04" + socket.inet_aton("ADDRESS")
    answer = query[:2] + b"\x81\x80\0\x01\0\x01" + bytes(4) + query[12:] + record
    if WAITS: input()
    client.sendall(len(answer).to_bytes(2, "big") + answer)
    client.close()
"#;

/// A process in this cgroup that plays the resolver.
fn serve(lab: &Lab, cgroup: &Cgroup, address: &str, waits: bool) -> Running {
    let script = SERVER.replace("ADDRESS", address).replace("WAITS", if waits { "True" } else { "False" });
    let server =
        Client::new(&lab.netns).cgroup(cgroup).spawn("/usr/bin/python3", &["-u", "-c", &script]).unwrap();
    assert_eq!(server.line(SOON).unwrap(), "ready");
    server
}

/// Asks whoever plays the resolver for a name, on a connection of its own.
fn ask(lab: &Lab, host: &str) -> TcpStream {
    let mut stream = lab.netns.run(|| TcpStream::connect((RESOLVER, 53)).unwrap()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(&framed(&[query(host)])).unwrap();
    stream
}

/// The answer.
fn hear(mut stream: TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).unwrap();
    answer
}

#[test]
fn only_the_unit_that_holds_a_resolver_is_believed_over_tcp() {
    const PLAYED: &str = "203.0.113.171";
    const TRUE: &str = "203.0.113.172";
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let (unit, other) = (Cgroup::service().unwrap(), Cgroup::service().unwrap());
        connects(lab.client(), PLAYED, 443);
        let daemon = lab.daemon(backend).policy("policy", &policy_of(&unit)).start().unwrap();

        let impostor = serve(&lab, &other, PLAYED, false);
        for number in 0..20 {
            hear(ask(&lab, &format!("i{number}.registry.test")));
        }
        refused(lab.client(), PLAYED, 443, "EPERM");
        assert_eq!(daemon.counter("answersImpersonated").unwrap(), 20);
        drop(impostor);

        let server = serve(&lab, &unit, TRUE, false);
        hear(ask(&lab, "t.registry.test"));
        connects(lab.client(), TRUE, 443);
        assert_eq!(daemon.counter("answersImpersonated").unwrap(), 20);
        drop(server);

        // Without the unit, who answers does not matter.
        let listed = ALLOW.replace("HELD", &format!("\"{RESOLVER}\""));
        reload(&daemon, || daemon.write_policy("policy", &listed).unwrap());
        let impostor = serve(&lab, &other, PLAYED, false);
        hear(ask(&lab, "n.registry.test"));
        connects(lab.client(), PLAYED, 443);
        drop((impostor, daemon));
    });
}

/// Two connections of one client's port, one after the other.
#[test]
fn an_impostors_connection_leaves_nothing_to_the_next_one() {
    const TRUE: &str = "203.0.113.173";
    const ONE_PORT: &str = r#"
import socket, struct
client = socket.socket()
client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
# It ends with a reset: the port is free again at once.
client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
client.bind(("192.0.2.77", 40053))
client.connect(("198.18.0.71", 53))
client.sendall(bytes.fromhex("QUERY"))
print(len(client.recv(2048)))
"#;
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let (unit, other) = (Cgroup::service().unwrap(), Cgroup::service().unwrap());
        let daemon = lab.daemon(backend).policy("policy", &policy_of(&unit)).start().unwrap();
        let query = hex(&[framed(&[query("p.registry.test")])]);
        let ask = || {
            let outcome = lab.outsider().python(&ONE_PORT.replace("QUERY", &query)).unwrap();
            assert!(outcome.success(), "{outcome:?}");
        };
        let impostor = serve(&lab, &other, TRUE, false);
        ask();
        refused(lab.client(), TRUE, 443, "EPERM");
        drop(impostor);
        let server = serve(&lab, &unit, TRUE, false);
        ask();
        connects(lab.client(), TRUE, 443);
        assert_eq!(daemon.counter("answersImpersonated").unwrap(), 1);
        drop((server, daemon));
    });
}

/// Waits for a query, and says SAID in the place of the resolver, with a raw socket.
const FORGER: &str = r#"
import socket, struct
tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
tap.bind(("lo", 0x0800))
tap.settimeout(20)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
said = bytes.fromhex("SAID")
print("ready", flush=True)
while True:
    packet = tap.recv(65535)
    start = (packet[0] & 15) * 4
    port, to, sequence, acknowledged, offset = struct.unpack("!HHIIB", packet[start:start + 13])
    query = packet[start + (offset >> 4) * 4:]
    if packet[9] == 6 and to == 53 and query:
        break
addresses = packet[16:20] + packet[12:16]
tcp = struct.pack("!HHIIBBHHH", 53, port, acknowledged, sequence + len(query), 0x50, 0x18, 512, 0, 0) + said
pseudo = addresses + struct.pack("!BBH", 0, 6, len(tcp)) + tcp + bytes(len(tcp) % 2)
total = sum(struct.unpack("!%dH" % (len(pseudo) // 2), pseudo))
total = (total & 0xffff) + (total >> 16)
total = ~((total & 0xffff) + (total >> 16)) & 0xffff
tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + addresses
raw.sendto(head + tcp, (socket.inet_ntoa(addresses[4:]), 0))
print("forged", flush=True)
"#;

#[test]
fn nobody_puts_a_word_into_the_resolvers_mouth() {
    /// What the forger says, and what the resolver does.
    const PLAYED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 175);
    const TOLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 176);
    const ASKED: &str = "x.elsewhere.tst";
    const CLAIMED: &str = "x.registry.test";
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let (unit, other) = (Cgroup::service().unwrap(), Cgroup::service().unwrap());
        // The default refuses the forger's sockets and packets.
        let forging = format!("sockets: {{ exempt: [{}] }}\n", other.name().trim_start_matches('/'));
        let policy = policy_of(&unit) + &forging;
        let daemon = lab.daemon(backend).policy("policy", &policy).start().unwrap();
        let mut server = serve(&lab, &unit, &TOLD.to_string(), true);
        let lie = framed(&[answer(CLAIMED, PLAYED)]);
        let mut forge = |length: usize, address| {
            let said = hex(&[&lie[..length]]);
            let forger = Client::new(&lab.netns).cgroup(&other);
            let script = FORGER.replace("SAID", &said);
            let forger = forger.spawn("/usr/bin/python3", &["-u", "-c", &script]).unwrap();
            assert_eq!(forger.line(SOON).unwrap(), "ready");
            let stream = ask(&lab, ASKED);
            assert_eq!(forger.line(SOON).unwrap(), "forged");
            server.say("").unwrap();
            assert_eq!(hear(stream), answer(CLAIMED, address), "the lie was not heard");
        };
        // All of an answer, or its question alone, so that the resolver's words end what the forger began.
        let lies = [(lie.len(), PLAYED), (lie.len() - 16, TOLD)];
        for (length, address) in lies {
            forge(length, address);
            refused(lab.client(), &address.to_string(), 443, "EPERM");
        }
        assert_eq!(daemon.counter("answersImpersonated").unwrap(), 2);

        // Where it does not matter who answers, the same is believed.
        let listed = ALLOW.replace("HELD", &format!("\"{RESOLVER}\"")) + &forging;
        reload(&daemon, || daemon.write_policy("policy", &listed).unwrap());
        for (length, address) in lies {
            forge(length, address);
            connects(lab.client(), &address.to_string(), 443);
        }
        drop((server, daemon));
        connects(lab.client(), &PLAYED.to_string(), 443);
    });
}
