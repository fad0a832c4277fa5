use super::*;
use std::net::{TcpListener, TcpStream, UdpSocket};

impl Socket {
    /// A socket that no kernel knows, by `transport`, from `local` to `remote`.
    pub(crate) fn supposed(transport: Transport, local: &str, remote: &str) -> Self {
        let (local, remote): (SocketAddr, SocketAddr) = (local.parse().unwrap(), remote.parse().unwrap());
        let id = SocketId::new_v4();
        Self { transport, local, remote, uid: 0, cgroup: 0, flow: None, id, family: AF_INET }
    }
}

fn find(transport: Transport, local: SocketAddr) -> Vec<Socket> {
    let mut sockets = Vec::new();
    SockDiag::open().unwrap().flows(transport, None, |socket| sockets.push(socket)).unwrap();
    sockets.retain(|socket| socket.local == local);
    sockets
}

#[test]
fn a_connection_is_listed_with_both_ends_and_its_listener() {
    for (bind, plain) in
        [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::ffff:127.0.0.1]:0", "127.0.0.1")]
    {
        let listener = TcpListener::bind(bind).unwrap();
        let at = listener.local_addr().unwrap();
        let stream = TcpStream::connect(at).unwrap();
        let local = SocketAddr::new(plain.parse().unwrap(), stream.local_addr().unwrap().port());
        let remote = SocketAddr::new(plain.parse().unwrap(), at.port());
        let [socket] = &*find(Transport::Tcp, local) else { panic!("{bind} is there once") };
        assert_eq!(socket.remote, remote, "{bind}");
        assert!(socket.cgroup != 0 && socket.flow.is_none(), "{socket:?}");
        assert!(SockDiag::open().unwrap().listening().unwrap().contains(&remote), "{bind}");
        drop(stream);
        assert!(find(Transport::Tcp, local).is_empty(), "nobody has it open");
    }
}

#[test]
fn a_datagram_socket_is_listed_once_it_has_a_peer() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = socket.local_addr().unwrap();
    assert!(find(Transport::Udp, local).is_empty());
    socket.connect("127.0.0.1:9").unwrap();
    let [found] = &*find(Transport::Udp, local) else { panic!("it is there once") };
    assert_eq!(found.remote, "127.0.0.1:9".parse().unwrap());
}

#[test]
fn storage_of_any_bytes_is_none_or_whole() {
    let nested = |kind: u16, value: &[u8]| {
        let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes
    };
    let size = size_of::<Flow>();
    let mut value = vec![0; size];
    value[size - 24..size - 20].copy_from_slice(b"curl");
    let whole = nested(1, &[nested(2, &7_u32.to_ne_bytes()), nested(3, &value)].concat());
    assert_eq!(&message::storage(&whole).unwrap().comm[..4], b"curl");
    for end in 0..whole.len() {
        assert!(message::storage(&whole[..end]).is_none(), "{end}");
    }
    for at in 0..16 {
        for byte in 0..=255 {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            message::storage(&damaged);
        }
    }
}
