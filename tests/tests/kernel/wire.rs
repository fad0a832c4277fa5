//! What is not a connect: datagrams, what goes around the calls that name an address, flows that are there already, and
//! what must not be cut.

use std::net::SocketAddr;
use std::time::Duration;

use enforcer_tests::{Attempt, Client, Daemon, Lab, Machine};
use serde_json::Value;

use crate::scenario::{SOON, connects, policy, reload};

const DENIED: &str = "203.0.113.7";
const DENIED_SIX: &str = "2001:db8::7";

const DENY: &str = r#"
rules:
  - { name: malware, action: deny, to: { names: ["*.evil.example"] } }
  - { name: networks, action: deny, to: { cidrs: ["203.0.113.7/32", "2001:db8::7/128"] } }
"#;

/// What a program of a few lines of Python comes to: `ok`, or the name of the error number.
fn outcome(client: Client<'_>, source: &str) -> String {
    let indented: String = source.lines().map(|line| format!("    {line}\n")).collect();
    let program = format!(
        "import errno, socket, struct\nT, A = '{DENIED}', '198.51.100.9'\nT6, A6 = '{DENIED_SIX}', '2001:db8::99'\n\
         six = lambda address: socket.inet_pton(socket.AF_INET6, address)\nfour = socket.inet_aton\n\
         try:\n{indented}    print('ok')\nexcept OSError as error:\n    print(errno.errorcode[error.errno])\n"
    );
    let outcome = client.python(&program).unwrap();
    assert!(outcome.success(), "{source}: {outcome:?}");
    outcome.stdout.trim().to_owned()
}

fn told(daemon: &Daemon, mark: usize, event: &str, ip: &str) -> Value {
    daemon.wait_for_event_since(mark, SOON, |line| line["event"] == event && line["dstIP"] == ip).unwrap()
}

#[test]
fn a_datagram_is_judged_however_its_destination_is_named() {
    const WAYS: [(&str, &str, &str); 6] = [
        ("sendto", "NetUDPSend", "socket.socket(2, 2).sendto(b'x', (T, 9999))"),
        ("connected", "NetUDPSend", "s = socket.socket(2, 2); s.connect((T, 9999)); s.send(b'x')"),
        ("IPv6", "NetUDPSend", "socket.socket(10, 2).sendto(b'x', (T6, 9999))"),
        ("connected IPv6", "NetUDPSend", "s = socket.socket(10, 2); s.connect((T6, 9999)); s.send(b'x')"),
        ("mapped", "NetUDPSend", "socket.socket(10, 2).sendto(b'x', ('::ffff:' + T, 9999))"),
        (
            "connected elsewhere",
            "NetUDPSend",
            "s = socket.socket(2, 2); s.connect((A, 9999)); s.send(b'x'); s.sendto(b'x', (T, 9999))",
        ),
    ];
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        for (way, _, source) in WAYS {
            assert_eq!(outcome(client, source), "ok", "before: {way}");
        }
        let mut daemon = lab.daemon(backend).policy("policy", &policy(DENY)).start().unwrap();
        for (way, event, source) in WAYS {
            let mark = daemon.mark().unwrap();
            assert_eq!(outcome(client, source), "EPERM", "{way}");
            let ip = if source.contains("T6") { DENIED_SIX } else { DENIED };
            let event = told(&daemon, mark, event, ip);
            assert_eq!(event["rule"], "networks", "{way}: {event}");
            assert_eq!(
                (&event["blocked"], &event["dstPort"]),
                (&true.into(), &9999.into()),
                "{way}: {event}"
            );
            assert_eq!(
                (&event["proto"], &event["comm"]),
                (&"udp".into(), &"python3".into()),
                "{way}: {event}"
            );
        }
        let mark = daemon.mark().unwrap();
        assert_eq!(outcome(client, &WAYS[0].2.replace("T,", "A,")), "ok");
        assert_eq!(told(&daemon, mark, "NetUDPSend", "198.51.100.9")["blocked"], false);
        assert!(daemon.stop().unwrap().success());
        for (way, _, source) in WAYS {
            assert_eq!(outcome(client, source), "ok", "after: {way}");
        }
    });
}

