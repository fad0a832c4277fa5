use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::DnsmasqBuilder;

/// Names below `test` and what they lead to, for any kind of resolver.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    records: Vec<(String, u32, Record)>,
}

#[derive(Clone, Debug)]
enum Record {
    Address(Ipv4Addr),
    Alias(String),
    /// The address of every name below.
    Wildcard(Ipv4Addr),
}

impl Zone {
    /// A name with addresses.
    #[must_use]
    pub fn addresses(self, name: &str, ttl: u32, addresses: &[Ipv4Addr]) -> Self {
        addresses.iter().fold(self, |zone, &address| zone.with(name, ttl, Record::Address(address)))
    }

    /// A name that leads to another.
    #[must_use]
    pub fn alias(self, name: &str, target: &str) -> Self {
        self.with(name, 60, Record::Alias(target.to_owned()))
    }

    /// An address of every name below a domain.
    #[must_use]
    pub fn wildcard(self, domain: &str, address: Ipv4Addr) -> Self {
        self.with(domain, 60, Record::Wildcard(address))
    }

    fn with(mut self, name: &str, ttl: u32, record: Record) -> Self {
        self.records.push((name.to_owned(), ttl, record));
        self
    }

    /// As a zone file of `test` (RFC 1035 section 5).
    pub(crate) fn file(&self) -> String {
        let mut text = "$ORIGIN .\ntest. 60 IN SOA ns.test. root.test. 1 3600 600 86400 60\n\
                        test. 60 IN NS ns.test.\nns.test. 60 IN A 198.18.0.54\n"
            .to_owned();
        for (name, ttl, record) in &self.records {
            // Writing to a String does not fail.
            let _ = match record {
                Record::Address(address) => writeln!(text, "{name}. {ttl} IN A {address}"),
                Record::Alias(target) => writeln!(text, "{name}. {ttl} IN CNAME {target}."),
                Record::Wildcard(address) => writeln!(text, "*.{name}. {ttl} IN A {address}"),
            };
        }
        text
    }

    /// As arguments of dnsmasq's, which has one time to live for all.
    pub fn tell<'guard>(&self, dnsmasq: DnsmasqBuilder<'guard>) -> DnsmasqBuilder<'guard> {
        self.records.iter().fold(dnsmasq, |dnsmasq, (name, _, record)| match record {
            Record::Address(address) => dnsmasq.name(name, *address),
            Record::Alias(target) => dnsmasq.alias(name, target),
            Record::Wildcard(address) => dnsmasq.domain(name, *address),
        })
    }
}
