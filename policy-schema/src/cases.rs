//! Cases for a policy: connections, and what has to become of each.

use std::path::PathBuf;

use crate::build;
use crate::connection::{Connection, Sighting};
use crate::decide::Verdict;
use crate::diagnostic::{Location, Report};
use crate::endpoint::Host;
use crate::source::Source;
use crate::terms::{Errno, Mode, Protocol};

/// The port of a connection about which nothing says it.
pub const DEFAULT_PORT: u16 = 443;

/// What a file of cases says, valid by construction.
#[derive(Clone, Debug)]
pub struct Cases {
    /// Policy files and directories, as they are found from where the file itself was.
    pub policies: Vec<PathBuf>,
    /// The mode that overrides that of every file and rule.
    pub mode: Option<Mode>,
    /// The cases in the order of the file.
    pub cases: Vec<Case>,
}

impl Cases {
    /// Reads a file, or tells everything that is wrong with it.
    pub fn parse(source: &Source) -> Result<Self, Report> {
        build::cases(source)
    }
}

/// One connection, and what has to become of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Where it stands.
    pub location: Location,
    /// What it is about.
    pub about: Option<String>,
    /// Where to.
    pub host: Host,
    /// The destination port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The answers that led to the address.
    pub seen: Vec<Sighting>,
    /// The user's number. Cases of one file agree on the number of a name, and on the name of a number.
    pub uid: Option<u32>,
    /// The user's name.
    pub user: Option<String>,
    /// The path of the cgroup.
    pub cgroup: Option<String>,
    /// Whether the address is a trusted resolver.
    pub resolver: bool,
    /// What has to become of it.
    pub expected: Expected,
}

/// What has to become of a connection; what is none is not compared.
#[derive(Clone, Debug)]
pub struct Expected {
    /// What the rules say.
    pub verdict: Verdict,
    /// The rule that says so.
    pub rule: Option<String>,
    /// What happens.
    pub effective: Option<Verdict>,
    /// The rule that makes it happen.
    pub effective_rule: Option<String>,
    /// The error of the refused call.
    pub errno: Option<Errno>,
}

impl Case {
    /// The connection; a name gets the address `neutral`.
    pub fn connection(&self, neutral: std::net::IpAddr) -> Connection {
        let mut connection = Connection::to(&self.host, neutral, self.port, self.protocol);
        // Where the answers say what the name was answered with, that is the sighting of the name.
        let told = |known: &Sighting| self.seen.iter().any(|seen| seen.question == known.question);
        connection.sightings.retain(|known| !told(known));
        connection.sightings.extend(self.seen.iter().cloned());
        connection.uid = self.uid;
        connection.user = self.user.clone();
        connection.cgroup = self.cgroup.clone();
        connection.resolver = self.resolver;
        connection
    }
}

#[cfg(test)]
mod tests;