#[test]
fn a_name_denies_datagrams_and_each_destination_is_told_once() {
    const POLICY: &str = r#"
rules:
  - { name: malware, action: deny, to: { names: ["*.evil.example"] } }
  - { name: no-quic, action: deny, to: { names: ["www.good.example"] }, ports: ["443/udp"] }
"#;
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        let daemon = lab.daemon(backend).policy("policy", &policy(POLICY)).start().unwrap();
        let refused = |attempts: Vec<Attempt>| assert_eq!(attempts[0].errno(), Some("EPERM"), "{attempts:?}");
        refused(client.send("www.evil.example", 9999).unwrap());
        refused(client.send_connected("www.evil.example", 9999).unwrap());
        refused(client.send("www.good.example", 443).unwrap());
        refused(client.send_connected("www.good.example", 443).unwrap());
        connects(client, "www.good.example", 443);
        assert!(client.send("www.good.example", 9999).unwrap()[0].is_ok());
        assert!(client.send_connected("www.good.example", 9999).unwrap()[0].is_ok());
        let event = told(&daemon, 0, "NetUDPSend", DENIED);
        assert_eq!(event["results"], serde_json::json!(["www.evil.example"]), "{event}");

        let mark = daemon.mark().unwrap();
        let source = "s = socket.socket(2, 2)\nfor _ in range(50): s.sendto(b'x', (A, 9999))\n\
                      s.connect((A, 9999))\nfor _ in range(50): s.send(b'x')";
        assert_eq!(outcome(client, source), "ok");
        connects(client, "198.51.100.99", 443);
        daemon.connect_event(mark, "198.51.100.99:443".parse().unwrap()).unwrap();
        let events = daemon.events().unwrap();
        let sent = events
            .iter()
            .skip(mark)
            .filter(|event| event["dstIP"] == "198.51.100.9" && event["dstPort"] == 9999)
            .count();
        assert_eq!(sent, 1, "{events:?}");
    });
}

#[test]
fn what_names_another_address_than_it_reaches_is_stopped_at_the_wire() {
    /// Segment routing: by way of T to A.
    const SEGMENTS: &str = "s = socket.socket(10, 2)\n\
        s.setsockopt(41, 57, struct.pack('BBBBBBH', 0, 4, 4, 1, 1, 0, 0) + six(A6) + six(T6))\n\
        s.sendto(b'x', (A6, 9999))";
    const RAW: &str = "s = socket.socket(2, 3, 255)\n\
        s.sendto(struct.pack('!BBHHHBBH', 0x45, 0, 28, 0, 0, 64, 17, 0) + bytes(4) + four(T) \
        + struct.pack('!HHHH', 1, 9999, 8, 0), (A, 0))";
    const FRAGMENT: &str = "s = socket.socket(2, 3, 255)\n\
        s.sendto(struct.pack('!BBHHHBBH', 0x45, 0, 28, 7, 1, 64, 17, 0) + bytes(4) + four(T) + bytes(8), (A, 0))";
    const UDP_LITE: &str = "s = socket.socket(2, 2, 136); s.connect((T, 9999)); s.send(b'x')";
    const ECHO: &str = "s = socket.socket(2, 3, 1)\n\
        s.sendto(struct.pack('!BBHHH', 8, 0, 0xf7ff, 0, 0), (T, 0))";
    const TEREDO: &str = "s = socket.socket(10, 2)\n\
        s.sendto(b'x', ('2001:0:4136:e378:8000:63bf:34ff:8ef8', 9999))";
    const NAT64: &str = "s = socket.socket(10, 2); s.sendto(b'x', ('64:ff9b::' + T, 9999))";
    let ways = [
        ("a routing header", SEGMENTS, DENIED_SIX),
        ("a header of one's own", RAW, DENIED),
        ("a fragment of one's own", FRAGMENT, DENIED),
        ("UDP-Lite", UDP_LITE, DENIED),
        ("an echo request", ECHO, DENIED),
        ("Teredo", TEREDO, "2001:0:4136:e378:8000:63bf:34ff:8ef8"),
        ("NAT64", NAT64, "64:ff9b::cb00:7107"),
    ];
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        lab.netns.add_local("2001:0::/32").unwrap();
        lab.netns.add_local("64:ff9b::/96").unwrap();
        let client = lab.client();
        let works: Vec<_> = ways
            .into_iter()
            .filter(|(way, source, _)| {
                let before = outcome(client, source);
                // Not every kernel has every protocol.
                assert!(before == "ok" || before == "EPROTONOSUPPORT", "before: {way}: {before}");
                before == "ok"
            })
            .collect();
        assert!(works.len() >= 6, "{works:?}");
        let mut daemon = lab.daemon(backend).policy("policy", &policy(DENY)).start().unwrap();
        for (way, source, ip) in &works {
            let mark = daemon.mark().unwrap();
            assert_eq!(outcome(client, source), "EPERM", "{way}");
            let event = daemon
                .wait_for_event_since(mark, SOON, |event| event["dstIP"] == *ip && event["blocked"] == true)
                .unwrap();
            assert_eq!(event["rule"], "networks", "{way}: {event}");
            assert_eq!(
                outcome(
                    client,
                    &source
                        .replace("T6", "A6")
                        .replace("(T)", "(A)")
                        .replace("(T,", "(A,")
                        .replace("34ff:8ef8", "39cc:9bf8")
                        .replace("+ T,", "+ A,")
                ),
                "ok",
                "elsewhere: {way}"
            );
        }
        assert!(daemon.stop().unwrap().success());
        for (way, source, _) in &works {
            assert_eq!(outcome(client, source), "ok", "after: {way}");
        }
    });
}

