//! The resolvers this machine is configured to ask.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// What a stub resolver asks when it is told nothing (resolv.conf(5)).
const DEFAULT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The two stubs of systemd-resolved (systemd-resolved.service(8)).
const RESOLVED_STUBS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54))];

/// Files that name resolvers.
#[derive(Clone, Debug)]
pub struct Files {
    /// `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// The upstreams of systemd-resolved, there while it runs.
    pub resolved: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self { resolv_conf: "/etc/resolv.conf".into(), resolved: "/run/systemd/resolve/resolv.conf".into() }
    }
}

/// The name servers of a resolv.conf in their order; the local host if there is none.
pub fn from_resolv_conf(text: &str) -> Vec<IpAddr> {
    let servers = servers(text);
    if servers.is_empty() { vec![DEFAULT] } else { servers }
}

/// Every resolver this machine asks by default: the name servers of `/etc/resolv.conf`, the upstreams of
/// systemd-resolved, and its stubs.
pub fn auto() -> BTreeSet<IpAddr> {
    auto_from(&Files::default())
}

/// [`auto`] with files of one's own.
pub fn auto_from(files: &Files) -> BTreeSet<IpAddr> {
    let Files { resolv_conf, resolved } = files;
    let mut found = BTreeSet::from_iter(from_resolv_conf(&read(resolv_conf).unwrap_or_default()));
    if let Some(text) = read(resolved) {
        found.extend(RESOLVED_STUBS);
        // No default here: without upstreams systemd-resolved asks nobody.
        found.extend(servers(&text));
    }
    found
}

/// The resolvers that programs of this machine ask, in their order.
pub fn asked() -> Vec<IpAddr> {
    from_resolv_conf(&read(&Files::default().resolv_conf).unwrap_or_default())
}

/// The files whose change can change [`auto`], there or not.
pub fn watched_paths() -> Vec<PathBuf> {
    let Files { resolv_conf, resolved } = Files::default();
    vec![resolv_conf, resolved]
}

fn read(path: &Path) -> Option<String> {
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn servers(text: &str) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        // As in glibc, a key stands at the start of its line.
        if !line.starts_with("nameserver") || words.next() != Some("nameserver") {
            continue;
        }
        let address = words.next().and_then(|word| word.split('%').next()?.parse().ok());
        servers.extend(address.filter(|address| !servers.contains(address)));
    }
    servers
}

#[cfg(test)]
mod tests;
