//! Real servers, and the capture of what they say.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use enforcer_tests::{Dnsmasq, Netns, wait_for};

use crate::crafted;
use crate::shapes::{BIND, DNSMASQ, UNBOUND, UNBOUND_SIX};

/// Longer than a server takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// dnsmasq, unbound, BIND and the crafted answers. Killed when dropped.
#[derive(Debug)]
pub struct Servers {
    _dnsmasq: Dnsmasq,
    _unbound: Process,
    _bind: Process,
}

impl Servers {
    pub fn start(netns: &Netns, directory: &Path) -> Self {
        crafted::serve(netns);
        let dnsmasq = Dnsmasq::builder(netns)
            .at(DNSMASQ.parse::<std::net::IpAddr>().unwrap())
            .name("a.masq.test", [203, 0, 113, 1])
            .name("mixed.masq.test", [203, 0, 113, 2])
            .name("plain.masq.test", [203, 0, 113, 3])
            .name("four.masq.test", [203, 0, 113, 6])
            .name("six.masq.test", [0x2001, 0xdb8, 0, 0, 0, 0, 0, 4])
            .alias("alias.masq.test", "a.masq.test")
            .domain("wild.masq.test", std::net::Ipv4Addr::new(203, 0, 113, 5));
        let dnsmasq = dnsmasq.start().unwrap();
        let unbound = unbound(netns, directory);
        let bind = bind(netns, directory);
        for (server, name) in [(UNBOUND, "a.unbound.test"), (BIND, "a.bind.test")] {
            let answers = || {
                let output = netns
                    .command("dig")
                    .unwrap()
                    .args(["+short", "+time=1", "+tries=1"])
                    .arg(format!("@{server}"))
                    .arg(name)
                    .output();
                String::from_utf8_lossy(&output.unwrap().stdout).starts_with("203.0.113.").then_some(())
            };
            let log =
                || ["unbound.log", "named.log"].map(|log| fs::read_to_string(directory.join(log)).unwrap());
            wait_for(PATIENCE, answers).unwrap_or_else(|| panic!("{name} is not answered: {:?}", log()));
        }
        Self { _dnsmasq: dnsmasq, _unbound: unbound, _bind: bind }
    }
}

/// tcpdump, writing to a file.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    log: PathBuf,
}

impl Capture {
    /// Returns once it listens.
    pub fn start(netns: &Netns, interface: &str, path: &Path) -> Self {
        let log = path.with_extension("log");
        let mut command = netns.command("tcpdump").unwrap();
        // Each packet takes a whole snapshot length of the buffer's 32 MiB.
        let buffer = ["-s", "65535", "-B", "32768", "--immediate-mode"];
        command.args(["-i", interface, "-U", "-Z", "root"]).args(buffer).arg("-w").arg(path);
        let process = Process::start(command.args(["port", "53"]), &log);
        let listens = || fs::read_to_string(&log).unwrap().contains("listening on").then_some(());
        wait_for(PATIENCE, listens).unwrap_or_else(|| panic!("{}", fs::read_to_string(&log).unwrap()));
        Self { process, log }
    }

    /// Ends it once it has written everything, of which it may not have lost anything.
    pub fn stop(mut self) {
        // What was sent has been handed to it; its buffer is written every moment.
        std::thread::sleep(Duration::from_millis(500));
        let id = libc::pid_t::try_from(self.process.0.id()).unwrap();
        // SAFETY: takes numbers only, and the child has not been waited for.
        unsafe { libc::kill(id, libc::SIGINT) };
        assert!(self.process.0.wait().unwrap().success());
        let log = fs::read_to_string(&self.log).unwrap();
        assert!(log.contains("\n0 packets dropped by kernel"), "{log}");
    }
}

