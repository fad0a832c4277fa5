//! The maps of one policy slot, filled as the binder and the daemon fill them.

use super::reference::Outcome;
use super::world::{CGROUPS, Connect, Place, RESOLVER, Seen};
use crate::compile::{Compiled, Prefix, cidrs};
use crate::dns::Answer;
use crate::names::{NameTable, tests::answer};
use enforcer_common::{
    Address, Attempt, Binding, CgroupSubjects, CidrEntry, Lookup, Reach, Vector,
    decide::{Error, Protection, decide_parts},
    dns::{Scratch, Slot as Binder},
    image::{Buckets, Protocol},
    repeat::HostLoop,
};
use std::{cell::RefCell, collections::BTreeMap, net::IpAddr, sync::Arc};

const SECOND: u64 = 1_000_000_000;
/// When the maps were filled.
const NOW: u64 = 1_000_000 * SECOND;

/// Everything that `decide` asks.
#[derive(Clone)]
pub(super) struct Slot {
    pub compiled: Arc<Compiled>,
    pub image: Vec<Vector>,
    pub cidrs: BTreeMap<Prefix, CidrEntry>,
    pub fresh: BTreeMap<Address, Binding>,
    pub older: BTreeMap<Address, Binding>,
    pub truth: BTreeMap<Address, Binding>,
    /// What is said about each of [`CGROUPS`], and about cgroups below the one around it.
    cgroups: Vec<(CgroupSubjects, Vector)>,
    pub protects_loopback: bool,
    pub protects_resolvers: bool,
}

/// The slot as one process meets it.
struct Caller<'a> {
    slot: &'a Slot,
    connect: &'a Connect,
}

impl Slot {
    /// The slot after these answers, each with the address that it led to.
    pub(super) fn new<'a>(
        compiled: &Arc<Compiled>,
        seen: impl Iterator<Item = (&'static str, &'a Seen)>,
    ) -> Self {
        let mut scratch = Scratch::new();
        let [mut fresh, mut older] = [const { RefCell::new(BTreeMap::new()) }; 2];
        let mut table = NameTable::default();
        for (host, seen) in seen {
            let Seen { chain, trusted, age, ttl, place, behind: _ } = seen;
            let host = seen.address(host);
            let map = match place {
                Place::Fresh => &mut fresh,
                Place::Older => &mut older,
                Place::Truth => {
                    let answer = answer(chain, &host.to_string(), *ttl, NOW - age * SECOND);
                    table.record(&Answer { trusted: *trusted, ..answer }, compiled);
                    continue;
                }
            };
            let message = message(chain, host, *ttl);
            scratch.record.message[..message.len()].copy_from_slice(&message);
            scratch.record.header.length = message.len() as u32;
            scratch.record.header.trusted = (*trusted).into();
            let outcome = scratch.read(&Learning { compiled, map }, NOW);
            assert!(outcome.parsed && outcome.unrelated == 0, "{seen:?} {outcome:?}");
        }
        Self {
            compiled: Arc::clone(compiled),
            image: compiled.image.clone(),
            cidrs: compiled.cidrs.clone(),
            fresh: fresh.into_inner(),
            older: older.into_inner(),
            truth: table.truth(compiled, NOW),
            cgroups: CGROUPS
                .iter()
                .map(|(path, around)| (compiled.cgroup(path), compiled.cgroup(around).below))
                .collect(),
            protects_loopback: true,
            protects_resolvers: true,
        }
    }

    /// What becomes of an attempt.
    pub(super) fn judge(&self, connect: &Connect) -> Outcome {
        let attempt = Attempt {
            address: Address::from(connect.address.parse::<IpAddr>().unwrap()).destination(),
            port: connect.port,
            protocol: if connect.udp { Protocol::Udp } else { Protocol::Tcp },
            uid: connect.uid,
            now: NOW + connect.late * SECOND,
            reach: Reach::All,
        };
        let caller = Caller { slot: self, connect };
        decide_parts(&caller, &attempt).unwrap().into()
    }
}

