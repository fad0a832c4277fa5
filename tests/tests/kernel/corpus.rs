//! The hand-written cases of `policy-schema`, through the real hooks: what a process gets that connects, or sends a datagram
//! (`udp`), and what the event says of it, has to be what the reference evaluator says and what the file expects.
//!
//! - One daemon for each `--mode` takes file by file: a link is swapped, as Kubernetes does it, and the daemon reloads.
//! - A sighting is a real answer of a trusted resolver to the process that connects afterwards. Sightings outlive
//!   reloads, so an address has the same ones in the whole corpus: a case that names no address gets one of its own,
//!   and two cases that disagree about an address are a fault of the corpus.
//! - The process has the case's user, and its cgroup below the test's own, which is `{root}` in the policies.
//! - Every file is played right after its answers, which the kernel's binder has judged; and again when all are through and
//!   a reload has had user space judge them.
//! - A case that cannot be run says why (`hooks`), and is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use enforcer_tests::{
    Attempt, Backend, Cgroup, Client, Daemon, Machine, Netns, Resolver, Running, TcpServer, wait_for,
};
use policy_schema::{Connection, Mode, PolicySet, normalise};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::scenario::SOON;

#[path = "../../../policy-schema/tests/corpus/case.rs"]
mod case;

const RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 53));

#[test]
fn the_corpus_holds_in_the_kernel() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy-schema/tests/corpus");
    let corpus = case::read_corpus(&folder);
    // Guests have `lsm`, the machine that is not emulated has `cgroup`.
    Machine::one_backend(|backend| {
        let start = Instant::now();
        let stage = Stage::new(&corpus);
        let modes = [None, Some(Mode::Audit), Some(Mode::Enforce)];
        let faults: Vec<String> = modes.into_iter().flat_map(|mode| stage.play_all(backend, mode)).collect();
        let run = stage.scenes.iter().map(|scene| scene.visits.len()).sum::<usize>();
        eprintln!("{backend}: {run} cases ran in {:?}; not run: {:?}", start.elapsed(), stage.not_run);
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
        assert!(run >= 500, "the corpus shrank");
    });
}

/// The corpus, and the place where it is played.
struct Stage<'corpus> {
    scenes: Vec<Scene<'corpus>>,
    /// How many cases are not run, by the reason.
    not_run: BTreeMap<&'corpus str, usize>,
    resolver: Resolver,
    directory: TempDir,
    cgroup: Cgroup,
    netns: Netns,
}

/// A file of the corpus.
struct Scene<'corpus> {
    mode: Option<Mode>,
    policies: PolicySet,
    /// Where its policies are.
    directory: PathBuf,
    visits: Vec<Visit<'corpus>>,
}

/// A case, and the connection that it is in fact.
struct Visit<'corpus> {
    at: String,
    attempt: &'corpus case::Attempt,
    connection: Connection,
}

impl<'corpus> Stage<'corpus> {
    fn new(corpus: &'corpus [(String, case::Case)]) -> Self {
        let netns = Netns::new().unwrap();
        // Whatever address a case names answers, and none is left.
        // Who connects has another, one that no case names, so that what is denied about an address is not denied to the
        // server's answers.
        for range in Netns::LOCAL.into_iter().chain(["0.0.0.0/0", "::/0"]) {
            let source = if range.contains(':') { "::1" } else { "127.7.7.7" };
            netns.ip_batch(&format!("route replace local {range} dev lo src {source}\n")).unwrap();
        }
        let mut stage = Self {
            scenes: Vec::new(),
            not_run: BTreeMap::new(),
            resolver: Resolver::start(&netns, RESOLVER).unwrap(),
            directory: tempfile::tempdir().unwrap(),
            cgroup: Cgroup::new().unwrap(),
            netns,
        };
        // The first is for those who only want to be seen.
        let mut fresh = (1..).map(|number| Ipv4Addr::from_bits(case::ANYWHERE.to_bits() + number));
        for (name, case) in corpus {
            stage.add(name, case, &mut fresh);
        }
        stage.check_addresses();
        stage
    }

    fn add(&mut self, name: &str, case: &'corpus case::Case, fresh: &mut impl Iterator<Item = Ipv4Addr>) {
        let root = self.cgroup.name();
        let mut visits = Vec::new();
        for (index, attempt) in case.connections.iter().enumerate() {
            if let Some(reason) = attempt.not_run() {
                *self.not_run.entry(reason).or_default() += 1;
                continue;
            }
            let mut connection = attempt.connection(fresh.next().unwrap());
            let segments = [connection.cgroup.take(), connection.unit.take().map(|unit| format!("/{unit}"))];
            let below: String = segments.into_iter().flatten().collect();
            connection.cgroup = Some(format!("{root}{below}"));
            connection.uid.get_or_insert(0);
            self.cgroup.descendant(&below).unwrap();
            let case::Attempt { seen, about, .. } = attempt;
            let at = format!("{name} connections[{index}] {} {seen:?} {about}", connection.address);
            visits.push(Visit { at, attempt, connection });
        }
        if visits.is_empty() {
            return;
        }
        let (policies, _) = case.load(&root);
        let policies = policies.unwrap_or_else(|| panic!("{name}: {:?}", case.findings));
        let directory = self.directory.path().join(name);
        let texts = case.policies_below(&root);
        for (path, text) in texts.iter().chain(&case.lists) {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        // A directory given to the daemon stands for the files in it, not for those below.
        let directory = directory.join(texts.keys().next().unwrap().parent().unwrap());
        self.scenes.push(Scene { mode: case.mode, policies, directory, visits });
    }

    fn visits(&self) -> impl Iterator<Item = &Visit<'corpus>> {
        self.scenes.iter().flat_map(|scene| &scene.visits)
    }

