//! What the binder reads of an answer, while the daemon sleeps: nothing but the binder can have bound it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use enforcer_tests::{Lab, Machine, ask};

use crate::message::{header, name, question};
use crate::scenario::{connects, policy, refused};

const POLICY: &str = "rules:\n  - { name: malware, action: deny, to: { names: [\"*.evil.example\"] } }\n";
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 99);

const CNAME: u16 = 5;
const HTTPS: u16 = 65;

fn record(owner: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let mut record = name(owner);
    record.extend(kind.to_be_bytes());
    record.extend(b"\0\x01\0\0\x02\x58");
    record.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    record.extend(data);
    record
}

/// A service record's data with one hint.
fn service(priority: u16, target: &str, hint: Ipv4Addr) -> Vec<u8> {
    let mut data = priority.to_be_bytes().to_vec();
    data.extend(if target.is_empty() { vec![0] } else { name(target) });
    data.extend(b"\0\x01\0\x03\x02h2\0\x04\0\x04");
    data.extend(hint.octets());
    data
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, last)
}

/// Question, records, and the last byte of the address that they lead to.
fn shapes() -> Vec<(&'static str, Vec<Vec<u8>>, u8)> {
    let a = |owner, last| record(owner, 1, &address(last).octets());
    let cname = |owner, target| record(owner, CNAME, &name(target));
    vec![
        ("in.evil.example", vec![a("in.evil.example", 150)], 150),
        (
            // The address first, and the first alias last.
            "start.test",
            vec![
                a("end.evil.example", 151),
                cname("middle.test", "end.evil.example"),
                cname("start.test", "middle.test"),
            ],
            151,
        ),
        ("hint.evil.example", vec![record("hint.evil.example", HTTPS, &service(1, "", address(152)))], 152),
        ("svc.test", vec![record("svc.test", HTTPS, &service(1, "pool.evil.example", address(153)))], 153),
        (
            "apex.test",
            vec![
                a("www.evil.example", 154),
                record("apex.test", HTTPS, &service(0, "www.evil.example", address(155))),
            ],
            154,
        ),
        (
            "www.old.test",
            vec![
                record("old.test", 39, &name("evil.example")),
                cname("www.old.test", "www.evil.example"),
                a("www.evil.example", 156),
            ],
            156,
        ),
    ]
}

/// Asks for each name from a client's place; the answers are those of [`shapes`].
fn resolve(lab: &Lab) {
    let server = lab.netns.run(|| UdpSocket::bind((SERVER, 53)).unwrap()).unwrap();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for (host, records, _) in shapes() {
        let answered = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut query = [0; 512];
                let (_, client) = server.recv_from(&mut query).unwrap();
                let count = u16::try_from(records.len()).unwrap();
                let mut answer = [header(count), question(host), records.concat()].concat();
                answer[..2].copy_from_slice(&query[..2]);
                server.send_to(&answer, client).unwrap();
            });
            let to: SocketAddr = (SERVER, 53).into();
            lab.netns.run(|| ask(to, host, IpAddr::from(SERVER), Duration::from_secs(20))).unwrap()
        });
        answered.unwrap();
    }
}

#[test]
fn every_shape_of_an_answer_is_bound_before_it_is_read() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let addresses: Vec<String> = shapes().iter().map(|(_, _, last)| address(*last).to_string()).collect();
        let all_connect = || {
            for address in &addresses {
                connects(lab.client(), address, 443);
            }
        };
        resolve(&lab);
        all_connect();

        let daemon = lab.daemon(backend).policy("policy", &policy(POLICY)).start().unwrap();
        all_connect();
        daemon.signal(libc::SIGSTOP);
        resolve(&lab);
        for address in &addresses {
            refused(lab.client(), address, 443, "EPERM");
        }
        connects(lab.client(), "203.0.113.159", 443);
        daemon.signal(libc::SIGCONT);

        drop(daemon);
        all_connect();
    });
}
