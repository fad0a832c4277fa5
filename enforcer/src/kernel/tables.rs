//! Filling and replacing the maps.

use super::{
    Kernel, KernelError,
    raw::{self, Plain, PrefixKey},
};
use crate::compile::Prefix;
use aya::maps::Map;
use enforcer_common::{
    Address, Binding, CgroupSubjects, CidrEntry, FRESH_ENTRIES, Vector,
    control::{Control, Counter},
    dns::Holder,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    time::Instant,
};

/// Cgroups that can be classified.
const CGROUPS_MAX: u32 = 65_536;

pub(super) fn set_image(kernel: &Kernel, slot: u32, image: &[Vector]) -> Result<(), KernelError> {
    let began = Instant::now();
    let map = kernel.inner.create("IMAGES", image.len() as u32)?;
    raw::fill(map.fd().as_fd(), image).map_err(failed("IMAGES", "fill"))?;
    put(kernel, "IMAGES", &[slot], &[map.fd().as_fd()])?;
    tracing::debug!(micros = began.elapsed().as_micros(), "the policy image is in the kernel");
    Ok(())
}

pub(super) fn set_cidrs(
    kernel: &Kernel,
    slot: u32,
    cidrs: &BTreeMap<Prefix, CidrEntry>,
) -> Result<(), KernelError> {
    let map = kernel.inner.create("CIDRS", cidrs.len() as u32)?;
    for (prefix, entry) in cidrs {
        let key = PrefixKey { length: prefix.length, address: prefix.address.octets() };
        raw::update(map.fd().as_fd(), &key, entry).map_err(failed("CIDRS", "fill"))?;
    }
    put(kernel, "CIDRS", &[slot], &[map.fd().as_fd()])
}

pub(super) fn set_users(
    kernel: &Kernel,
    slot: u32,
    users: &BTreeMap<u32, Vector>,
) -> Result<(), KernelError> {
    replace(kernel, "USERS", slot, users, users.len() as u32).map(drop)
}

pub(super) fn set_cgroups(
    kernel: &Kernel,
    slot: u32,
    cgroups: &BTreeMap<u64, CgroupSubjects>,
) -> Result<OwnedFd, KernelError> {
    let entries = if cgroups.is_empty() { 1 } else { CGROUPS_MAX };
    replace(kernel, "CGROUPS", slot, cgroups, entries)
}

pub(super) fn add_cgroup(map: &OwnedFd, id: u64, subjects: &CgroupSubjects) -> Result<(), KernelError> {
    raw::update(map.as_fd(), &id, subjects).map_err(failed("CGROUPS", "add to"))
}

pub(super) fn set_truth(
    kernel: &Kernel,
    slot: u32,
    truth: &BTreeMap<Address, Binding>,
) -> Result<(), KernelError> {
    replace(kernel, "TRUTH", slot, truth, truth.len() as u32)?;
    replaced(kernel)
}

/// Puts empty maps in the place of the fresh bindings of some epochs.
pub(super) fn clear_fresh(kernel: &Kernel, slot: u32, epochs: &[u32]) -> Result<(), KernelError> {
    let mut maps = Vec::new();
    for _ in epochs {
        maps.push(kernel.inner.create("FRESH", FRESH_ENTRIES as u32)?);
    }
    let places: Vec<u32> = epochs.iter().map(|epoch| slot * 2 + epoch).collect();
    let maps: Vec<BorrowedFd<'_>> = maps.iter().map(|map| map.fd().as_fd()).collect();
    put(kernel, "FRESH", &places, &maps)
}

pub(super) fn read_fresh(
    kernel: &Kernel,
    slot: u32,
    epoch: u32,
) -> Result<Vec<(Address, Binding)>, KernelError> {
    let reading = || failed("FRESH", "read");
    let mut id = [0_u32];
    if !raw::lookup(outer(kernel, "FRESH")?, &(slot * 2 + epoch), &mut id).map_err(reading())? {
        return Ok(Vec::new());
    }
    let [id] = id;
    let map = raw::map_by_id(id).map_err(reading())?;
    let mut entries = Vec::new();
    let mut key = Address::default();
    let mut previous = None;
    while raw::next_key(map.as_fd(), previous.as_ref(), &mut key).map_err(reading())? {
        let mut binding = [Binding::IDENTITY];
        if raw::lookup(map.as_fd(), &key, &mut binding).map_err(reading())? {
            entries.extend(binding.map(|binding| (key, binding)));
        }
        previous = Some(key);
    }
    Ok(entries)
}

pub(super) fn set_control(kernel: &Kernel, word: Control, value: u64) -> Result<(), KernelError> {
    raw::update(outer(kernel, "CONTROL")?, &(word as u32), &value).map_err(failed("CONTROL", "write"))
}