    /// What one case has an address seen for, every other case meets.
    fn check_addresses(&self) {
        let mut seen: BTreeMap<IpAddr, &Visit<'_>> = BTreeMap::new();
        for visit in self.visits() {
            let connection = &visit.connection;
            let before = seen.entry(normalise(connection.address)).or_insert(visit);
            let same = before.connection.sightings == connection.sightings
                && before.connection.resolver == connection.resolver;
            assert!(same, "`{}` and `{}` disagree about one address: give one another", before.at, visit.at);
        }
    }

    /// Plays the files with this mode of the command line; returns what is wrong.
    fn play_all(&self, backend: Backend, mode: Option<Mode>) -> Vec<String> {
        let scenes: Vec<&Scene<'_>> = self.scenes.iter().filter(|scene| scene.mode == mode).collect();
        if scenes.is_empty() {
            return Vec::new();
        }
        let idle = self.directory.path().join("idle");
        fs::create_dir_all(&idle).unwrap();
        fs::write(idle.join("idle.yaml"), "version: 1\nrules: []\n").unwrap();
        let link = self.directory.path().join("current");
        let swap = |directory: &Path| {
            let beside = self.directory.path().join("next");
            symlink(directory, &beside).unwrap();
            fs::rename(beside, &link).unwrap();
        };
        swap(&idle);
        let mut daemon = Machine::current().daemon(backend, &self.cgroup).policy("base", &self.base());
        daemon = daemon.argument("--policy").argument(&link);
        if let Some(mode) = mode {
            let word = if mode == Mode::Audit { "audit" } else { "enforce" };
            daemon = daemon.argument("--mode").argument(word);
        }
        let mut play = Play {
            stage: self,
            daemon: daemon.start().unwrap(),
            clients: BTreeMap::new(),
            seen: BTreeSet::new(),
        };
        let mut faults = Vec::new();
        for round in ["answered just now", "answered long ago"] {
            for scene in &scenes {
                play.reload(|| swap(&scene.directory));
                faults.extend(play.scene(scene).into_iter().map(|fault| format!("{fault}, {round}")));
            }
            play.reload(|| swap(&idle));
        }
        // Each answer was handed over, so each binding has its names.
        for counter in ["nameless", "answersLost", "answersUnparsed", "eventsLost", "errors"] {
            let count = play.daemon.counter(counter).unwrap();
            if count != 0 {
                faults.push(format!("{counter}: {count}"));
            }
        }
        faults
    }

    /// What every file is joined with: the resolvers that are trusted.
    fn base(&self) -> String {
        let cases = self.visits().filter(|visit| visit.connection.resolver);
        let resolvers = cases.map(|visit| visit.connection.address).chain([RESOLVER]);
        let resolvers: BTreeSet<String> =
            resolvers.map(|address| address.to_canonical().to_string()).collect();
        let resolvers: Vec<String> = resolvers.into_iter().collect();
        format!("version: 1\ndns: {{ trustedResolvers: {resolvers:?} }}\nrules: []\n")
    }
}

/// The life of one daemon.
struct Play<'stage> {
    stage: &'stage Stage<'stage>,
    daemon: Daemon,
    /// Who connects, by user and cgroup.
    clients: BTreeMap<(u32, String), Running>,
    /// Addresses that have been answered.
    seen: BTreeSet<IpAddr>,
}

