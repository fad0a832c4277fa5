//! One command, confined.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use enforcer_tests::{Backend, Lab, Machine, Outcome, Running, enforcer, wait_for};

use crate::scenario::{SOON, connects, policy};

/// Connects to the address and port of each line that it reads, and says what came of it. A deny that comes into force between
/// the call and its first packet stops the packet: that connect is over when it has waited long enough.
const CONNECT: &str = r#"
import errno, socket, sys
for line in sys.stdin:
    address, port = line.split()
    with socket.socket() as s:
        s.settimeout(3)
        print(errno.errorcode.get(s.connect_ex((address, int(port))), "ok"), flush=True)
"#;

/// An example policy.
fn example(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().join("examples/policies").join(name)
}

fn lab() -> Lab {
    Lab::with(|dnsmasq| dnsmasq.name("denied.example", [203, 0, 113, 20])).unwrap()
}

/// `enforcer exec` with these options, in the lab's namespace, with the lab's resolver as the machine's.
fn exec(lab: &Lab, backend: Backend, options: &[&str], command: &[&str]) -> Outcome {
    exec_by(lab, backend, &example("block-malicious-domains.yaml"), options, command)
}

/// The same with another policy.
pub fn exec_by(lab: &Lab, backend: Backend, policy: &Path, options: &[&str], command: &[&str]) -> Outcome {
    let start = ["exec", "--policy", policy.to_str().unwrap(), "--backend", backend.as_str()];
    let arguments = [&start, options, &["--"], command].concat();
    lab.client().run(enforcer().unwrap().to_str().unwrap(), &arguments).unwrap()
}

/// A confined program that goes where it is told to.
pub fn confined(lab: &Lab, backend: Backend, policy: &Path, options: &[&str]) -> Running {
    let start = ["exec", "--policy", policy.to_str().unwrap(), "--backend", backend.as_str()];
    let arguments = [&start, options, &["--", "/usr/bin/python3", "-c", CONNECT]].concat();
    lab.client().spawn(enforcer().unwrap(), &arguments).unwrap()
}

/// Has it connect: `ok`, or the error.
pub fn connecting(confined: &mut Running, address: &str, port: u16) -> String {
    confined.say(&format!("{address} {port}")).unwrap();
    confined.line(Duration::from_secs(60)).unwrap()
}

#[test]
fn a_denied_name_fails_at_once_and_is_told() {
    Machine::each_backend(|backend| {
        let lab = lab();
        let url = "http://denied.example/";
        assert!(lab.client().run("curl", &["--silent", "--show-error", url]).unwrap().success());

        // What curl says goes to standard output, so that it does not mix with what enforcer says.
        let script = format!("exec curl --verbose {url} 2>&1");
        let outcome = exec(&lab, backend, &[], &["sh", "-c", &script]);
        assert_eq!(outcome.status.code(), Some(7), "{outcome:?}");
        assert!(outcome.stdout.contains("Operation not permitted"), "{outcome:?}");
        let line = "enforcer: denied denied.example (203.0.113.20:80) by rule `known-bad` of policy \
                    `block-malicious-domains`";
        assert_eq!(outcome.stderr.matches(line).count(), 1, "{outcome:?}");
        let summary = format!("denied (1 destinations); backend {backend}, status Enforced");
        assert!(outcome.stderr.contains(&summary), "{outcome:?}");

        let outcome =
            exec(&lab, backend, &[], &["curl", "--silent", "--show-error", "http://www.good.example/"]);
        assert!(outcome.success(), "{outcome:?}");
        assert!(outcome.stderr.contains("1 connects, 0 denied"), "{outcome:?}");
        assert!(lab.client().run("curl", &["--silent", "--show-error", url]).unwrap().success());
    });
}

#[test]
fn refusing_takes_no_time() {
    Machine::one_backend(|backend| {
        let lab = lab();
        let script = "import socket, time\n\
                      start = time.monotonic()\n\
                      try: socket.create_connection(('denied.example', 80), timeout=30)\n\
                      except PermissionError: print(time.monotonic() - start)";
        let outcome = exec(&lab, backend, &[], &["/usr/bin/python3", "-c", script]);
        let seconds: f64 = outcome.stdout.trim().parse().unwrap_or_else(|_| panic!("{outcome:?}"));
        assert!(seconds < 5.0, "{seconds} s");
    });
}

