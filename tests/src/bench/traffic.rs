//! What the client process sends over the wire, and the far side of it.
//!
//! ```text
//! stream ADDRESS BYTES send|receive             OK 0 P50 P99: nanoseconds of all of it, until the last byte has arrived
//! datagrams ADDRESS COUNT connected|named       OK 0 P50 P99: nanoseconds of one datagram
//! ```

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Instant;

use crate::{Error, client, serve};

/// Takes what it is sent to the end, then closes.
const SINK: u16 = 5001;
/// Is told a number, and sends as many bytes.
const SOURCE: u16 = 5002;
/// Discard, as far as anybody is there.
const DISCARD: u16 = 9;

/// Datagrams that are timed together: reading the clock costs something too.
pub const TOGETHER: u32 = 50;
/// Bytes of one datagram.
const DATAGRAM: usize = 64;
/// Bytes given to one write() or read().
const CHUNK: usize = 256 << 10;

/// Sends or receives this many bytes over a new connection; nanoseconds.
pub fn stream(to: Ipv4Addr, bytes: u64, way: &str) -> Result<u128, Error> {
    let port = if way == "send" { SINK } else { SOURCE };
    let mut connection = TcpStream::connect((to, port))?;
    let began = Instant::now();
    if way == "send" {
        send(&mut connection, bytes)?;
        connection.shutdown(Shutdown::Write)?;
    } else {
        connection.write_all(&bytes.to_be_bytes())?;
    }
    let expected = if way == "send" { 0 } else { bytes };
    let received = drain(&mut connection)?;
    let time = began.elapsed();
    if received == expected {
        Ok(time.as_nanos())
    } else {
        Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }
}

/// Sends this many datagrams; nanoseconds of one, many times.
pub fn datagrams(to: Ipv4Addr, count: u32, how: &str) -> Result<Vec<u128>, Error> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let connected = how == "connected";
    if connected {
        socket.connect((to, DISCARD))?;
    }
    let payload = [7; DATAGRAM];
    let send = || if connected { socket.send(&payload) } else { socket.send_to(&payload, (to, DISCARD)) };
    for _ in 0..count / 10 {
        send()?;
    }
    let batch = |_| {
        let began = Instant::now();
        for _ in 0..TOGETHER {
            send()?;
        }
        Ok(began.elapsed().as_nanos() / u128::from(TOGETHER))
    };
    Ok((0..count / TOGETHER).map(batch).collect::<io::Result<_>>()?)
}

/// Everything that answers on the far side, until the process ends. To be called there.
pub fn answer() -> Result<(), String> {
    serve()?;
    let each = |port: u16, each: fn(TcpStream) -> io::Result<()>| {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(|error| error.to_string())?;
        thread::spawn(move || {
            client::pin(1);
            // A connection that breaks is noticed at its other end.
            for connection in listener.incoming().map_while(Result::ok) {
                let _ = each(connection);
            }
        });
        Ok::<(), String>(())
    };
    each(SINK, |mut connection| drain(&mut connection).map(drop))?;
    each(SOURCE, |mut connection| {
        let mut number = [0; 8];
        connection.read_exact(&mut number)?;
        send(&mut connection, u64::from_be_bytes(number))
    })
}

fn send(connection: &mut TcpStream, bytes: u64) -> io::Result<()> {
    let chunk = vec![7; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        connection.write_all(chunk.get(..length).unwrap_or(&chunk))?;
        left -= length as u64;
    }
    Ok(())
}

fn drain(connection: &mut TcpStream) -> io::Result<u64> {
    let (mut chunk, mut bytes) = (vec![0; CHUNK], 0);
    loop {
        match connection.read(&mut chunk)? {
            0 => return Ok(bytes),
            length => bytes += length as u64,
        }
    }
}
