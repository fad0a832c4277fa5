//! The race that the kernel's binder wins, as hard as it can be run: a client that connects by the next system call
//! after it has the answer, on another processor than the resolver and the daemon, both processors busy with something
//! else, and policies that change all the time, or a daemon that has stopped.

use std::env;
use std::fs;
use std::time::{Duration, Instant};

use enforcer_tests::{
    Attempt, Backend, Client, Daemon, Lab, Machine, Race, Running, announce, pin, processors, wait_for,
};

use crate::scenario::{SOON, policy, state_of_default_deny};

/// A name for each of these addresses: what was learned of one says nothing about the next.
const NAMES: &str = "--synth-domain=evil.test,198.19.0.1,198.19.255.254,h*";
const NAME: &str = "h{}.evil.test";

const DENY: &str = "  - { name: malware, action: deny, to: { names: [\"*.evil.test\"] } }\n";
const ALLOW: &str = "  - { name: registry, action: allow, to: { names: [\"*.evil.test\"] } }\n";
/// Comes and goes before the rule that decides, whose number changes with it.
const OTHER: &str = "  - { name: other, action: deny, to: { names: [\"*.other.test\"] } }\n";

/// Longer than any race.
const PATIENCE: Duration = Duration::from_secs(1200);

#[test]
fn no_denied_name_is_connected_to_first() {
    Machine::each_backend(|backend| {
        let tally = Plan { backend, rule: DENY, names: names(), reloads: reloads(), arguments: &[] }.race();
        assert_eq!((tally.passed, tally.refused), (0, answered(&tally)), "{tally:?}");
    });
}

#[test]
fn no_allowed_name_is_refused_first() {
    // The binder is the same with each backend, and a denied name tries each decision.
    Machine::one_backend(|backend| {
        let tally = Plan { backend, rule: ALLOW, names: names(), reloads: reloads(), arguments: &[] }.race();
        assert_eq!((tally.refused, tally.passed), (0, answered(&tally)), "{tally:?}");
    });
}

#[test]
fn without_the_binder_both_would_fail() {
    Machine::one_backend(|backend| {
        let plan = Plan { backend, rule: DENY, names: 500, reloads: 5, arguments: &["--no-binder"] };
        let tally = plan.race();
        assert!(tally.passed > tally.names / 10, "{tally:?}");
        let tally = Plan { rule: ALLOW, ..plan }.race();
        assert!(tally.refused > tally.names / 10, "{tally:?}");
    });
}

#[test]
fn a_stopped_daemon_is_not_missed() {
    const COUNT: u32 = 500;
    Machine::each_backend(|backend| {
        for rule in [DENY, ALLOW] {
            let course = Course::new();
            let daemon = course.daemon(backend, &text(rule, ""), &[]);
            stop(&daemon);
            let mark = daemon.mark().unwrap();
            let attempts = course.race(&course.plan(COUNT));
            let tally = Tally::of(&attempts);
            announce(&format!("daemon stopped, {backend}: {tally:?}"));
            assert_eq!(tally.decided_by(rule), tally.names, "{tally:?}");

            daemon.signal(libc::SIGCONT);
            // It catches up: each attempt is told, with the name that was answered while it stood still.
            let told = wait_for(SOON * 3, || {
                let events = daemon.events().unwrap();
                let told = events.into_iter().skip(mark).filter(|event| event["event"] == "NetTCPConnect");
                Some(told.collect::<Vec<_>>()).filter(|told| told.len() == attempts.len())
            });
            for (number, (event, attempt)) in told.unwrap().iter().zip(&attempts).enumerate() {
                assert_eq!(event["dstIP"], attempt.address().unwrap().ip().to_string(), "{event}");
                assert_eq!(event["results"], serde_json::json!([NAME.replace("{}", &number.to_string())]));
            }
            let status = daemon.status().unwrap();
            let state = if rule == DENY { "Enforced" } else { state_of_default_deny(backend) };
            assert_eq!(status["status"]["state"], state, "{status}");
            for counter in ["answersLost", "answersRefused", "eventsLost", "nameless"] {
                assert_eq!(daemon.counter(counter).unwrap(), 0, "{counter}: {status}");
            }
        }
    });
}

