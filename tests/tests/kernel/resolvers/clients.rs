//! Programs as they are, each of which resolves names and connects in a way of its own.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use enforcer_tests::{Attempt, Cgroup, Client, Machine, Netns, TcpServer, Unbound};
use tempfile::TempDir;

use super::{SHAPES, addresses, host};
use crate::scenario::{SOON, connections, refusals};

/// Where the names lead to.
pub const PORT: u16 = 80;

/// Who asks for one name after the other ..
pub const ONE_BY_ONE: [&str; 8] =
    ["glibc", "getent", "python", "curl", "dig", "musl", "glibc-tcp", "dig-tcp"];
/// .. and who asks for all of them by one connection.
pub const ALL_AT_ONCE: [&str; 2] = ["dig-keepopen", "pipeline"];

/// Clients and what they connect to.
pub struct Clients<'guard> {
    netns: &'guard Netns,
    pub cgroup: Cgroup,
    /// A program with a C library of its own inside, where there is a compiler to make it.
    musl: Option<(PathBuf, TempDir)>,
    _tcp: TcpServer,
}

impl<'guard> Clients<'guard> {
    pub fn new(netns: &'guard Netns) -> Self {
        let musl = (!Machine::current().is_guest()).then(compile);
        let tcp = TcpServer::start(netns, &[PORT]).unwrap();
        Self { netns, cgroup: Cgroup::new().unwrap(), musl, _tcp: tcp }
    }

    /// Each resolves and connects to its own names only.
    pub fn one(&self) -> Client<'_> {
        Client::new(self.netns).cgroup(&self.cgroup)
    }

    /// Those of [`ONE_BY_ONE`] that are here, each with its shapes. musl does not ask again by TCP, and curl waits between
    /// addresses.
    pub fn one_by_one(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let here = ONE_BY_ONE.into_iter().filter(|client| *client != "musl" || self.musl.is_some());
        here.flat_map(|client| SHAPES.map(|shape| (client, shape)))
            .filter(|what| !matches!(what, ("curl" | "musl", "truncated")))
    }

    /// How many processes have asked by TCP once every client has asked for all its names.
    pub fn by_tcp(&self) -> usize {
        let by_tcp = |&(client, shape): &(&str, &str)| client.ends_with("-tcp") || shape == "truncated";
        self.one_by_one().filter(by_tcp).count() + ALL_AT_ONCE.len()
    }

    /// Has a client of [`ONE_BY_ONE`] resolve its name of a shape and connect: to all its addresses, where it does not
    /// stop at the first that works.
    pub fn connect(&self, client: &str, shape: &str) -> Result<(), String> {
        let host = &host(client, shape);
        let run = |program: &str, arguments: &[&str]| self.one().run(program, arguments).unwrap();
        let all = |lines: &str| self.connect_all(lines, addresses(shape));
        match client {
            "glibc" => first(&self.one().connect(host, PORT).unwrap(), addresses(shape)),
            "glibc-tcp" => first(&self.one().connect_each_over_tcp(host, PORT, 1).unwrap(), addresses(shape)),
            // Without -A it finds no IPv4 address where only the loopback interface has one.
            "getent" => all(&run("getent", &["-A", "ahostsv4", host]).stdout),
            "dig" => all(&run("dig", &["+short", "A", host]).stdout),
            "dig-tcp" => all(&run("dig", &["+tcp", "+short", "A", host]).stdout),
            "curl" => {
                let url = format!("http://{host}:{PORT}/");
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
                    "import errno, socket\ntry:\n  socket.create_connection((\"{host}\", {PORT}), 20)\n  print(\"ok\")\n\
                     except OSError as error:\n  print(errno.errorcode.get(error.errno, str(error)))"
                );
                said(self.one().python(&source).unwrap().stdout.trim())
            }
            _ => {
                let program = self.musl.as_ref().unwrap().0.to_string_lossy().into_owned();
                let outcome = run(&program, &[host, &PORT.to_string()]).stdout;
                said(if outcome.trim() == libc::EPERM.to_string() { "EPERM" } else { outcome.trim() })
            }
        }
    }

    /// Has a client of [`ALL_AT_ONCE`] resolve all its names, and connect to all their addresses.
    pub fn connect_at_once(&self, client: &str) -> Result<(), String> {
        let hosts = SHAPES.map(|shape| host(client, shape));
        let hosts = hosts.each_ref().map(String::as_str);
        let count = SHAPES.into_iter().map(addresses).sum();
        if client == "pipeline" {
            let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/pipeline.py");
            let (program, server, port) =
                (program.to_string_lossy(), Unbound::ADDRESS.to_string(), PORT.to_string());
            let arguments = [&[&*program, &server, &port], &hosts[..]].concat();
            let outcome = self.one().run("/usr/bin/python3", &arguments).unwrap();
            assert!(outcome.success(), "{outcome:?}");
            let attempts = outcome.stdout.lines().map(|line| Attempt::parse(line).unwrap());
            return all(&attempts.collect::<Vec<_>>(), count);
        }
        let arguments = [&["+tcp", "+keepopen", "+short"], &hosts[..]].concat();
        self.connect_all(&self.one().run("dig", &arguments).unwrap().stdout, count)
    }

    /// To each of the addresses at the beginning of a line, which are so many.
    pub fn connect_all(&self, lines: &str, count: usize) -> Result<(), String> {
        let first = |line: &str| line.split_whitespace().next()?.parse::<Ipv4Addr>().ok();
        let addresses: BTreeSet<_> = lines.lines().filter_map(first).collect();
        let mut visitor = self.one().visit((Unbound::ADDRESS, 53).into()).unwrap();
        for address in addresses {
            visitor.say(&format!("connect {address} {PORT}")).unwrap();
        }
        all(&visitor.attempts(SOON).unwrap(), count)
    }
}

/// What came of connecting to so many addresses, one after the other, until one worked.
fn first(attempts: &[Attempt], count: usize) -> Result<(), String> {
    let worked = attempts.last().is_some_and(Attempt::is_ok);
    all(attempts, if worked { 1 } else { count })
}

/// What came of connecting to each of so many addresses, if it is the same for all.
fn all(attempts: &[Attempt], count: usize) -> Result<(), String> {
    match (attempts.len() == count, connections(attempts), refusals(attempts)) {
        (true, worked, _) if worked == count => Ok(()),
        (true, _, refused) if refused == count => Err("EPERM".to_owned()),
        _ => Err(format!("{count} attempts were due: {attempts:?}")),
    }
}

fn said(outcome: &str) -> Result<(), String> {
    if outcome == "ok" { Ok(()) } else { Err(outcome.to_owned()) }
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
