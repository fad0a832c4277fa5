//! Nobody is locked out: a policy that denies by default leaves what a machine needs to be reached and to reach others.
//! Each thing is done without a policy, under one, and after it.

use std::io::Write as _;
use std::process::Stdio;

use enforcer_tests::{Cgroup, Client, Dnsmasq, Machine, Running, Target};

use crate::matrix::rig::{Rig, vectors};
use crate::scenario::{SOON, reload};

/// Everything is denied but the allowed addresses of the rig and what its links need; with them, an address of a name.
fn policy() -> String {
    format!(
        "version: 1\n\
         default: deny\n\
         dns: {{ trustedResolvers: [\"198.18.0.53\"] }}\n\
         rules:\n  - {{ name: allowed, action: allow, to: {{ cidrs: {:?} }} }}\n",
        Target::ALLOWED
    )
}

/// Does something before the policy is in force, while it is and after it has gone, and wants it to work each time; not
/// while the default holds for everything.
fn stays_possible(rig: &Rig, what: impl Fn() -> bool) {
    stays_possible_by(rig, &policy(), true, what);
}

/// The same of what the kernel does itself, which is judged at the root cgroup alone.
fn stays_possible_to_the_kernel(rig: &Rig, what: impl Fn() -> bool) {
    stays_possible_by(rig, &policy(), Machine::current().is_guest(), what);
}

/// The stop at the wire, which excuses, is the same with each backend: guests try it with `lsm`, the host with `cgroup`.
fn stays_possible_by(rig: &Rig, policy: &str, is_judged: bool, what: impl Fn() -> bool) {
    Machine::one_backend(|backend| {
        let daemon = || Machine::current().daemon(backend, &rig.cgroup).policy("a", policy);
        let mut cutting = daemon().argument("--no-excuses").start().unwrap();
        assert_eq!(what(), !is_judged, "nothing is excused");
        assert!(cutting.stop().unwrap().success());
        assert!(what(), "before");
        let mut daemon = daemon().start().unwrap();
        let denied = Target::new(1).denied4().to_string();
        let attempts = rig.client().connect(&denied, Target::PORT).unwrap();
        assert_eq!(attempts[0].errno(), Some("EPERM"), "{attempts:?}");
        assert!(what(), "{}", daemon.stderr().unwrap());
        assert!(daemon.stop().unwrap().success());
        assert!(what(), "after");
    });
}

/// Whether a connection from afar is answered, and lives.
fn is_served(rig: &Rig, host: &str, port: u16) -> bool {
    let mut held = rig.far_client().hold(host, port).unwrap();
    let says = |held: &Running| held.attempt(SOON).is_ok_and(|attempt| attempt.is_ok());
    says(&held) && held.say("hello").is_ok() && says(&held)
}

/// A server in the scope; who comes from an address that no rule allows is answered.
#[test]
fn servers_answer() {
    let rig = Rig::new(&vectors());
    let tcp = rig.client().spawn_peer(&["tcp-serve", "8080"]).unwrap();
    let udp = rig.client().spawn_peer(&["udp-echo", "8081"]).unwrap();
    for server in [&tcp, &udp] {
        assert_eq!(server.line(SOON).unwrap(), "ready");
    }
    // The far side's own addresses are not the ones that it has on the link.
    rig.far.ip_batch("route add 192.168.77.1/32 dev far0 src 192.0.2.7\n").unwrap();
    let near = Target::NEAR4.to_string();
    let echoed = || rig.far_client().send(&near, 8081).unwrap()[0].is_ok();
    stays_possible(&rig, || is_served(&rig, &near, 8080));
    stays_possible(&rig, echoed);
    // Unless the policy judges who comes, too.
    let judging = |allowed: &str| {
        let range = "\"198.51.100.0/24\"";
        let text = policy().replace(range, &format!("{range}, \"{allowed}/32\""));
        text + "inbound: judge\n"
    };
    Machine::one_backend(|backend| {
        let daemon = |text: &str| Machine::current().daemon(backend, &rig.cgroup).policy("a", text);
        let mut daemon = daemon(&judging("192.0.2.250")).start().unwrap();
        assert_eq!((is_served(&rig, &near, 8080), echoed()), (false, false));
        reload(&daemon, || daemon.write_policy("a", &judging("192.0.2.7")).unwrap());
        assert_eq!((is_served(&rig, &near, 8080), echoed()), (true, true));
        assert!(daemon.stop().unwrap().success());
    });
}