/// Killed when dropped.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn start(command: &mut Command, log: &Path) -> Self {
        let log = File::create(log).unwrap();
        let both = log.try_clone().unwrap();
        Self(command.stdin(Stdio::null()).stdout(both).stderr(log).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn unbound(netns: &Netns, directory: &Path) -> Process {
    let path = directory.join("unbound.conf");
    let text = format!(
        "server:
 directory: \"{directory}\"
 interface: {UNBOUND}
 interface: {UNBOUND_SIX}
 access-control: 0.0.0.0/0 allow
 access-control: ::/0 allow
 do-daemonize: no
 use-syslog: no
 username: \"\"
 chroot: \"\"
 pidfile: \"\"
 module-config: \"iterator\"
 use-caps-for-id: yes
 local-zone: \"unbound.test.\" static
 local-data: \"a.unbound.test. 60 IN A 203.0.113.20\"
 local-data: \"b.unbound.test. 60 IN A 203.0.113.21\"
 local-data: \"c.unbound.test. 60 IN A 203.0.113.22\"
 local-data: \"zero.unbound.test. 0 IN A 203.0.113.23\"
 local-data: 'https.unbound.test. 60 IN HTTPS 1 . ipv4hint=203.0.113.25'
 local-zone: \"wild.unbound.test.\" redirect
 local-data: \"wild.unbound.test. 33 IN A 203.0.113.24\"
 local-zone: \"test.\" nodefault
remote-control:
 control-enable: no
stub-zone:
 name: \"bind.test.\"
 stub-addr: {BIND}
",
        directory = directory.display()
    );
    fs::write(&path, text).unwrap();
    let mut command = netns.command("/usr/sbin/unbound").unwrap();
    Process::start(command.args(["-d", "-c"]).arg(&path), &directory.join("unbound.log"))
}

fn bind(netns: &Netns, directory: &Path) -> Process {
    let mut zone = "$TTL 300
@ SOA ns.bind.test. host.bind.test. 1 3600 600 86400 60
@ NS ns.bind.test.
ns A 198.18.0.55
a 70 A 203.0.113.30
c1 90 CNAME c2
c2 80 CNAME c3
c3 100 CNAME a
chain 90 CNAME c2
old DNAME new
www.new 50 A 203.0.113.31
svc 120 HTTPS 1 . alpn=h2 ipv4hint=203.0.113.32,203.0.113.33 ipv6hint=2001:db8::32
apex HTTPS 0 svc.bind.test.
_dns SVCB 1 dns.bind.test. alpn=dot port=853 ipv4hint=203.0.113.34
*.wild A 203.0.113.35
nodata TXT \"nothing else\"
zero 0 AAAA 2001:db8::36
large A 203.0.113.37
"
    .to_owned();
    for number in 0..100 {
        // Writing to a String does not fail.
        let _ = writeln!(
            zone,
            "many A 192.0.2.{number}\nmore A 192.0.2.{number}\nthird AAAA 2001:db8:1::{number:x}"
        );
    }
    for number in 0..12 {
        let _ = writeln!(zone, "large TXT \"{number} {}\"", "x".repeat(200));
    }
    fs::write(directory.join("bind.zone"), zone).unwrap();
    // It listens on the addresses of interfaces only.
    netns.ip_batch(&format!("address add {BIND}/32 dev lo\n")).unwrap();
    let path = directory.join("named.conf");
    let text = format!(
        "options {{ directory \"{directory}\"; listen-on {{ {BIND}; }}; listen-on-v6 {{ none; }}; recursion no;
 pid-file none; lock-file none; session-keyfile \"{directory}/session.key\"; dnssec-validation no; edns-udp-size 4096;
 max-udp-size 4096; minimal-responses yes; }};
controls {{ }};
zone \"bind.test\" {{ type primary; file \"bind.zone\"; }};
",
        directory = directory.display()
    );
    fs::write(&path, text).unwrap();
    let mut command = netns.command("/usr/sbin/named").unwrap();
    Process::start(command.args(["-g", "-c"]).arg(&path), &directory.join("named.log"))
}
