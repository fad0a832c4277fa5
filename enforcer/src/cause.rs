//! Why an address has no name. Pure: facts come in.

use serde::Serialize;

/// The cause to which a connect to an address without a live name is put down.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The process is older than the daemon: it may have looked the name up before the start.
    BeforeStart,
    /// The process has talked to an encrypted resolver, whose answers nobody reads.
    #[serde(rename = "encryptedDNS")]
    EncryptedDns,
    /// The address had a name, and that is over.
    Expired,
    /// The hosts file has the address, among those that no policy is about.
    HostsFile,
    /// The process is younger than the daemon, and no answer that was seen named the address.
    Literal,
    /// None of these is known to be it; an answer may have been lost.
    Other,
}

impl Cause {
    /// Every cause, with the name under which it is counted.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::BeforeStart, "namelessBeforeStart"),
        (Self::EncryptedDns, "namelessEncryptedDNS"),
        (Self::Expired, "namelessExpired"),
        (Self::HostsFile, "namelessHostsFile"),
        (Self::Literal, "namelessLiteral"),
        (Self::Other, "namelessOther"),
    ];
}

/// What is known about a connect.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// The address had a name that is over.
    pub ended: bool,
    /// The hosts file has the address.
    pub in_hosts_file: bool,
    /// The process has connected to an encrypted resolver lately.
    pub encrypted: bool,
    /// The process is older than the daemon.
    pub older: bool,
    /// A binding of the address has lost its name, or answers have been lost at all.
    pub lost: bool,
}

/// Puts a connect down to the first cause that explains it; what is certain comes before what is likely.
pub fn cause(facts: Facts) -> Cause {
    let Facts { ended, in_hosts_file, encrypted, older, lost } = facts;
    let found = [
        (ended, Cause::Expired),
        (in_hosts_file, Cause::HostsFile),
        (encrypted, Cause::EncryptedDns),
        (older, Cause::BeforeStart),
        (lost, Cause::Other),
    ];
    found.into_iter().find(|(holds, _)| *holds).map_or(Cause::Literal, |(_, cause)| cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fact_has_its_cause_and_what_is_certain_comes_first() {
        let mut facts = Facts { ended: true, in_hosts_file: true, encrypted: true, older: true, lost: true };
        assert_eq!(cause(facts), Cause::Expired);
        facts.ended = false;
        assert_eq!(cause(facts), Cause::HostsFile);
        facts.in_hosts_file = false;
        assert_eq!(cause(facts), Cause::EncryptedDns);
        facts.encrypted = false;
        assert_eq!(cause(facts), Cause::BeforeStart);
        facts.older = false;
        assert_eq!(cause(facts), Cause::Other);
        facts.lost = false;
        assert_eq!(cause(facts), Cause::Literal);
    }
}
