//! Messages that are no answers, damaged, or meant to lead astray: counted, and the daemon goes on.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use enforcer_tests::{Daemon, Lab, Machine, wait_for};

use crate::message::{answer, header, query, question, record};
use crate::scenario::{SOON, connects, policy, refused};

const POLICY: &str = "rules:\n  - { name: malware, action: deny, to: { names: [\"*.evil.example\"] } }\n";

/// Messages that no resolver sends.
fn nonsense() -> Vec<Vec<u8>> {
    let mut messages = vec![
        Vec::new(),
        vec![0],
        vec![0xff; 12],
        vec![0xff; 1400],
        // A name that points to itself, two that point to each other, one that points behind the message.
        [&header(1)[..], b"\xc0\x0c\0\x01\0\x01"].concat(),
        [&header(1)[..], b"\x01a\xc0\x0e\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\0\0\0"].concat(),
        [&header(1)[..], b"\xff\xff\0\x01\0\x01"].concat(),
        // A label longer than the message, one of a kind that does not exist, a name longer than names are.
        [&header(1)[..], b"\x3fabc"].concat(),
        [&header(1)[..], b"\x80abc\0\0\x01\0\x01"].concat(),
        [&header(1)[..], &b"\x01a".repeat(300), b"\0\0\x01\0\x01"].concat(),
        // More records than there are, an address of three bytes, a length beyond the end.
        [header(0xffff), question("www.good.example")].concat(),
        [header(1), question("www.good.example"), record(1, &[203, 0, 113])].concat(),
        [&header(1)[..], &question("www.good.example"), b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\xff\xff\x01"]
            .concat(),
        // An alias of itself.
        [header(1), question("www.good.example"), record(5, b"\xc0\x0c")].concat(),
    ];
    let whole = answer("www.good.example", Ipv4Addr::new(198, 51, 100, 7));
    messages.extend((0..whole.len()).map(|end| whole[..end].to_vec()));
    // Each byte turned once.
    messages.extend((0..whole.len()).map(|at| {
        let mut message = whole.clone();
        message[at] ^= 0xff;
        message
    }));
    messages
}

/// Answers each question with a message.
fn send(lab: &Lab, from: Ipv4Addr, messages: &[(&str, Vec<u8>)]) -> usize {
    lab.netns
        .run(|| {
            let server = UdpSocket::bind((from, 53)).unwrap();
            let client = UdpSocket::bind((Ipv4Addr::new(192, 0, 2, 77), 0)).unwrap();
            client.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
            let to: SocketAddr = client.local_addr().unwrap();
            let mut delivered = 0;
            for (host, message) in messages {
                client.send_to(&query(host), (from, 53)).unwrap();
                server.recv(&mut [0; 2048]).unwrap();
                server.send_to(message, to).unwrap();
                // Some may be withheld; what is delivered is read at once, so that none is lost for want of room.
                delivered += usize::from(client.recv(&mut [0; 2048]).is_ok());
            }
            delivered
        })
        .unwrap()
}

fn start(lab: &Lab, backend: enforcer_tests::Backend) -> Daemon {
    lab.daemon(backend).policy("policy", &policy(POLICY)).start().unwrap()
}

#[test]
fn nonsense_is_counted_and_changes_nothing() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let messages: Vec<_> = nonsense().into_iter().map(|message| ("www.good.example", message)).collect();
        let resolver = Ipv4Addr::new(198, 18, 0, 99);
        let daemon = start(&lab, backend);
        let before = daemon.counter("answersUnparsed").unwrap();

        send(&lab, resolver, &messages);

        let seen = daemon.counter("answers").unwrap();
        assert!(seen >= messages.len() as u64 - 1, "{seen} of {}", messages.len());
        let unparsed = daemon.counter("answersUnparsed").unwrap() - before;
        assert!(unparsed >= 20, "{unparsed} of {} are damaged", messages.len());
        assert_eq!(daemon.counter("errors").unwrap(), 0);
        refused(lab.client(), "www.evil.example", 443, "EPERM");
        connects(lab.client(), "www.good.example", 443);
        let answered = wait_for(SOON, || daemon.ask(&["status"]).ok().filter(|outcome| outcome.success()));
        assert!(answered.is_some(), "{}", daemon.stderr().unwrap());
        assert!(!daemon.stderr().unwrap().contains("panicked"));
    });
}

#[test]
fn an_answer_of_a_denied_name_binds_whatever_stands_behind_it() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let daemon = start(&lab, backend);
        let address = |last| Ipv4Addr::new(203, 0, 113, last);
        // Cut off behind the first address, which says what it says.
        let mut cut = [header(2), question("x.evil.example"), record(1, &address(90).octets())].concat();
        cut.extend(b"\xc0\x0c\0\x01");
        let messages = [("y.evil.example", answer("y.evil.example", address(91))), ("x.evil.example", cut)];
        send(&lab, Ipv4Addr::new(198, 18, 0, 99), &messages);
        refused(lab.client(), "203.0.113.91", 443, "EPERM");
        refused(lab.client(), "203.0.113.90", 443, "EPERM");
        connects(lab.client(), "203.0.113.92", 443);
        drop(daemon);
    });
}

#[test]
fn an_answer_behind_extension_headers_binds() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let address = |last| Ipv4Addr::new(203, 0, 113, last);
        // Destination options of eight bytes, all padding; hop-by-hop options of sixteen, one that is skipped (RFC 4727).
        let headers: [(libc::c_int, &[u8]); 2] = [
            (libc::IPV6_DSTOPTS, &[0, 0, 1, 4, 0, 0, 0, 0]),
            (libc::IPV6_HOPOPTS, &[0, 1, 0x1e, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ];
        let send = |last: u8, headers: &[(libc::c_int, &[u8])]| {
            let resolver = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);
            let server = UdpSocket::bind((resolver, 53)).unwrap();
            for (option, header) in headers {
                let length = libc::socklen_t::try_from(header.len()).unwrap();
                // SAFETY: the pointer and the length are those of one slice, which the kernel copies.
                let result = unsafe {
                    libc::setsockopt(
                        server.as_raw_fd(),
                        libc::IPPROTO_IPV6,
                        *option,
                        header.as_ptr().cast(),
                        length,
                    )
                };
                assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
            }
            let client = UdpSocket::bind((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77), 0)).unwrap();
            client.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            client.send_to(&query("x.evil.example"), (resolver, 53)).unwrap();
            let (_, asker) = server.recv_from(&mut [0; 512]).unwrap();
            server.send_to(&answer("x.evil.example", address(last)), asker).unwrap();
            client.recv(&mut [0; 2048]).unwrap();
        };
        let everything_connects = || {
            for last in 90..=93 {
                connects(lab.client(), &address(last).to_string(), 443);
            }
        };
        everything_connects();
        let daemon = start(&lab, backend);
        lab.netns
            .run(|| {
                send(90, &headers[..1]);
                send(91, &headers[1..]);
                send(92, &headers);
            })
            .unwrap();
        for last in 90..=92 {
            refused(lab.client(), &address(last).to_string(), 443, "EPERM");
        }
        connects(lab.client(), &address(93).to_string(), 443);
        drop(daemon);
        everything_connects();
    });
}
