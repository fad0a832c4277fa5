//! Nobody is locked out: a policy that denies by default leaves what a machine needs to be reached and to reach others.
//! Each thing is done without a policy, under one, and after it.

use std::io::Write as _;
use std::process::Stdio;

use enforcer_tests::{Dnsmasq, Machine, Target};

use crate::matrix::rig::{Rig, vectors};
use crate::scenario::SOON;

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

/// Does something before the policy is in force, while it is and after it has gone, and wants it to work each time.
fn stays_possible(rig: &Rig, what: impl Fn()) {
    Machine::each_backend(|backend| {
        what();
        let mut daemon =
            Machine::current().daemon(backend, &rig.cgroup).policy("a", &policy()).start().unwrap();
        let denied = Target::new(1).denied4().to_string();
        let attempts = rig.client().connect(&denied, Target::PORT).unwrap();
        assert_eq!(attempts[0].errno(), Some("EPERM"), "{attempts:?}");
        what();
        assert!(daemon.stop().unwrap().success());
        what();
    });
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
    stays_possible(&rig, || {
        let mut held = rig.far_client().hold(&near, 8080).unwrap();
        assert!(held.attempt(SOON).unwrap().is_ok());
        held.say("hello").unwrap();
        let echo = held.attempt(SOON).unwrap();
        assert!(echo.is_ok(), "{echo}");
        let echo = rig.far_client().send(&near, 8081).unwrap();
        assert!(echo[0].is_ok(), "{echo:?}");
    });
}

/// A kernel that has forgotten its neighbours asks for them.
#[test]
fn neighbours_are_found() {
    let rig = Rig::new(&vectors());
    let target = Target::new(1);
    stays_possible(&rig, || {
        rig.near.ip_batch("neighbour flush dev near0\n").unwrap();
        rig.far.ip_batch("neighbour flush dev far0\n").unwrap();
        for address in [target.allowed4().to_string(), target.allowed6().to_string()] {
            let attempts = rig.client().connect(&address, Target::PORT).unwrap();
            assert!(attempts[0].is_ok(), "{attempts:?}");
        }
    });
}

/// A trusted resolver that no rule names.
#[test]
fn names_are_looked_up() {
    let rig = Rig::new(&vectors());
    let target = Target::new(1);
    let _dnsmasq = Dnsmasq::builder(&rig.far).name("www.good.example", target.allowed4()).start().unwrap();
    rig.near.set_resolvers(&["198.18.0.53".parse().unwrap()]).unwrap();
    stays_possible(&rig, || {
        let attempts = rig.client().connect("www.good.example", Target::PORT).unwrap();
        assert!(attempts[0].is_ok(), "{attempts:?}");
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
        assert!(held.attempt(SOON).unwrap().is_ok());
        let sent = rig.client().python(&format!(
            "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('{service}', 443))"
        ));
        assert!(sent.unwrap().success());
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
    stays_possible(&rig, || {
        let outcome = rig.far_client().python(&script).unwrap();
        assert!(outcome.success(), "{outcome:?}");
    });
}

/// Who has an address by DHCP asks for more time, from the client's port, whatever the server's address.
#[test]
fn leases_are_renewed() {
    let rig = Rig::new(&vectors());
    let server = rig.far_client().spawn_peer(&["udp-echo", "67"]).unwrap();
    assert_eq!(server.line(SOON).unwrap(), "ready");
    let script = "import socket\n\
                  s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                  s.settimeout(5)\n\
                  s.bind(('', 68))\n\
                  s.sendto(b'renew', ('192.0.2.67', 67))\n\
                  assert s.recv(16) == b'renew'\n";
    stays_possible(&rig, || {
        let outcome = rig.client().python(script).unwrap();
        assert!(outcome.success(), "{outcome:?}");
    });
}