/// Sends again to where it was allowed to, by something that what is remembered of a socket does not say.
const AGAIN: &str = r#"
import ctypes, errno, socket, struct
GOOD, DENIED = ("198.51.100.7", 9999), "203.0.113.50"
libc = ctypes.CDLL(None, use_errno=True)
def say(act):
    try:
        act()
        print("ok")
    except TimeoutError:
        print("nothing")
    except OSError as error:
        print(errno.errorcode[error.errno])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    source = [(socket.IPPROTO_IP, 8, struct.pack("i4s4s", 0, socket.inet_aton(DENIED), bytes(4)))]
    say(lambda: client.sendto(b"one", GOOD))
    say(lambda: client.sendto(b"two", GOOD))
    say(lambda: client.sendmsg([b"from the denied address"], source, 0, GOOD))
    say(lambda: client.sendto(b"three", GOOD))
    client.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x83\x07\x04" + socket.inet_aton(DENIED) + b"\0")
    say(lambda: client.sendto(b"by the denied address", GOOD))
with socket.socket() as client:
    client.settimeout(1)
    say(lambda: client.connect((GOOD[0], 443)))
    say(lambda: client.send(b"one"))
    # To no address: the socket is as new, and keeps what is remembered of it.
    assert libc.connect(client.fileno(), bytes(16), 16) == 0, ctypes.get_errno()
    client.bind((DENIED, 0))
    say(lambda: client.connect((GOOD[0], 443)))
"#;

/// What was allowed to a socket is remembered by its destination: what else a packet says is judged each time.
#[test]
fn a_known_flow_is_judged_by_what_else_its_packets_say() {
    const DENY: &str = "rules:\n  - { name: range, action: deny, to: { cidrs: [\"203.0.113.0/24\"] } }\n";
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let said = || {
            let outcome = lab.client().python(AGAIN).unwrap();
            assert!(outcome.success(), "{outcome:?}");
            outcome.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let all = "ok ok ok ok ok ok ok ok";
        assert_eq!(said(), all, "before");
        let daemon = lab.daemon(backend).policy("policy", &policy(DENY)).start().unwrap();
        assert_eq!(said(), "ok ok EPERM ok EPERM ok ok nothing", "attached: {}", daemon.stderr().unwrap());
        drop(daemon);
        assert_eq!(said(), all, "detached");
    });
}

