//! Networks: every prefix with what the prefixes around it say.

use super::numbered;
use enforcer_common::{Address, CidrEntry, Vector};
use policy_schema::PolicySet;
use std::{collections::BTreeMap, net::IpAddr};

/// A network; v4 ones in v4-mapped form.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Prefix {
    /// First address. First in order, so that a network comes before what it holds.
    pub address: Address,
    /// Bits that are fixed, of 128.
    pub length: u32,
}

impl Prefix {
    pub(super) fn new(network: &ipnet::IpNet) -> Self {
        let family = match network.network() {
            IpAddr::V4(_) => 96,
            IpAddr::V6(_) => 0,
        };
        Self { address: network.network().into(), length: u32::from(network.prefix_len()) + family }
    }

    fn holds(&self, address: &Address) -> bool {
        let bits = |address: &Address| u128::from_be_bytes(address.octets());
        let mask = u128::MAX.checked_shl(128 - self.length).unwrap_or(0);
        bits(&self.address) & mask == bits(address) & mask
    }
}

/// Every IPv4 address, in mapped form.
const V4: Prefix = Prefix { address: Address::from_v4([0; 4]), length: 96 };

/// Every prefix of the policy. The kernel finds only the longest, so each has its ancestors folded in.
pub(super) fn fold(policy: &PolicySet) -> BTreeMap<Prefix, CidrEntry> {
    let mut entries: BTreeMap<Prefix, CidrEntry> = BTreeMap::new();
    for (class, rule) in numbered(policy) {
        let mut add = |networks: &[ipnet::IpNet], vector: fn(&mut CidrEntry) -> &mut Vector| {
            for network in networks {
                vector(entries.entry(Prefix::new(network)).or_default()).insert(class);
            }
        };
        add(rule.cidrs(), |entry| &mut entry.to);
        add(rule.except_cidrs(), |entry| &mut entry.except);
        add(rule.may_resolve_to(), |entry| &mut entry.may_resolve);
    }
    if entries.keys().any(|prefix| prefix.length < V4.length && prefix.holds(&V4.address)) {
        // `::/0` does not mean IPv4, whose mapped form lies in it.
        entries.entry(V4).or_default();
    }
    // In this order the prefixes that hold one another form a stack.
    let mut around: Vec<(Prefix, CidrEntry)> = Vec::new();
    for (prefix, entry) in &mut entries {
        while around.last().is_some_and(|(outer, _)| !outer.holds(&prefix.address)) {
            around.pop();
        }
        let v4 = prefix.length >= V4.length && V4.holds(&prefix.address);
        if let Some((_, outer)) = around.last().filter(|(outer, _)| !v4 || outer.length >= V4.length) {
            entry.to.union(&outer.to);
            entry.except.union(&outer.except);
            entry.may_resolve.union(&outer.may_resolve);
        }
        around.push((*prefix, *entry));
    }
    entries
}

/// The longest prefix that holds the address, as the kernel's trie finds it.
pub(super) fn longest<'a>(
    entries: &'a BTreeMap<Prefix, CidrEntry>,
    address: &Address,
) -> Option<&'a CidrEntry> {
    entries
        .iter()
        .filter(|(prefix, _)| prefix.holds(address))
        .max_by_key(|(prefix, _)| prefix.length)
        .map(|(_, e)| e)
}