/// Puts a map where it already is: the update waits for running programs all the same.
pub(super) fn fence(kernel: &Kernel) -> Result<(), KernelError> {
    let map = kernel.inner.create("USERS", 1)?;
    // Slot 2 of the users' outer map exists for this alone.
    put(kernel, "USERS", &[2], &[map.fd().as_fd()])
}

pub(super) fn set_resolvers(kernel: &Kernel, old: &[Address], new: &[Address]) -> Result<(), KernelError> {
    let map = outer(kernel, "RESOLVERS")?;
    for address in new {
        raw::update(map, address, &1_u64).map_err(failed("RESOLVERS", "fill"))?;
    }
    for address in old.iter().filter(|address| !new.contains(address)) {
        raw::delete(map, address).map_err(failed("RESOLVERS", "clean"))?;
    }
    replaced(kernel)
}

/// Makes what programs remember of their decisions void: they are to be made again, by what has just been replaced.
fn replaced(kernel: &Kernel) -> Result<(), KernelError> {
    let word = Control::Replaced;
    let mut count = [0_u64];
    raw::lookup(outer(kernel, "CONTROL")?, &(word as u32), &mut count).map_err(failed("CONTROL", "read"))?;
    let [count] = count;
    set_control(kernel, word, count.wrapping_add(1))
}

/// Replaces who holds the resolvers: first what is new, then what is gone.
pub(super) fn set_holders(
    kernel: &Kernel,
    old: &BTreeSet<Holder>,
    new: &BTreeSet<Holder>,
) -> Result<(), KernelError> {
    let map = outer(kernel, "HOLDERS")?;
    for holder in new.difference(old) {
        raw::update(map, holder, &1_u64).map_err(failed("HOLDERS", "fill"))?;
    }
    for holder in old.difference(new) {
        raw::delete(map, holder).map_err(failed("HOLDERS", "clean"))?;
    }
    Ok(())
}

pub(super) fn counters(kernel: &Kernel) -> Result<BTreeMap<Counter, u64>, KernelError> {
    let map = outer(kernel, "COUNTERS")?;
    let cpus = aya::util::nr_cpus().map_err(|(_, source)| failed("COUNTERS", "read")(source))?;
    let mut values = vec![0_u64; cpus];
    Counter::ALL
        .iter()
        .map(|(counter, _)| {
            raw::lookup(map, &(*counter as u32), &mut values).map_err(failed("COUNTERS", "read"))?;
            Ok((*counter, values.iter().sum()))
        })
        .collect()
}

pub(super) fn flows(kernel: &Kernel) -> Result<OwnedFd, KernelError> {
    let map = outer(kernel, "FLOWS")?;
    map.try_clone_to_owned().map_err(failed("FLOWS", "keep"))
}

/// A new inner map with these entries, in the place of the old one.
fn replace<K: Plain, V: Plain>(
    kernel: &Kernel,
    name: &'static str,
    slot: u32,
    entries: &BTreeMap<K, V>,
    room: u32,
) -> Result<OwnedFd, KernelError> {
    let map = kernel.inner.create(name, room)?;
    let (keys, values): (Vec<K>, Vec<V>) = entries.iter().map(|(key, value)| (*key, *value)).unzip();
    raw::update_batch(map.fd().as_fd(), &keys, &values).map_err(failed(name, "fill"))?;
    put(kernel, name, &[slot], &[map.fd().as_fd()])?;
    map.fd().as_fd().try_clone_to_owned().map_err(failed(name, "keep"))
}

/// Puts inner maps into an outer map, and waits until no program uses what was there.
fn put(
    kernel: &Kernel,
    name: &'static str,
    places: &[u32],
    maps: &[BorrowedFd<'_>],
) -> Result<(), KernelError> {
    let fds: Vec<u32> = maps.iter().map(|map| map.as_raw_fd() as u32).collect();
    raw::update_batch(outer(kernel, name)?, places, &fds).map_err(failed(name, "put an inner map into"))
}

fn outer<'a>(kernel: &'a Kernel, name: &'static str) -> Result<BorrowedFd<'a>, KernelError> {
    let data = match kernel.ebpf.map(name) {
        Some(
            Map::Array(data)
            | Map::ArrayOfMaps(data)
            | Map::HashMap(data)
            | Map::PerCpuArray(data)
            | Map::LpmTrie(data)
            | Map::SkStorage(data),
        ) => data,
        _ => return Err(KernelError::Object(format!("it has no map `{name}`"))),
    };
    Ok(data.fd().as_fd())
}

fn failed(map: &'static str, action: &'static str) -> impl Fn(io::Error) -> KernelError {
    move |source| KernelError::Map { map, action, source }
}
