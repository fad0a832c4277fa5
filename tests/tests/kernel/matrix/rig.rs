//! Two network namespaces with a link between them: on the near side those who try to get out, on the far side every
//! address there is, and who counts what arrives.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use enforcer_tests::{Arrived, Cgroup, Client, Machine, Netns, Running, Sniffer, Target, sibling};
use tempfile::TempDir;

/// Longer than it takes to start all vectors where the processor is emulated.
const LONG: Duration = Duration::from_secs(120);

/// What is still on its way when the last vector has ended.
const REST: Duration = Duration::from_millis(500);

/// What the harness makes local in every namespace, which is on the far side here.
const FAR: [&str; 5] = Netns::LOCAL;

/// Where addresses of version 4 are embedded.
const EMBEDDED: [&str; 4] = ["64:ff9b::/96", "2002::/16", "2001::/32", "::203.0.113.0/120"];

#[derive(Clone, Debug)]
pub struct Vector {
    pub name: String,
    pub user: String,
    /// It begins before the policy is in force.
    pub early: bool,
}

/// Every vector by its number.
pub fn vectors() -> BTreeMap<u8, Vector> {
    let program = program();
    let outcome = Client::in_initial_netns().run(program.to_str().unwrap(), &["list"]).unwrap();
    let lines = outcome.stdout.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [number, name, user, when] = *words else { panic!("{line}") };
        let (name, user) = (name.to_owned(), user.to_owned());
        (number.parse().unwrap(), Vector { name, user, early: when == "before" })
    });
    lines.collect()
}

fn program() -> PathBuf {
    sibling("vectors").unwrap()
}

/// What became of a vector.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `ok`, or the name of an error.
    pub said: String,
    pub arrived: Arrived,
}

pub struct Rig {
    // Dropped in this order: who uses the namespaces before they go.
    _far_side: Running,
    _donor: Running,
    sniffer: Sniffer,
    pub cgroup: Cgroup,
    pub near: Netns,
    pub far: Netns,
    directory: TempDir,
}

impl Rig {
    pub fn new(vectors: &BTreeMap<u8, Vector>) -> Self {
        let (near, far) = (Netns::new().unwrap(), Netns::new().unwrap());
        let announced = vectors.iter().find(|(_, vector)| vector.name == "mptcp-announced");
        let announced = Target::new(*announced.unwrap().0);
        link(&near, &far, announced);
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let far_side = Client::new(&far).spawn(program(), &["far"]).unwrap();
        let donor = directory.path().join("donor");
        let donor = Client::new(&near).spawn(program(), &["donate", donor.to_str().unwrap()]).unwrap();
        for running in [&far_side, &donor] {
            assert_eq!(running.line(LONG).unwrap(), "ready");
        }
        let sniffer = Sniffer::start(&far).unwrap();
        let cgroup = Cgroup::new().unwrap();
        Self { _far_side: far_side, _donor: donor, sniffer, cgroup, near, far, directory }
    }

    /// Races for the address of this vector, by so many calls of each kind: how many were refused and how many were not,
    /// for connects and for datagrams, and what has arrived.
    pub fn flip(&self, target: Target, count: u32) -> ([(u32, u32); 2], Arrived) {
        self.sniffer.forget();
        let arguments = ["flip", &target.number().to_string(), &count.to_string()];
        let running = self.client().spawn(program(), &arguments).unwrap();
        let tally = ["connect", "send"].map(|kind| {
            let line = running.line(LONG * 10).unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(words[0], kind);
            (words[1].parse().unwrap(), words[2].parse().unwrap())
        });
        thread::sleep(REST);
        (tally, self.sniffer.arrived().unwrap().get(&target).copied().unwrap_or_default())
    }

    /// Clients on the near side, in the cgroup.
    pub fn client(&self) -> Client<'_> {
        Client::new(&self.near).cgroup(&self.cgroup)
    }

    /// Clients on the far side.
    pub fn far_client(&self) -> Client<'_> {
        Client::new(&self.far)
    }

    /// Has these vectors try, all if none is named; what `meanwhile` does, it does after those have begun that begin
    /// before the policy. Counts what arrives from then on.
    pub fn attempt<T>(&self, names: &[&str], meanwhile: impl FnOnce() -> T) -> (BTreeMap<u8, Outcome>, T) {
        let seconds = if Machine::current().is_guest() { "30" } else { "14" };
        let donor = self.directory.path().join("donor");
        let arguments = [&["run", donor.to_str().unwrap(), seconds], names].concat();
        let mut running = self.client().spawn(program(), &arguments).unwrap();
        let mut said = BTreeMap::new();
        hear(&running, &mut said);
        let kept = meanwhile();
        self.sniffer.forget();
        running.say("go").unwrap();
        hear(&running, &mut said);
        thread::sleep(REST);
        let arrived = self.sniffer.arrived().unwrap();
        let outcomes = said.into_iter().map(|(number, said)| {
            let arrived = arrived.get(&Target::new(number)).copied().unwrap_or_default();
            (number, Outcome { said, arrived })
        });
        (outcomes.collect(), kept)
    }
}

/// Takes outcomes until the vectors have begun or ended.
fn hear(running: &Running, said: &mut BTreeMap<u8, String>) {
    while let Some(line) = running.line(LONG).ok().filter(|line| line != "ready") {
        let (number, outcome) = line.split_once(' ').unwrap();
        said.insert(number.parse().unwrap(), outcome.to_owned());
    }
}

/// Makes the link, and every address answer on its far side.
fn link(near: &Netns, far: &Netns, announced: Target) {
    let (near4, near6, far4, far6) = (Target::NEAR4, Target::NEAR6, Target::FAR4, Target::FAR6);
    let name = Target::LINK;
    let mut script = FAR.map(|range| format!("route del local {range} dev lo\n")).concat();
    script += &format!(
        "link add {name} type veth peer name far0 netns {}\n\
         address add {near4}/24 dev {name}\n\
         address add {near6}/64 dev {name} nodad\n\
         link set {name} up\n\
         mptcp limits set subflow 8 add_addr_accepted 8\n",
        far.name()
    );
    near.ip_batch(&script).unwrap();
    let mut script = format!(
        "address add {far4}/24 dev far0\n\
         address add {far6}/64 dev far0 nodad\n\
         link set far0 up\n\
         route add default via {near4}\n\
         mptcp limits set subflow 8 add_addr_accepted 8\n\
         mptcp endpoint add {} signal\n\
         route add blackhole {} table local\n",
        announced.denied4(),
        Target::SILENT4
    );
    script += &EMBEDDED.map(|range| format!("route add local {range} dev lo\n")).concat();
    far.ip_batch(&script).unwrap();
    near.ip_batch(&format!("route add default via {far4}\nroute add default via {far6}\n")).unwrap();
    // Everybody may use ping sockets, as on a desktop.
    let setting = "/proc/sys/net/ipv4/ping_group_range";
    near.run(|| fs::write(setting, "0 2147483647")).unwrap().unwrap();
}
