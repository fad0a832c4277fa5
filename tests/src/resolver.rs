use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::{HarnessError, Netns, Result};

/// Longer than any client takes to ask, guests being emulated.
const PATIENCE: Duration = Duration::from_secs(20);

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// A resolver in a network namespace that answers each query with what the test says at that moment: any name may have
/// any address.
#[derive(Debug)]
pub struct Resolver {
    socket: UdpSocket,
}

impl Resolver {
    /// Listens at an address of the namespace, port 53.
    ///
    /// # Errors
    ///
    /// When the address is taken.
    pub fn start(netns: &Netns, address: IpAddr) -> Result<Self> {
        let socket = netns.run(|| UdpSocket::bind((address, 53)))?.map_err(HarnessError::system("bind"))?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(HarnessError::system("set a time-out"))?;
        Ok(Self { socket })
    }

    /// Answers the next query: its question leads along the aliases to the address.
    ///
    /// # Errors
    ///
    /// When no query comes, or it asks for something else.
    pub fn answer(&self, question: &str, aliases: &[&str], address: IpAddr) -> Result<()> {
        let mut buffer = [0; 1024];
        let (length, client) =
            self.socket.recv_from(&mut buffer).map_err(HarnessError::system("receive a query"))?;
        let query = buffer.get(..length).unwrap_or_default();
        let unexpected = |what| HarnessError::Unexpected { what, text: question.to_owned() };
        let expected = query_of(question, address).ok_or_else(|| unexpected("the name"))?;
        if query.get(2..) != expected.get(2..) {
            return Err(unexpected("the query"));
        }
        let answer = answer_to(query, question, aliases, address).ok_or_else(|| unexpected("the name"))?;
        self.socket.send_to(&answer, client).map_err(HarnessError::system("send an answer"))?;
        Ok(())
    }
}

/// Asks a resolver for the address of a name, of the family that `address` has, as programs do with a stub resolver of
/// their own. Returns once the answer has arrived.
///
/// # Errors
///
/// When the name has no form on the wire, or no answer comes.
pub fn ask(server: SocketAddr, name: &str, address: IpAddr, timeout: Duration) -> std::io::Result<()> {
    let query = query_of(name, address).ok_or(std::io::ErrorKind::InvalidInput)?;
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(timeout))?;
    socket.connect(server)?;
    socket.send(&query)?;
    socket.recv(&mut [0; 1024])?;
    Ok(())
}

/// One question, recursion desired.
pub(crate) fn query_of(name: &str, address: IpAddr) -> Option<Vec<u8>> {
    let mut message = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    message.extend(wire(name)?);
    message.extend(kind(address).to_be_bytes());
    message.extend(b"\0\x01");
    Some(message)
}

fn answer_to(query: &[u8], question: &str, aliases: &[&str], address: IpAddr) -> Option<Vec<u8>> {
    let mut message = query.to_vec();
    let count = u16::try_from(aliases.len() + 1).ok()?;
    // An answer, recursion available; so many records.
    message.get_mut(2..4)?.copy_from_slice(b"\x81\x80");
    message.get_mut(6..8)?.copy_from_slice(&count.to_be_bytes());
    let mut owner = question;
    for alias in aliases {
        message.extend(record(owner, CNAME, &wire(alias)?)?);
        owner = alias;
    }
    let data = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    message.extend(record(owner, kind(address), &data)?);
    Some(message)
}

/// A record of the class of the internet that lives ten minutes.
fn record(owner: &str, kind: u16, data: &[u8]) -> Option<Vec<u8>> {
    let mut record = wire(owner)?;
    record.extend(kind.to_be_bytes());
    record.extend(b"\0\x01\0\0\x02\x58");
    record.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
    record.extend(data);
    Some(record)
}

fn kind(address: IpAddr) -> u16 {
    if address.is_ipv4() { A } else { AAAA }
}

/// A name on the wire: any byte may stand in a label. `None` if it is too long or has an empty label.
fn wire(name: &str) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    for label in name.strip_suffix('.').unwrap_or(name).split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        wire.push(length);
        wire.extend(label.bytes());
    }
    wire.push(0);
    (wire.len() <= 255).then_some(wire)
}
