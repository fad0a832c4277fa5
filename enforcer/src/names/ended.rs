//! Sightings that are over: what tells a connect to an address that had a name from one to an address that never had one.

use super::sighting::Sighting;
use crate::name::Name;
use enforcer_common::Address;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Addresses remembered; the oldest are forgotten.
const ENDED_MAX: usize = 16_384;

/// The last sighting of each address that was forgotten.
#[derive(Clone, Debug, Default)]
pub(super) struct Ended {
    chains: BTreeMap<Address, (Arc<[Name]>, bool)>,
    order: VecDeque<Address>,
}

impl Ended {
    /// Remembers a sighting that is over.
    pub fn remember(&mut self, address: &Address, sighting: &Sighting) {
        let said = (Arc::clone(&sighting.chain), sighting.trusted);
        if self.chains.insert(*address, said).is_none() {
            self.order.push_back(*address);
        }
        while self.chains.len() > ENDED_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.chains.remove(&oldest);
        }
    }

    /// The names, and whether a trusted resolver said them.
    pub fn of(&self, address: &Address) -> Option<(&[Name], bool)> {
        self.chains.get(address).map(|(chain, trusted)| (&**chain, *trusted))
    }
}
