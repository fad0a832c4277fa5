//! `enforcer replay --pcap` against tshark, on captures of real servers and of answers that no server makes.
//!
//! The capture is made here, by tcpdump in a network namespace of the test's own. It is about this machine's programs and
//! no kernel's, so virtual machines leave it out.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the helpers of a test may stop at the first surprise as the test itself may"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use enforcer_tests::{Machine, Netns, enforcer};
use serde_json::Value;

mod crafted;
mod servers;
mod shapes;
mod tshark;

use servers::{Capture, Servers};
use shapes::SHAPES;

/// A binding as both programs tell it: the packet, the question, the address, the least TTL on the way.
type Bindings = BTreeSet<(u64, String, String, u64)>;

#[test]
fn replay_finds_what_tshark_finds() {
    if Machine::current().is_guest() {
        return;
    }
    let netns = Netns::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let servers = Servers::start(&netns, directory.path());
    let captures = [("lo", file("ethernet.pcap")), ("any", file("cooked.pcap"))]
        .map(|(interface, path)| Capture::start(&netns, interface, &path));
    for shape in SHAPES {
        shape.ask(&netns);
    }
    captures.into_iter().for_each(Capture::stop);
    drop(servers);
    convert(&file("ethernet.pcap"), &file("ethernet.pcapng"));

    for name in ["ethernet.pcap", "cooked.pcap", "ethernet.pcapng"] {
        let lines = replay(&file(name), &[]);
        let found = bindings(&lines);
        let expected = tshark::bindings(&file(name));
        let differences: Vec<_> = found.symmetric_difference(&expected).collect();
        assert!(differences.is_empty(), "{name}: in one and not in the other: {differences:?}");
        for shape in SHAPES {
            let addresses = shape
                .count(found.iter().map(|(_, question, address, _)| (question.as_str(), address.as_str())));
            assert_eq!(addresses, shape.addresses, "{name}: {shape:?}");
        }
        for (reason, count) in
            [("not read: the message has 2 questions", 1), ("records belong to no name", 1)]
        {
            let refused = lines.iter().filter_map(|line| line["refused"].as_str());
            assert_eq!(refused.filter(|refused| refused.contains(reason)).count(), count, "{name}: {reason}");
        }
        // Late are a DNAME without its CNAME, and what comes in several segments.
        for line in lines.iter().filter(|line| line["address"].is_string()) {
            let late = ["bare.crafted.test", "split.crafted.test"]
                .iter()
                .any(|host| line["name"].as_str().unwrap().ends_with(host));
            assert_eq!(line["source"], if late { "daemon" } else { "both" }, "{name}: {line}");
        }
    }
    assert!(SHAPES.len() >= 20);
}

/// What `enforcer replay` prints about a file, and the file's name being no policy, what it says with one.
fn replay(path: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(enforcer().unwrap())
        .args(["replay", "--format", "json", "--pcap"])
        .arg(path)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn bindings(lines: &[Value]) -> Bindings {
    let bindings = lines.iter().filter(|line| line["address"].is_string());
    bindings
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (line["packet"].as_u64().unwrap(), text("name"), text("address"), line["ttl"].as_u64().unwrap())
        })
        .collect()
}

fn convert(from: &Path, to: &Path) {
    let status = Command::new("editcap").args(["-F", "pcapng"]).args([from, to]).status().unwrap();
    assert!(status.success(), "editcap: {status}");
}