#[test]
fn a_fast_open_is_a_connect() {
    const OPEN: &str = "s = socket.socket(2, 1); s.sendto(b'x', 0x20000000, (T, 443))";
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        assert_eq!(outcome(client, OPEN), "ok", "before");
        let mut daemon = lab.daemon(backend).policy("policy", &policy(DENY)).start().unwrap();
        assert_eq!(outcome(client, OPEN), "EPERM");
        let event = daemon.connect_event(0, SocketAddr::new(DENIED.parse().unwrap(), 443)).unwrap();
        assert_eq!((&event["rule"], &event["blocked"]), (&"networks".into(), &true.into()), "{event}");
        assert_eq!(outcome(client, &OPEN.replace('T', "A")), "ok");
        assert!(daemon.stop().unwrap().success());
        assert_eq!(outcome(client, OPEN), "ok", "after");
    });
}

#[test]
fn a_new_deny_stops_what_flows_already() {
    const OTHER: &str = "rules:\n  - { name: other, action: deny, to: { names: [\"other.test\"] } }\n";
    const DATAGRAMS: &str = "import errno, socket, sys\n\
        s = socket.socket(2, 2); s.connect(('203.0.113.7', 9999)); s.settimeout(20)\n\
        for line in sys.stdin:\n\
        \x20   try: s.send(b'x'); s.recv(9); print('ok', flush=True)\n\
        \x20   except OSError as error: print(errno.errorcode[error.errno], flush=True)\n";
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        // One is older than the daemon, one is not.
        let mut old = client.hold("www.evil.example", 443).unwrap();
        assert!(old.attempt(SOON).unwrap().is_ok());
        let daemon = lab.daemon(backend).policy("policy", &policy(OTHER)).start().unwrap();
        let mut young = client.hold("www.evil.example", 443).unwrap();
        assert!(young.attempt(SOON).unwrap().is_ok());
        let mut datagrams = client.spawn("/usr/bin/python3", &["-c", DATAGRAMS]).unwrap();
        datagrams.say("go").unwrap();
        assert_eq!(datagrams.line(SOON).unwrap(), "ok");
        for flow in [&mut old, &mut young] {
            flow.say("hello").unwrap();
            flow.line(SOON).unwrap();
        }
        let mark = daemon.mark().unwrap();
        reload(&daemon, || daemon.write_policy("policy", &policy(DENY)).unwrap());
        datagrams.say("go").unwrap();
        assert_eq!(datagrams.line(SOON).unwrap(), "EPERM");
        for flow in [&mut old, &mut young] {
            flow.say("hello").unwrap();
            let answer = flow.line(Duration::from_secs(2));
            assert!(answer.is_err(), "{answer:?}");
        }
        let event = told(&daemon, mark, "NetPacketDenied", DENIED);
        assert_eq!((&event["proto"], &event["blocked"]), (&"tcp".into(), &true.into()), "{event}");
        // Once it is taken back, TCP goes on where it was.
        reload(&daemon, || daemon.write_policy("policy", &policy(OTHER)).unwrap());
        young.line(SOON * 2).unwrap();
    });
}

