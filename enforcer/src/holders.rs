//! Which processes hold the resolvers of this machine: only what they send is believed where an answer does not come from
//! outside. Processes are known by their cgroups, which is what the kernel programs know of whoever sends.

use crate::cgroups::Tree;
use enforcer_common::{Address, dns::Holder};
use procfs::{
    net::UdpNetEntry,
    process::{FDTarget, Process},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The port of DNS.
const DNS: u16 = 53;

/// What holds a resolver.
#[derive(Clone, Copy, Debug)]
pub enum Held<'a> {
    /// Whoever has its address and port in the network namespace of the daemon.
    ByWhoListens,
    /// A systemd unit.
    ByUnit(&'a str),
}

/// For each address, who may answer from it on this machine; nobody, if nobody is found. `tree` is to be of this moment.
pub fn of<'a>(resolvers: impl IntoIterator<Item = (Address, Held<'a>)>, tree: &Tree) -> BTreeSet<Holder> {
    let mut holders = BTreeSet::new();
    let mut listening = None;
    for (address, held) in resolvers {
        // Cgroup 0, which is none, says that not just anybody is believed.
        holders.insert(Holder { address, cgroup: 0 });
        let cgroups = match held {
            Held::ByUnit(unit) => of_unit(unit, tree),
            Held::ByWhoListens => listening.get_or_insert_with(listeners).at(address, tree),
        };
        holders.extend(cgroups.into_iter().map(|cgroup| Holder { address, cgroup }));
    }
    holders
}

/// Cgroups of a unit of the system's manager. What is called so within another unit is not: a user may make it, in what
/// systemd has delegated to him.
fn of_unit(unit: &str, tree: &Tree) -> Vec<u64> {
    let is_of_unit = |path: &str| {
        let mut above = path.split('/').filter(|part| !part.is_empty());
        above.find(|part| *part == unit || !part.ends_with(".slice")) == Some(unit)
    };
    tree.iter().filter(|(_, path)| is_of_unit(path)).map(|(id, _)| id).collect()
}

/// Who listens where.
#[derive(Debug, Default)]
struct Listeners {
    sockets: Vec<(IpAddr, u64)>,
    /// Paths of the cgroups of the processes that have a socket open, by its inode.
    cgroups: BTreeMap<u64, BTreeSet<String>>,
}

/// Sockets at the port of DNS, and the processes that have them open. What cannot be read holds nothing.
fn listeners() -> Listeners {
    let entries = [procfs::net::udp(), procfs::net::udp6()].into_iter().flatten().flatten();
    let at_dns = entries.filter(|entry: &UdpNetEntry| entry.local_address.port() == DNS);
    let sockets: Vec<(IpAddr, u64)> =
        at_dns.map(|entry| (entry.local_address.ip().to_canonical(), entry.inode)).collect();
    let mut listeners = Listeners { sockets, cgroups: BTreeMap::new() };
    if listeners.sockets.is_empty() {
        return listeners;
    }
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        let open = inodes(&process);
        for (_, inode) in listeners.sockets.iter().filter(|(_, inode)| open.contains(inode)) {
            listeners.cgroups.entry(*inode).or_default().extend(cgroup(&process));
        }
    }
    listeners
}

/// The sockets that a process has open.
fn inodes(process: &Process) -> BTreeSet<u64> {
    let open = process.fd().into_iter().flatten().flatten();
    open.filter_map(|fd| if let FDTarget::Socket(inode) = fd.target { Some(inode) } else { None }).collect()
}

/// Its cgroup of version 2.
fn cgroup(process: &Process) -> Option<String> {
    let cgroups = process.cgroups().ok()?;
    cgroups.into_iter().find(|cgroup| cgroup.hierarchy == 0).map(|cgroup| cgroup.pathname)
}

impl Listeners {
    /// The cgroups of those who listen at an address: at itself, or at all of its family.
    fn at(&self, address: Address, tree: &Tree) -> Vec<u64> {
        let wanted = IpAddr::from(address);
        let here = |ip: &IpAddr| *ip == wanted || ip.is_unspecified() && (ip.is_ipv6() || wanted.is_ipv4());
        let inodes = self.sockets.iter().filter(|(ip, _)| here(ip)).map(|(_, inode)| inode);
        let paths: BTreeSet<&str> =
            inodes.filter_map(|inode| self.cgroups.get(inode)).flatten().map(String::as_str).collect();
        tree.iter().filter(|(_, path)| paths.contains(path)).map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests;
