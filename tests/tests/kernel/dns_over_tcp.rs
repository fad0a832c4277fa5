//! Answers over TCP: wherever their segments begin and end, their addresses are bound before the client can read them.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use enforcer_tests::{Attempt, Backend, Client, Daemon, Lab, Machine, Netns};

use crate::message::{answer, framed, header, question, record};
use crate::scenario::{ALLOW, EACH_NAME, connections, lab_of_names, policy, refusals};

const DENY: &str = r#"
rules:
  - { name: malware, action: deny, to: { names: ["*.evil.example", "*.evil.test"] } }
"#;

/// Nobody has said that it may be trusted; a denied name denies all the same.
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 99);

/// What the server writes on one connection, one segment each, and the address that the client connects to then.
#[derive(Clone, Debug)]
struct Visit {
    segments: Vec<Vec<u8>>,
    messages: usize,
    address: Ipv4Addr,
}

impl Visit {
    /// Messages in one piece after the other, each ending at one of `cuts` in the stream of all.
    fn cut(messages: &[Vec<u8>], cuts: &[usize], address: Ipv4Addr) -> Self {
        let mut rest = framed(messages);
        let mut segments = Vec::new();
        let mut done = 0;
        for &cut in cuts {
            let behind = rest.split_off((cut - done).min(rest.len()));
            segments.push(std::mem::replace(&mut rest, behind));
            done = cut;
        }
        segments.push(rest);
        segments.retain(|segment| !segment.is_empty());
        Self { segments, messages: messages.len(), address }
    }
}

/// An address that no other visit has.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, 100 + u8::try_from(number).unwrap())
}

/// An answer with so many addresses, the last of which is `address`.
fn long_answer(host: &str, count: u16, address: Ipv4Addr) -> Vec<u8> {
    let others = (1..count)
        .map(|number| Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 0, 2, 0)) + u32::from(number % 250)));
    let records = others.chain([address]).flat_map(|address| record(1, &address.octets()));
    header(count).into_iter().chain(question(host)).chain(records).collect()
}

/// Serves one visit for each connection, in their order.
fn serve(netns: &Netns, visits: &[Visit]) {
    let listener = netns.run(|| TcpListener::bind((SERVER, 53)).unwrap()).unwrap();
    let mut visits: VecDeque<Visit> = visits.iter().cloned().collect();
    thread::spawn(move || {
        while let Some(visit) = visits.pop_front() {
            let Ok((mut stream, _)) = listener.accept() else { return };
            stream.set_nodelay(true).unwrap();
            // The client's word that it is there.
            let _ = stream.read(&mut [0; 64]);
            for segment in &visit.segments {
                if stream.write_all(segment).is_err() {
                    break;
                }
            }
            // Open until the client has gone, so that nothing that is sent again is lost.
            thread::spawn(move || while matches!(stream.read(&mut [0; 64]), Ok(1..)) {});
        }
    });
}

/// Reads all messages of each visit, and connects to its address at once, in one process.
fn make(client: Client<'_>, visits: &[Visit]) -> Vec<String> {
    let list: Vec<String> =
        visits.iter().map(|visit| format!("({},'{}')", visit.messages, visit.address)).collect();
    let source = format!(
        "
import errno, socket
def read(stream, count):
    data = b''
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more: raise EOFError
        data += more
    return data
for messages, address in [{}]:
    try:
        with socket.create_connection(('{SERVER}', 53), 10) as stream:
            stream.settimeout(3)
            stream.sendall(b'?')
            for _ in range(messages):
                read(stream, int.from_bytes(read(stream, 2), 'big'))
            socket.create_connection((address, 443), 10).close()
        print('ok')
    except TimeoutError:
        print('timeout')
    except OSError as error:
        print(errno.errorcode[error.errno])
",
        list.join(",")
    );
    let outcome = client.python(&source).unwrap();
    assert!(outcome.success(), "{}", outcome.stderr);
    outcome.stdout.lines().map(str::to_owned).collect()
}

