//! The process that connects and asks, in the network namespace and the cgroup of the benchmark; and the handle of it.
//!
//! It stays the same process throughout, so that nothing but what is attached changes between two measurements.
//!
//! ```text
//! connect ADDRESS:PORT COUNT          one line in: COUNT times connect and close
//! open ADDRESS:PORT COUNT             the same, and the making of the socket counts
//! query SERVER SUFFIX COUNT           asks for h0.SUFFIX, h1.SUFFIX, ..
//! packets KIND COUNT                  round trips between two sockets of its own, see packets.rs
//! datagrams .., stream ..             see traffic.rs
//! OK REFUSED P50 P99                  one line out: how many of each, and nanoseconds
//! ```

use std::io::{self, BufRead as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use enforcer_tests::{Client, Running};

use crate::Error;
use crate::packets::{self, Kind};
use crate::traffic;

/// Longer than any batch takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// At the start of each batch, untimed.
const WARM_UP: u32 = 100;

/// The other end of the process.
pub struct Meter(Running);

/// One batch of attempts.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Connections, or answers with an address.
    pub ok: u32,
    /// Connections that ended with EPERM, or answers without an address.
    pub refused: u32,
    /// Microseconds.
    pub p50: f64,
    /// Microseconds.
    pub p99: f64,
}

impl Meter {
    pub fn start(place: &Client<'_>) -> Result<Self, Error> {
        let own = std::env::current_exe()?;
        Ok(Self(place.spawn(own, &["client"])?))
    }

    /// Connects and closes, `count` times. All of them have to end alike.
    pub fn connect(&mut self, to: SocketAddrV4, count: u32, refused: bool) -> Result<Batch, Error> {
        self.connects("connect", to, count, refused)
    }

    /// The same from socket() on.
    pub fn open(&mut self, to: SocketAddrV4, count: u32, refused: bool) -> Result<Batch, Error> {
        self.connects("open", to, count, refused)
    }

    fn connects(&mut self, word: &str, to: SocketAddrV4, count: u32, refused: bool) -> Result<Batch, Error> {
        let batch = self.ask(&format!("{word} {to} {count}"))?;
        let expected = if refused { (0, count) } else { (count, 0) };
        if (batch.ok, batch.refused) != expected {
            return Err(format!("{count} connects to {to} came to {batch:?}").into());
        }
        Ok(batch)
    }

    /// Asks for `count` names below `suffix`. All of them have to be answered with an address.
    pub fn query(&mut self, server: Ipv4Addr, suffix: &str, count: u32) -> Result<Batch, Error> {
        let batch = self.ask(&format!("query {server} {suffix} {count}"))?;
        if batch.ok != count {
            return Err(format!("{count} queries below {suffix} came to {batch:?}").into());
        }
        Ok(batch)
    }

    /// Sends `count` packets to itself, and gets as many back.
    pub fn packets(&mut self, kind: Kind, count: u32) -> Result<Batch, Error> {
        self.ask(&format!("packets {} {count}", kind.word()))
    }

    /// Sends `count` datagrams, over a `connected` socket or with the address `named` each time; times of one.
    pub fn datagrams(&mut self, to: Ipv4Addr, count: u32, how: &str) -> Result<Batch, Error> {
        self.ask(&format!("datagrams {to} {count} {how}"))
    }

    /// Lets so many bytes through one connection (`send`, `receive`); the time of all of them, in microseconds.
    pub fn stream(&mut self, to: Ipv4Addr, bytes: u64, way: &str) -> Result<f64, Error> {
        Ok(self.ask(&format!("stream {to} {bytes} {way}"))?.p50)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    fn ask(&mut self, line: &str) -> Result<Batch, Error> {
        self.0.say(line)?;
        let answer = self.0.line(PATIENCE)?;
        let mut words = answer.split(' ');
        let mut next = || words.next().ok_or_else(|| format!("`{line}` was answered with `{answer}`"));
        let micros = |nanos: &str| nanos.parse::<f64>().map(|nanos| nanos / 1000.0);
        Ok(Batch {
            ok: next()?.parse()?,
            refused: next()?.parse()?,
            p50: micros(next()?)?,
            p99: micros(next()?)?,
        })
    }
}

/// What the process does.
pub fn main() -> Result<(), Error> {
    pin(0);
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let (times, ok) = match *words.as_slice() {
            ["connect", to, count] => connect_each(to.parse()?, count.parse()?, false)?,
            ["open", to, count] => connect_each(to.parse()?, count.parse()?, true)?,
            ["packets", kind, count] => all(packets::each(kind, count.parse()?)?),
            ["datagrams", to, count, how] => all(traffic::datagrams(to.parse()?, count.parse()?, how)?),
            ["stream", to, bytes, way] => all(vec![traffic::stream(to.parse()?, bytes.parse()?, way)?]),
            ["query", server, suffix, count] => query_each(server.parse()?, suffix, count.parse()?)?,
            _ => return Err(format!("no such request: `{line}`").into()),
        };
        let mut sorted = times;
        sorted.sort_unstable();
        let at = |share: usize| sorted.get(sorted.len() * share / 100).copied().unwrap_or_default();
        let refused = sorted.len() - ok;
        let mut output = io::stdout().lock();
        writeln!(output, "{ok} {refused} {} {}", at(50), at(99))?;
        output.flush()?;
    }
    Ok(())
}

