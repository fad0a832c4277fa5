//! What programs on every packet cost, beside the least that a tool does on the same hooks: both ends of a veth pair, and
//! cgroups that the client moves between.
//!
//! Each has its programs all the time, enforcer too, at a root of its own: the turns are short and follow each other at once.
//! What else this machine does is then the same for all of them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::Duration;

use enforcer_tests::{Cgroup, Client, Netns};
use tempfile::TempDir;

use crate::client::Meter;
use crate::programs::Daemon;
use crate::report::{Report, Unit};
use crate::{Error, alone, head_of_policy, kernel, peers_in_c, traffic};

const WIRE: &str = "11. The wire";
const INSIDE: &str = "12. Time inside the programs on the wire";

const NEAR: &str = "10.211.0.1";
/// The far side, and another address of it that is not allowed.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 211, 0, 2);
const DENIED: Ipv4Addr = Ipv4Addr::new(10, 211, 0, 3);
/// Sent to the far side, which is nobody's router: datagrams end there without a socket, at which programs at the root
/// cgroup would run as well.
const BEYOND: Ipv4Addr = Ipv4Addr::new(10, 211, 1, 1);

const POLICY: &str = "wire.yaml";
/// The cgroup below the daemon's root in which it decides.
const SCOPE: &str = "clients";

const CONNECTS: u32 = 400;
const DATAGRAMS: u32 = 4000;
const STREAM: u64 = 128 << 20;
/// The turns are short: as many as this come in what is one round elsewhere.
const TURNS: usize = 20;
/// .. and so often each load is looked at from inside.
const LOOKS: usize = 3;
/// What the daemon has left to write after connections is not to fall into the next figure.
const REST: Duration = Duration::from_millis(50);

const OFF: &str = "nothing attached";
const ENFORCER: &str = "enforcer";
/// Each with its source.
const IN_C: [(&str, &str); 2] =
    [("the least in C", peers_in_c::LEAST), ("the same duties in C", peers_in_c::EQUAL)];

/// Measures the section; returns in how many rounds others had programs attached.
pub fn measure(report: &mut Report, rounds: usize) -> Result<usize, Error> {
    let mut wire = Wire::new(report)?;
    let mut foreign = 0;
    for round in 0..rounds * TURNS {
        foreign += usize::from(round % TURNS == 0 && !alone(&wire.off));
        let mut variants = wire.variants();
        let first = round % variants.len();
        variants.rotate_left(first);
        let mut figures = Vec::new();
        for variant in variants {
            let turn = wire.turn(variant).map_err(|error| format!("{variant}, round {round}: {error}"))?;
            figures.push((variant, turn));
        }
        tell(report, figures);
    }
    wire.look_inside(report)?;
    compare(report);
    wire.daemon.stop()?;
    Ok(foreign)
}

