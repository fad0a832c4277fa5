//! Why an address has no name. Pure: facts come in.

use serde::Serialize;

/// The cause to which a connect to an address without a live name is put down.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The process is older than the daemon, or could be: it may have looked the name up before the start.
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
    /// A binding of the address has lost its name, or answers have been lost at all.
    pub lost: bool,
    /// When the process started, if it is still there to be asked.
    pub process_started: Option<u64>,
    /// When the daemon started, by the same clock in nanoseconds.
    pub daemon_started: u64,
    /// Now.
    pub now: u64,
}

/// How long a daemon is young: nobody uses an older lookup by default (`hold.allow`).
const YOUNG: u64 = 600_000_000_000;

/// Puts a connect down to the first cause that explains it; what is certain comes before what is likely.
pub fn cause(facts: &Facts) -> Cause {
    let Facts { ended, in_hosts_file, encrypted, lost, process_started, daemon_started, now } = *facts;
    let may_be_older = match process_started {
        Some(started) => started < daemon_started,
        None => now.saturating_sub(daemon_started) < YOUNG,
    };
    if ended {
        Cause::Expired
    } else if in_hosts_file {
        Cause::HostsFile
    } else if encrypted {
        Cause::EncryptedDns
    } else if may_be_older {
        Cause::BeforeStart
    } else if lost || process_started.is_none() {
        Cause::Other
    } else {
        Cause::Literal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_000_000_000_000;
    /// A process younger than a daemon that is not young any more.
    const FACTS: Facts = Facts {
        ended: false,
        in_hosts_file: false,
        encrypted: false,
        lost: false,
        process_started: Some(START + 1),
        daemon_started: START,
        now: START + YOUNG,
    };

    #[test]
    fn each_fact_has_its_cause() {
        assert_eq!(cause(&FACTS), Cause::Literal);
        assert_eq!(cause(&Facts { lost: true, ..FACTS }), Cause::Other);
        assert_eq!(cause(&Facts { process_started: None, ..FACTS }), Cause::Other);
        assert_eq!(
            cause(&Facts { process_started: None, now: START + YOUNG - 1, ..FACTS }),
            Cause::BeforeStart
        );
        assert_eq!(cause(&Facts { process_started: Some(START - 1), ..FACTS }), Cause::BeforeStart);
        assert_eq!(cause(&Facts { encrypted: true, ..FACTS }), Cause::EncryptedDns);
        assert_eq!(cause(&Facts { in_hosts_file: true, ..FACTS }), Cause::HostsFile);
        assert_eq!(cause(&Facts { ended: true, ..FACTS }), Cause::Expired);
    }

    #[test]
    fn what_is_certain_comes_first() {
        let mut facts = Facts {
            ended: true,
            in_hosts_file: true,
            encrypted: true,
            lost: true,
            process_started: Some(0),
            ..FACTS
        };
        assert_eq!(cause(&facts), Cause::Expired);
        facts.ended = false;
        assert_eq!(cause(&facts), Cause::HostsFile);
        facts.in_hosts_file = false;
        assert_eq!(cause(&facts), Cause::EncryptedDns);
        facts.encrypted = false;
        assert_eq!(cause(&facts), Cause::BeforeStart);
    }
}
