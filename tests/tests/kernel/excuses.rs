//! What no default cuts, and what only looks like it.

use enforcer_tests::{Client, Lab, Machine, Netns};

use crate::scenario::{SOON, policy, refused};

/// By default nothing but A.
const ONLY_A: &str = r#"
default: deny
rules:
  - { name: a, action: allow, to: { cidrs: ["198.51.100.9/32", "2001:db8::99/128"] } }
"#;

/// A lab with another interface than loopback, whose neighbours nobody hears.
fn lab_with_link() -> Lab {
    let lab = Lab::new().unwrap();
    lab.netns
        .ip_batch(
            "link add away type veth peer name beyond\nlink set beyond up\n\
             address add 100.64.0.1/24 dev away\n\
             address add 2001:4860::1/64 dev away nodad\n\
             link set away up\n\
             route add 255.255.255.255/32 dev away\n",
        )
        .unwrap();
    lab
}

/// What a program of a few lines of Python comes to: `ok`, or the name of the error number.
fn outcome(client: Client<'_>, source: &str) -> String {
    let indented: String = source.lines().map(|line| format!("    {line}\n")).collect();
    let program = format!(
        "import ctypes, errno, select, socket, struct\n\
         T, A, T6, A6, AWAY = '203.0.113.7', '198.51.100.9', '2001:db8::7', '2001:db8::99', '2001:4860::7'\n\
         def arrives(receiver):\n\
         \x20   if not select.select([receiver], [], [], 1)[0]: raise OSError(errno.EPERM, '')\n\
         try:\n{indented}    print('ok')\n\
         except OSError as error:\n    print(errno.errorcode[error.errno])\n"
    );
    let outcome = client.python(&program).unwrap();
    assert!(outcome.success(), "{source}: {outcome:?}");
    outcome.stdout.trim().to_owned()
}

/// Works without a daemon, and comes to this while the policy is in force.
#[track_caller]
fn comes_to(lab: &Lab, text: &str, cases: &[(&str, &str, &str)]) {
    Machine::each_backend(|backend| {
        for (what, source, _) in cases {
            assert_eq!(outcome(lab.client(), source), "ok", "before: {what}");
        }
        let mut daemon = lab.daemon(backend).policy("policy", &policy(text)).start().unwrap();
        for (what, source, wanted) in cases {
            assert_eq!(outcome(lab.client(), source), *wanted, "{what}");
        }
        assert!(daemon.stop().unwrap().success());
        for (what, source, _) in cases {
            assert_eq!(outcome(lab.client(), source), "ok", "after: {what}");
        }
    });
}

#[test]
fn what_waits_in_a_socket_that_names_another_peer_is_no_translation() {
    const SIX: &str = "r = socket.socket(10, 2); r.bind((T6, 7010))\n\
        s = socket.socket(10, 2); s.connect((T6, 7010)); s.setsockopt(17, 1, 1); s.send(b'x')\n\
        s.connect((A6, 7010)); s.setsockopt(17, 1, 0); arrives(r)";
    /// `connect` fails with a family that no socket has, after the hooks have seen an address.
    const FOUR: &str = "r = socket.socket(2, 2); r.bind((T, 7010))\n\
        s = socket.socket(2, 2); s.connect((T, 7010)); s.setsockopt(17, 1, 1); s.send(b'x')\n\
        connect = ctypes.CDLL(None).connect\n\
        connect(s.fileno(), bytes(16), 16)\n\
        connect(s.fileno(), struct.pack('=H', 99) + struct.pack('!H', 7010) + socket.inet_aton(A) + bytes(8), 16)\n\
        s.setsockopt(17, 1, 0); arrives(r)";
    let lab = Lab::new().unwrap();
    let allowed = (SIX.replace("T6", "A6"), FOUR.replace("(T", "(A"));
    comes_to(
        &lab,
        ONLY_A,
        &[
            ("IPv6", SIX, "EPERM"),
            ("IPv4", FOUR, "EPERM"),
            ("IPv6 to A", &allowed.0, "ok"),
            ("IPv4 to A", &allowed.1, "ok"),
        ],
    );
}

#[test]
fn what_comes_over_loopback_does_not_open_a_way_out() {
    const SPOOF: &str = "v = socket.socket(10, 2); v.bind(('::', 0))\n\
        f = socket.socket(10, 2); f.setsockopt(41, 78, 1); f.bind((AWAY, 7011))\n\
        f.sendto(b'x', ('::1', v.getsockname()[1])); arrives(v)\n\
        v.sendto(b'x', (AWAY, 7011))";
    comes_to(&lab_with_link(), ONLY_A, &[("IPv6", SPOOF, "EPERM")]);
}