impl Lookup for Caller<'_> {
    type Image = Vec<Vector>;
    type Loop = HostLoop;

    fn image(&self) -> &Vec<Vector> {
        &self.slot.image
    }
    fn fresh(&self, address: &Address) -> Result<Option<&Binding>, Error> {
        Ok(self.slot.fresh.get(address))
    }
    fn older(&self, address: &Address) -> Result<Option<&Binding>, Error> {
        Ok(self.slot.older.get(address))
    }
    fn truth(&self, address: &Address) -> Result<Option<&Binding>, Error> {
        Ok(self.slot.truth.get(address))
    }
    fn cidr(&self, address: &Address) -> Result<Option<&CidrEntry>, Error> {
        Ok(cidrs::longest(&self.slot.cidrs, address))
    }
    fn user(&self, uid: u32) -> Result<Option<&Vector>, Error> {
        Ok(self.slot.compiled.users.get(&uid))
    }
    fn cgroup(&self) -> Result<Option<&CgroupSubjects>, Error> {
        Ok(self.connect.classified.then(|| &self.slot.cgroups[self.connect.cgroup].0))
    }
    fn ancestor(&self) -> Result<Option<&Vector>, Error> {
        Ok(Some(&self.slot.cgroups[self.connect.cgroup].1))
    }
    fn is_resolver(&self, address: &Address) -> bool {
        *address == RESOLVER.parse::<IpAddr>().unwrap().into()
    }
    fn protection(&self, address: &Address, port: u16) -> Protection {
        if address.is_loopback() && !self.slot.protects_loopback {
            return Protection(0);
        }
        Protection::of(address, port, self.slot.protects_resolvers && self.is_resolver(address))
    }
}

/// One epoch of fresh bindings, for the binder.
struct Learning<'a> {
    compiled: &'a Compiled,
    map: &'a mut RefCell<BTreeMap<Address, Binding>>,
}

impl Buckets for Learning<'_> {
    fn bucket(&self, index: u32) -> Option<&Vector> {
        self.compiled.image.bucket(index)
    }
}

impl Binder for Learning<'_> {
    type Loop = HostLoop;

    fn cidr(&self, address: &Address) -> Option<&CidrEntry> {
        cidrs::longest(&self.compiled.cidrs, address)
    }

    /// As the kernel programs do: insert, or join into what is there.
    fn bind(&self, address: &Address, binding: &Binding) -> bool {
        let mut map = self.map.borrow_mut();
        let known = map.entry(*address).or_insert(Binding::IDENTITY);
        known.any.union(&binding.any);
        known.all.intersect(&binding.all);
        known.except.union(&binding.except);
        known.expiry = known.expiry.max(binding.expiry);
        true
    }
}

/// What the binder makes of a trusted answer to a question with these labels, whatever their bytes.
pub(super) fn bound(compiled: &Compiled, labels: &[Vec<u8>]) -> Binding {
    let mut message: Vec<u8> =
        [1, 0x8180, 1, 1, 0, 0_u16].iter().flat_map(|word| word.to_be_bytes()).collect();
    for label in labels {
        message.push(label.len() as u8);
        message.extend(label);
    }
    // The root, and what is asked for; then the question's name again, A, IN, 60 seconds, four bytes.
    message.extend([0, 0, 1, 0, 1]);
    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 7]);
    let mut scratch = Scratch::new();
    scratch.record.message[..message.len()].copy_from_slice(&message);
    scratch.record.header.length = message.len() as u32;
    scratch.record.header.trusted = 1;
    let mut map = RefCell::new(BTreeMap::new());
    assert!(scratch.read(&Learning { compiled, map: &mut map }, NOW).parsed, "{labels:?}");
    map.into_inner().into_values().next().unwrap_or(Binding::IDENTITY)
}

/// An answer without compression (RFC 1035 section 4.1): a CNAME record for each alias, then the address.
fn message(chain: &[&str], address: IpAddr, ttl: u32) -> Vec<u8> {
    fn name(message: &mut Vec<u8>, name: &str) {
        for label in name.split('.') {
            message.push(label.len() as u8);
            message.extend(label.as_bytes());
        }
        message.push(0);
    }
    let record = |message: &mut Vec<u8>, owner: &str, kind: u16, data: &[u8]| {
        name(message, owner);
        message.extend([kind.to_be_bytes(), 1_u16.to_be_bytes()].as_flattened());
        message.extend(ttl.to_be_bytes());
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(data);
    };
    let (kind, data): (u16, _) = match address {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (28, v6.octets().to_vec()),
    };
    let header = [1, 0x8180, 1, chain.len() as u16, 0, 0_u16];
    let mut message: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
    name(&mut message, chain[0]);
    message.extend([kind.to_be_bytes(), 1_u16.to_be_bytes()].as_flattened());
    for pair in chain.windows(2) {
        let mut target = Vec::new();
        name(&mut target, pair[1]);
        record(&mut message, pair[0], 5, &target);
    }
    record(&mut message, chain[chain.len() - 1], kind, &data);
    message
}