/// Nothing of it was refused.
fn all(times: Vec<u128>) -> (Vec<u128>, usize) {
    let count = times.len();
    (times, count)
}

/// Keeps the calling thread on one CPU, where there are two.
pub fn pin(cpu: usize) {
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() >= 2) {
        // SAFETY: all zeros is the empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: `cpu` is 0 or 1, and a set has room for 1,024.
        unsafe { libc::CPU_SET(cpu, &mut set) };
        // SAFETY: the set outlives the call and has the length that is given.
        unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    }
}

fn connect_each(to: SocketAddrV4, count: u32, whole: bool) -> Result<(Vec<u128>, usize), Error> {
    let (mut times, mut ok) = (Vec::new(), 0);
    for turn in 0..WARM_UP + count {
        let (time, connected) = connect(to, whole)?;
        if turn >= WARM_UP {
            times.push(time.as_nanos());
            ok += usize::from(connected);
        }
    }
    Ok((times, ok))
}

/// Times connect() and close(), and if it is to be the whole also socket(). The close resets the connection: no port waits
/// for a minute.
fn connect(to: SocketAddrV4, whole: bool) -> io::Result<(Duration, bool)> {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
        sin_zero: [0; 8],
    };
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let began = Instant::now();
    // SAFETY: takes numbers only.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    let (address_size, linger_size) = (size_of_val(&address), size_of_val(&linger));
    // SAFETY: the option's value is a linger, which outlives the call.
    unsafe {
        let option = (&raw const linger).cast();
        libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_LINGER, option, linger_size as libc::socklen_t)
    };
    let began = if whole { began } else { Instant::now() };
    // SAFETY: the address outlives the call.
    let outcome =
        unsafe { libc::connect(socket, (&raw const address).cast(), address_size as libc::socklen_t) };
    let error = io::Error::last_os_error();
    // SAFETY: the descriptor is this function's own and is not used again.
    unsafe { libc::close(socket) };
    let time = began.elapsed();
    match (outcome, error.raw_os_error()) {
        (0, _) => Ok((time, true)),
        (_, Some(libc::EPERM)) => Ok((time, false)),
        _ => Err(error),
    }
}

fn query_each(server: Ipv4Addr, suffix: &str, count: u32) -> Result<(Vec<u128>, usize), Error> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((server, 53))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (mut times, mut ok) = (Vec::new(), 0);
    for _ in 0..WARM_UP {
        // A name that no rule knows, so that the timed ones are new.
        ask(&socket, 0, "warm-up.test")?;
    }
    for turn in 0..count {
        let name = format!("h{turn}.{suffix}");
        let began = Instant::now();
        let answer = ask(&socket, turn as u16, &name)?;
        times.push(began.elapsed().as_nanos());
        ok += usize::from(answer.records > 0);
    }
    Ok((times, ok))
}

/// What an answer says at its head.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub code: u8,
    pub records: u16,
}

/// Asks one question for an address of version 4 over a connected socket.
pub fn ask(socket: &UdpSocket, id: u16, name: &str) -> io::Result<Answer> {
    let mut query = id.to_be_bytes().to_vec();
    // Recursion desired, one question.
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    // The root, type A, class IN.
    query.extend([0, 0, 1, 0, 1]);
    socket.send(&query)?;
    loop {
        let mut answer = [0; 512];
        socket.recv(&mut answer)?;
        let [i0, i1, _, flags, _, _, a0, a1, ..] = answer;
        if u16::from_be_bytes([i0, i1]) == id {
            return Ok(Answer { code: flags & 0x0f, records: u16::from_be_bytes([a0, a1]) });
        }
    }
}

/// A connected socket for [`ask`].
pub fn resolver(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    Ok(socket)
}
