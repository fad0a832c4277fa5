//! Programs in C on the hooks that enforcer has for this traffic: the least that a tool does (least.bpf.c), and the least with
//! which one does what enforcer has to (equal.bpf.c).

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;

use enforcer_tests::Cgroup;

use crate::Error;
use crate::programs::text;

pub const LEAST: &str = include_str!("least.bpf.c");
pub const EQUAL: &str = include_str!("equal.bpf.c");
const SHARED: &str = include_str!("shared.bpf.h");
const SCRIPT: &str = include_str!("peers_in_c.sh");

/// Attaches them to a cgroup, for as long as it exists, with the addresses that sockets of IPv4 may send to.
pub fn attach(text_of: &str, cgroup: &Cgroup, allowed: &[Ipv4Addr]) -> Result<(), Error> {
    let directory = tempfile::tempdir()?;
    let (source, object) = (directory.path().join("peer.bpf.c"), directory.path().join("peer.o"));
    fs::write(&source, text_of)?;
    fs::write(directory.path().join("shared.bpf.h"), SHARED)?;
    // Where Debian has asm/types.h; the directory is searched by itself only for the machine's own target.
    let headers = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let compile = ["-O2", "-g", "-target", "bpf", "-Wall", "-Werror", &headers, "-c"];
    run(Command::new("clang").args(compile).arg(&source).arg("-o").arg(&object), "clang")?;
    // Only so that its absence gets a sentence of its own.
    run(Command::new("bpftool").arg("version"), "bpftool")?;
    let bytes = |bytes: [u8; 4]| bytes.map(|byte| byte.to_string()).join(" ");
    let family = u32::try_from(libc::AF_INET)?.to_ne_bytes();
    let mut load = Command::new("unshare");
    load.args(["-m", "sh", "-ec", SCRIPT, "sh", text(&object)?, text(cgroup.path())?]);
    let keys = [family].into_iter().chain(allowed.iter().map(Ipv4Addr::octets)).map(bytes);
    run(load.args(keys), "unshare")
}

fn run(command: &mut Command, program: &str) -> Result<(), Error> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{program} fails: {}", said.trim().lines().collect::<Vec<_>>().join("; ")).into())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("{program} is not installed (`scripts/setup bench`)").into())
        }
        Err(error) => Err(error.into()),
    }
}