fn visit(lab: &Lab, visits: &[Visit]) -> Vec<String> {
    serve(&lab.netns, visits);
    make(lab.client(), visits)
}

/// What each visit comes to while the policy is in force; before and after, all of them connect.
#[track_caller]
fn visits_end(backend: Backend, text: &str, visits: &[(Visit, &str)], attached: impl FnOnce(&Daemon)) {
    let (visits, expected): (Vec<Visit>, Vec<&str>) = visits.iter().cloned().unzip();
    let everything_connects = |lab: &Lab, when| {
        assert_eq!(visit(lab, &visits), vec!["ok"; visits.len()], "{when} the daemon");
    };
    let lab = Lab::new().unwrap();
    everything_connects(&lab, "before");
    let mut daemon = lab.daemon(backend).policy("policy", &policy(text)).start().unwrap();
    assert_eq!(visit(&lab, &visits), expected, "{visits:?}");
    attached(&daemon);
    assert!(daemon.stop().unwrap().success(), "{}", daemon.stderr().unwrap());
    everything_connects(&lab, "after");
}

#[test]
fn an_answer_is_bound_wherever_its_segments_end() {
    Machine::one_backend(|backend| {
        let evil = |number| answer(&format!("x{number}.evil.example"), address(number));
        let whole = evil(0).len() + 2;
        let mut cuts: Vec<Vec<usize>> =
            [1, 2, 3, 13, 14, 15, whole - 4, whole - 1].map(|cut| vec![cut]).into();
        cuts.extend([vec![], vec![1, 2], vec![2, 14, whole - 2], (1..whole).collect()]);
        let mut visits: Vec<(Visit, &str)> = cuts
            .iter()
            .enumerate()
            .map(|(number, cuts)| (Visit::cut(&[evil(number)], cuts, address(number)), "EPERM"))
            .collect();
        // Two answers in one segment, the denied one in front or behind, and cut inside the second.
        let good = answer("www.good.example", Ipv4Addr::new(198, 51, 100, 7));
        let first = good.len() + 2;
        for (number, cuts) in
            [(20, vec![]), (21, vec![first]), (22, vec![first + 1]), (23, vec![first - 1, first + 9])]
        {
            visits.push((Visit::cut(&[good.clone(), evil(number)], &cuts, address(number)), "EPERM"));
        }
        visits.push((Visit::cut(&[evil(24), good.clone()], &[], address(24)), "EPERM"));
        // A message of three segments at least, and one that is longer than a segment may be kept.
        let long = long_answer("long.evil.example", 240, address(25));
        visits.push((Visit::cut(&[good.clone(), long], &[700, 1400, 2000], address(25)), "EPERM"));
        // What is no answer, between answers.
        let odd = vec![Vec::new(), vec![7; 5], evil(26)];
        visits.push((Visit::cut(&odd, &[1, 4, 9], address(26)), "EPERM"));
        visits.push((Visit::cut(&[good], &[5, 20], Ipv4Addr::new(198, 51, 100, 7)), "ok"));
        visits_end(backend, DENY, &visits, |daemon| {
            assert_eq!(daemon.counter("answersRefused").unwrap(), 0);
            assert_eq!(daemon.counter("segmentsUnread").unwrap(), 0);
        });
    });
}

#[test]
fn a_denied_answer_that_cannot_be_read_is_not_delivered() {
    Machine::one_backend(|backend| {
        let address = address(1);
        let mut cut_off = [header(2), question("x.evil.example"), record(1, &address.octets())].concat();
        cut_off.extend(b"\xc0\x0c\0\x01");
        let long = |host| long_answer(host, 256, address);
        let good = Ipv4Addr::new(198, 51, 100, 7);
        let visits = [
            (Visit::cut(&[cut_off], &[], address), "timeout"),
            // 4,135 bytes, of which 4,096 are read.
            (Visit::cut(&[long("long.evil.example")], &[], address), "timeout"),
            (Visit::cut(&[long("long.evil.example")], &[1000, 2000, 4097, 4099], address), "timeout"),
            (Visit::cut(&[long("long.good.example")], &[1000, 4099], good), "ok"),
        ];
        visits_end(backend, DENY, &visits, |daemon| {
            assert!(daemon.counter("answersRefused").unwrap() >= 3);
        });
        let audited = visits.map(|(visit, _)| (visit, "ok"));
        visits_end(backend, &format!("mode: audit\n{DENY}"), &audited, |daemon| {
            assert_eq!(daemon.counter("answersRefused").unwrap(), 0);
        });
    });
}