#[test]
fn a_daemon_that_stands_still_for_too_long_costs_answers_and_no_leaks() {
    // More than the fresh bindings hold.
    const COUNT: u32 = 16_500;
    if Machine::current().is_guest() && env::var_os("ENFORCER_SOAK").is_none() {
        // Takes minutes where the processor is emulated, and depends on nothing that is different there.
        return;
    }
    Machine::one_backend(|backend| {
        let course = Course::new();
        let daemon = course.daemon(backend, &text(DENY, ""), &[]);
        stop(&daemon);
        let impatient = Duration::from_millis(150);
        let tally = Tally::of(&course.race(&Race { timeout: impatient, ..course.plan(COUNT) }));
        announce(&format!("daemon stopped for too long, {backend}: {tally:?}"));
        assert_eq!(tally.passed, 0, "{tally:?}");
        assert!(tally.unanswered > 0, "{tally:?}");

        daemon.signal(libc::SIGCONT);
        let degraded = wait_for(SOON, || {
            Some(daemon.status().unwrap()).filter(|status| status["status"]["state"] == "Degraded")
        });
        let status = degraded.unwrap();
        let refused = daemon.counter("answersRefused").unwrap();
        assert!(refused > 0 && refused <= tally.unanswered as u64, "{status}");
        // There is room again, and what lost its record is denied as before.
        let tally = Tally::of(&course.race(&course.plan(COUNT / 10)));
        assert_eq!(tally.decided_by(DENY), tally.names, "{tally:?}");
    });
}

/// A thousand in the races of a machine that is not emulated; there, a thousand in those of a soak.
fn reloads() -> u64 {
    match (Machine::current().is_guest(), env::var_os("ENFORCER_SOAK").is_some()) {
        (true, false) => 50,
        (true, true) => 334,
        (false, _) => 500,
    }
}

/// As many as a race has at least.
fn names() -> u32 {
    if Machine::current().is_guest() && env::var_os("ENFORCER_SOAK").is_none() { 3_000 } else { 10_000 }
}

/// How many names had an answer: all of them, but where two processors are emulated on less than two a few wait for longer
/// than the client does. What the daemon has kept back is counted, and asserted to be nothing.
fn answered(tally: &Tally) -> usize {
    let late = if Machine::current().is_guest() { tally.names / 500 } else { 0 };
    assert!(tally.unanswered <= late, "{tally:?}");
    tally.names - tally.unanswered
}

/// An emulated processor would take seconds to judge ten thousand names anew with each reload: there they are soon over.
fn hold() -> &'static str {
    if Machine::current().is_guest() { "hold: { deny: 5s, allow: 5s }\n" } else { "" }
}

/// A default that the rule is the exception to.
fn text(rule: &str, before: &str) -> String {
    let default = if rule == DENY { "allow" } else { "deny" };
    policy(&format!("default: {default}\nrules:\n{before}{rule}"))
}

/// A race while policies change.
#[derive(Clone, Copy)]
struct Plan {
    backend: Backend,
    rule: &'static str,
    /// At least so many; more, if changing the policies takes longer.
    names: u32,
    reloads: u64,
    arguments: &'static [&'static str],
}

impl Plan {
    fn race(&self) -> Tally {
        let &Self { backend, rule, names, reloads, arguments } = self;
        let texts = [text(rule, ""), text(rule, OTHER)].map(|text| text + hold());
        let course = Course::new();
        let daemon = course.daemon(backend, &texts[0], arguments);
        let started = Instant::now();
        // Spread over the time that changing the policies takes; an emulated processor is slow enough.
        let quick = reloads < 100 || Machine::current().is_guest();
        let pause = Duration::from_millis(if quick { 0 } else { 10 });
        let client = course.lab.client().race(&Race { pause, ..course.plan(names) }).unwrap();
        change(&daemon, &texts, reloads);
        let during = started.elapsed().as_secs();
        let tally = Tally::of(&client.attempts(PATIENCE).unwrap());
        let turns = daemon.counter("turns").unwrap();
        announce(&format!(
            "leak test, {backend} {arguments:?}{rule}    {tally:?}, {reloads} reloads in {during} s, {turns} turns, \
             {} s in all",
            started.elapsed().as_secs()
        ));
        assert!(turns >= reloads, "{turns} turns");
        if arguments.is_empty() {
            let losses = ["answersLost", "bindingsFull", "errors", "nameless"];
            let refusals = ["answersRefused", "queriesRefused", "queriesUnrecorded", "segmentsHeld"];
            for counter in [losses, refusals].as_flattened() {
                assert_eq!(daemon.counter(counter).unwrap(), 0, "{counter}");
            }
        }
        tally
    }
}

