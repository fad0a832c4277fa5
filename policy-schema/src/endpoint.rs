//! Where a connection goes, as a person says it: a name, an address, either with a port, or a URL. The only file that
//! names `url`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use thiserror::Error;
use url::Url;

use crate::domain::{DomainName, NameError};

/// A name or an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name.
    Name(DomainName),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Where a connection goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// The name or address.
    pub host: Host,
    /// The port, if the text says one or its scheme has one.
    pub port: Option<u16>,
}

impl Endpoint {
    /// Reads `www.example.com`, `www.example.com:443`, `203.0.113.7`, `[2001:db8::1]:443`, `https://user@www.example.com/`.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        if text.contains("://") {
            return by_url(text);
        }
        if let Some(address) = address(text) {
            return Ok(Self { host: Host::Address(address), port: None });
        }
        match text.rsplit_once(':') {
            Some((name, digits)) if !text.ends_with(']') => {
                Ok(Self { host: host(name)?, port: Some(port(digits)?) })
            }
            Some(_) | None => Ok(Self { host: host(text)?, port: None }),
        }
    }
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum EndpointError {
    /// Neither a name nor an address.
    #[error("`{text}` is neither a name nor an address: {error}")]
    Host {
        /// What was written.
        text: String,
        /// What keeps it from being a name.
        error: NameError,
    },
    /// More than one address.
    #[error("`{0}` is a network, not one address")]
    Network(String),
    /// No number from 1 to 65535.
    #[error("`{0}` is not a port")]
    Port(String),
    /// A scheme whose port is not known.
    #[error("the port of `{0}` is not known")]
    Scheme(String),
    /// No URL, or one without a host.
    #[error("`{text}` is not a URL with a host: {error}")]
    Url {
        /// What was written.
        text: String,
        /// What is wrong with it.
        error: url::ParseError,
    },
}

impl EndpointError {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Host { error: NameError::Character('/'), .. } => {
                "write a whole URL with its scheme, or the name alone"
            }
            Self::Host { error: NameError::Character('*'), .. } => {
                "write one name that the pattern shall match, such as `www.example.com`"
            }
            Self::Host { .. } | Self::Url { .. } => {
                "write `www.example.com`, `203.0.113.7:443`, `[2001:db8::1]:443` or `https://www.example.com/`"
            }
            Self::Network(_) => "write one address of the network",
            Self::Port(_) => "write a number from 1 to 65535",
            Self::Scheme(_) => "write the port into the URL, such as `scheme://www.example.com:8443`",
        }
    }
}

/// Ports of schemes that the URL standard does not know.
const PORTS: [(&str, u16); 16] = [
    ("amqp", 5672),
    ("amqps", 5671),
    ("git", 9418),
    ("imaps", 993),
    ("ldap", 389),
    ("ldaps", 636),
    ("mqtt", 1883),
    ("mqtts", 8883),
    ("mysql", 3306),
    ("postgres", 5432),
    ("postgresql", 5432),
    ("redis", 6379),
    ("rediss", 6379),
    ("rsync", 873),
    ("smtp", 25),
    ("ssh", 22),
];

fn by_url(text: &str) -> Result<Endpoint, EndpointError> {
    let failed = |error| EndpointError::Url { text: text.to_owned(), error };
    let url = Url::parse(text).map_err(failed)?;
    let name = url.host_str().filter(|host| !host.is_empty());
    let host = host(name.ok_or_else(|| failed(url::ParseError::EmptyHost))?)?;
    let known = || PORTS.iter().find(|(scheme, _)| *scheme == url.scheme()).map(|(_, port)| *port);
    let port = url.port_or_known_default().or_else(known);
    match port {
        Some(0) => Err(EndpointError::Port("0".to_owned())),
        Some(port) => Ok(Endpoint { host, port: Some(port) }),
        None => Err(EndpointError::Scheme(url.scheme().to_owned())),
    }
}

fn host(text: &str) -> Result<Host, EndpointError> {
    if let Some(address) = address(text) {
        return Ok(Host::Address(address));
    }
    if text.parse::<ipnet::IpNet>().is_ok() {
        return Err(EndpointError::Network(text.to_owned()));
    }
    // `127.1` and `0x7f000001` are addresses to whoever connects, though not to Rust.
    if let Ok(url::Host::Ipv4(address)) = url::Host::parse(text) {
        return Ok(Host::Address(address.into()));
    }
    match DomainName::parse(text) {
        Ok(name) => Ok(Host::Name(name)),
        Err(error) => Err(EndpointError::Host { text: text.to_owned(), error }),
    }
}

/// An address, in brackets or not. The zone of a link-local one says over which link; rules do not ask.
fn address(text: &str) -> Option<IpAddr> {
    if let Some(inside) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return v6(inside).map(IpAddr::V6);
    }
    text.parse().ok().or_else(|| v6(text).map(IpAddr::V6))
}

fn v6(text: &str) -> Option<Ipv6Addr> {
    text.split_once('%').map_or(text, |(address, _)| address).parse().ok()
}

fn port(text: &str) -> Result<u16, EndpointError> {
    match text.parse() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        Ok(_) | Err(_) => Err(EndpointError::Port(text.to_owned())),
    }
}

#[cfg(test)]
mod tests;
