//! systemd-resolved answers from its cache by a socket: no packet tells what it said, its monitor does.

use enforcer_tests::{Client, Lab, Machine, Running, skip, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exec::{confined, connecting};
use crate::scenario::{SOON, attempt, connects, policy, refused};

/// Where `scripts/setup test` unpacks it: installed, it would take over this machine's /etc/resolv.conf.
const BINARY: &str = "target/tools/systemd-resolved/lib/systemd/systemd-resolved";
const POLICY: &str = "rules:\n  - { name: malware, action: deny, to: { names: [\"*.evil.example\"] } }\n";
const HOST: &str = "www.evil.example";

/// Runs it without systemd and D-Bus: a `/run` of its own, its user, its directory where others find its sockets.
const START: &str = r#"
set -e
mount --make-rprivate /
mkdir "$1/resolve" && chown 981:981 "$1/resolve"
{ cat /etc/passwd; echo systemd-resolve:x:981:981::/:/usr/sbin/nologin; } > "$1/passwd"
{ cat /etc/group; echo systemd-resolve:x:981:; } > "$1/group"
mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group
mount --bind "$1/resolve" /mnt
mount -t tmpfs none /run
mkdir -p /run/systemd/resolve /run/systemd/resolved.conf.d /run/systemd/netif/links
mount --move /mnt /run/systemd/resolve
printf '[Resolve]\nDNS=198.18.0.53\nFallbackDNS=\nDNSSEC=no\nLLMNR=no\nMulticastDNS=no\n' > /run/systemd/resolved.conf.d/test.conf
exec "$2"
"#;

/// Looks a name up as nss-resolve does.
const LOOK_UP: &str = r#"
import json, socket, sys
link = socket.socket(socket.AF_UNIX)
link.settimeout(10)
link.connect("SOCKET")
call = {"method": "io.systemd.Resolve.ResolveHostname", "parameters": {"name": "HOST", "family": 2}}
link.sendall(json.dumps(call).encode() + b"\0")
print(link.recv(65536))
"#;

fn start(lab: &Lab, directory: &Path, binary: &Path) -> Running {
    // It asks nobody unless some link leads somewhere.
    lab.netns
        .ip_batch("link add way type veth peer name out\naddr add 10.99.0.1/24 dev way\nlink set way up\nlink set out up\n")
        .unwrap();
    let (directory, binary) = (directory.to_str().unwrap(), binary.to_str().unwrap());
    let arguments = ["-m", "sh", "-c", START, "sh", directory, binary];
    Client::new(&lab.netns).spawn("/usr/bin/unshare", &arguments).unwrap()
}

fn look_up(lab: &Lab, sockets: &Path) -> bool {
    let source =
        LOOK_UP.replace("SOCKET", sockets.join("io.systemd.Resolve").to_str().unwrap()).replace("HOST", HOST);
    lab.client().python(&source).unwrap().stdout.contains("[203,0,113,7]")
}

#[test]
fn what_systemd_resolved_answers_from_its_cache_is_heard() {
    // A matter of user space: this machine's kernel is enough.
    if Machine::current().is_guest() {
        return;
    }
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(BINARY);
    let Ok(binary) = fs::canonicalize(binary) else {
        skip!("`scripts/setup test` has not unpacked {BINARY}")
    };
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let sockets: PathBuf = directory.path().join("resolve");
        let monitor = sockets.join("io.systemd.Resolve.Monitor");
        let _resolved = start(&lab, directory.path(), &binary);
        assert!(wait_for(SOON, || monitor.exists().then_some(())).is_some());
        // Before: it is in the cache now.
        assert!(wait_for(SOON, || look_up(&lab, &sockets).then_some(())).is_some());
        let address = Lab::EVIL.to_string();
        connects(lab.client(), &address, 443);

        let daemon = || {
            let builder = lab.daemon(backend).policy("policy", &policy(POLICY));
            builder.argument("--resolved").argument(&monitor)
        };
        let mut listening = daemon().start().unwrap();
        assert!(listening.stderr().unwrap().contains("--flush-caches"));
        connects(lab.client(), &address, 443);
        // It listens soon after it is ready.
        let heard = wait_for(SOON, || {
            assert!(look_up(&lab, &sockets));
            (attempt(lab.client(), &address, 443).errno() == Some("EPERM")).then_some(())
        });
        assert!(heard.is_some(), "{} {}", listening.status().unwrap(), listening.stderr().unwrap());
        assert!(listening.counter("lateFromResolved").unwrap() > 0);
        let names = listening.ask(&["names", HOST]).unwrap();
        assert!(names.stdout.contains(&address), "{names:?}");
        assert!(listening.stop().unwrap().success());
        connects(lab.client(), &address, 443);

        // With its cache flushed, the same lookup takes a packet, and that is bound at once.
        let mut flushing = daemon().argument("--flush-caches").start().unwrap();
        flushing.wait_for_stderr(SOON, "has forgotten its cache").unwrap();
        // The signal is on its way.
        std::thread::sleep(Duration::from_millis(500));
        assert!(look_up(&lab, &sockets));
        refused(lab.client(), &address, 443, "EPERM");
        assert_eq!(flushing.counter("lateFromResolved").unwrap(), 0);
        assert!(flushing.stop().unwrap().success());
        connects(lab.client(), &address, 443);

        // A command that is confined by itself is no different.
        let file = directory.path().join("policy.yaml");
        fs::write(&file, policy(POLICY)).unwrap();
        let mut confined = confined(&lab, backend, &file, &["--resolved", monitor.to_str().unwrap()]);
        assert_eq!(connecting(&mut confined, &address, 443), "ok");
        let heard = wait_for(SOON, || {
            assert!(look_up(&lab, &sockets));
            (connecting(&mut confined, &address, 443) == "EPERM").then_some(())
        });
        assert!(heard.is_some());
        assert!(confined.finish(SOON).unwrap().success());
        connects(lab.client(), &address, 443);
    });
}
