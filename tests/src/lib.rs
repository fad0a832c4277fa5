//! The harness of the kernel tests: everything that a scenario needs around the daemon, each as a guard that takes
//! itself away when it is dropped.
//!
//! A scenario has a network namespace of its own ([`Netns`]) in which the documentation ranges answer, a resolver
//! ([`Dnsmasq`]), servers ([`TcpServer`], [`UdpServer`]) and clients ([`Client`]) inside it, and a cgroup of its own
//! ([`Cgroup`]) that the clients live in; [`Lab`] is all of them at once. The daemon ([`Daemon`]) runs outside, in the
//! initial network namespace, as it does in production. No packet leaves the machine.
//!
//! The same test executable runs on the development machine and as a guest's only program; [`Machine`] tells which
//! of the two it is and what may be tested there.

mod bind9;
mod cgroup;
mod client;
mod daemon;
mod dnsmasq;
mod error;
mod lab;
mod machine;
mod netns;
mod processor;
mod race;
mod resolver;
mod server;
mod skip;
mod sniffer;
mod target;
mod unbound;
pub mod vm;
mod wait;
mod zone;

pub use bind9::Bind9;
pub use cgroup::Cgroup;
pub use client::{Attempt, Client, Outcome, Race, Running, sibling};
pub use daemon::{Daemon, DaemonBuilder, Failure, enforcer};
pub use dnsmasq::{Dnsmasq, DnsmasqBuilder};
pub use error::HarnessError;
pub use lab::Lab;
pub use machine::{Backend, Machine};
pub use netns::{Netns, become_user};
pub use processor::{pin, processors};
pub use race::race;
pub use resolver::{Resolver, ask};
pub use server::{TcpServer, UdpServer};
pub use skip::{announce, announce_skip};
pub use sniffer::{Arrived, PAYLOAD, Sniffer};
pub use target::Target;
pub use unbound::Unbound;
pub use wait::{Deadline, wait_for};
pub use zone::Zone;

/// What harness functions return.
pub type Result<T, E = HarnessError> = std::result::Result<T, E>;