#[test]
fn the_messages_of_a_zone_transfer_need_no_question() {
    Machine::one_backend(|backend| {
        let good = Ipv4Addr::new(198, 51, 100, 7);
        // Behind the type of the question, which is the last but one number of the first message.
        let of_type = |kind: u8| {
            let mut first = [header(1), question("good.example"), record(6, &[0; 22])].concat();
            let at = header(1).len() + question("good.example").len() - 3;
            first[at] = kind;
            let mut more =
                [header(1), b"\x03www\xc0\x0c\0\x01\0\x01\0\0\x02\x58\0\x04\x01\x02\x03\x04".to_vec()]
                    .concat();
            more[5] = 0;
            Visit::cut(&[first, more.clone(), more], &[30, 90], good)
        };
        visits_end(backend, DENY, &[(of_type(252), "ok"), (of_type(1), "timeout")], |_| {});
    });
}

#[test]
fn a_connection_older_than_the_daemon_is_read_from_an_answer_on() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let listener = lab.netns.run(|| TcpListener::bind((SERVER, 53)).unwrap()).unwrap();
        // Two connections: one idle when the daemon starts, one in the middle of a message.
        let source = format!(
            "
import socket
streams = [socket.create_connection(('{SERVER}', 53), 10) for _ in range(2)]
for stream in streams: stream.recv(1000)
print('ready', flush=True)
input()
for stream, address in zip(streams, ['{}', '{}']):
    stream.settimeout(2)
    try:
        stream.recv(1000)
        socket.create_connection((address, 443), 10).close()
        print('ok', flush=True)
    except TimeoutError:
        print('timeout', flush=True)
    except PermissionError:
        print('EPERM', flush=True)
",
            address(1),
            address(2)
        );
        let mut client = lab.client().spawn("/usr/bin/python3", &["-c", &source]).unwrap();
        let mut streams: Vec<_> = (0..2).map(|_| listener.accept().unwrap().0).collect();
        let evil = |number| framed(&[answer(&format!("x{number}.evil.example"), address(number))]);
        streams[0].write_all(&evil(0)).unwrap();
        streams[1].write_all(&evil(2)[..20]).unwrap();
        assert_eq!(client.line(Duration::from_secs(20)).unwrap(), "ready");

        let daemon = lab.daemon(backend).policy("policy", &policy(DENY)).start().unwrap();
        streams[0].write_all(&evil(1)).unwrap();
        streams[1].write_all(&evil(2)[20..]).unwrap();
        client.say("").unwrap();
        assert_eq!(client.line(Duration::from_secs(20)).unwrap(), "EPERM");
        assert_eq!(client.line(Duration::from_secs(20)).unwrap(), "timeout");
        assert!(daemon.counter("segmentsUnread").unwrap() >= 1);
        drop(daemon);
    });
}

fn connect_each(lab: &Lab) -> Vec<Attempt> {
    lab.client().connect_each_over_tcp(EACH_NAME, 443, names()).unwrap()
}

/// Fewer where the processor is emulated.
fn names() -> u32 {
    if Machine::current().is_guest() { 50 } else { 300 }
}

