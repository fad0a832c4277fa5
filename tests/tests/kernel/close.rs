//! `onDeny: close`: live flows that a deny rule comes over are closed, and not only starved.

use std::time::Duration;

use enforcer_tests::{Client, Daemon, Lab, Machine, Running};
use serde_json::Value;

use crate::scenario::{SOON, connects, policy, refused, reload};

const DENIED: &str = "203.0.113.7";
const DENIED_SIX: &str = "2001:db8::7";
const ALLOWED: &str = "198.51.100.7";

/// Says nothing about anybody here.
const OTHER: &str = "rules:\n  - { name: other, action: deny, to: { names: [\"other.test\"] } }\n";

/// Connects, and waits for what there is to read: `PROTOCOL ADDRESS PORT`. Each line of its input is sent.
const FLOW: &str = "import errno, socket, sys, threading\n\
    family, kind, address, port = (int(word) if word.isdigit() else word for word in sys.argv[1:])\n\
    s = socket.socket(family, kind); s.connect((address, port)); print('live', flush=True)\n\
    def send():\n\
    \x20   for line in sys.stdin:\n\
    \x20       try: s.send(line.encode())\n\
    \x20       except OSError: pass\n\
    threading.Thread(target=send, daemon=True).start()\n\
    while True:\n\
    \x20   try: print('heard' if s.recv(99) else 'end', flush=True)\n\
    \x20   except OSError as error: print(errno.errorcode[error.errno], flush=True); break\n";

const TCP: u8 = 1;
const UDP: u8 = 2;

fn flow(client: Client<'_>, kind: u8, address: &str, port: u16) -> Running {
    let family = if address.contains(':') { "10" } else { "2" };
    let arguments = ["-c", FLOW, family, &kind.to_string(), address, &port.to_string()];
    let flow = client.spawn("/usr/bin/python3", &arguments).unwrap();
    assert_eq!(flow.line(SOON).unwrap(), "live", "{address}");
    flow
}

/// What is sent comes back.
#[track_caller]
fn assert_lives(flow: &mut Running) {
    flow.say("hello").unwrap();
    assert_eq!(flow.line(SOON).unwrap(), "heard");
}

/// Its application reads an error, though it sends nothing.
#[track_caller]
fn assert_ends(flow: &Running) {
    assert_eq!(flow.line(SOON).unwrap(), "ECONNABORTED");
}

fn closed(daemon: &Daemon, mark: usize, ip: &str, proto: &str) -> Value {
    let wanted =
        |event: &Value| event["event"] == "FlowClosed" && event["dstIP"] == ip && event["proto"] == proto;
    daemon.wait_for_event_since(mark, SOON, wanted).unwrap()
}

/// Denies by name and by address, with these keys.
fn denying(keys: &str) -> String {
    policy(&format!(
        "rules:\n  - {{ name: malware, action: deny, to: {{ names: [\"*.evil.example\"] }}, {keys} }}\n  \
         - {{ name: networks, action: deny, to: {{ cidrs: [\"2001:db8::7/128\"] }}, {keys} }}\n"
    ))
}

#[test]
fn a_reload_closes_what_it_denies_and_nothing_else() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        let mut daemon = lab.daemon(backend).policy("policy", &policy(OTHER)).start().unwrap();
        connects(client, "www.evil.example", 443);
        let mut denied = [
            flow(client, TCP, DENIED, 443),
            flow(client, TCP, DENIED_SIX, 443),
            flow(client, TCP, &format!("::ffff:{DENIED}"), 8080),
            flow(client, UDP, DENIED, 9999),
        ];
        let mut others = [flow(client, TCP, ALLOWED, 443), flow(client, UDP, ALLOWED, 9999)];
        let mut outside = flow(lab.outsider(), TCP, DENIED, 443);
        for flow in denied.iter_mut().chain(&mut others).chain([&mut outside]) {
            assert_lives(flow);
        }

        // Neither what only would be denied, nor what is only dropped, is closed.
        for keys in ["onDeny: close, mode: audit", "onDeny: drop"] {
            reload(&daemon, || daemon.write_policy("policy", &denying(keys)).unwrap());
            let [tcp, ..] = &mut denied;
            assert!(tcp.line(Duration::from_secs(2)).is_err(), "{keys}");
            assert_eq!(daemon.counter("flowsClosed").unwrap(), 0, "{keys}");
        }
        reload(&daemon, || daemon.write_policy("policy", &policy(OTHER)).unwrap());
        denied.iter_mut().for_each(assert_lives);

        let mark = daemon.mark().unwrap();
        reload(&daemon, || daemon.write_policy("policy", &denying("onDeny: close")).unwrap());
        denied.iter().for_each(assert_ends);
        others.iter_mut().for_each(assert_lives);
        // In a guest everybody is in scope.
        if Machine::current().is_guest() {
            assert_ends(&outside);
        } else {
            assert_lives(&mut outside);
        }
        let event = closed(&daemon, mark, DENIED, "tcp");
        assert_eq!((&event["rule"], &event["policy"]), (&"malware".into(), &"policy".into()), "{event}");
        assert_eq!(event["results"], serde_json::json!(["www.evil.example"]), "{event}");
        assert_eq!((&event["comm"], &event["uid"]), (&"python3".into(), &0.into()), "{event}");
        assert!(event["pid"].is_u64() && event["cgroup"].is_string(), "{event}");
        assert!(event["ageSeconds"].as_f64().unwrap() >= 4.0, "it was there for two waits: {event}");
        assert_eq!(closed(&daemon, mark, DENIED_SIX, "tcp")["rule"], "networks");
        assert_eq!(closed(&daemon, mark, DENIED, "udp")["dstPort"], 9999);
        assert_eq!(daemon.status().unwrap()["status"]["state"], "Enforced");
        assert!(daemon.stop().unwrap().success());
    });
}

#[test]
fn a_start_closes_what_was_there_before() {
    const CLOSE: &str =
        "rules:\n  - { name: c2, action: deny, to: { cidrs: [\"203.0.113.7/32\"] }, onDeny: close }\n";
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        let old = flow(client, TCP, DENIED, 443);
        let mut other = flow(client, TCP, ALLOWED, 443);
        let daemon = lab.daemon(backend).policy("policy", &policy(CLOSE)).start().unwrap();
        assert_ends(&old);
        assert_lives(&mut other);
        let event = closed(&daemon, 0, DENIED, "tcp");
        assert_eq!((&event["rule"], &event["ageSeconds"]), (&"c2".into(), &Value::Null), "{event}");
        assert!(event["cgroup"].is_string(), "{event}");
    });
}

#[test]
fn a_name_that_is_seen_late_closes_what_goes_to_its_address() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        let daemon = lab.daemon(backend).policy("policy", &denying("onDeny: close")).start().unwrap();
        let mut flow = flow(client, TCP, DENIED, 443);
        assert_lives(&mut flow);
        refused(client, "www.evil.example", 443, "EPERM");
        // The packet that it sends shows that it is there.
        flow.say("hello").unwrap();
        assert_ends(&flow);
        assert_eq!(closed(&daemon, 0, DENIED, "tcp")["rule"], "malware");
    });
}