#[test]
fn what_a_peer_has_opened_meets_no_default_but_a_deny_by_name() {
    const SERVER: &str = "import socket, threading\n\
        udp = socket.socket(2, 2); udp.bind(('198.51.100.80', 7001))\n\
        tcp = socket.socket(2, 1); tcp.setsockopt(1, 2, 1); tcp.bind(('198.51.100.80', 7001)); tcp.listen(8)\n\
        def serve():\n\
        \x20   while True:\n\
        \x20       s, _ = tcp.accept()\n\
        \x20       try: s.sendall(b'hi'); s.close()\n\
        \x20       except OSError: pass\n\
        threading.Thread(target=serve, daemon=True).start()\n\
        print('ready', flush=True)\n\
        while True:\n\
        \x20   data, peer = udp.recvfrom(99)\n\
        \x20   try: udp.sendto(data, peer)\n\
        \x20   except OSError: pass\n";
    /// From an address of its own, so that a rule can name it.
    const CALL: &str = "import socket\n\
        def call(kind):\n\
        \x20   s = socket.socket(2, kind); s.settimeout(3); s.bind(('192.0.2.77', 0))\n\
        \x20   try: s.connect(('198.51.100.80', 7001)); s.send(b'x'); return s.recv(9) != b''\n\
        \x20   except OSError: return False\n\
        print(call(1), call(2))\n";
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let server = lab.client().spawn("/usr/bin/python3", &["-c", SERVER]).unwrap();
        assert_eq!(server.line(SOON).unwrap(), "ready");
        // In a guest everybody is in scope: who calls is allowed to, and to be there.
        let text = |more: &str| {
            policy(&format!(
                "default: deny\nrules:\n  - {{ name: calls, action: allow, to: {{ cidrs: [\"198.51.100.80/32\"] }} }}\n\
                 \x20 - {{ name: from, action: allow, to: {{ cidrs: [\"192.0.2.77/32\"] }}, subjects: {{ users: [1001] }} }}\n{more}"
            ))
        };
        let call = || lab.outsider().uid(1001).python(CALL).unwrap().stdout.trim().to_owned();
        assert_eq!(call(), "True True", "before");
        let mut daemon = lab.daemon(backend).policy("policy", &text("")).start().unwrap();
        assert_eq!(call(), "True True");
        // The server itself may not go there.
        assert_eq!(outcome(lab.client(), "socket.socket(2, 2).sendto(b'x', ('192.0.2.77', 9))"), "EPERM");
        let deny = "  - { name: caller, action: deny, to: { cidrs: [\"192.0.2.77/32\"] } }\n";
        reload(&daemon, || daemon.write_policy("policy", &text(deny)).unwrap());
        assert_eq!(call(), "False False");
        assert!(daemon.stop().unwrap().success());
        assert_eq!(call(), "True True", "after");
    });
}

#[test]
fn only_connects_are_judged_where_nothing_else_is_asked_for() {
    const SEND: &str = "socket.socket(2, 2).sendto(b'x', (T, 9999))";
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let daemon = lab.daemon(backend).policy("policy", &policy(DENY)).argument("--only-connect");
        let _daemon = daemon.start().unwrap();
        assert_eq!(outcome(lab.client(), SEND), "ok");
        assert_eq!(outcome(lab.client(), "socket.socket(2, 1).connect((T, 443))"), "EPERM");
    });
}

#[test]
fn sockets_that_no_rule_can_judge_are_refused_by_an_enforced_default() {
    const PACKET: &str = "socket.socket(17, 3)";
    Machine::each_backend(|backend| {
        if backend != enforcer_tests::Backend::Lsm {
            // No cgroup hook sees them made.
            return;
        }
        let lab = Lab::new().unwrap();
        let exempt = enforcer_tests::Cgroup::service().unwrap();
        let unit = exempt.name().trim_start_matches('/').to_owned();
        let client = lab.client();
        assert_eq!(outcome(client, PACKET), "ok", "before");
        let text = format!("default: deny\nsockets: {{ exempt: [\"{unit}\"] }}\nrules: []\n");
        let mut daemon = lab.daemon(backend).policy("policy", &policy(&text)).start().unwrap();
        assert_eq!(outcome(client, PACKET), "EPERM");
        assert_eq!(outcome(client.cgroup(&exempt), PACKET), "ok");
        assert_eq!(outcome(client, "socket.socket(16, 3)"), "ok", "netlink reaches the kernel alone");
        assert!(daemon.counter("socketsRefused").unwrap() >= 1);
        assert!(daemon.stop().unwrap().success());
        assert_eq!(outcome(client, PACKET), "ok", "after");
        let audit = text.replace("default: deny", "mode: audit\ndefault: deny");
        let _daemon = lab.daemon(backend).policy("policy", &policy(&audit)).start().unwrap();
        assert_eq!(outcome(client, PACKET), "ok", "audit changes nothing");
    });
}