#[test]
fn dhcp_and_upkeep_reach_the_link_and_nobody_else() {
    const DHCP: &str = "s = socket.socket(2, 2); s.setsockopt(1, 6, 1); s.bind(('', 68))\n\
        s.sendto(b'x', ('255.255.255.255', 67))";
    const SIX: &str = "s = socket.socket(10, 2); s.bind(('::', 546))\n\
        s.sendto(b'x', ('ff02::1:2', 547, 0, socket.if_nametoindex('away')))";
    const SOLICITATION: &str = "s = socket.socket(10, 3, 58)\n\
        s.sendto(bytes([133, 0, 0, 0, 0, 0, 0, 0]), ('ff02::2', 0, 0, socket.if_nametoindex('away')))";
    const IGMP: &str = "s = socket.socket(2, 3, 2)\n\
        s.setsockopt(0, 32, socket.inet_aton('100.64.0.1'))\n\
        s.sendto(bytes([0x16, 0, 0xe9, 0xff, 224, 0, 0, 9]), ('224.0.0.22', 0))";
    let elsewhere = (
        DHCP.replace("'255.255.255.255'", "T"),
        SIX.replace("('ff02::1:2', 547, 0, socket.if_nametoindex('away'))", "(T6, 547)"),
        SOLICITATION.replace("133", "128"),
        IGMP.replace("224.0.0.22", "239.255.0.1"),
    );
    comes_to(
        &lab_with_link(),
        ONLY_A,
        &[
            ("DHCP", DHCP, "ok"),
            ("DHCP of IPv6", SIX, "ok"),
            ("a router solicitation", SOLICITATION, "ok"),
            ("IGMP", IGMP, "ok"),
            ("DHCP to somebody", &elsewhere.0, "EPERM"),
            ("DHCP of IPv6 to somebody", &elsewhere.1, "EPERM"),
            ("an echo request", &elsewhere.2, "EPERM"),
            ("IGMP beyond the link", &elsewhere.3, "EPERM"),
        ],
    );
}

#[test]
fn a_name_that_is_learned_ends_what_was_allowed_a_moment_before() {
    const DENY: &str = "rules:\n  - { name: malware, action: deny, to: { names: [\"*.evil.example\"] } }\n";
    const SENDS: &str = "import errno, socket, sys\n\
        c = socket.socket(2, 2); c.connect(('203.0.113.7', 9999))\n\
        u = socket.socket(2, 2)\n\
        def outcome(send):\n\
        \x20   try: send(); return 'ok'\n\
        \x20   except OSError as error: return errno.errorcode[error.errno]\n\
        for line in sys.stdin:\n\
        \x20   print(outcome(lambda: c.send(b'x')), outcome(lambda: u.sendto(b'x', ('203.0.113.7', 9999))), flush=True)\n";
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let daemon = lab.daemon(backend).policy("policy", &policy(DENY)).start().unwrap();
        let mut sends = lab.client().spawn("/usr/bin/python3", &["-c", SENDS]).unwrap();
        for _ in 0..2 {
            sends.say("go").unwrap();
            assert_eq!(sends.line(SOON).unwrap(), "ok ok");
        }
        // Whatever happens now, the programs do.
        daemon.signal(libc::SIGSTOP);
        refused(lab.client(), "www.evil.example", 443, "EPERM");
        sends.say("go").unwrap();
        assert_eq!(sends.line(SOON).unwrap(), "EPERM EPERM");
        daemon.signal(libc::SIGCONT);
    });
}

/// As behind `REDIRECT`: nobody listens at the port that stands on the wire.
#[test]
fn a_connection_of_a_peer_to_a_translated_port_outlives_the_start() {
    const POLICY: &str =
        "default: deny\nrules:\n  - { name: calls, action: allow, to: { cidrs: [\"10.78.0.2/32\"] } }\n";
    const SERVER: &str = "import socket\n\
        s = socket.socket(2, 1); s.bind(('', 8090)); s.listen(1); print('ready', flush=True)\n\
        c, _ = s.accept()\n\
        while data := c.recv(99): c.sendall(data)\n";
    const CALL: &str = "import socket, sys\n\
        c = socket.create_connection(('10.78.0.2', 81)).makefile('rw')\n\
        print('ready', flush=True)\n\
        for line in sys.stdin:\n\
        \x20   c.write(line); c.flush(); print(c.readline(), end='', flush=True)\n";
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let machine = Netns::new().unwrap();
        let pair = format!("link add inside type veth peer name outside netns {}\n", machine.name());
        lab.netns
            .ip_batch(&format!("{pair}address add 10.78.0.2/24 dev inside\nlink set inside up\n"))
            .unwrap();
        machine.ip_batch("address add 10.78.0.1/24 dev outside\nlink set outside up\n").unwrap();
        let rules = "add table ip nat\n\
            add chain ip nat in { type nat hook prerouting priority -100; }\n\
            add rule ip nat in tcp dport 81 redirect to :8090";
        let nft = lab.netns.command("nft").unwrap().arg(rules).output().unwrap();
        assert!(nft.status.success(), "{}", String::from_utf8_lossy(&nft.stderr));
        let server = lab.client().spawn("/usr/bin/python3", &["-c", SERVER]).unwrap();
        assert_eq!(server.line(SOON).unwrap(), "ready");
        let mut call = Client::new(&machine).spawn("/usr/bin/python3", &["-c", CALL]).unwrap();
        assert_eq!(call.line(SOON).unwrap(), "ready");
        call.say("before").unwrap();
        assert_eq!(call.line(SOON).unwrap(), "before");
        let _daemon = lab.daemon(backend).policy("policy", &policy(POLICY)).start().unwrap();
        call.say("still").unwrap();
        assert_eq!(call.line(SOON).unwrap(), "still");
    });
}

#[test]
fn what_one_user_may_send_another_may_not() {
    const POLICY: &str = "rules:\n  - { name: users, action: deny, to: { cidrs: [\"203.0.113.7/32\"] }, \
        subjects: { users: [1000] } }\n";
    const HANDED_ON: &str = "import os\ns = socket.socket(2, 2); s.sendto(b'x', (T, 9999))\n\
        os.setuid(1000); s.sendto(b'x', (T, 9999))";
    comes_to(
        &Lab::new().unwrap(),
        POLICY,
        &[
            ("from root to a user", HANDED_ON, "EPERM"),
            ("from root to another", &HANDED_ON.replace("1000", "1001"), "ok"),
        ],
    );
}
