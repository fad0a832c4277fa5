use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use tempfile::TempDir;

use crate::dnsmasq::wait_until_answered;
use crate::{Client, HarnessError, Netns, Result, Running, Zone};

/// BIND's named in a network namespace, at 198.18.0.54, with a zone of its own and nobody to ask. Killed when dropped.
#[derive(Debug)]
pub struct Bind9 {
    _running: Running,
    _directory: TempDir,
}

impl Bind9 {
    /// Where it answers: a lab's dnsmasq is elsewhere.
    pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 54));

    /// Starts it and makes it the namespace's resolver. Returns when it answers. A `signed` zone gets keys that nobody
    /// trusts: its answers are as long as others'.
    ///
    /// # Errors
    ///
    /// When it does not start, or does not answer within 20 seconds.
    pub fn start(netns: &Netns, zone: &Zone, signed: bool) -> Result<Self> {
        // It listens only at addresses that an interface has.
        netns.ip_batch(&format!("address replace {} dev lo\n", Self::ADDRESS))?;
        let directory = tempfile::tempdir().map_err(HarnessError::system("create a temporary directory"))?;
        let (zone_file, file) = (directory.path().join("zone"), directory.path().join("conf"));
        fs::write(&zone_file, zone.file()).map_err(HarnessError::file("write", &zone_file))?;
        let sign = if signed { "dnssec-policy default; inline-signing yes;" } else { "" };
        let text = format!(
            "options {{ directory \"{directory}\"; listen-on {{ {}; }}; listen-on-v6 {{ none; }}; pid-file none; \
             session-keyfile none; allow-query {{ any; }}; recursion no; dnssec-validation no; notify no; \
             max-udp-size 4096; edns-udp-size 4096; minimal-responses yes; }};\n\
             controls {{ }};\n\
             logging {{ channel file {{ file \"{directory}/log\"; }}; category default {{ file; }}; }};\n\
             zone \"test\" {{ type primary; file \"{directory}/zone\"; {sign} }};\n",
            Self::ADDRESS,
            directory = directory.path().display(),
        );
        fs::write(&file, text).map_err(HarnessError::file("write", &file))?;
        let running = Client::new(netns)
            .spawn("/usr/sbin/named", &["-f", "-u", "root", "-c", &file.to_string_lossy()])?;
        wait_until_answered(netns, Self::ADDRESS, || {
            fs::read_to_string(directory.path().join("log")).unwrap_or_default()
        })?;
        netns.set_resolvers(&[Self::ADDRESS])?;
        Ok(Self { _running: running, _directory: directory })
    }
}
