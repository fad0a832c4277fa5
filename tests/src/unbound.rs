use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use tempfile::TempDir;

use crate::dnsmasq::wait_until_answered;
use crate::{Client, HarnessError, Netns, Result, Running, Zone};

/// An unbound in a network namespace, at 198.18.0.54, with a zone of its own and nobody to ask. Killed when dropped.
#[derive(Debug)]
pub struct Unbound {
    _running: Running,
    _directory: TempDir,
}

impl Unbound {
    /// Where it answers: a lab's dnsmasq is elsewhere.
    pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 54));

    /// Starts it and makes it the namespace's resolver. Returns when it answers.
    ///
    /// # Errors
    ///
    /// When it does not start, or does not answer within 20 seconds.
    pub fn start(netns: &Netns, zone: &Zone) -> Result<Self> {
        let directory = tempfile::tempdir().map_err(HarnessError::system("create a temporary directory"))?;
        let (zone_file, file) = (directory.path().join("zone"), directory.path().join("conf"));
        fs::write(&zone_file, zone.file()).map_err(HarnessError::file("write", &zone_file))?;
        // Without `nodefault` it says by itself that nothing is below `test` (RFC 6761 section 6.2).
        let text = format!(
            "server:\n  interface: {}\n  access-control: 0.0.0.0/0 allow\n  do-daemonize: no\n  use-syslog: no\n  \
             logfile: \"{directory}/log\"\n  username: \"\"\n  chroot: \"\"\n  directory: \"\"\n  pidfile: \"\"\n  \
             module-config: \"iterator\"\n  max-udp-size: 4096\n  edns-buffer-size: 4096\n  \
             local-zone: \"test.\" nodefault\nremote-control:\n  control-enable: no\n\
             auth-zone:\n  name: \"test.\"\n  zonefile: \"{directory}/zone\"\n  for-upstream: no\n",
            Self::ADDRESS,
            directory = directory.path().display(),
        );
        fs::write(&file, text).map_err(HarnessError::file("write", &file))?;
        let arguments = ["-d", "-c", &file.to_string_lossy()];
        let running = Client::new(netns).spawn("/usr/sbin/unbound", &arguments)?;
        wait_until_answered(netns, Self::ADDRESS, || {
            fs::read_to_string(directory.path().join("log")).unwrap_or_default()
        })?;
        netns.set_resolvers(&[Self::ADDRESS])?;
        Ok(Self { _running: running, _directory: directory })
    }
}
