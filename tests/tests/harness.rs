//! The harness itself, with nothing attached: what a scenario finds missing has to be the daemon's doing.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use enforcer_tests::{
    Attempt, Backend, Cgroup, Client, Daemon, HarnessError, Lab, Machine, Netns, Resolver, wait_for,
};

const SOON: Duration = Duration::from_secs(20);

fn at(address: IpAddr, port: u16) -> SocketAddr {
    (address, port).into()
}

#[test]
fn a_name_resolves_and_its_connection_is_counted() {
    let lab = Lab::new().unwrap();
    let evil = at(Lab::EVIL, 443);
    assert_eq!(lab.client().connect("www.evil.example", 443).unwrap(), [Attempt::Ok(evil)]);
    lab.tcp.wait_accepted(evil, 1, SOON).unwrap();
    assert_eq!(lab.tcp.accepted().len(), 1);
    assert!(lab.dnsmasq.queries("www.evil.example").unwrap() >= 1);
}

#[test]
fn a_chain_and_an_address_of_version_6_resolve() {
    let lab = Lab::new().unwrap();
    assert_eq!(lab.client().connect("alias.example", 80).unwrap(), [Attempt::Ok(at(Lab::TARGET, 80))]);
    assert_eq!(lab.client().connect("six.example", 80).unwrap(), [Attempt::Ok(at(Lab::SIX, 80))]);
    lab.tcp.wait_accepted(at(Lab::SIX, 80), 1, SOON).unwrap();
}

#[test]
fn a_visitor_asks_and_connects_as_it_is_told() {
    let lab = Lab::new().unwrap();
    let address = IpAddr::from([198, 18, 0, 54]);
    let resolver = Resolver::start(&lab.netns, address).unwrap();
    let directory = lab.cgroup.descendant("/job/step").unwrap();
    let mut visitor = lab.client().cgroup_at(&directory).uid(1000).visit(at(address, 53)).unwrap();
    for (name, to) in [("A b.test", Lab::GOOD), ("six.test", Lab::SIX)] {
        visitor.say(&format!("ask {to} {name}")).unwrap();
        resolver.answer(name, &["alias.test"], to).unwrap();
        assert_eq!(visitor.attempt(SOON).unwrap(), Attempt::Ok(at(address, 53)));
        visitor.say(&format!("connect {to} 443")).unwrap();
        assert_eq!(visitor.attempt(SOON).unwrap(), Attempt::Ok(at(to, 443)));
    }
    // A query for another name than the test expects is not answered.
    visitor.say(&format!("ask {} other.test", Lab::GOOD)).unwrap();
    assert!(resolver.answer("expected.test", &[], Lab::GOOD).is_err());
    assert_eq!(fs::read_to_string(directory.join("cgroup.procs")).unwrap().trim(), visitor.pid().to_string());
}

#[test]
fn every_attempt_names_its_outcome() {
    let lab = Lab::new().unwrap();
    let refused = Attempt::Error { errno: "ECONNREFUSED".to_owned(), address: at(Lab::GOOD, 81) };
    assert_eq!(lab.client().connect("www.good.example", 81).unwrap(), [refused]);
    let outside =
        Attempt::Error { errno: "ENETUNREACH".to_owned(), address: "10.1.0.1:443".parse().unwrap() };
    assert_eq!(lab.client().connect("10.1.0.1", 443).unwrap(), [outside]);
    lab.netns.add_local("10.1.0.0/16").unwrap();
    assert!(lab.client().connect("10.1.0.1", 443).unwrap()[0].is_ok());
    let attempts = lab.client().connect("unknown.test", 443).unwrap();
    assert!(matches!(attempts.as_slice(), [Attempt::Unresolved(_)]), "{attempts:?}");
}

#[test]
fn datagrams_are_echoed_and_counted() {
    let lab = Lab::new().unwrap();
    for (name, address) in [("www.good.example", Lab::GOOD), ("six.example", Lab::SIX)] {
        let address = at(address, 9999);
        assert_eq!(lab.client().send(name, 9999).unwrap(), [Attempt::Ok(address)]);
        assert_eq!(lab.client().send_connected(name, 9999).unwrap(), [Attempt::Ok(address)]);
        lab.udp.wait_received(address, 2, SOON).unwrap();
    }
}

