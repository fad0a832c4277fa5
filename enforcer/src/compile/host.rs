//! The maps of one policy in this process's memory: what the kernel programs decide, without a kernel.

use super::{Compiled, cidrs};
use enforcer_common::{
    Address, Attempt, Binding, CgroupSubjects, CidrEntry, Decision, Lookup, Reach, Vector,
    decide::{Error, decide_parts},
    image::Protocol,
    repeat::HostLoop,
};
use policy_schema::Connection;
use std::collections::BTreeMap;

/// `(uid_t) -1`, which is no user (`setreuid(2)`): stands for one about whom nothing is known.
const NOBODY: u32 = u32::MAX;

/// What [`decide()`] asks of the maps, answered from what would be put into them.
pub struct HostMaps<'a> {
    /// The policy.
    pub compiled: &'a Compiled,
    /// The bindings, as [`crate::names::NameTable::truth`] gives them.
    pub truth: BTreeMap<Address, Binding>,
    /// What the policy says about the caller's cgroup.
    pub cgroup: CgroupSubjects,
    /// The trusted resolver that matters, if one does.
    pub resolver: Option<Address>,
}

impl<'a> HostMaps<'a> {
    /// Judges a connection at `now` by the function that the kernel programs run. `truth` stands for its sightings.
    ///
    /// # Errors
    /// [`Error`], if the policy did not compile to an image of this layout.
    pub fn judge(
        compiled: &'a Compiled,
        connection: &Connection,
        truth: BTreeMap<Address, Binding>,
        now: u64,
    ) -> Result<Decision, Error> {
        let address = Address::from(connection.address).destination();
        let cgroup = connection.cgroup.as_deref().map(|path| compiled.cgroup(path)).unwrap_or_default();
        let maps = HostMaps { compiled, truth, cgroup, resolver: connection.resolver.then_some(address) };
        let protocol = match connection.protocol {
            policy_schema::Protocol::Tcp => Protocol::Tcp,
            policy_schema::Protocol::Udp => Protocol::Udp,
        };
        let uid = connection.uid.unwrap_or(NOBODY);
        let attempt = Attempt { address, port: connection.port, protocol, uid, now, reach: Reach::All };
        let decision = maps.decide(&attempt)?;
        let others = compiled.other_resolvers();
        Ok(others.judge(decision, attempt.port, connection.resolver))
    }

    /// Judges both parts of an attempt.
    ///
    /// # Errors
    /// As [`HostMaps::judge`].
    pub fn decide(&self, attempt: &Attempt) -> Result<Decision, Error> {
        decide_parts(self, attempt)
    }
}

impl Lookup for HostMaps<'_> {
    type Image = Vec<Vector>;
    type Loop = HostLoop;

    fn image(&self) -> &Vec<Vector> {
        &self.compiled.image
    }
    fn fresh(&self, _: &Address) -> Result<Option<&Binding>, Error> {
        Ok(None)
    }
    fn older(&self, _: &Address) -> Result<Option<&Binding>, Error> {
        Ok(None)
    }
    fn truth(&self, address: &Address) -> Result<Option<&Binding>, Error> {
        Ok(self.truth.get(address))
    }
    fn cidr(&self, address: &Address) -> Result<Option<&CidrEntry>, Error> {
        Ok(cidrs::longest(&self.compiled.cidrs, address))
    }
    fn user(&self, uid: u32) -> Result<Option<&Vector>, Error> {
        Ok(if uid == NOBODY { None } else { self.compiled.users.get(&uid) })
    }
    fn cgroup(&self) -> Result<Option<&CgroupSubjects>, Error> {
        Ok(Some(&self.cgroup))
    }
    fn ancestor(&self) -> Result<Option<&Vector>, Error> {
        Ok(None)
    }
    fn is_resolver(&self, address: &Address) -> bool {
        self.resolver.as_ref() == Some(address)
    }
}
