//! What is asked of the name table.

use super::Engine;
use crate::{
    listing::{Filter, Page, Query},
    live::{self, KnownAddress, Topic},
    name::Name,
};
use enforcer_common::Address;

impl Engine {
    /// The live sightings of an address, or of the addresses that a name has; and how many addresses there was no room for.
    pub fn known(&self, topic: &Topic, now: u64) -> (Vec<KnownAddress>, usize) {
        let Some(policy) = self.policy() else { return (Vec::new(), 0) };
        let mut addresses: Vec<Address> = match topic {
            Topic::Address(address) => vec![Address::from(*address).destination()],
            Topic::Name(name) => self.names.addresses(&Name::from_policy(name)),
        };
        let more = addresses.len().saturating_sub(live::ADDRESSES_MAX);
        addresses.truncate(live::ADDRESSES_MAX);
        let known = addresses.into_iter().map(|address| KnownAddress {
            address: address.into(),
            sightings: self.names.sightings(&policy.meant(&address), policy, now),
        });
        (known.filter(|known| !known.sightings.is_empty()).collect(), more)
    }

    /// A page of the names that are live.
    pub fn list(&self, query: &Query, now: u64) -> Page {
        let Some(policy) = self.policy() else { return Page::default() };
        let path = |id| self.cgroups.path_of(id).map(str::to_owned);
        match Filter::new(query, policy) {
            Ok(filter) => self.names.list(&filter, query.after.map(Address::from), policy, now, path),
            Err(error) => Page { error: Some(error), ..Page::default() },
        }
    }
}
