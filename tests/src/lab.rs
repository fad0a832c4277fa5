use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    Backend, Cgroup, Client, DaemonBuilder, Dnsmasq, DnsmasqBuilder, Machine, Netns, Result, TcpServer,
    UdpServer,
};

/// What most scenarios need at once: a namespace, a cgroup, servers on the usual ports and a resolver.
///
/// | name | address |
/// |---|---|
/// | www.evil.example, and any name below evil.example | 203.0.113.7 |
/// | www.good.example, and any name below good.example | 198.51.100.7 |
/// | alias.example, an alias of target.example | 203.0.113.9 |
/// | six.example | 2001:db8::7 |
/// | shared.good.example, shared.evil.example | 203.0.113.80 |
#[derive(Debug)]
pub struct Lab {
    // Dropped in this order: the cgroup's clients before the servers, the namespace last.
    /// The clients' cgroup.
    pub cgroup: Cgroup,
    /// TCP on ports 80, 443, 853 and 8080.
    pub tcp: TcpServer,
    /// UDP on ports 443 and 9999.
    pub udp: UdpServer,
    /// The resolver at 198.18.0.53.
    pub dnsmasq: Dnsmasq,
    /// Where all of them but the daemon are.
    pub netns: Netns,
}

impl Lab {
    /// The address of the names below evil.example.
    pub const EVIL: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
    /// The address of the names below good.example.
    pub const GOOD: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
    /// The address that a good and an evil name share.
    pub const SHARED: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 80));
    /// The address of six.example.
    pub const SIX: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));
    /// The address of target.example, and of alias.example by way of it.
    pub const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

    /// Sets it up.
    ///
    /// # Errors
    ///
    /// Whatever one of its parts is missing.
    pub fn new() -> Result<Self> {
        Self::with(|dnsmasq| dnsmasq)
    }

    /// Sets it up with a resolver that knows, or does, more.
    ///
    /// # Errors
    ///
    /// Whatever one of its parts is missing.
    pub fn with(configure: impl FnOnce(DnsmasqBuilder<'_>) -> DnsmasqBuilder<'_>) -> Result<Self> {
        let netns = Netns::new()?;
        let dnsmasq = Dnsmasq::builder(&netns)
            .domain("evil.example", Self::EVIL)
            .domain("good.example", Self::GOOD)
            .name("target.example", Self::TARGET)
            .alias("alias.example", "target.example")
            .name("six.example", Self::SIX)
            .name("shared.good.example", Self::SHARED)
            .name("shared.evil.example", Self::SHARED);
        let dnsmasq = configure(dnsmasq).start()?;
        let tcp = TcpServer::start(&netns, &[80, 443, 853, 8080])?;
        let udp = UdpServer::start(&netns, &[443, 9999])?;
        let cgroup = Cgroup::new()?;
        Ok(Self { cgroup, tcp, udp, dnsmasq, netns })
    }

    /// Clients in the namespace and the cgroup.
    pub fn client(&self) -> Client<'_> {
        Client::new(&self.netns).cgroup(&self.cgroup)
    }

    /// Clients in the namespace, but outside the cgroup.
    pub fn outsider(&self) -> Client<'_> {
        Client::new(&self.netns)
    }

    /// A daemon that enforces on the clients, and where it may, on everybody.
    pub fn daemon(&self, backend: Backend) -> DaemonBuilder<'_> {
        Machine::current().daemon(backend, &self.cgroup)
    }
}