/// Changes the policy so often, each time as soon as the last change is in force.
fn change(daemon: &Daemon, texts: &[String; 2], times: u64) {
    let first = daemon.policy_version().unwrap();
    for turn in 1..=times {
        daemon.write_policy("policy", &texts[(turn % 2) as usize]).unwrap();
        // Not to wait until the directory is quiet.
        daemon.signal(libc::SIGHUP);
        let there = wait_for(SOON, || (daemon.policy_version().unwrap() >= first + turn).then_some(()));
        assert!(there.is_some(), "change {turn} is not in force: {}", daemon.stderr().unwrap());
    }
}

/// Stops it, and waits until it has.
fn stop(daemon: &Daemon) {
    daemon.signal(libc::SIGSTOP);
    let stopped = wait_for(SOON, || {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        status.contains("State:\tT").then_some(())
    });
    assert!(stopped.is_some());
}

/// Everybody at their place: resolver and daemon on the first processor, the client on the last.
struct Course {
    lab: Lab,
    first: usize,
    last: usize,
    _load: Vec<Running>,
}

impl Course {
    fn new() -> Self {
        let lab = Lab::with(|dnsmasq| dnsmasq.argument(NAMES).ttl(1)).unwrap();
        let processors = processors().unwrap();
        let (first, last) = (*processors.first().unwrap(), *processors.last().unwrap());
        pin(lab.dnsmasq.pid(), first).unwrap();
        let busy = Client::in_initial_netns();
        let load = [first, last].map(|processor| busy.spawn_peer(&["spin", &processor.to_string()]).unwrap());
        Self { lab, first, last, _load: load.into() }
    }

    fn daemon(&self, backend: Backend, text: &str, arguments: &[&str]) -> Daemon {
        let daemon = self.lab.daemon(backend).policy("policy", text);
        let daemon = arguments.iter().fold(daemon, |daemon, argument| daemon.argument(argument));
        let daemon = daemon.start().unwrap();
        pin(daemon.pid(), self.first).unwrap();
        daemon
    }

    fn plan(&self, count: u32) -> Race<'static> {
        let resolver = self.lab.dnsmasq.address();
        let (pause, timeout) = (Duration::ZERO, Duration::from_secs(10));
        Race { resolver, name: NAME, count, pause, timeout, processor: self.last }
    }

    fn race(&self, race: &Race<'_>) -> Vec<Attempt> {
        self.lab.client().race(race).unwrap().attempts(PATIENCE).unwrap()
    }
}

/// What a race came to.
#[derive(Debug, Default)]
struct Tally {
    names: usize,
    /// The connection got out.
    passed: usize,
    /// It was refused, by a rule or the default.
    refused: usize,
    /// No answer came, so that there was nothing to connect to.
    unanswered: usize,
}

impl Tally {
    fn of(attempts: &[Attempt]) -> Self {
        let mut tally = Self { names: attempts.len(), ..Self::default() };
        for attempt in attempts {
            match attempt {
                Attempt::Error { errno, .. } if errno == "EPERM" => tally.refused += 1,
                Attempt::Error { errno, .. } if errno == "ECONNREFUSED" => tally.passed += 1,
                Attempt::Unresolved(_) => tally.unanswered += 1,
                other => panic!("{other}"),
            }
        }
        tally
    }

    /// How many ended as the rule says.
    fn decided_by(&self, rule: &str) -> usize {
        if rule == DENY { self.refused } else { self.passed }
    }
}
