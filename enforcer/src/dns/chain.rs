//! From the question through the records to addresses.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use enforcer_common::Address;

use crate::name::Name;

/// Most names made from DNAME records: two that feed each other never end by themselves.
const MOVED_MAX: u32 = 32;

/// A record that leads somewhere.
pub(super) struct Record {
    /// Whose record it is.
    pub owner: Name,
    /// Seconds to live.
    pub ttl: u32,
    /// Where it leads.
    pub data: Data,
}

/// Where a record leads.
pub(super) enum Data {
    /// A, AAAA.
    Address(Address),
    /// CNAME.
    Alias(Name),
    /// HTTPS, SVCB.
    Service {
        /// Who serves, unless it is the owner.
        target: Option<Name>,
        /// Addresses of the one who serves.
        hints: Vec<Address>,
    },
    /// DNAME.
    Subtree(Name),
}

/// What can be reached from the question.
pub(super) struct Followed {
    pub chain: Vec<Name>,
    pub addresses: Vec<(Address, u32)>,
    pub unrelated: u32,
    pub complete: bool,
    pub beyond_binder: bool,
}

/// Follows the records in whatever order they come.
pub(super) fn follow(question: &Name, records: &[Record]) -> Followed {
    let mut by_owner: BTreeMap<&Name, Vec<&Record>> = BTreeMap::new();
    let mut subtrees = Vec::new();
    for record in records {
        match &record.data {
            Data::Subtree(target) => subtrees.push((&record.owner, target, record.ttl)),
            _ => by_owner.entry(&record.owner).or_default().push(record),
        }
    }

    let Reached { chain, addresses, complete } = reach(question, &by_owner, &subtrees);
    // The binder knows no DNAME (`enforcer_common::dns`): it goes by the CNAME that comes with it (RFC 6672 section 3.1).
    let beyond_binder = !subtrees.is_empty() && reach(question, &by_owner, &[]).chain.len() < chain.len();
    let unrelated =
        by_owner.iter().filter(|(owner, _)| !chain.contains(owner)).map(|(_, records)| records.len());
    Followed {
        unrelated: unrelated.sum::<usize>() as u32,
        chain,
        addresses: addresses.into_iter().collect(),
        complete,
        beyond_binder,
    }
}

struct Reached {
    chain: Vec<Name>,
    addresses: BTreeMap<Address, u32>,
    complete: bool,
}

fn reach(
    question: &Name,
    by_owner: &BTreeMap<&Name, Vec<&Record>>,
    subtrees: &[(&Name, &Name, u32)],
) -> Reached {
    // The longest-lived way first, so that each name is looked at once.
    let mut open = BinaryHeap::from([(u32::MAX, question.clone())]);
    let mut seen = BTreeSet::new();
    let mut chain = Vec::new();
    let mut addresses: BTreeMap<Address, u32> = BTreeMap::new();
    let mut moved = 0;
    while let Some((ttl, name)) = open.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let mut found = |address: Address, ttl: u32| {
            let longest = addresses.entry(address).or_insert(ttl);
            *longest = ttl.max(*longest);
        };
        let mut aliased = false;
        for Record { owner: _, ttl: own, data } in by_owner.get(&name).into_iter().flatten() {
            let ttl = ttl.min(*own);
            match data {
                Data::Address(address) => found(*address, ttl),
                Data::Alias(target) => {
                    aliased = true;
                    open.push((ttl, target.clone()));
                }
                Data::Service { target, hints } => {
                    hints.iter().for_each(|hint| found(*hint, ttl));
                    open.extend(target.iter().map(|target| (ttl, target.clone())));
                }
                Data::Subtree(_) => {}
            }
        }
        for (from, to, own) in subtrees {
            // Beside the CNAME that comes with it, a DNAME says nothing.
            if !aliased
                && moved < MOVED_MAX
                && let Some(target) = name.moved(from, to)
            {
                moved += 1;
                open.push((ttl.min(*own), target));
            }
        }
        chain.push(name);
    }
    Reached { chain, addresses, complete: moved < MOVED_MAX }
}
