//! Resolvers and clients as they are: what each of them answers and asks is bound before the first connect.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use enforcer_tests::{Bind9, Cgroup, Client, Dnsmasq, Machine, Netns, TcpServer, Unbound, Zone, announce};
use tempfile::TempDir;

/// How an answer leads from the name to its address, or addresses.
const SHAPES: [&str; 5] = ["plain", "chain", "short-lived", "wildcard", "round-robin"];
/// Addresses of the shape `round-robin`: as many as an answer without EDNS has room for, and some.
const ROUND: u8 = 20;
const CLIENTS: [&str; 6] = ["glibc", "getent", "python", "curl", "dig", "musl"];

const DENY: &str = r#"
rules:
  - { name: malware, action: deny, to: { names: ["*.evil.test"] } }
"#;
const ALLOW: &str = r#"
default: deny
rules:
  - { name: registry, action: allow, to: { names: ["*.evil.test"] } }
"#;

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
        let course = Course::new(netns);
        let daemon = Machine::current().daemon(backend, &course.cgroup).policy("policy", &policy(DENY));
        let daemon = daemon.start().unwrap();
        let arguments = [options, &["+ignore", "A", "big.evil.test"]].concat();
        let answer = course.client().run("dig", &arguments).unwrap().stdout;
        let size = answer.lines().find_map(|line| line.strip_prefix(";; MSG SIZE  rcvd: ")).unwrap();
        announce(&format!("{resolver} answered with {size} bytes"));
        assert!(size.parse::<u32>().unwrap() > 1232, "{answer}");
        assert_eq!(answer.contains("RRSIG"), options.contains(&"+dnssec"), "{answer}");
        for last in 1..=100 {
            let address = Ipv4Addr::new(192, 0, 2, last);
            assert_eq!(course.connect("glibc", &address.to_string()), Err("EPERM".to_owned()), "{address}");
        }
        for counter in ["answersUnparsed", "lateBinds", "nameless"] {
            assert_eq!(daemon.counter(counter).unwrap(), 0, "{counter}");
        }
        drop(daemon);
        assert_eq!(course.connect("glibc", "192.0.2.1"), Ok(()));
    });
}