#[test]
fn each_turn_has_a_name_of_its_own() {
    let lab = Lab::new().unwrap();
    let attempts = lab.client().connect_each("host-{}.evil.example", 443, 20).unwrap();
    assert_eq!(attempts, vec![Attempt::Ok(at(Lab::EVIL, 443)); 20]);
    lab.tcp.wait_accepted(at(Lab::EVIL, 443), 20, SOON).unwrap();
    assert!(lab.dnsmasq.queries("host-19.evil.example").unwrap() >= 1);
}

#[test]
fn ordinary_programs_work_inside() {
    let lab = Lab::new().unwrap();
    let client = lab.client();
    let curl =
        client.run("curl", &["--silent", "--show-error", "--fail", "http://www.good.example/"]).unwrap();
    assert!(curl.success(), "{curl:?}");
    let dig = client.run("dig", &["+short", "www.evil.example"]).unwrap();
    assert_eq!(dig.stdout.trim(), Lab::EVIL.to_string(), "{dig:?}");
    let python = client
        .python(
            "import socket; print(socket.create_connection(('shared.evil.example', 443)).getpeername()[0])",
        )
        .unwrap();
    assert_eq!(python.stdout.trim(), Lab::SHARED.to_string(), "{python:?}");
    let getent = client.run("getent", &["ahosts", "alias.example"]).unwrap();
    assert!(getent.stdout.contains(&Lab::TARGET.to_string()), "{getent:?}");
}

#[test]
fn a_name_can_move_to_another_address() {
    let mut lab = Lab::with(|dnsmasq| dnsmasq.ttl(1).name("moving.test", Lab::GOOD)).unwrap();
    assert_eq!(lab.client().connect("moving.test", 443).unwrap(), [Attempt::Ok(at(Lab::GOOD, 443))]);
    lab.dnsmasq.set_name("moving.test", &[Lab::TARGET]).unwrap();
    assert_eq!(lab.client().connect("moving.test", 443).unwrap(), [Attempt::Ok(at(Lab::TARGET, 443))]);
}

#[test]
fn a_held_connection_echoes() {
    let lab = Lab::new().unwrap();
    let mut held = lab.client().hold("www.good.example", 443).unwrap();
    assert!(held.attempt(SOON).unwrap().is_ok());
    for _ in 0..2 {
        held.say("still there?").unwrap();
        assert!(held.attempt(SOON).unwrap().is_ok());
    }
    assert!(held.finish(SOON).unwrap().success());
}

#[test]
fn a_client_is_where_and_who_it_was_told_to_be() {
    let lab = Lab::new().unwrap();
    let script = "import os; print(os.getuid()); print(open('/proc/self/cgroup').read())";
    let outcome = lab.client().uid(1000).python(script).unwrap();
    let (uid, cgroups) = outcome.stdout.split_once('\n').unwrap();
    assert_eq!(uid, "1000");
    assert!(cgroups.lines().any(|line| line == format!("0::{}", lab.cgroup.name())), "{cgroups}");
    assert!(lab.client().uid(1000).connect("www.good.example", 80).unwrap()[0].is_ok());
    let outsider = lab.outsider().python(script).unwrap();
    assert!(!outsider.stdout.contains(&lab.cgroup.name()));
}

#[test]
fn servers_work_in_a_process_of_their_own() {
    let netns = Netns::new().unwrap();
    let cgroup = Cgroup::new().unwrap();
    let place = Client::new(&netns).cgroup(&cgroup);
    let tcp = place.spawn_peer(&["tcp-serve", "8443"]).unwrap();
    let udp = place.spawn_peer(&["udp-echo", "8443"]).unwrap();
    assert_eq!((tcp.line(SOON).unwrap(), udp.line(SOON).unwrap()), ("ready".to_owned(), "ready".to_owned()));
    assert!(cgroup.processes().unwrap().contains(&tcp.pid()));
    let client = Client::new(&netns);
    assert!(client.connect("203.0.113.1", 8443).unwrap()[0].is_ok());
    assert!(client.send("203.0.113.1", 8443).unwrap()[0].is_ok());
    assert!(udp.finish(SOON).unwrap().success());
}

