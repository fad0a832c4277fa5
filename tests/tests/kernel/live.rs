//! It knows when it is not enforcing: every hook that judges has to refuse a canary, and what no hook of a backend sees is
//! said.

use std::fs;

use enforcer_tests::{Backend, Client, Daemon, Lab, Machine};
use serde_json::Value;

use crate::exec::exec_by;
use crate::scenario::{policy, reload, state_of_default_deny};

const DENY: &str = "rules:\n  - { name: range, action: deny, to: { cidrs: [\"203.0.113.0/24\"] } }\n";
const BY_DEFAULT: &str =
    "default: deny\nrules:\n  - { name: range, action: allow, to: { cidrs: [\"198.51.100.0/24\"] } }\n";

/// What bpftool says.
fn bpftool(arguments: &[&str]) -> Value {
    let outcome = Client::in_initial_netns().run("bpftool", &[&["-j"], arguments].concat()).unwrap();
    assert!(outcome.success(), "{arguments:?}: {outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap_or_default()
}

/// Takes a program of the daemon off its hook, as root can.
fn detach(daemon: &Daemon, program: &str) {
    let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", daemon.pid())).unwrap();
    let links: Vec<String> = descriptors
        .filter_map(|descriptor| {
            // Not all are there any more.
            let text = fs::read_to_string(descriptor.ok()?.path()).ok()?;
            let value =
                |key| text.lines().find_map(|line| line.strip_prefix(key)).map(|text| text.trim().to_owned());
            let (link, number) = (value("link_id:")?, value("prog_id:")?);
            (bpftool(&["prog", "show", "id", &number])["name"] == program).then_some(link)
        })
        .collect();
    let [link] = links.as_slice() else { panic!("links of {program}: {links:?}") };
    bpftool(&["link", "detach", "id", link]);
}

fn state(daemon: &Daemon) -> (String, String) {
    let status = daemon.status().unwrap();
    (status["status"]["state"].as_str().unwrap().to_owned(), status["status"]["reasons"].to_string())
}

#[test]
fn a_hook_that_no_longer_fires_is_noticed() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let connect: &[&str] = if backend == Backend::Cgroup { &["connect4", "connect6"] } else { &[] };
        for program in connect.iter().chain(&["sendmsg4", "sendmsg6", "wire_egress", "refuse_lookup"]) {
            let daemon = lab.daemon(backend).policy("policy", &policy(DENY)).start().unwrap();
            assert_eq!(state(&daemon).0, "Enforced");
            detach(&daemon, program);
            reload(&daemon, || daemon.write_policy("policy", &(policy(DENY) + "# again\n")).unwrap());
            let (state, reasons) = state(&daemon);
            assert_eq!(state, "NotEnforced", "{program}");
            assert!(reasons.contains(&format!("`{program}` is attached, but does not fire")), "{reasons}");
        }
    });
}

/// One for each program, and none of them is told.
#[test]
fn each_hook_refuses_a_canary_and_none_is_told() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let daemon = lab.daemon(backend).policy("policy", &policy(DENY)).start().unwrap();
        let before = daemon.counter("canaries").unwrap();
        let mark = daemon.mark().unwrap();
        reload(&daemon, || daemon.write_policy("policy", &(policy(DENY) + "# again\n")).unwrap());
        let refused = daemon.counter("canaries").unwrap() - before;
        let programs = if backend == Backend::Cgroup { 6 } else { 7 };
        // `sctp_bind_connect` where SCTP is loaded.
        assert!([programs, programs + 1].contains(&refused), "{refused}");
        let told: Vec<Value> = daemon.events().unwrap().into_iter().skip(mark).collect();
        assert!(told.iter().all(|event| event["dstIP"].is_null()), "{told:?}");
    });
}

/// Has the command make a packet socket.
const PACKET: &str = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); print('made')";

#[test]
fn what_no_hook_sees_is_said() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let daemon = lab.daemon(backend).policy("policy", &policy(BY_DEFAULT)).start().unwrap();
        let (found, reasons) = state(&daemon);
        assert_eq!(found, state_of_default_deny(backend));
        assert_eq!(reasons.contains("packet sockets"), backend == Backend::Cgroup, "{reasons}");
        reload(&daemon, || daemon.write_policy("policy", &policy(DENY)).unwrap());
        assert_eq!(state(&daemon).0, "Enforced");
    });
}

#[test]
fn a_command_gets_no_packet_socket() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        assert!(lab.client().python(PACKET).unwrap().stdout.contains("made"));
        for text in [BY_DEFAULT, DENY] {
            let file = directory.path().join("policy.yaml");
            fs::write(&file, policy(text)).unwrap();
            let run = |options: &[&str]| exec_by(&lab, backend, &file, options, &["python3", "-c", PACKET]);
            let refused = backend == Backend::Cgroup || text == BY_DEFAULT;
            let outcome = run(&[]);
            assert_eq!(outcome.stderr.contains("Operation not permitted"), refused, "{outcome:?}");
            assert_eq!(outcome.stdout.contains("made"), !refused, "{outcome:?}");
            assert!(outcome.stderr.contains("status Enforced"), "{outcome:?}");
            // The administrator may say otherwise, and is told what that means.
            let outcome = run(&["--keep-net-raw"]);
            let refused = backend == Backend::Lsm && text == BY_DEFAULT;
            assert_eq!(outcome.stdout.contains("made"), !refused, "{outcome:?}");
            let state = if text == BY_DEFAULT { state_of_default_deny(backend) } else { "Enforced" };
            assert!(outcome.stderr.contains(&format!("status {state}")), "{outcome:?}");
        }
    });
}