impl Play<'_> {
    fn reload(&self, edit: impl FnOnce()) {
        let mark = self.daemon.mark().unwrap();
        edit();
        let reloaded = |event: &Value| event["event"] == "PolicyReloaded";
        self.daemon.wait_for_event_since(mark, SOON, reloaded).unwrap();
    }

    /// Plays a file whose policies are in force.
    fn scene(&mut self, scene: &Scene<'_>) -> Vec<String> {
        let ports: BTreeSet<u16> = scene.visits.iter().map(|visit| visit.connection.port).collect();
        let ports: Vec<u16> = ports.into_iter().collect();
        let _server = TcpServer::start(&self.stage.netns, &ports).unwrap();
        for visit in &scene.visits {
            self.look_up(visit);
        }
        let rules = scene.policies.rules();
        if rules.iter().any(|rule| !rule.globs().is_empty() || !rule.except_globs().is_empty()) {
            self.settle();
        }
        let mark = self.daemon.mark().unwrap();
        let outcomes: Vec<(u32, Attempt)> = scene.visits.iter().map(|visit| self.connect(visit)).collect();
        let events = self.events(mark, &outcomes);
        let results = scene.visits.iter().zip(outcomes).zip(events);
        results
            .flat_map(|((visit, (_, outcome)), event)| {
                let faults = visit.faults(&scene.policies, &outcome, &event);
                faults.into_iter().map(|fault| format!("{}: {fault}", visit.at)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Has the client ask for the names that the address has.
    fn look_up(&mut self, visit: &Visit<'_>) {
        let stage = self.stage;
        // As it stands in an answer.
        let address = visit.connection.address.to_canonical();
        if !self.seen.insert(address) {
            return;
        }
        for names in visit.attempt.sightings() {
            let client = self.client(visit);
            client.say(&format!("ask {address} {}", names[0])).unwrap();
            stage.resolver.answer(names[0], &names[1..], address).unwrap();
            assert!(client.attempt(SOON).unwrap().is_ok(), "{}", visit.at);
        }
    }

    fn connect(&mut self, visit: &Visit<'_>) -> (u32, Attempt) {
        let Connection { address, port, .. } = visit.connection;
        let client = self.client(visit);
        let how = if visit.attempt.udp { "send" } else { "connect" };
        client.say(&format!("{how} {address} {port}")).unwrap();
        (client.pid(), client.attempt(SOON).unwrap_or_else(|error| panic!("{}: {error}", visit.at)))
    }

    fn client(&mut self, visit: &Visit<'_>) -> &mut Running {
        let (uid, cgroup) = (visit.connection.uid.unwrap(), visit.connection.cgroup.clone().unwrap());
        let start = || {
            let directory = Machine::current().cgroup_root().join(cgroup.trim_start_matches('/'));
            let client = Client::new(&self.stage.netns).cgroup_at(&directory).uid(uid);
            client.visit((RESOLVER, 53).into()).unwrap()
        };
        self.clients.entry((uid, cgroup.clone())).or_insert_with(start)
    }

    /// Waits until user space has bound what the kernel leaves to it: answers are read before an event is told, and
    /// those that come while they are taken over are, before the next one is.
    fn settle(&self) {
        for _ in 0..2 {
            let mark = self.daemon.mark().unwrap();
            let client = Client::new(&self.stage.netns).cgroup(&self.stage.cgroup);
            client.connect(&case::ANYWHERE.to_string(), 443).unwrap();
            self.daemon.connect_event(mark, SocketAddr::from((case::ANYWHERE, 443))).unwrap();
        }
    }

    /// The events of the attempts that these processes made, in their order.
    fn events(&self, mark: usize, outcomes: &[(u32, Attempt)]) -> Vec<Value> {
        let processes: BTreeSet<u64> = outcomes.iter().map(|(pid, _)| (*pid).into()).collect();
        let told = || {
            let events = self.daemon.events().unwrap().into_iter().skip(mark);
            let own = |event: &Value| {
                ["NetTCPConnect", "NetUDPSend"].iter().any(|kind| event["event"] == *kind)
                    // Not the lookups.
                    && event["dstIP"] != RESOLVER.to_string()
                    && event["pid"].as_u64().is_some_and(|pid| processes.contains(&pid))
            };
            events.filter(own).collect::<Vec<_>>()
        };
        let all = wait_for(SOON, || Some(told()).filter(|events| events.len() >= outcomes.len()));
        all.unwrap_or_else(|| panic!("{} events for {} attempts", told().len(), outcomes.len()))
    }
}

impl Visit<'_> {
    /// Where the case, the reference, the process and the event do not agree.
    fn faults(&self, policies: &PolicySet, outcome: &Attempt, event: &Value) -> Vec<String> {
        let mut faults = self.attempt.faults(policies, &self.connection);
        let decision = policies.decide(&self.connection);
        let errno = decision.errno.map(|errno| format!("{errno:?}"));
        if outcome.errno() != errno.as_deref() || outcome.is_ok() == decision.blocked {
            faults.push(format!("the process got `{outcome}`, expected {errno:?}"));
        }
        for (key, expected) in [
            ("event", json!(if self.attempt.udp { "NetUDPSend" } else { "NetTCPConnect" })),
            ("dstPort", json!(self.connection.port)),
            ("uid", json!(self.connection.uid)),
            ("cgroup", json!(self.connection.cgroup)),
            ("verdict", json!(case::word(decision.verdict))),
            ("rule", json!(policies.label(decision.rule))),
            ("effectiveRule", json!(policies.label(decision.effective_rule))),
            ("blocked", json!(decision.blocked)),
            ("wouldDeny", json!(decision.would_deny)),
        ] {
            if event[key] != expected {
                faults.push(format!("{key} of the event is {}, expected {expected}", event[key]));
            }
        }
        faults
    }
}
