//! The other program in a test: opens connections and sends datagrams the way programs do, and says in one line each
//! what became of them. Also the servers, for tests that want them in a process of their own.
//!
//! ```text
//! peer connect HOST PORT [--count N] [--uid N] [--timeout SECONDS]   {} in HOST is the number of the turn
//! peer send HOST PORT [--connected] [--count N] [--uid N] [--timeout SECONDS]
//! peer hold HOST PORT [--uid N] [--timeout SECONDS]                  sends each line of its input, awaits the echo
//! peer visit RESOLVER PORT [--uid N] [--timeout SECONDS]             does each line of its input:
//!     ask ADDRESS NAME        has the resolver say the name's address, of the same family as this one
//!     connect ADDRESS PORT
//!     send ADDRESS PORT       a datagram that nobody has to answer
//! peer race RESOLVER PORT --name NAME [--count N] [--pause SECONDS] [--processor N] [--timeout SECONDS]
//!                                                                    N names {} at least, and until its input ends
//! peer spin PROCESSOR                                                keeps it busy until its input ends
//! peer tcp-serve PORT...                                             until its input ends
//! peer udp-echo PORT...
//!
//! ok 203.0.113.7:443 | error EPERM 203.0.113.7:443 | noreply 203.0.113.7:53 | unresolved www.evil.example: ...
//! ```

use std::env;
use std::fmt::Display;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::process::ExitCode;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use enforcer_tests::{TcpServer, UdpServer, ask, pin, race};

const USAGE: &str = "usage: peer connect|send|hold|visit|race HOST PORT [--count N] [--uid N] [--timeout SECONDS] [--connected]\n\
                     \x20      [--name NAME] [--pause SECONDS] [--processor N]\n\
                     \x20      peer spin PROCESSOR\n\
                     \x20      peer tcp-serve|udp-echo PORT...";

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match try_main() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peer: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether the last attempt worked.
fn try_main() -> Result<bool, Error> {
    let mut arguments = env::args().skip(1);
    let command = arguments.next().ok_or(USAGE)?;
    match command.as_str() {
        "connect" => Request::parse(arguments)?.each(Request::connect),
        "send" => Request::parse(arguments)?.each(Request::send),
        "hold" => Request::parse(arguments)?.hold(),
        "visit" => Request::parse(arguments)?.visit(),
        "race" => Request::parse(arguments)?.race(),
        "spin" => spin(arguments.next().ok_or(USAGE)?.parse()?),
        "tcp-serve" => {
            let _server = TcpServer::here(&ports(arguments)?)?;
            serve_until_end_of_input()
        }
        "udp-echo" => {
            let _server = UdpServer::here(&ports(arguments)?)?;
            serve_until_end_of_input()
        }
        _ => Err(USAGE.into()),
    }
}

struct Request {
    host: String,
    port: u16,
    count: u32,
    timeout: Duration,
    connected: bool,
    name: String,
    pause: Duration,
}

impl Request {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let host = arguments.next().ok_or(USAGE)?;
        let port = arguments.next().ok_or(USAGE)?.parse()?;
        let mut request = Self {
            host,
            port,
            count: 1,
            timeout: Duration::from_secs(10),
            connected: false,
            name: String::new(),
            pause: Duration::ZERO,
        };
        while let Some(option) = arguments.next() {
            match option.as_str() {
                "--connected" => request.connected = true,
                "--count" => request.count = arguments.next().ok_or(USAGE)?.parse()?,
                "--name" => request.name = arguments.next().ok_or(USAGE)?,
                "--pause" => {
                    request.pause = Duration::from_secs_f64(arguments.next().ok_or(USAGE)?.parse()?);
                }
                "--processor" => pin(0, arguments.next().ok_or(USAGE)?.parse()?)?,
                "--timeout" => {
                    request.timeout = Duration::from_secs_f64(arguments.next().ok_or(USAGE)?.parse()?);
                }
                "--uid" => become_user(arguments.next().ok_or(USAGE)?.parse()?)?,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(request)
    }

    fn each(&self, attempt: impl Fn(&Self, &str) -> io::Result<bool>) -> Result<bool, Error> {
        let mut worked = false;
        for turn in 0..self.count {
            worked = attempt(self, &self.host.replace("{}", &turn.to_string()))?;
        }
        Ok(worked)
    }

    fn connect(&self, host: &str) -> io::Result<bool> {
        Ok(self.stream(host)?.is_some())
    }

    /// Tries the addresses of the name in turn, as programs do.
    fn stream(&self, host: &str) -> io::Result<Option<TcpStream>> {
        for address in self.resolve(host)? {
            match TcpStream::connect_timeout(&address, self.timeout) {
                Ok(stream) => {
                    say(format_args!("ok {address}"))?;
                    return Ok(Some(stream));
                }
                Err(error) => say(format_args!("error {} {address}", name_of(&error)))?,
            }
        }
        Ok(None)
    }

    fn send(&self, host: &str) -> io::Result<bool> {
        let Some(&address) = self.resolve(host)?.first() else { return Ok(false) };
        match self.exchange(address) {
            Ok(()) => {
                say(format_args!("ok {address}"))?;
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                say(format_args!("noreply {address}"))?;
                Ok(false)
            }
            Err(error) => {
                say(format_args!("error {} {address}", name_of(&error)))?;
                Ok(false)
            }
        }
    }

    fn exchange(&self, address: SocketAddr) -> io::Result<()> {
        let socket = datagram_socket(address)?;
        socket.set_read_timeout(Some(self.timeout))?;
        if self.connected {
            socket.connect(address)?;
            socket.send(b"enforcer")?;
        } else {
            socket.send_to(b"enforcer", address)?;
        }
        socket.recv(&mut [0; 64])?;
        Ok(())
    }

    fn hold(&self) -> Result<bool, Error> {
        let Some(mut stream) = self.stream(&self.host)? else { return Ok(false) };
        let address = stream.peer_addr()?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        for line in io::stdin().lock().lines() {
            let mut line = line?;
            line.push('\n');
            let mut echo = vec![0; line.len()];
            match stream.write_all(line.as_bytes()).and_then(|()| stream.read_exact(&mut echo)) {
                Ok(()) => say(format_args!("ok {address}"))?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    say(format_args!("noreply {address}"))?;
                }
                Err(error) => say(format_args!("error {} {address}", name_of(&error)))?,
            }
        }
        Ok(true)
    }

