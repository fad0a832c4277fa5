//! The hosts file: names that have an address without any lookup. Its owner is root, so it counts as a trusted source.

use crate::{name::Name, names::SIGHTINGS_MAX};
use enforcer_common::Address;
use policy_schema::DomainName;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufRead, BufReader},
    net::IpAddr,
    path::Path,
};

/// Where it is.
pub const PATH: &str = "/etc/hosts";
/// Names that are taken in.
const NAMES_MAX: usize = 100_000;
/// Bytes of a line that are read; glibc reads on, but nobody writes such lines.
const LINE_MAX: u64 = 64 << 10;

/// What a hosts file says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hosts {
    /// The names of each address that a policy can say something about.
    pub names: BTreeMap<Address, BTreeSet<Name>>,
    /// Loopback addresses that stand in it.
    pub loopback: BTreeSet<Address>,
    /// Names past what is taken in.
    pub left_out: u64,
}

/// Reads a hosts file; one that is not there says nothing.
///
/// # Errors
/// It is there and cannot be read.
pub fn read(path: &Path) -> io::Result<Hosts> {
    match File::open(path) {
        Ok(file) => parse(BufReader::new(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Hosts::default()),
        Err(error) => Err(error),
    }
}

/// Reads the text of a hosts file (hosts(5)): an address, then its names, `#` begins a comment. Blocklists of this form
/// send names to loopback or nowhere; those lines are passed over before their names are looked at.
///
/// # Errors
/// What reading gives.
pub fn parse(mut text: impl BufRead) -> io::Result<Hosts> {
    let mut hosts = Hosts::default();
    let mut line = Vec::new();
    let mut count = 0;
    while next_line(&mut text, &mut line)? {
        let content = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let mut words = content.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        let Some(address) = words.next().and_then(address) else { continue };
        if address.is_loopback() {
            hosts.loopback.insert(address);
            continue;
        }
        // Not `entry`: a line without a usable name leaves nothing behind.
        let mut names = hosts.names.remove(&address).unwrap_or_default();
        for word in words {
            let Some(name) = name(word) else { continue };
            if count >= NAMES_MAX || names.len() >= SIGHTINGS_MAX {
                hosts.left_out += u64::from(!names.contains(&name));
            } else if names.insert(name) {
                count += 1;
            }
        }
        if !names.is_empty() {
            hosts.names.insert(address, names);
        }
    }
    Ok(hosts)
}

/// Reads the next line, at most [`LINE_MAX`] bytes of it; false at the end.
fn next_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = io::Read::take(&mut *text, LINE_MAX).read_until(b'\n', line)?;
    if read as u64 == LINE_MAX && line.last() != Some(&b'\n') {
        text.skip_until(b'\n')?;
    }
    Ok(read != 0)
}

/// The address as a connection to it is judged. `::1%lo` is written with a zone.
fn address(word: &[u8]) -> Option<Address> {
    let text = str::from_utf8(word).ok()?.split('%').next()?;
    let address: IpAddr = text.parse().ok()?;
    Some(Address::from(address).destination())
}

fn name(word: &[u8]) -> Option<Name> {
    DomainName::parse(str::from_utf8(word).ok()?).ok().as_ref().map(Name::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Hosts {
        parse(text.as_bytes()).unwrap()
    }

    fn names(hosts: &Hosts, address: &str) -> Vec<String> {
        let address: Address = address.parse::<IpAddr>().unwrap().into();
        hosts.names.get(&address).into_iter().flatten().map(ToString::to_string).collect()
    }

    #[test]
    fn every_name_of_a_line_has_its_address() {
        let hosts = of("# a comment\n203.0.113.7\tWWW.Evil.example  evil # also me.example\n\n \
             2001:db8::7 six.example\r\n203.0.113.7 more.example\n::ffff:203.0.113.8 mapped.example");
        assert_eq!(names(&hosts, "203.0.113.7"), ["evil", "more.example", "www.evil.example"]);
        assert_eq!(names(&hosts, "203.0.113.8"), ["mapped.example"]);
        assert_eq!(names(&hosts, "2001:db8::7"), ["six.example"]);
        assert_eq!(hosts.left_out, 0);
    }

    #[test]
    fn what_leads_nowhere_is_passed_over() {
        let hosts = of(
            "127.0.0.1 localhost\n::1%lo ip6-localhost\n0.0.0.0 ads.example\n:: ads.example\nno-address a.example\n\
             203.0.113.7\n203.0.113.8 a..b\n1.2.3 short.example\n",
        );
        assert_eq!(hosts.names, BTreeMap::new());
        let loopback: Vec<IpAddr> = hosts.loopback.iter().map(|address| (*address).into()).collect();
        assert_eq!(loopback.len(), 2, "{loopback:?}");
    }

    #[test]
    fn a_file_that_is_not_there_says_nothing() {
        assert_eq!(read(Path::new("/nonexistent/hosts")).unwrap(), Hosts::default());
        assert!(read(Path::new("/")).is_err());
    }

    #[test]
    fn names_are_bounded_and_counted() {
        let line: String = (0..SIGHTINGS_MAX + 7).map(|n| format!(" h{n}.example")).collect();
        let hosts = of(&format!("203.0.113.7{line}\n203.0.113.7 h0.example\n"));
        assert_eq!((names(&hosts, "203.0.113.7").len(), hosts.left_out), (SIGHTINGS_MAX, 7));
        let many: String = (0..NAMES_MAX as u32 + 5)
            .map(|n| format!("{} x\n", std::net::Ipv4Addr::from(0x0b00_0000 + n)))
            .collect();
        let hosts = of(&many);
        assert_eq!((hosts.names.len(), hosts.left_out), (NAMES_MAX, 5));
    }

    #[test]
    fn a_long_line_ends_and_the_next_is_read() {
        let hosts = of(&format!("203.0.113.7 a.example {}\n203.0.113.8 b.example\n", "x".repeat(200_000)));
        assert_eq!(names(&hosts, "203.0.113.7"), ["a.example"]);
        assert_eq!(names(&hosts, "203.0.113.8"), ["b.example"]);
    }

    #[test]
    fn a_million_lines_of_a_blocklist_take_no_time() {
        let text = "0.0.0.0 some-name-of-a-blocklist.example\n".repeat(1_000_000);
        let began = std::time::Instant::now();
        assert_eq!(of(&text).names.len(), 0);
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
