//! Connections that the kernel makes for somebody: file systems and block devices of other machines, tunnels, addresses
//! that are translated. Each needs root.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use enforcer_tests::{PAYLOAD, Target};

use crate::datagram::{udp4, udp6};
use crate::namespace::ip;
use crate::scene::Scene;
use crate::socket::{Address, check};
use crate::stream::{at, converse, tcp};
use crate::wire::packet4;

/// By TCP, from a worker of `net/sunrpc`.
pub fn nfs(scene: &Scene) -> io::Result<()> {
    let to = scene.target.denied4();
    let options =
        format!("vers=4.2,proto=tcp,soft,timeo=10,retrans=1,addr={to},clientaddr={}", Target::NEAR4);
    mount(&format!("{to}:/export"), "nfs", &options)
}

/// By UDP, to ask where the rest is.
pub fn nfs_udp(scene: &Scene) -> io::Result<()> {
    let to = scene.target.denied4();
    let options = format!(
        "vers=3,proto=tcp,mountproto=udp,mountport=635,port=2049,nolock,soft,timeo=10,retrans=1,addr={to},mountaddr={to}"
    );
    mount(&format!("{to}:/export"), "nfs", &options)
}

/// `kernel_connect` in `fs/smb/client/connect.c`.
pub fn cifs(scene: &Scene) -> io::Result<()> {
    let to = scene.target.denied4();
    mount(&format!("//{to}/share"), "cifs", &format!("ip={to},user=nobody,pass=nobody,vers=3.0"))
}

/// `kernel_connect` in `net/ceph/messenger.c`.
pub fn ceph(scene: &Scene) -> io::Result<()> {
    mount(&format!("{}:6789:/", scene.target.denied4()), "ceph", "name=nobody,mount_timeout=1")
}

/// `kernel_connect` in `drivers/nvme/host/tcp.c`.
pub fn nvme(scene: &Scene) -> io::Result<()> {
    let mut fabrics = OpenOptions::new().write(true).open("/dev/nvme-fabrics")?;
    let to = scene.target.denied4();
    let options = format!("transport=tcp,traddr={to},trsvcid=4420,nqn=nqn.2014-08.example:vector");
    fabrics.write_all(options.as_bytes())
}

fn mount(source: &str, kind: &str, options: &str) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = CString::new(directory.path().as_os_str().as_encoded_bytes())?;
    let (source, kind, options) = (CString::new(source)?, CString::new(kind)?, CString::new(options)?);
    let (source, kind, options) = (source.as_ptr(), kind.as_ptr(), options.as_ptr().cast());
    // SAFETY: all pointers are to C strings that live until the call returns.
    check(unsafe { libc::mount(source, path.as_ptr(), kind, 0, options) })?;
    Ok(())
}

/// Packets of nobody's: who has a TUN device writes them, and the kernel forwards them.
pub fn tun(scene: &Scene) -> io::Result<()> {
    let number = scene.target.number();
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // struct ifreq: 16 bytes of name, then flags.
    let name = format!("tun{number}");
    let mut request = [0_u8; 40];
    for (to, from) in request.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
    for (to, from) in request.iter_mut().skip(16).zip(flags.to_ne_bytes()) {
        *to = from;
    }
    // SAFETY: the pointer is to a struct ifreq, which has 40 bytes.
    check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) })?;
    ip(&["address", "add", &format!("10.79.{number}.1/24"), "dev", &name])?;
    ip(&["link", "set", &name, "up"])?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    let packet = packet4(Ipv4Addr::new(10, 79, number, 2), scene.target.denied4());
    (&device).write_all(&packet)
}

pub fn ipip(scene: &Scene) -> io::Result<()> {
    tunnel(scene.target, &["ipip"], &[])
}

pub fn gre(scene: &Scene) -> io::Result<()> {
    tunnel(scene.target, &["gre"], &[])
}

pub fn vxlan(scene: &Scene) -> io::Result<()> {
    send_through_vxlan(scene.target)
}

pub fn send_through_vxlan(target: Target) -> io::Result<()> {
    tunnel(target, &["vxlan", "id", "1"], &["dstport", "4789"])
}

pub fn geneve(scene: &Scene) -> io::Result<()> {
    tunnel(scene.target, &["geneve", "id", "1"], &[])
}

/// A link of one's own whose far end is the denied address; what is sent goes to somebody behind it.
fn tunnel(target: Target, kind: &[&str], options: &[&str]) -> io::Result<()> {
    let number = target.number();
    let (name, to) = (format!("tunnel{number}"), target.denied4().to_string());
    ip(&[&["link", "add", &name, "type"], kind, &["remote", &to], options].concat())?;
    ip(&["address", "add", &format!("10.78.{number}.1/24"), "dev", &name])?;
    ip(&["link", "set", &name, "up"])?;
    let behind = Ipv4Addr::new(10, 78, number, 2);
    // Where links have addresses of their own, this one's does not matter: nobody is there.
    let _ = ip(&["neighbour", "add", &behind.to_string(), "lladdr", "02:00:00:00:00:02", "dev", &name]);
    udp4()?.send_to(PAYLOAD, 0, &Address::inet((behind, Target::PORT).into()))
}

/// Where the policy looks, it is still the allowed address.
pub fn translated_tcp(scene: &Scene) -> io::Result<()> {
    translate_tcp(scene.target)
}

pub fn translate_tcp(target: Target) -> io::Result<()> {
    translate(target)?;
    converse(&tcp(libc::AF_INET)?, &at(target.allowed4()))
}

pub fn translated_udp(scene: &Scene) -> io::Result<()> {
    translate(scene.target)?;
    udp4()?.send_to(PAYLOAD, 0, &at(scene.target.allowed4()))
}

fn translate(target: Target) -> io::Result<()> {
    let (allowed, denied) = (target.allowed4(), target.denied4());
    let table = format!("vector{}", target.number());
    nft(&format!(
        "add table ip {table}\n\
         add chain ip {table} output {{ type nat hook output priority -100; }}\n\
         add rule ip {table} output ip daddr {allowed} dnat to {denied}\n"
    ))
}

/// The route to the allowed address goes by way of the denied one: by a routing header put into the packet, or in front
/// of it with a header of its own.
pub fn routed_inline(scene: &Scene) -> io::Result<()> {
    route(scene, "inline")
}

pub fn routed_encapsulated(scene: &Scene) -> io::Result<()> {
    route(scene, "encap")
}

fn route(scene: &Scene, mode: &str) -> io::Result<()> {
    let (to, by) = (scene.target.allowed6().to_string(), scene.target.denied6().to_string());
    ip(&["-6", "route", "add", &to, "encap", "seg6", "mode", mode, "segs", &by, "dev", Target::LINK])?;
    udp6()?.send_to(PAYLOAD, 0, &at(scene.target.allowed6()))
}

/// The address is written over, without a memory of it.
pub fn rewritten(scene: &Scene) -> io::Result<()> {
    let (allowed, denied) = (scene.target.allowed4(), scene.target.denied4());
    let table = format!("vector{}", scene.target.number());
    nft(&format!(
        "add table ip {table}\n\
         add chain ip {table} output {{ type filter hook output priority 0; }}\n\
         add rule ip {table} output ip daddr {allowed} ip daddr set {denied}\n"
    ))?;
    udp4()?.send_to(PAYLOAD, 0, &at(scene.target.allowed4()))
}

fn nft(script: &str) -> io::Result<()> {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes())?;
    }
    if child.wait()?.success() { Ok(()) } else { Err(io::Error::other("nft does not take it")) }
}