/// Each client asks for names of its own, in each shape.
fn zone() -> Zone {
    let mut zone = Zone::default();
    for (client, name) in (0..).zip(CLIENTS) {
        let address = |shape: u8| Ipv4Addr::new(198, 51, 100, 1 + client + shape * 10);
        let round: Vec<_> = (1..=ROUND).map(|n| Ipv4Addr::new(203, 0, 113, client * ROUND + n)).collect();
        zone = zone
            .addresses(&format!("{name}.plain.evil.test"), 60, &[address(0)])
            .alias(&format!("{name}.chain.evil.test"), &format!("{name}.hop.test"))
            .alias(&format!("{name}.hop.test"), &format!("{name}.end.test"))
            .addresses(&format!("{name}.end.test"), 60, &[address(1)])
            .addresses(&format!("{name}.short-lived.evil.test"), 0, &[address(2)])
            .wildcard(&format!("{name}.wildcard.evil.test"), address(3))
            .addresses(&format!("{name}.round-robin.evil.test"), 60, &round);
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

/// The first connect of each client to each of its names, before there is a daemon, while it denies them, after it, and
/// while it allows nothing else.
fn first_connects(netns: &Netns, resolver: &str) {
    Machine::one_backend(|backend| {
        let course = Course::new(netns);
        let daemon = |text| {
            let daemon = Machine::current().daemon(backend, &course.cgroup);
            daemon.policy("policy", &policy(text)).start().unwrap()
        };
        course.each(&["glibc"], Ok(()), "before the daemon");
        let denying = daemon(DENY);
        course.each(&course.clients(), Err("EPERM".to_owned()), "denied");
        for counter in ["answersUnparsed", "lateBinds", "nameless"] {
            assert_eq!(denying.counter(counter).unwrap(), 0, "{counter}");
        }
        drop(denying);
        course.each(&["glibc"], Ok(()), "after the daemon");
        let allowing = daemon(ALLOW);
        course.each(&course.clients(), Ok(()), "allowed");
        assert_eq!(course.connect("glibc", "192.0.2.200"), Err("EPERM".to_owned()));
        drop(allowing);
        announce(&format!("{resolver}: {:?} by {:?}", SHAPES, course.clients()));
    });
}

/// Clients and what they connect to.
struct Course<'guard> {
    netns: &'guard Netns,
    cgroup: Cgroup,
    /// A program with a C library of its own inside, where there is a compiler to make it.
    musl: Option<(PathBuf, TempDir)>,
    _tcp: TcpServer,
}

impl<'guard> Course<'guard> {
    fn new(netns: &'guard Netns) -> Self {
        let musl = (!Machine::current().is_guest()).then(compile);
        let tcp = TcpServer::start(netns, &[80]).unwrap();
        Self { netns, cgroup: Cgroup::new().unwrap(), musl, _tcp: tcp }
    }

    fn client(&self) -> Client<'_> {
        Client::new(self.netns).cgroup(&self.cgroup)
    }

    fn clients(&self) -> Vec<&'static str> {
        CLIENTS.into_iter().filter(|client| *client != "musl" || self.musl.is_some()).collect()
    }

    #[track_caller]
    fn each(&self, clients: &[&str], expected: Result<(), String>, when: &str) {
        for client in clients {
            for shape in SHAPES {
                let host = host(client, shape);
                assert_eq!(self.connect(client, &host), expected, "{when}: {client} to {host}");
            }
        }
    }

    /// Has a client resolve a name and connect: to the first address, or to all of them where it only resolves.
    fn connect(&self, client: &str, host: &str) -> Result<(), String> {
        let run = |program: &str, arguments: &[&str]| self.client().run(program, arguments).unwrap();
        match client {
            "glibc" => {
                let attempts = self.client().connect(host, 80).unwrap();
                match attempts.last().unwrap() {
                    attempt if attempt.is_ok() => Ok(()),
                    attempt => Err(attempt.errno().map_or_else(|| attempt.to_string(), str::to_owned)),
                }
            }
            // Without -A it finds no IPv4 address where only the loopback interface has one.
            "getent" => self.connect_all(&run("getent", &["-A", "ahostsv4", host]).stdout),
            "dig" => self.connect_all(&run("dig", &["+short", "A", host]).stdout),
            "curl" => {
                let url = format!("http://{host}/");
                let arguments = ["--silent", "--show-error", "--ipv4", "--max-time", "20", &url];
                match run("curl", &arguments) {
                    outcome if outcome.success() => Ok(()),
                    // The page's port has a server: it is the kernel that refuses.
                    outcome if outcome.status.code() == Some(7) => Err("EPERM".to_owned()),
                    outcome => Err(format!("{outcome:?}")),
                }
            }
            "python" => {
                let source = format!(
                    "import errno, socket\ntry:\n  socket.create_connection((\"{host}\", 80), 20)\n  print(\"ok\")\n\
                     except OSError as error:\n  print(errno.errorcode.get(error.errno, str(error)))"
                );
                outcome(self.client().python(&source).unwrap().stdout.trim())
            }
            _ => {
                let program = self.musl.as_ref().unwrap().0.to_string_lossy().into_owned();
                let said = run(&program, &[host, "80"]).stdout;
                outcome(if said.trim() == libc::EPERM.to_string() { "EPERM" } else { said.trim() })
            }
        }
    }

    /// To each of the addresses at the beginning of a line.
    fn connect_all(&self, lines: &str) -> Result<(), String> {
        let first = |line: &str| line.split_whitespace().next()?.parse::<Ipv4Addr>().ok();
        let mut addresses: Vec<_> = lines.lines().filter_map(first).collect();
        addresses.sort();
        addresses.dedup();
        let outcomes: Vec<_> =
            addresses.iter().map(|address| self.connect("glibc", &address.to_string())).collect();
        let (one, all) = (outcomes.first().cloned(), outcomes.iter());
        match one {
            Some(one) if all.clone().all(|outcome| *outcome == one) => one,
            _ => Err(format!("{lines}: {outcomes:?}")),
        }
    }
}

fn outcome(said: &str) -> Result<(), String> {
    if said == "ok" { Ok(()) } else { Err(said.to_owned()) }
}

/// A static program: its resolver is musl's, which knows nothing of nsswitch, and asks for all families at once.
fn compile() -> (PathBuf, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("connect");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/connect.c");
    let mut command = Command::new("musl-gcc");
    command.args(["-static", "-Wall", "-o"]).arg(&program).arg(source);
    assert!(command.status().unwrap().success());
    (program, directory)
}
