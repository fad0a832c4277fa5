//! The global keys of a file.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::Ipv6Net;

use crate::build::Builder;
use crate::build::place::Place;
use crate::destination::{NAT64_MAX, normalise, parse_cidr};
use crate::document::{
    BoundResolver, DnsDocument, ResolverDocument, SocketsDocument, TrustedResolversDocument,
};
use crate::policy::{Resolver, Set, Settings, TrustedResolvers};
use crate::subject::parse_unit;
use crate::terms::{Action, Inbound, LiteralAddresses, OnError};

/// The prefix lengths that RFC 6052 gives NAT64.
const NAT64_LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

/// The part of the document that is global.
pub(super) struct Keys {
    pub default: Option<Action>,
    pub on_error: Option<OnError>,
    pub inbound: Option<Inbound>,
    pub literal_addresses: Option<LiteralAddresses>,
    pub dns: Option<DnsDocument>,
    pub sockets: Option<SocketsDocument>,
}

impl Builder<'_> {
    pub(super) fn settings(&mut self, keys: Keys, root: &Place<'_>) -> Settings {
        let Keys { default, on_error, inbound, literal_addresses, dns, sockets } = keys;
        let DnsDocument { trusted_resolvers, other_resolvers, nat64 } = dns.unwrap_or_default();
        let SocketsDocument { exempt } = sockets.unwrap_or_default();
        let dns = root.key("dns");
        let (resolvers, prefixes) = (dns.key("trustedResolvers"), dns.key("nat64"));
        let units = root.key("sockets").key("exempt");
        let trusted = trusted_resolvers.map(|document| self.trusted_resolvers(document, &resolvers));
        let nat64 = nat64.map(|texts| self.nat64(&texts, &prefixes));
        let exempt = exempt.map(|texts| self.units(&texts, &units));
        Settings {
            default: self.set(default, &root.key("default")),
            on_error: self.set(on_error, &root.key("onError")),
            inbound: self.set(inbound, &root.key("inbound")),
            literal_addresses: self.set(literal_addresses, &root.key("literalAddresses")),
            trusted_resolvers: self.set(trusted, &resolvers),
            other_resolvers: self.set(other_resolvers, &dns.key("otherResolvers")),
            nat64: self.set(nat64, &prefixes),
            exempt: self.set(exempt, &units),
        }
    }

    fn set<T>(&self, value: Option<T>, place: &Place<'_>) -> Option<Set<T>> {
        Some(Set { value: value?, origin: self.origin(place) })
    }

    fn trusted_resolvers(
        &mut self,
        document: TrustedResolversDocument,
        place: &Place<'_>,
    ) -> TrustedResolvers {
        let list = match document {
            TrustedResolversDocument::Word(_) => return TrustedResolvers::Auto,
            TrustedResolversDocument::List(list) => list,
        };
        if list.is_empty() {
            let hint = "write `auto`, or the addresses whose answers may allow a connection";
            self.empty(place, "no resolver is trusted", hint);
        }
        let mut resolvers = Vec::new();
        for (index, document) in list.into_iter().enumerate() {
            resolvers.extend(self.resolver(document, &place.item(index)));
        }
        resolvers.sort();
        resolvers.dedup();
        TrustedResolvers::Listed(resolvers)
    }

    fn resolver(&mut self, document: ResolverDocument, place: &Place<'_>) -> Option<Resolver> {
        let (address, unit, at) = match document {
            ResolverDocument::Address(address) => (address, None, place.clone()),
            ResolverDocument::Bound(BoundResolver { address, unit }) => (address, unit, place.key("address")),
        };
        let Ok(address) = address.trim().parse::<IpAddr>() else {
            let message = format!("`{address}` is not the address of a resolver");
            self.error(&at, "bad-address", message, "write one address, such as `192.0.2.53`");
            return None;
        };
        let unit = match unit {
            Some(unit) => Some(self.unit(&unit, &place.key("unit"))?),
            None => None,
        };
        Some(Resolver { address: normalise(address), unit })
    }

    fn nat64(&mut self, texts: &[String], place: &Place<'_>) -> Vec<Ipv6Net> {
        let mut prefixes = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match parse_cidr(text) {
                Ok(ipnet::IpNet::V6(prefix))
                    if NAT64_LENGTHS.contains(&prefix.prefix_len())
                        && !prefix.contains(&Ipv6Addr::LOCALHOST) =>
                {
                    prefixes.push(prefix);
                }
                Ok(_) => {
                    let message = format!("`{text}` is not a NAT64 prefix");
                    let hint =
                        "write an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits, such as `64:ff9b::/96`";
                    self.error(&place.item(index), "bad-prefix", message, hint);
                }
                Err(error) => self.error(&place.item(index), "bad-cidr", error.to_string(), error.hint()),
            }
        }
        prefixes.sort();
        prefixes.dedup();
        if prefixes.len() > NAT64_MAX {
            let message = format!("{} NAT64 prefixes are more than {NAT64_MAX}", prefixes.len());
            self.error(place, "bad-prefix", message, "list those of the translators that this machine uses");
        }
        prefixes
    }

    pub(super) fn units(&mut self, texts: &[String], place: &Place<'_>) -> Vec<Box<str>> {
        let found = texts.iter().enumerate().map(|(index, text)| self.unit(text, &place.item(index)));
        let mut units: Vec<Box<str>> = found.flatten().collect();
        units.sort();
        units.dedup();
        units
    }

    fn unit(&mut self, text: &str, place: &Place<'_>) -> Option<Box<str>> {
        match parse_unit(text) {
            Ok(unit) => Some(unit),
            Err(error) => {
                self.error(place, "bad-unit", error.to_string(), error.hint());
                None
            }
        }
    }
}