#[test]
fn nothing_is_left_behind() {
    let lab = Lab::new().unwrap();
    let child = lab.cgroup.child("job").unwrap();
    let sleeper = lab.client().spawn("sleep", &["1000"]).unwrap();
    child.add(sleeper.pid()).unwrap();
    let places = [
        lab.cgroup.path().to_owned(),
        Path::new("/run/netns").join(lab.netns.name()),
        Path::new("/etc/netns").join(lab.netns.name()),
        Path::new("/proc").join(lab.dnsmasq.pid().to_string()),
    ];
    assert!(places.iter().all(|place| place.exists()));
    // A child that outlives its guard goes with the parent, and so does what runs in it.
    std::mem::forget(child);
    drop(lab);
    assert!(places.iter().all(|place| !place.exists()));
    assert!(!sleeper.finish(SOON).unwrap().success());
}

#[test]
fn the_machine_is_known() {
    let machine = Machine::current();
    assert!(machine.kernel_at_least(6, 1), "{}", machine.release());
    let cgroup = Cgroup::new().unwrap();
    if machine.is_guest() {
        assert_eq!(machine.backends(), [Backend::Lsm, Backend::Cgroup]);
        assert!(machine.scope(&cgroup).is_none());
        assert!(fs::read_to_string("/sys/kernel/security/lsm").unwrap().contains("bpf"));
        assert!(Path::new("/sys/kernel/btf/vmlinux").exists());
    } else {
        assert_eq!(machine.backends(), [Backend::Cgroup]);
        assert_eq!(machine.scope(&cgroup).map(Cgroup::path), Some(cgroup.path()));
    }
}

/// A program that behaves as the daemon does towards the harness.
#[expect(clippy::unwrap_used, reason = "part of the tests below")]
fn stand_in(directory: &Path, body: &str) -> std::path::PathBuf {
    let path = directory.join("enforcer");
    let script = format!(
        "#!/bin/sh\n\
         [ \"$1\" = run ] || {{ echo \"$@\"; exit 0; }}\n\
         for argument; do case $argument in json=*) events=${{argument#json=}};; esac; done\n\
         {body}\n"
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_daemon_is_awaited_listened_to_and_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let binary = stand_in(
        directory.path(),
        "trap 'echo bye >&2; exit 3' TERM\n\
         echo 'enforcer is ready' >&2\n\
         printf '{\"dstPort\":80}\\n{\"dst' >>\"$events\"\n\
         sleep 0.2; printf 'Port\":443}\\n' >>\"$events\"\n\
         while :; do sleep 0.1; done",
    );
    let cgroup = Cgroup::new().unwrap();
    let mut daemon = Daemon::builder(Backend::Cgroup)
        .cgroup(Some(&cgroup))
        .binary(binary)
        .policy("a", "version: 1")
        .start()
        .unwrap();
    let event = daemon.wait_for_event(SOON, |event| event["dstPort"] == 443).unwrap();
    assert_eq!(event["dstPort"], 443);
    assert_eq!(daemon.events().unwrap().len(), 2);
    assert!(daemon.wait_for_event(Duration::ZERO, |event| event["dstPort"] == 22).is_err());
    daemon.write_policy("a", "version: 1\nrules: []\n").unwrap();
    assert!(fs::read_to_string(daemon.policy_directory().join("a.yaml")).unwrap().contains("rules"));
    assert_eq!(
        daemon.ask(&["status"]).unwrap().stdout.trim(),
        format!("status --instance {}", daemon.instance())
    );
    assert_eq!(daemon.stop().unwrap().code(), Some(3));
    assert!(daemon.stderr().unwrap().ends_with("bye\n"));
}

#[test]
fn a_daemon_that_ends_early_is_an_error_with_its_words() {
    let directory = tempfile::tempdir().unwrap();
    let binary = stand_in(directory.path(), "echo 'no such rule' >&2; exit 2");
    let failure = Daemon::builder(Backend::Lsm).binary(&binary).start_failing().unwrap();
    assert_eq!((failure.status.code(), failure.stderr.as_str()), (Some(2), "no such rule\n"));
    let error = Daemon::builder(Backend::Lsm).binary(&binary).start().unwrap_err();
    assert!(matches!(&error, HarnessError::Ended { stderr, .. } if stderr == "no such rule\n"), "{error}");
}

#[test]
fn waiting_ends() {
    assert_eq!(wait_for(Duration::ZERO, || None::<()>), None);
    assert_eq!(wait_for(Duration::ZERO, || Some(1)), Some(1));
}