/// Load by load, and always in the same order.
fn tell(report: &mut Report, mut figures: Vec<(&'static str, Vec<(Unit, f64)>)>) {
    figures.sort_by_key(|(variant, _)| all().position(|known| known == *variant));
    for (number, load) in LOADS.into_iter().enumerate() {
        for (variant, turn) in &figures {
            if let Some((unit, figure)) = turn.get(number) {
                report.add(WIRE, &format!("{}; {variant}", load.row()), *unit, *figure);
            }
        }
    }
}

/// What the client does.
#[derive(Clone, Copy, Debug)]
enum Load {
    Connects,
    Datagrams(&'static str),
    Stream(&'static str),
}

const LOADS: [Load; 5] = [
    Load::Stream("send"),
    Load::Stream("receive"),
    Load::Datagrams("connected"),
    Load::Datagrams("named"),
    Load::Connects,
];

impl Load {
    /// What is counted.
    fn row(self) -> &'static str {
        match self {
            Self::Stream("send") => "TCP, sending",
            Self::Stream(_) => "TCP, receiving",
            Self::Datagrams("connected") => "UDP, send() on a connected socket",
            Self::Datagrams(_) => "UDP, sendto()",
            Self::Connects => "TCP, p50 of socket(), connect() and close()",
        }
    }

    /// One of what is done, and how many of them there are with those that are not timed.
    fn one(self) -> (&'static str, f64) {
        match self {
            Self::Stream("send") => ("a MiB sent by TCP", (STREAM >> 20) as f64),
            Self::Stream(_) => ("a MiB received by TCP", (STREAM >> 20) as f64),
            Self::Datagrams("connected") => ("a send() by UDP", f64::from(DATAGRAMS + DATAGRAMS / 10)),
            Self::Datagrams(_) => ("a sendto() by UDP", f64::from(DATAGRAMS + DATAGRAMS / 10)),
            Self::Connects => ("a TCP connection", f64::from(CONNECTS + 100)),
        }
    }

    fn run(self, meter: &mut Meter) -> Result<(Unit, f64), Error> {
        Ok(match self {
            Self::Stream(way) => {
                let micros = meter.stream(FAR, STREAM, way)?;
                (Unit::GigabitsPerSecond, STREAM as f64 * 8.0 / 1e3 / micros)
            }
            Self::Datagrams(how) => {
                let batch = meter.datagrams(BEYOND, DATAGRAMS, how)?;
                (Unit::PerSecond, 1e6 / batch.p50)
            }
            Self::Connects => (Unit::Microseconds, meter.open(at(FAR), CONNECTS, false)?.p50),
        })
    }
}

struct Wire {
    // Dropped in this order: who is in the cgroups before them, the namespaces last.
    meter: Meter,
    daemon: Daemon,
    off: Cgroup,
    enforced: Cgroup,
    _root: Cgroup,
    /// None of them if they could not be made or attached.
    in_c: Vec<(&'static str, Cgroup)>,
    _far: Netns,
    _near: Netns,
    _files: TempDir,
}

impl Wire {
    fn new(report: &mut Report) -> Result<Self, Error> {
        let (near, far) = (Netns::new()?, Netns::new()?);
        near.ip_batch(&format!(
            "link add wire type veth peer name wire netns {}\naddr add {NEAR}/24 dev wire\nlink set wire up\n\
             route add {BEYOND} via {FAR}\n",
            far.name()
        ))?;
        far.ip_batch(&format!(
            "addr add {FAR}/24 dev wire\naddr add {DENIED}/24 dev wire\nlink set wire up\n"
        ))?;
        far.run(traffic::answer)??;
        let (off, root) = (Cgroup::new()?, Cgroup::new()?);
        let enforced = root.child(SCOPE)?;
        let in_c = attach_all().unwrap_or_else(|error| {
            let missing = format!("No programs in C to compare with: {error}.");
            eprintln!("{missing}");
            report.note(WIRE, missing);
            Vec::new()
        });
        let files = tempfile::tempdir()?;
        let file = files.path().join(POLICY);
        fs::write(&file, policy())?;
        let daemon = Daemon::start_inside(&root, SCOPE, &file)?;
        for (_, in_c) in &in_c {
            let (all, ours) = (kernel::hooks(in_c.path())?, kernel::hooks(enforced.path())?);
            if !ours.is_superset(&all) {
                return Err(format!("programs at {ours:?} are not to be set against some at {all:?}").into());
            }
        }
        let meter = Meter::start(&Client::new(&near).cgroup(&off))?;
        Ok(Self { meter, daemon, off, enforced, _root: root, in_c, _far: far, _near: near, _files: files })
    }

    fn variants(&self) -> Vec<&'static str> {
        [OFF, ENFORCER].into_iter().chain(self.in_c.iter().map(|(variant, _)| *variant)).collect()
    }

    /// One variant, everything once; the figures in the order of [`LOADS`].
    fn turn(&mut self, variant: &'static str) -> Result<Vec<(Unit, f64)>, Error> {
        self.enter(variant)?;
        let mut figures = Vec::new();
        for load in LOADS {
            figures.push(load.run(&mut self.meter)?);
        }
        thread::sleep(REST);
        Ok(figures)
    }

    /// Moves the client to where the variant's programs are. What it has open stays where it was made, so it makes new
    /// sockets for each load. The other address can be reached where nothing is attached, and nowhere else.
    fn enter(&mut self, variant: &'static str) -> Result<(), Error> {
        let cgroup = match (variant, self.in_c(variant)) {
            (ENFORCER, _) => &self.enforced,
            (_, Some(in_c)) => in_c,
            _ => &self.off,
        };
        cgroup.add(self.meter.pid())?;
        self.meter.open(at(DENIED), 10, variant != OFF)?;
        Ok(())
    }

    /// The cgroup of programs in C.
    fn in_c(&self, variant: &str) -> Option<&Cgroup> {
        self.in_c.iter().find(|(known, _)| *known == variant).map(|(_, cgroup)| cgroup)
    }

    /// The kernel's own count, program by program.
    fn look_inside(&mut self, report: &mut Report) -> Result<(), Error> {
        let Ok(_statistics) = kernel::statistics() else {
            report.note(WIRE, "No section 12: the kernel has no BPF_ENABLE_STATS.");
            return Ok(());
        };
        for variant in self.variants().into_iter().filter(|variant| *variant != OFF) {
            self.enter(variant)?;
            let programs = match self.in_c(variant) {
                Some(in_c) => kernel::programs_at(in_c.path())?,
                None => kernel::programs_of(self.daemon.pid())?,
            };
            if let Err(error) = kernel::run_times(&programs) {
                report.note(
                    WIRE,
                    format!("No section 12: bpftool does not tell ({error}, `scripts/setup bench`)."),
                );
                return Ok(());
            }
            for load in LOADS {
                for _ in 0..LOOKS {
                    self.count(load, variant, &programs, report)?;
                }
            }
        }
        Ok(())
    }

    fn count(
        &mut self,
        load: Load,
        variant: &str,
        programs: &[u64],
        report: &mut Report,
    ) -> Result<(), Error> {
        let before = kernel::run_times(programs)?;
        load.run(&mut self.meter)?;
        let (one, count) = load.one();
        let mut sum = 0.0;
        for (program, time) in kernel::run_times(programs)? {
            let earlier = before.get(&program).copied().unwrap_or_default();
            let nanos = time.saturating_sub(earlier) as f64 / count;
            sum += nanos;
            // The socket that is made once for everything is nothing worth a row.
            if nanos >= 20.0 {
                report.add(INSIDE, &format!("{one}, {program}; {variant}"), Unit::Nanoseconds, nanos);
            }
        }
        report.add(INSIDE, &format!("{one}, all; {variant}"), Unit::Nanoseconds, sum);
        Ok(())
    }
}

/// The variants that there are, each always in its place.
fn all() -> impl Iterator<Item = &'static str> {
    [OFF, ENFORCER].into_iter().chain(IN_C.into_iter().map(|(variant, _)| variant))
}

/// All programs in C, each with a cgroup of its own.
fn attach_all() -> Result<Vec<(&'static str, Cgroup)>, Error> {
    let attach = |(variant, source)| {
        let cgroup = Cgroup::new()?;
        peers_in_c::attach(source, &cgroup, &[FAR, BEYOND])?;
        Ok((variant, cgroup))
    };
    IN_C.into_iter().map(attach).collect()
}

/// Denies what it does not name. It has a rule about names, so the answers of resolvers are read as well.
fn policy() -> String {
    let far = format!("{{ name: far, action: allow, to: {{ cidrs: [\"{FAR}\", \"{BEYOND}\"] }} }}");
    let names = "{ name: names, action: allow, to: { names: [\".good.test\"] } }";
    format!("default: deny\n{}  - {far}\n  - {names}\n", head_of_policy())
}

fn compare(report: &mut Report) {
    for load in LOADS {
        let row = |what: &str| format!("{}; {what}", load.row());
        let (one, _) = load.one();
        let whole = |what: &str| format!("{one}, all; {what}");
        report.against(WIRE, &row(OFF), &[&row(ENFORCER), &row(IN_C[0].0), &row(IN_C[1].0)]);
        for (variant, _) in IN_C {
            report.against(WIRE, &row(variant), &[&row(ENFORCER)]);
            report.against(INSIDE, &whole(variant), &[&whole(ENFORCER)]);
        }
    }
    report.note(
        WIRE,
        "Aims for enforcer: TCP at least 0.97 x nothing attached; a connection at most 1.10 x the same duties in C, so at least \
         0.91 x as many datagrams. The duties: a connect is told to user space with who it is, a socket has a record of where it \
         may go. The least in C has one look into one map at each hook. Where the load is high, TCP's throughput tells who got \
         the processors.",
    );
    report.note(
        INSIDE,
        "Averages, by BPF_ENABLE_STATS, which itself adds some 20 ns to each run of each program: enforcer has four \
         at egress, two elsewhere.",
    );
}

fn at(address: Ipv4Addr) -> SocketAddrV4 {
    SocketAddrV4::new(address, 443)
}