#[test]
fn no_first_connect_after_an_answer_over_tcp_gets_through() {
    Machine::each_backend(|backend| {
        let lab = lab_of_names(names());
        let daemon = lab.daemon(backend).policy("policy", &policy(DENY)).start().unwrap();
        let attempts = connect_each(&lab);
        assert_eq!((connections(&attempts), refusals(&attempts)), (0, names() as usize));
        drop(daemon);
        let attempts = connect_each(&lab);
        assert_eq!(connections(&attempts), names() as usize);
    });
}

#[test]
fn no_first_connect_to_an_allowed_name_is_refused_after_an_answer_over_tcp() {
    Machine::one_backend(|backend| {
        let lab = lab_of_names(names());
        let daemon = lab.daemon(backend).policy("policy", &policy(ALLOW)).start().unwrap();
        let attempts = connect_each(&lab);
        assert_eq!((connections(&attempts), refusals(&attempts)), (names() as usize, 0));
        assert_eq!(attempts_of(&lab, "www.good.example"), ["EPERM"]);
        drop(daemon);
        assert_eq!(attempts_of(&lab, "www.good.example"), ["ok"]);
    });
}

fn attempts_of(lab: &Lab, host: &str) -> Vec<String> {
    let attempts = lab.client().connect_each_over_tcp(host, 443, 1).unwrap();
    attempts.iter().map(|attempt| attempt.errno().unwrap_or("ok").to_owned()).collect()
}

#[test]
fn without_the_binder_some_get_through_after_answers_over_tcp() {
    if Machine::current().is_guest() {
        // It is a test of the tests above, which are the same there.
        return;
    }
    let lab = lab_of_names(names());
    let daemon = lab.daemon(Backend::Cgroup).policy("policy", &policy(DENY)).argument("--no-binder");
    let daemon = daemon.start().unwrap();
    let attempts = connect_each(&lab);
    assert!(connections(&attempts) > 0, "all {} were caught", attempts.len());
    drop(daemon);
}

#[test]
fn a_truncated_answer_is_asked_for_again_over_tcp() {
    Machine::one_backend(|backend| {
        let many = |number: u8| Ipv4Addr::new(198, 19, 7, number);
        let lab = Lab::with(|dnsmasq| {
            (1..=80).fold(dnsmasq, |dnsmasq, number| dnsmasq.name("many.evil.test", many(number)))
        })
        .unwrap();
        // Without EDNS an answer by UDP has 512 bytes.
        let connect = || lab.client().connect("many.evil.test", 443).unwrap();
        assert!(connect().first().is_some_and(Attempt::is_ok));
        let daemon = lab.daemon(backend).policy("policy", &policy(DENY)).start().unwrap();
        let attempts = connect();
        assert_eq!((attempts.len(), refusals(&attempts)), (80, 80), "{attempts:?}");
        drop(daemon);
        assert!(connect().first().is_some_and(Attempt::is_ok));
    });
}

#[test]
fn dig_asks_several_questions_on_one_connection() {
    Machine::one_backend(|backend| {
        let lab = Lab::with(|dnsmasq| {
            (1..=4_u8).fold(dnsmasq, |dnsmasq, number| {
                dnsmasq.name(&format!("d{number}.evil.test"), address(number.into()))
            })
        })
        .unwrap();
        let dig = |names: &[&str]| {
            let outcome =
                lab.client().run("dig", &[&["+tcp", "+keepopen", "+short"], names].concat()).unwrap();
            assert!(outcome.success(), "{outcome:?}");
            outcome.stdout
        };
        let connect = |number| attempts_of(&lab, &address(number).to_string());
        let daemon = lab.daemon(backend).policy("policy", &policy(DENY)).start().unwrap();
        assert_eq!(connect(1), ["ok"], "nobody has asked yet");
        let names = ["www.good.example", "d1.evil.test", "d2.evil.test", "d3.evil.test"];
        assert_eq!(dig(&names).lines().count(), 4);
        for number in 1..=3 {
            assert_eq!(connect(number), ["EPERM"]);
        }
        assert_eq!(connect(4), ["ok"]);
        drop(daemon);
        assert_eq!(connect(1), ["ok"]);
    });
}
