//! The race that the kernel's binder wins, run by the C library's resolver; `leak` runs it harder.

use std::env;

use enforcer_tests::{Attempt, Backend, Daemon, Lab, Machine};

use crate::scenario::{ALLOW, DENY, EACH_NAME, connections, lab_of_names, policy, refusals};

/// What the binder knows of globs is an automaton, not the table of names.
const DENY_GLOB: &str = r#"
rules:
  - { name: malware, action: deny, to: { names: ["h*.ev*l.test"] } }
"#;

const ALLOW_GLOB: &str = r#"
default: deny
rules:
  - { name: registry, action: allow, to: { names: ["h*.ev*l.test"] } }
"#;

/// Fewer where the processor is emulated, unless there is time.
fn names() -> u32 {
    let usual = if Machine::current().is_guest() { 200 } else { 1000 };
    if env::var_os("ENFORCER_SOAK").is_some() { usual * 10 } else { usual }
}

fn lab() -> Lab {
    lab_of_names(names())
}

fn daemon(lab: &Lab, backend: Backend, text: &str) -> Daemon {
    lab.daemon(backend).policy("policy", &policy(text)).start().unwrap()
}

fn connect_each(lab: &Lab) -> Vec<Attempt> {
    let attempts = lab.client().connect_each(EACH_NAME, 443, names()).unwrap();
    assert_eq!(attempts.len(), names() as usize, "each name has one address");
    attempts
}

#[test]
fn no_first_connect_to_a_denied_name_gets_through() {
    Machine::each_backend(|backend| {
        let lab = lab();
        let daemon = daemon(&lab, backend, DENY);
        let attempts = connect_each(&lab);
        assert_eq!((connections(&attempts), refusals(&attempts)), (0, attempts.len()));
        assert_eq!(daemon.counter("bindingsFull").unwrap(), 0);
        drop(daemon);
        let attempts = connect_each(&lab);
        assert_eq!(connections(&attempts), attempts.len());
    });
}

#[test]
fn no_first_connect_to_an_allowed_name_is_refused() {
    Machine::each_backend(|backend| {
        let lab = lab();
        let daemon = daemon(&lab, backend, ALLOW);
        let attempts = connect_each(&lab);
        assert_eq!((connections(&attempts), refusals(&attempts)), (attempts.len(), 0));
        drop(daemon);
    });
}

#[test]
fn no_first_connect_to_a_name_under_a_glob_waits_for_the_daemon() {
    Machine::each_backend(|backend| {
        let lab = lab();
        let before = connect_each(&lab);
        assert_eq!(connections(&before), before.len());
        for (text, connected) in [(DENY_GLOB, 0), (ALLOW_GLOB, before.len())] {
            let daemon = daemon(&lab, backend, text);
            let attempts = connect_each(&lab);
            let refused = attempts.len() - connected;
            assert_eq!((connections(&attempts), refusals(&attempts)), (connected, refused), "{text}");
            assert_eq!(daemon.counter("lateBinds").unwrap(), 0);
            drop(daemon);
        }
        let after = connect_each(&lab);
        assert_eq!(connections(&after), after.len());
    });
}
