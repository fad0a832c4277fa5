//! What one received packet costs: both ends are sockets of one thread, so nothing is measured but system calls, the network
//! stack, and what is attached to it.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::Error;

/// What comes back from the other end.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A DNS answer with one address, of a name below this one.
    Answer(&'static str),
    /// 64 bytes over a TCP connection.
    Tcp,
    /// A datagram of the length of such an answer, from another port.
    Udp,
}

/// Where the sockets are that answer: a resolver that the policy trusts.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 55);
/// Some port that is not DNS.
const OTHER_PORT: u16 = 5300;

impl Kind {
    /// As one word, for the client process.
    pub fn word(self) -> &'static str {
        match self {
            Self::Answer(suffix) => suffix,
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Nanoseconds of each round trip. Sockets are new each time: what is attached may look at them when they are made.
pub fn each(word: &str, count: u32) -> Result<Vec<u128>, Error> {
    match word {
        "tcp" => over_tcp(count),
        "udp" => over_udp(OTHER_PORT, count, "udp.test"),
        suffix => over_udp(53, count, suffix),
    }
}

fn over_udp(port: u16, count: u32, suffix: &str) -> Result<Vec<u128>, Error> {
    let server = UdpSocket::bind((SERVER, port))?;
    let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    client.connect((SERVER, port))?;
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    }
    let mut buffer = [0; 512];
    let ask = |turn: u32, buffer: &mut [u8; 512]| -> io::Result<u128> {
        let query = query(turn as u16, &format!("h{}.{suffix}", turn % 1000));
        let answer = answer(&query, turn % 1000);
        let began = Instant::now();
        client.send(&query)?;
        let (_, from) = server.recv_from(buffer)?;
        server.send_to(&answer, from)?;
        let length = client.recv(buffer)?;
        let time = began.elapsed().as_nanos();
        if length == answer.len() { Ok(time) } else { Err(io::ErrorKind::InvalidData.into()) }
    };
    for turn in 0..count / 10 {
        ask(turn, &mut buffer)?;
    }
    Ok((0..count).map(|turn| ask(turn, &mut buffer)).collect::<io::Result<_>>()?)
}

fn over_tcp(count: u32) -> Result<Vec<u128>, Error> {
    let listener = TcpListener::bind((SERVER, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _): (TcpStream, SocketAddr) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let mut buffer = [7; 64];
    let mut turn = || -> io::Result<u128> {
        let began = Instant::now();
        client.write_all(&buffer)?;
        server.read_exact(&mut buffer)?;
        server.write_all(&buffer)?;
        client.read_exact(&mut buffer)?;
        Ok(began.elapsed().as_nanos())
    };
    for _ in 0..count / 10 {
        turn()?;
    }
    Ok((0..count).map(|_| turn()).collect::<io::Result<_>>()?)
}

fn query(id: u16, name: &str) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    // The root, type A, class IN.
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// The same question with one address for an hour; a thousand addresses, so that most are bound already, as in a run of some
/// length.
fn answer(query: &[u8], number: u32) -> Vec<u8> {
    let mut answer = query.to_vec();
    if let Some(head) = answer.get_mut(2..8) {
        head.copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
    }
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4]);
    answer.extend((u32::from(Ipv4Addr::new(198, 19, 200, 0)) + number).to_be_bytes());
    answer
}