/// A kernel that has forgotten its neighbours asks for them.
#[test]
fn neighbours_are_found() {
    let rig = Rig::new(&vectors());
    let target = Target::new(1);
    stays_possible_to_the_kernel(&rig, || {
        rig.near.ip_batch("neighbour flush dev near0\n").unwrap();
        rig.far.ip_batch("neighbour flush dev far0\n").unwrap();
        [target.allowed4().to_string(), target.allowed6().to_string()]
            .iter()
            .all(|address| rig.client().connect(address, Target::PORT).unwrap()[0].is_ok())
    });
}

/// A trusted resolver that no rule names.
#[test]
fn names_are_looked_up() {
    let rig = Rig::new(&vectors());
    let target = Target::new(1);
    let _dnsmasq = Dnsmasq::builder(&rig.far).name("www.good.example", target.allowed4()).start().unwrap();
    rig.near.set_resolvers(&["198.18.0.53".parse().unwrap()]).unwrap();
    let found = || rig.client().connect("www.good.example", Target::PORT).unwrap()[0].is_ok();
    Machine::one_backend(|backend| {
        assert!(found(), "before");
        let daemon = Machine::current().daemon(backend, &rig.cgroup).policy("a", &policy());
        let mut daemon = daemon.start().unwrap();
        assert!(found(), "{}", daemon.stderr().unwrap());
        // One that is not trusted is an address like any other.
        let untrusted = policy().replace("\"198.18.0.53\"", "\"198.18.0.54\"");
        reload(&daemon, || daemon.write_policy("a", &untrusted).unwrap());
        assert!(!found());
        assert!(daemon.stop().unwrap().success());
        assert!(found(), "after");
    });
}

/// As a cluster does it: a program connects to a service's address, which is allowed; the address on the wire is of one
/// of those that serve, which no rule names.
#[test]
fn services_are_translated() {
    let rig = Rig::new(&vectors());
    let target = Target::new(1);
    let rules = format!(
        "add table ip services\n\
         add chain ip services output {{ type nat hook output priority -100; }}\n\
         add rule ip services output ip daddr {} dnat to 192.0.2.50\n",
        target.allowed4()
    );
    let mut nft = rig.near.command("nft").unwrap();
    let mut nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
    stays_possible(&rig, || {
        let service = target.allowed4().to_string();
        let held = rig.client().hold(&service, Target::PORT).unwrap();
        if !held.attempt(SOON).is_ok_and(|attempt| attempt.is_ok()) {
            return false;
        }
        let sent = rig.client().python(&format!(
            "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('{service}', 443))"
        ));
        sent.unwrap().success()
    });
}

/// The kernel answers who asks whether it is there.
#[test]
fn pings_are_answered() {
    let rig = Rig::new(&vectors());
    rig.far.ip_batch("route add 192.168.77.1/32 dev far0 src 192.0.2.7\n").unwrap();
    let script = format!(
        "import socket\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)\n\
         s.settimeout(5)\n\
         s.sendto(bytes([8, 0, 0xf7, 0xfd, 0, 1, 0, 1]), ('{}', 0))\n\
         while s.recv(1024)[20] != 0: pass\n",
        Target::NEAR4
    );
    stays_possible_to_the_kernel(&rig, || rig.far_client().python(&script).unwrap().success());
}

/// Who has an address by DHCP asks everybody for more time, and, if he is one of `sockets.exempt`, the server alone.
#[test]
fn leases_are_renewed() {
    let rig = Rig::new(&vectors());
    let server = rig.far_client().spawn_peer(&["udp-echo", "67"]).unwrap();
    assert_eq!(server.line(SOON).unwrap(), "ready");
    rig.near.ip_batch("route add 255.255.255.255/32 dev near0\n").unwrap();
    let networkd = Cgroup::service().unwrap();
    let policy =
        policy() + &format!("sockets: {{ exempt: [{}] }}\n", networkd.name().trim_start_matches('/'));
    let renewed = |client: Client<'_>, server: &str| {
        let script = format!(
            "import socket\n\
             s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n\
             s.settimeout(5)\n\
             s.bind(('', 68))\n\
             s.sendto(b'renew', ('{server}', 67))\n\
             assert '{server}' == '255.255.255.255' or s.recv(16) == b'renew'\n"
        );
        client.python(&script).unwrap().success()
    };
    stays_possible_by(&rig, &policy, true, || renewed(rig.client(), "255.255.255.255"));
    if Machine::current().is_guest() {
        // A cgroup beside the test's is not judged where the scope is the test's alone.
        stays_possible_by(&rig, &policy, true, || renewed(rig.client().cgroup(&networkd), "192.0.2.67"));
    }
}