    fn visit(&self) -> Result<bool, Error> {
        let resolver = *self.resolve(&self.host)?.first().ok_or("there is no resolver to ask")?;
        let mut worked = false;
        for line in io::stdin().lock().lines() {
            let line = line?;
            match *line.splitn(3, ' ').collect::<Vec<_>>() {
                ["ask", address, name] => {
                    ask(resolver, name, address.parse()?, self.timeout)?;
                    say(format_args!("ok {resolver}"))?;
                }
                ["connect", host, port] => {
                    let attempt =
                        Self { host: host.to_owned(), port: port.parse()?, name: String::new(), ..*self };
                    worked = attempt.connect(host)?;
                }
                ["send", host, port] => worked = tell(SocketAddr::new(host.parse()?, port.parse()?))?,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(worked)
    }

    /// Says nothing until the end, so as not to be held up.
    fn race(&self) -> Result<bool, Error> {
        let resolver = SocketAddr::new(self.host.parse()?, 53);
        let over = at_end_of_input();
        let mut lines = Vec::new();
        for turn in (0..).take_while(|turn| *turn < self.count || !over.load(Ordering::Relaxed)) {
            let name = self.name.replace("{}", &turn.to_string());
            lines.push(match race(resolver, &name, self.port, self.timeout) {
                Ok((address, Ok(()))) => format!("ok {address}"),
                Ok((address, Err(error))) => format!("error {} {address}", name_of(&error)),
                Err(error) => format!("unresolved {name}: {error}"),
            });
            if !self.pause.is_zero() {
                thread::sleep(self.pause);
            }
        }
        say(lines.join("\n"))?;
        Ok(true)
    }

    fn resolve(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        match (host, self.port).to_socket_addrs() {
            // getaddrinfo answers once for each kind of socket; std asks for streams only, so none is there twice.
            Ok(addresses) => Ok(addresses.collect()),
            Err(error) => {
                say(format_args!("unresolved {host}: {error}"))?;
                Ok(Vec::new())
            }
        }
    }
}

/// A socket that reaches this address.
fn datagram_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(any)
}

/// Sends a datagram from a socket of its own; nobody has to answer it.
fn tell(address: SocketAddr) -> Result<bool, Error> {
    let sent = datagram_socket(address)?.send_to(b"enforcer", address);
    match &sent {
        Ok(_) => say(format_args!("ok {address}"))?,
        Err(error) => say(format_args!("error {} {address}", name_of(error)))?,
    }
    Ok(sent.is_ok())
}

fn say(line: impl Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

fn ports(arguments: impl Iterator<Item = String>) -> Result<Vec<u16>, Error> {
    let ports = arguments.map(|port| port.parse()).collect::<Result<Vec<u16>, _>>()?;
    if ports.is_empty() { Err(USAGE.into()) } else { Ok(ports) }
}

fn serve_until_end_of_input() -> Result<bool, Error> {
    say("ready")?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(true)
}

fn spin(processor: usize) -> Result<bool, Error> {
    pin(0, processor)?;
    let over = at_end_of_input();
    while !over.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
    Ok(true)
}

/// Becomes true when the input has ended.
fn at_end_of_input() -> Arc<AtomicBool> {
    let over = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&over);
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        set.store(true, Ordering::Relaxed);
    });
    over
}

fn become_user(uid: u32) -> io::Result<()> {
    // SAFETY: no groups, so the pointer is not followed.
    check(unsafe { libc::setgroups(0, ptr::null()) })?;
    // SAFETY: takes numbers only.
    check(unsafe { libc::setresgid(uid, uid, uid) })?;
    // SAFETY: takes numbers only.
    check(unsafe { libc::setresuid(uid, uid, uid) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The names that connecting and sending end with; the number where it is another.
fn name_of(error: &io::Error) -> String {
    let name = match error.raw_os_error() {
        Some(libc::EACCES) => "EACCES",
        Some(libc::EADDRINUSE) => "EADDRINUSE",
        Some(libc::EADDRNOTAVAIL) => "EADDRNOTAVAIL",
        Some(libc::EAFNOSUPPORT) => "EAFNOSUPPORT",
        Some(libc::EAGAIN) => "EAGAIN",
        Some(libc::ECONNABORTED) => "ECONNABORTED",
        Some(libc::ECONNREFUSED) => "ECONNREFUSED",
        Some(libc::ECONNRESET) => "ECONNRESET",
        Some(libc::EHOSTUNREACH) => "EHOSTUNREACH",
        Some(libc::EINVAL) => "EINVAL",
        Some(libc::ENETUNREACH) => "ENETUNREACH",
        Some(libc::EPERM) => "EPERM",
        Some(libc::EPIPE) => "EPIPE",
        Some(libc::ETIMEDOUT) => "ETIMEDOUT",
        Some(number) => return number.to_string(),
        None if error.kind() == io::ErrorKind::TimedOut => "ETIMEDOUT",
        None if error.kind() == io::ErrorKind::UnexpectedEof => "EOF",
        None => "UNKNOWN",
    };
    name.to_owned()
}
