//! Answers that no server makes, over UDP and TCP.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use enforcer_tests::Netns;

use crate::shapes::CRAFTED;

const A: u16 = 1;
const CNAME: u16 = 5;
const DNAME: u16 = 39;
const HTTPS: u16 = 65;
/// The question's name.
const QUESTION: &[u8] = &[0xc0, 12];

/// Serves until the test's process ends.
pub fn serve(netns: &Netns) {
    let (udp, tcp) = netns
        .run(|| (UdpSocket::bind((CRAFTED, 53)).unwrap(), TcpListener::bind((CRAFTED, 53)).unwrap()))
        .unwrap();
    thread::spawn(move || {
        let mut query = [0; 4096];
        while let Ok((length, client)) = udp.recv_from(&mut query) {
            udp.send_to(&answer(&query[..length], true), client).unwrap();
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming().map_while(Result::ok) {
            thread::spawn(move || converse(stream));
        }
    });
}

fn converse(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query).unwrap();
        let answer = answer(&query, false);
        let framed = [&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer].concat();
        // The second part begins within the first address.
        let parts = if name_of(&query).starts_with("split") { framed.len() - 18 } else { framed.len() };
        for part in framed.chunks(parts) {
            stream.write_all(part).unwrap();
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn name_of(query: &[u8]) -> String {
    let mut rest = &query[12..];
    let mut labels = Vec::new();
    while let [length @ 1..=63, tail @ ..] = rest {
        let (label, tail) = tail.split_at(usize::from(*length));
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        rest = tail;
    }
    labels.join(".")
}

fn wire(name: &str) -> Vec<u8> {
    let labels =
        name.split('.').flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [owner, &kind.to_be_bytes(), &[0, 1], &ttl.to_be_bytes(), &length, data].concat()
}

fn a(owner: &[u8], ttl: u32, last: u8) -> Vec<u8> {
    record(owner, A, ttl, &[203, 0, 113, last])
}

fn answer(query: &[u8], udp: bool) -> Vec<u8> {
    let name = name_of(query);
    let question_end = 12 + wire(&name).len() + 4;
    let n = |host: &str| wire(&format!("{host}.crafted.test"));
    let cname = |owner: &[u8], ttl, target: &str| record(owner, CNAME, ttl, &n(target));
    let (mut flags, mut questions) = ([0x84, 0x00], 1);
    let records = match name.split('.').next().unwrap() {
        // The address first, the first alias last.
        "turned" => {
            vec![a(&n("end"), 500, 60), cname(&n("middle"), 40, "end"), cname(QUESTION, 300, "middle")]
        }
        // A DNAME alone.
        "x" => vec![record(&n("bare"), DNAME, 70, &n("moved")), a(&n("x.moved"), 90, 61)],
        "other" => vec![a(&n("else"), 90, 62), a(QUESTION, 90, 63)],
        "two" => {
            questions = 2;
            vec![a(QUESTION, 90, 64)]
        }
        "fail" => {
            flags[1] = 2;
            Vec::new()
        }
        // An owner that is a pointer to a pointer.
        "pointers" => {
            let place = u16::try_from(question_end + 16 + 12).unwrap() | 0xc000;
            vec![
                a(QUESTION, 90, 65),
                record(QUESTION, CNAME, 90, &[0xc0, 12]),
                a(&place.to_be_bytes(), 90, 66),
            ]
        }
        "cut" if udp => {
            flags[0] |= 2;
            vec![a(QUESTION, 90, 67)]
        }
        "cut" => vec![a(QUESTION, 90, 67), a(QUESTION, 90, 68)],
        "split" => vec![a(QUESTION, 90, 69), a(QUESTION, 90, 70)],
        "service" => {
            let hints = b"\0\x01\0\x03\x02h2\0\x04\0\x08\xcb\0\x71\x47\xcb\0\x71\x48";
            let data = [&[0, 1][..], &n("pool"), hints].concat();
            vec![record(QUESTION, HTTPS, 90, &data), a(&n("pool"), 30, 73)]
        }
        // A record of a kind that says nothing here, of a class that does not count.
        "week" => vec![
            record(QUESTION, 46, 90, &[0; 30]),
            [QUESTION, &[0, 1, 0, 3, 0, 0, 0, 9, 0, 4, 203, 0, 113, 76]].concat(),
            a(QUESTION, 604_800, 74),
        ],
        _ => vec![a(QUESTION, 90, 75)],
    };
    let count = u16::try_from(records.len()).unwrap().to_be_bytes();
    let header = [&query[..2], &flags, &[0, questions], &count, &[0; 4]].concat();
    let question = query[12..question_end].repeat(questions.into());
    [header, question, records.concat()].concat()
}
