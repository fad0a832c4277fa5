use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::{Child, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::client::start_error;
use crate::netns::Confinement;
use crate::{HarnessError, Netns, Result, wait_for};

/// Where the resolver answers unless told otherwise: no loopback address, since those are special.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 53));

/// A dnsmasq in a network namespace that knows the names it was given and no others. Killed when dropped.
#[derive(Debug)]
pub struct Dnsmasq {
    child: Child,
    address: IpAddr,
    directory: TempDir,
    names: Vec<(String, IpAddr)>,
}

/// What a [`Dnsmasq`] will answer.
#[derive(Clone, Debug)]
pub struct DnsmasqBuilder<'guard> {
    netns: &'guard Netns,
    address: IpAddr,
    names: Vec<(String, IpAddr)>,
    ttl: u32,
    arguments: Vec<String>,
}

impl<'guard> DnsmasqBuilder<'guard> {
    /// Answers at another address than 198.18.0.53, port 53.
    #[must_use]
    pub fn at(mut self, address: impl Into<IpAddr>) -> Self {
        self.address = address.into();
        self
    }

    /// An address of exactly this name. A name may have several.
    #[must_use]
    pub fn name(mut self, name: &str, address: impl Into<IpAddr>) -> Self {
        self.names.push((name.to_owned(), address.into()));
        self
    }

    /// The address of a domain and of every name below it.
    #[must_use]
    pub fn domain(self, domain: &str, address: impl Into<IpAddr>) -> Self {
        self.argument(&format!("--address=/{domain}/{}", address.into()))
    }

    /// A CNAME record; its target has to be a [`DnsmasqBuilder::name`] or an alias too.
    #[must_use]
    pub fn alias(self, alias: &str, target: &str) -> Self {
        self.argument(&format!("--cname={alias},{target}"))
    }

    /// How long answers may be kept, in seconds. Default: 60.
    #[must_use]
    pub fn ttl(mut self, seconds: u32) -> Self {
        self.ttl = seconds;
        self
    }

    /// Another argument of dnsmasq's.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts it and makes it the namespace's resolver. Returns when it answers.
    ///
    /// # Errors
    ///
    /// When it does not start, or does not answer within 20 seconds.
    pub fn start(self) -> Result<Dnsmasq> {
        let Self { netns, address, names, ttl, arguments } = self;
        let directory = tempfile::tempdir().map_err(HarnessError::system("create a temporary directory"))?;
        let log = directory.path().join("log");
        let log = File::create(&log).map_err(HarnessError::file("create", log))?;
        let hosts = directory.path().join("hosts");
        write_hosts(&hosts, &names)?;
        // dnsmasq stays root, since the directory is root's; it is as separate as the test is.
        let mut command = std::process::Command::new("dnsmasq");
        command
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--pid-file=",
            ])
            .args(["--user=root", "--group=root", "--log-queries", "--log-facility=-", "--bind-interfaces"])
            .args(["--local=/#/", "--port=53"])
            .arg(format!("--listen-address={address}"))
            .arg(format!("--local-ttl={ttl}"))
            .arg(format!("--addn-hosts={}", hosts.display()))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        Confinement { netns: Some(netns), dies_with_parent: true, ..Confinement::default() }
            .apply(&mut command)?;
        let child = command.spawn().map_err(start_error(&command))?;
        let mut dnsmasq = Dnsmasq { child, address, directory, names };
        netns.run(|| dnsmasq.wait_until_ready())??;
        netns.set_resolvers(&[address])?;
        Ok(dnsmasq)
    }
}

impl Dnsmasq {
    /// A resolver in the namespace that does not know any name yet.
    pub fn builder(netns: &Netns) -> DnsmasqBuilder<'_> {
        DnsmasqBuilder { netns, address: ADDRESS, names: Vec::new(), ttl: 60, arguments: Vec::new() }
    }

    /// The address it answers at.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives a name other addresses than it had, from the next answer on.
    ///
    /// # Errors
    ///
    /// When dnsmasq does not read its names again within 20 seconds.
    pub fn set_name(&mut self, name: &str, addresses: &[IpAddr]) -> Result<()> {
        self.names.retain(|(known, _)| known != name);
        self.names.extend(addresses.iter().map(|&address| (name.to_owned(), address)));
        write_hosts(&self.directory.path().join("hosts"), &self.names)?;
        let reads = self.reads()?;
        let pid = libc::pid_t::try_from(self.child.id()).unwrap_or_default();
        // SAFETY: takes numbers only. The child has not been waited for, so the id is still its own.
        unsafe { libc::kill(pid, libc::SIGHUP) };
        let timeout = Duration::from_secs(20);
        wait_for(timeout, || self.reads().map(|now| (now > reads).then_some(())).transpose())
            .transpose()?
            .ok_or_else(|| HarnessError::Timeout {
                what: "the new names' reading".to_owned(),
                timeout,
                detail: self.log().unwrap_or_default(),
            })
    }

    /// How often it has read its names.
    fn reads(&self) -> Result<usize> {
        Ok(self.log()?.lines().filter(|line| line.contains(" read ") && line.contains("names")).count())
    }

    /// How often a name has been asked for, whatever the type.
    ///
    /// # Errors
    ///
    /// When its log cannot be read.
    pub fn queries(&self, name: &str) -> Result<usize> {
        let needle = format!("] {name} from ");
        Ok(self.log()?.lines().filter(|line| line.contains(&needle)).count())
    }

    /// What it has logged.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let path = self.directory.path().join("log");
        fs::read_to_string(&path).map_err(HarnessError::file("read", path))
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let timeout = Duration::from_secs(20);
        let server = (self.address, 53);
        let outcome = wait_for(timeout, || match self.child.try_wait() {
            Ok(Some(status)) => Some(Err(status)),
            _ => answers(server.into()).ok().map(Ok),
        });
        match outcome {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => {
                Err(HarnessError::Ended { what: "dnsmasq".to_owned(), status, stderr: self.log()? })
            }
            None => Err(HarnessError::Timeout {
                what: "an answer of dnsmasq's".to_owned(),
                timeout,
                detail: self.log()?,
            }),
        }
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_hosts(path: &std::path::Path, names: &[(String, IpAddr)]) -> Result<()> {
    let mut text = String::new();
    for (name, address) in names {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{address} {name}");
    }
    fs::write(path, text).map_err(HarnessError::file("write", path))
}

/// Waits for the first answer of a resolver that has just been started; `log` is what it says about itself.
pub(crate) fn wait_until_answered(netns: &Netns, server: IpAddr, log: impl Fn() -> String) -> Result<()> {
    let timeout = Duration::from_secs(20);
    let answered = || answers((server, 53).into()).ok();
    netns.run(|| wait_for(timeout, answered))?.ok_or_else(|| HarnessError::Timeout {
        what: format!("an answer of {server}"),
        timeout,
        detail: log(),
    })
}

/// Whether anything answers a query there.
fn answers(server: std::net::SocketAddr) -> io::Result<()> {
    // Id 1, recursion desired, one question: ready.test, type A, class IN.
    const QUERY: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x05ready\x04test\0\0\x01\0\x01";
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    socket.connect(server)?;
    socket.send(QUERY)?;
    socket.recv(&mut [0; 512])?;
    Ok(())
}
