//! A policy that is taken back unless somebody confirms it.

use std::thread;
use std::time::Duration;

use enforcer_tests::{Daemon, Lab, Machine, wait_for};

use crate::scenario::{SOON, attempt, connects, policy, refused};

const HOST: &str = "www.evil.example";

fn denying(errno: &str) -> String {
    policy(&format!(
        "rules:\n  - {{ name: malware, action: deny, to: {{ names: [\"*.evil.example\"] }}, errno: {errno} }}\n"
    ))
}

/// How long a policy is on trial: long enough to see it at work, which takes longer where the processor is emulated.
fn trial() -> Duration {
    Duration::from_secs(if Machine::current().is_guest() { 5 } else { 2 })
}

fn start(lab: &Lab) -> Daemon {
    let backend = Machine::current().backends()[0];
    let daemon = lab.daemon(backend).policy("policy", &denying("EPERM"));
    daemon.argument("--confirm").argument(format!("{}s", trial().as_secs())).start().unwrap()
}

/// Waits until a connection ends with the error, or without one.
fn awaited(lab: &Lab, errno: Option<&str>) -> bool {
    wait_for(SOON, || (attempt(lab.client(), HOST, 443).errno() == errno).then_some(())).is_some()
}

#[test]
fn what_nobody_confirms_is_taken_back() {
    let lab = Lab::new().unwrap();
    let mut daemon = start(&lab);
    refused(lab.client(), HOST, 443, "EPERM");
    assert_eq!(daemon.wait(SOON).unwrap().code(), Some(4));
    connects(lab.client(), HOST, 443);
    let stderr = daemon.stderr().unwrap();
    assert!(stderr.contains("confirm with `enforcer confirm"), "{stderr}");
    assert!(stderr.contains("not confirmed in time"), "{stderr}");
}

#[test]
fn what_is_confirmed_stays_and_a_change_has_to_be_confirmed_again() {
    let lab = Lab::new().unwrap();
    let mut daemon = start(&lab);
    let outcome = daemon.ask(&["confirm"]).unwrap();
    assert!(outcome.success() && outcome.stdout.contains("confirmed"), "{outcome:?}");
    let outcome = daemon.ask(&["confirm"]).unwrap();
    assert!(outcome.stdout.contains("nothing waits"), "{outcome:?}");
    thread::sleep(trial() + Duration::from_secs(1));
    refused(lab.client(), HOST, 443, "EPERM");

    // Not confirmed: back to what was there before.
    daemon.write_policy("policy", &denying("EACCES")).unwrap();
    assert!(awaited(&lab, Some("EACCES")), "{}", daemon.stderr().unwrap());
    assert!(awaited(&lab, Some("EPERM")), "{}", daemon.stderr().unwrap());
    daemon.wait_for_stderr(SOON, "going back to the policy before it").unwrap();

    // Confirmed: it stays.
    daemon.write_policy("policy", &denying("ECONNREFUSED")).unwrap();
    assert!(awaited(&lab, Some("ECONNREFUSED")), "{}", daemon.stderr().unwrap());
    assert!(daemon.ask(&["confirm"]).unwrap().success());
    thread::sleep(trial() + Duration::from_secs(1));
    refused(lab.client(), HOST, 443, "ECONNREFUSED");
    assert!(daemon.stop().unwrap().success());
    connects(lab.client(), HOST, 443);
}

#[test]
fn two_unconfirmed_changes_go_back_to_what_was_confirmed() {
    let lab = Lab::new().unwrap();
    let daemon = start(&lab);
    assert!(daemon.ask(&["confirm"]).unwrap().success());
    daemon.write_policy("policy", &denying("EACCES")).unwrap();
    assert!(awaited(&lab, Some("EACCES")), "{}", daemon.stderr().unwrap());
    daemon.write_policy("policy", &denying("ECONNREFUSED")).unwrap();
    assert!(awaited(&lab, Some("ECONNREFUSED")), "{}", daemon.stderr().unwrap());
    assert!(awaited(&lab, Some("EPERM")), "the confirmed policy is back: {}", daemon.stderr().unwrap());
}

#[test]
fn an_edit_does_not_confirm_the_first_policy() {
    let lab = Lab::new().unwrap();
    let mut daemon = start(&lab);
    refused(lab.client(), HOST, 443, "EPERM");
    daemon.write_policy("policy", &denying("EACCES")).unwrap();
    assert!(awaited(&lab, Some("EACCES")), "{}", daemon.stderr().unwrap());
    // Nobody has confirmed anything: back to where nothing was enforced.
    assert_eq!(daemon.wait(SOON).unwrap().code(), Some(4), "{}", daemon.stderr().unwrap());
    connects(lab.client(), HOST, 443);
}
