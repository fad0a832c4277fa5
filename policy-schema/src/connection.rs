//! What is judged: a connection, and what is known about its address.

use std::net::IpAddr;
use std::time::Duration;

use crate::domain::DomainName;
use crate::endpoint::Host;
use crate::terms::Protocol;

/// One DNS answer that led to an address: the question and the aliases it was answered through.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sighting {
    /// The name that was asked for.
    pub question: DomainName,
    /// The targets of the CNAME records, in order.
    pub chain: Vec<DomainName>,
    /// Whether a trusted resolver answered.
    pub trusted: bool,
    /// The time since it was answered last.
    pub age: Duration,
    /// How long the answer says it is good for.
    pub ttl: Duration,
}

impl Sighting {
    /// What a trusted resolver has just answered.
    pub fn new(question: DomainName, chain: Vec<DomainName>) -> Self {
        Self { question, chain, trusted: true, age: Duration::ZERO, ttl: Duration::ZERO }
    }

    /// Whether it still counts where sightings are held for `hold` at least.
    pub fn is_live(&self, hold: Duration) -> bool {
        self.age < self.ttl.max(hold)
    }

    /// The question, then the chain.
    pub fn members(&self) -> impl Iterator<Item = &DomainName> {
        std::iter::once(&self.question).chain(&self.chain)
    }
}

/// One attempt to connect, or to send a datagram.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connection {
    /// The destination as the process named it.
    pub address: IpAddr,
    /// The destination port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The user's number, where it is known.
    pub uid: Option<u32>,
    /// The user's name, resolved by the caller.
    pub user: Option<String>,
    /// The path of the cgroup below its mount, such as `/ci/job`.
    pub cgroup: Option<String>,
    /// The systemd unit, where it is known apart from the cgroup.
    pub unit: Option<String>,
    /// The sightings of the address; rules pass over those that are over for them.
    pub sightings: Vec<Sighting>,
    /// Whether the address is one of the machine's resolvers.
    pub resolver: bool,
}

impl Connection {
    /// A connection about which nothing is known but where it goes.
    pub fn new(address: IpAddr, port: u16, protocol: Protocol) -> Self {
        Self {
            address,
            port,
            protocol,
            uid: None,
            user: None,
            cgroup: None,
            unit: None,
            sightings: Vec::new(),
            resolver: false,
        }
    }
    /// A connection to what a person names. A name is the only one of its address, and that address is `neutral`,
    /// such as [`crate::PolicySet::neutral_address`] gives.
    pub fn to(host: &Host, neutral: IpAddr, port: u16, protocol: Protocol) -> Self {
        match host {
            Host::Address(address) => Self::new(*address, port, protocol),
            Host::Name(name) => {
                let sighting = Sighting::new(name.clone(), Vec::new());
                Self { sightings: vec![sighting], ..Self::new(neutral, port, protocol) }
            }
        }
    }
}
