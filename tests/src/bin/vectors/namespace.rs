//! From a network namespace that an unprivileged user has made, as a container without root has it: root outside gives
//! it a link, inside everything is the user's.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use enforcer_tests::{PAYLOAD, Target};

use crate::datagram::{self, udp4};
use crate::kernel;
use crate::scene::{Scene, say};
use crate::socket::check;
use crate::stream::{at, converse, tcp};
use crate::wire;

/// The address of the link's end outside.
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];

pub fn connect(scene: &Scene) -> io::Result<()> {
    from_inside(scene, "connect")
}

pub fn send(scene: &Scene) -> io::Result<()> {
    from_inside(scene, "send")
}

/// Who is root inside may have packet sockets there.
pub fn packet(scene: &Scene) -> io::Result<()> {
    from_inside(scene, "packet")
}

/// .. and translate addresses.
pub fn translated(scene: &Scene) -> io::Result<()> {
    from_inside(scene, "translated")
}

/// .. and have any address for a while.
pub fn spoofed(scene: &Scene) -> io::Result<()> {
    from_inside(scene, "spoofed")
}

/// .. and any port.
pub fn dhcp(scene: &Scene) -> io::Result<()> {
    from_inside(scene, "dhcp")
}

/// .. and lay tunnels.
pub fn tunnel(scene: &Scene) -> io::Result<()> {
    from_inside(scene, "tunnel")
}

fn from_inside(scene: &Scene, what: &str) -> io::Result<()> {
    let number = scene.target.number();
    let mut child = Command::new("/proc/self/exe")
        .args(["inside", what, &number.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let mut lines = BufReader::new(output).lines();
    let mut next = || lines.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
    next()?;
    let (near, net) = (format!("user{number}"), network(scene.target));
    let pid = child.id().to_string();
    let gateway = GATEWAY.map(|byte| format!("{byte:02x}")).join(":");
    ip(&[
        "link", "add", &near, "address", &gateway, "type", "veth", "peer", "name", "inside0", "netns", &pid,
    ])?;
    ip(&["address", "add", &format!("{net}.1/24"), "dev", &near])?;
    ip(&["link", "set", &near, "up"])?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    writeln!(input)?;
    next()?;
    scene.policy_comes()?;
    writeln!(input)?;
    match next()?.parse().map_err(io::Error::other)? {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// The process inside. It has become the user already.
pub fn inside(what: &str, target: Target) -> io::Result<()> {
    // What belongs to the process belongs to the user again, the maps below among it.
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) })?;
    // SAFETY: takes flags only; the process has one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) })?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {} 1", crate::NOBODY))?;
    fs::write("/proc/self/gid_map", format!("0 {} 1", crate::NOBODY))?;
    wait("ready")?;
    let net = network(target);
    ip(&["address", "add", &format!("{net}.2/24"), "dev", "inside0"])?;
    ip(&["link", "set", "inside0", "up"])?;
    ip(&["route", "add", "default", "via", &format!("{net}.1")])?;
    wait("linked")?;
    let outcome = match what {
        "packet" => {
            let from = Ipv4Addr::new(10, 77, target.number(), 2);
            wire::send_frame("inside0", GATEWAY, from, target.denied4())
        }
        "dhcp" => datagram::as_dhcp(target),
        "spoofed" => datagram::spoofed_inside(target),
        "translated" => kernel::translate_tcp(target),
        "tunnel" => kernel::send_through_vxlan(target),
        "send" => udp4()?.send_to(PAYLOAD, 0, &at(target.denied4())),
        _ => converse(&tcp(libc::AF_INET)?, &at(target.denied4())),
    };
    say(&outcome.err().and_then(|error| error.raw_os_error()).unwrap_or(0).to_string())
}

/// The first three bytes of the addresses of the link between inside and outside.
fn network(target: Target) -> String {
    format!("10.77.{}", target.number())
}

fn wait(word: &str) -> io::Result<()> {
    say(word)?;
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// The tool of that name: links and addresses are made once, by netlink messages that nothing here is about.
pub fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("ip {}: {}", arguments.join(" "), complaint.trim())))
}