#[test]
fn the_exit_status_is_the_commands() {
    // The way of confining is the same whatever the backend: one is enough.
    let backend = Machine::current().backends()[0];
    let lab = lab();
    let status = |command: &[&str]| {
        let outcome = exec(&lab, backend, &[], command);
        assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
        (outcome.status.code().unwrap(), outcome)
    };
    assert_eq!(status(&["sh", "-c", "exit 7"]).0, 7);
    assert_eq!(status(&["sh", "-c", "kill -TERM $$"]).0, 128 + libc::SIGTERM);
    let (code, outcome) = status(&["/nonexistent/command"]);
    assert_eq!(code, 127, "{outcome:?}");
    assert!(outcome.stderr.contains("cannot run `/nonexistent/command`"), "{outcome:?}");
    assert_eq!(status(&["/etc/passwd"]).0, 126);
    let missing = lab
        .client()
        .run(enforcer().unwrap().to_str().unwrap(), &["exec", "--policy", "/nonexistent.yaml", "--", "true"]);
    assert_eq!(missing.unwrap().status.code(), Some(2));
}

#[test]
fn the_command_runs_as_another_user() {
    Machine::one_backend(|backend| {
        let lab = lab();
        let script = "id -u; echo \"$HOME\"; curl --silent http://denied.example/; echo $?";
        let outcome = exec(&lab, backend, &["--user", "nobody"], &["sh", "-c", script]);
        assert_eq!(outcome.stdout, "65534\n/nonexistent\n7\n", "{outcome:?}");
        assert!(outcome.stderr.contains("denied denied.example"), "{outcome:?}");
        let unknown = exec(&lab, backend, &["--user", "no-such-user"], &["true"]);
        assert_eq!(unknown.status.code(), Some(125), "{unknown:?}");
        assert!(unknown.stderr.contains("no-such-user"), "{unknown:?}");
    });
}

#[test]
fn nothing_stays_behind() {
    let backend = Machine::current().backends()[0];
    let lab = lab();
    let outcome = exec(&lab, backend, &[], &["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"]);
    assert!(outcome.success(), "{outcome:?}");
    let pid: u32 = outcome.stdout.trim().parse().unwrap();
    let children: Vec<String> = fs::read_dir(lab.cgroup.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("enforcer-exec-"))
        .collect();
    assert_eq!(children, [""; 0]);
    let gone = wait_for(SOON, || fs::read_link(format!("/proc/{pid}/exe")).is_err().then_some(()));
    assert!(gone.is_some(), "what the command left running ends with it");
}

#[test]
fn a_termination_reaches_the_command() {
    let backend = Machine::current().backends()[0];
    let lab = lab();
    let policy = example("block-malicious-domains.yaml");
    let arguments = ["exec", "--policy", policy.to_str().unwrap(), "--backend", backend.as_str(), "--"];
    let script = "trap 'echo terminated; exit 9' TERM; echo started; while :; do sleep 0.1; done";
    let running =
        lab.client().spawn(enforcer().unwrap(), &[&arguments[..], &["sh", "-c", script]].concat()).unwrap();
    assert_eq!(running.line(Duration::from_secs(60)).unwrap(), "started");
    let start = Instant::now();
    // SAFETY: takes numbers only. The child has not been waited for, so the id is still its own.
    unsafe { libc::kill(libc::pid_t::try_from(running.pid()).unwrap(), libc::SIGTERM) };
    assert_eq!(running.line(SOON).unwrap(), "terminated");
    assert_eq!(running.finish(SOON).unwrap().code(), Some(9));
    assert!(start.elapsed() < SOON);
}

#[test]
fn the_hosts_file_is_followed_while_the_command_runs() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let hosts = |lines: &str| lab.netns.set_hosts(lines).unwrap();
        let path = hosts("");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("policy.yaml");
        let rules = "rules:\n  - { name: malware, action: deny, to: { names: [\"*.evil.example\"] } }\n";
        fs::write(&file, policy(rules)).unwrap();
        let address = "203.0.113.43";
        connects(lab.client(), address, 443);

        let mut confined = confined(&lab, backend, &file, &["--hosts", path.to_str().unwrap()]);
        assert_eq!(connecting(&mut confined, address, 443), "ok");
        hosts(&format!("{address} host.evil.example\n"));
        let refused = wait_for(SOON, || (connecting(&mut confined, address, 443) == "EPERM").then_some(()));
        assert!(refused.is_some());
        assert!(confined.finish(SOON).unwrap().success());
        connects(lab.client(), address, 443);
    });
}
