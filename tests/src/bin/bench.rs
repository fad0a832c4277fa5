//! Measures what enforcer costs, beside the same machine without it. `docs/benchmarks/README.md` says how to read it.
//!
//! ```text
//! bench [--rounds N] [--names N] [--only PART].. [--markdown FILE] [--json FILE]
//! ```
//!
//! The machine is taken to be noisy. What is compared is measured in turns, round by round, each round in another order;
//! ratios are taken within a round.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, TcpListener};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use enforcer_tests::{Cgroup, Client, Dnsmasq, Machine, Netns, enforcer, sibling, wait_for};
use serde_json::json;
use tempfile::TempDir;

use self::client::Meter;
use self::packets::Kind;
use self::programs::{Daemon, Rival};
use self::report::{Report, Unit};

#[path = "../bench/client.rs"]
mod client;
#[path = "../bench/kernel.rs"]
mod kernel;
#[path = "../bench/lists.rs"]
mod lists;
#[path = "../bench/packets.rs"]
mod packets;
#[path = "../bench/peers_in_c.rs"]
mod peers_in_c;
#[path = "../bench/programs.rs"]
mod programs;
#[path = "../bench/report.rs"]
mod report;
#[path = "../bench/sizes.rs"]
mod sizes;
#[path = "../bench/traffic.rs"]
mod traffic;
#[path = "../bench/wire.rs"]
mod wire;

type Error = Box<dyn std::error::Error>;

const CONNECTS: u32 = 4000;
const QUERIES: u32 = 2000;
const PACKETS: u32 = 10_000;
const IDLE: Duration = Duration::from_secs(10);
const RESOLVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 53);
/// `h0.evil.test` and so on have addresses from here; a little further on are those of `h0.good.test`.
const EVIL: u32 = u32::from_be_bytes([198, 19, 0, 1]);
const GOOD: u32 = u32::from_be_bytes([198, 19, 128, 1]);

const TCP: &str = "1. TCP connect() and close()";
const DNS: &str = "2. DNS query and answer over UDP";
const NAMES: &str = "3. A policy of many names";
const LEAKS: &str = "4. First connects to names that are denied";
const IDLING: &str = "5. The daemon without anything to do";
const START: &str = "6. Start with a small policy";
const PROGRAMS: &str = "7. Time inside the kernel programs";
const COSTS: &str = "9. What a packet costs that is received";

fn main() -> ExitCode {
    let outcome = match env::args().nth(1).as_deref() {
        Some("client") => client::main(),
        Some("check") => lists::main(),
        _ => Options::parse(env::args().skip(1)).and_then(|options| bench(&options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What can be measured alone. All but the wire are in one [`Lab`].
const PARTS: [&str; 9] =
    ["rounds", "forwarders", "leaks", "lists", "programs", "sizes", "idle", "phases", WIRE];
const WIRE: &str = "wire";

struct Options {
    rounds: usize,
    names: usize,
    /// Nothing is everything.
    only: Vec<String>,
    markdown: Option<PathBuf>,
    json: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut options = Self { rounds: 7, names: 1_000_000, only: Vec::new(), markdown: None, json: None };
        while let Some(option) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("`{option}` wants a value"))?;
            match option.as_str() {
                "--rounds" => options.rounds = value.parse()?,
                "--names" => options.names = value.parse()?,
                "--only" if PARTS.contains(&value.as_str()) => options.only.push(value),
                "--only" => {
                    return Err(format!("`--only {value}`: the parts are {}", PARTS.join(", ")).into());
                }
                "--markdown" => options.markdown = Some(value.into()),
                "--json" => options.json = Some(value.into()),
                _ => {
                    return Err(
                        "usage: bench [--rounds N] [--names N] [--only PART].. [--markdown FILE] [--json FILE]"
                            .into()
                    );
                }
            }
        }
        Ok(options)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }
}

/// Where it all happens. The daemon alone is in the initial network namespace.
struct Lab {
    // Dropped in this order: the client before its cgroup, the namespace last.
    meter: Meter,
    cgroup: Cgroup,
    _dnsmasq: Dnsmasq,
    netns: Netns,
    files: Files,
}

fn bench(options: &Options) -> Result<(), Error> {
    let began = Instant::now();
    let say = |text: &str| eprintln!("[{:5.1} s] {text}", began.elapsed().as_secs_f64());
    let mut report = Report::default();
    let before = load();
    let mut foreign = 0;
    if PARTS.iter().any(|&part| part != WIRE && options.wants(part)) {
        foreign += measure_in_lab(options, &mut report, &say)?;
    }
    if options.wants(WIRE) {
        say("the wire");
        foreign += wire::measure(&mut report, options.rounds)?;
    }

    let machine = machine(&before, foreign, began.elapsed());
    let text = format!("{}{}", head(&machine), report.markdown());
    println!("{text}");
    if let Some(path) = &options.markdown {
        fs::write(path, &text)?;
    }
    if let Some(path) = &options.json {
        let machine: serde_json::Map<_, _> =
            machine.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        fs::write(path, format!("{:#}\n", json!({ "machine": machine, "rows": report.json() })))?;
    }
    say("done");
    Ok(())
}

/// Returns in how many rounds others had programs attached.
fn measure_in_lab(options: &Options, report: &mut Report, say: &dyn Fn(&str)) -> Result<usize, Error> {
    say("setting up");
    let mut lab = Lab::new(options.names)?;
    let mut foreign = 0;
    let rounds = |part: &str, most: usize| 0..if options.wants(part) { options.rounds.min(most) } else { 0 };

    for round in rounds("rounds", usize::MAX) {
        say(&format!("round {} of {}", round + 1, options.rounds));
        let mut turns: [(&str, Turn); 3] =
            [("bare", bare_round), ("small", small_round), ("large", large_round)];
        turns.rotate_left(round % 3);
        foreign += usize::from(!alone(&lab.cgroup));
        for (name, turn) in turns {
            turn(&mut lab, report, round).map_err(|error| format!("{name}, round {round}: {error}"))?;
        }
    }
    for round in rounds("forwarders", 5) {
        say(&format!("forwarders, round {}", round + 1));
        forwarders(&mut lab, report, round)?;
    }
    for round in rounds("leaks", 5) {
        say(&format!("leaks, round {}", round + 1));
        leaks(&lab, report)?;
    }
    if options.wants("lists") {
        let lists = lists::Lists::new((0..options.names).map(|number| blocked(number as u64)))?;
        for round in rounds("lists", 5) {
            say(&format!("lists, round {}", round + 1));
            lists.round(&lab.netns, report)?;
        }
    }
    if options.wants("programs") {
        say("the kernel programs");
        program_times(&mut lab, report)?;
    }
    if options.wants("sizes") {
        say("sizes");
        sizes::measure(&mut lab.meter, &lab.cgroup, report, options.names)?;
    }
    if options.wants("idle") {
        say("idling");
        idle(&lab, report)?;
    }
    if options.wants("phases") {
        say("where a start spends its time");
        phases(&lab, report)?;
    }
    compare(report, options);
    Ok(foreign)
}

/// Waits a while for the programs of others to go; returns whether there are none.
fn alone(cgroup: &Cgroup) -> bool {
    let none = || (kernel::attached(cgroup.path()).unwrap_or_default() == 0).then_some(());
    wait_for(Duration::from_secs(10), none).is_some()
}

type Turn = fn(&mut Lab, &mut Report, usize) -> Result<(), Error>;

/// Nothing attached; and dnsmasq with the names, which is nothing attached either.
fn bare_round(lab: &mut Lab, report: &mut Report, round: usize) -> Result<(), Error> {
    connects(lab, report, "nothing attached", lab.good(), false)?;
    queries(lab, report, "nothing attached", "good.test")?;
    for (what, kind) in BARE {
        packets(lab, report, what, kind)?;
    }
    let files = &lab.files;
    files.write(round)?;
    let rival = Rival::start(&lab.netns, &files.servers(), &Files::edited(round, 0))?;
    report.add(NAMES, "dnsmasq: start to first answer", Unit::Milliseconds, millis(rival.ready));
    report.add(NAMES, "dnsmasq: memory (RSS)", Unit::Mebibytes, kernel::memory(rival.pid(), "VmRSS")?);
    files.write(round + 1000)?;
    let reload = rival.reload(&lab.netns, &Files::edited(round + 1000, 0))?;
    report.add(NAMES, "dnsmasq: reload after 10 lines changed", Unit::Milliseconds, millis(reload));
    Ok(())
}

/// One name denied.
fn small_round(lab: &mut Lab, report: &mut Report, _: usize) -> Result<(), Error> {
    let daemon = Daemon::start(&lab.cgroup, &lab.files.small(), &[])?;
    report.add(START, "start to ready", Unit::Milliseconds, millis(daemon.ready));
    report.add(START, "CPU time of it", Unit::Milliseconds, kernel::usage(daemon.pid())?.cpu);
    connects(lab, report, "enforcer, one name denied", lab.good(), false)?;
    // The address is bound by its answer.
    lab.meter.query(RESOLVER, "evil.test", 1)?;
    connects(lab, report, "enforcer, this address denied (EPERM)", lab.evil(), true)?;
    queries(lab, report, "enforcer, the name matches nothing", "good.test")?;
    queries(lab, report, "enforcer, the name is denied and bound", "evil.test")?;
    for (what, kind, _) in ATTACHED {
        packets(lab, report, what, kind)?;
    }
    daemon.stop()
}

/// Round trips with nothing attached.
const BARE: [(&str, Kind); 3] = [
    ("DNS query and answer, nothing attached", Kind::Answer("good.test")),
    ("other UDP there and back, nothing attached", Kind::Udp),
    ("TCP data there and back, nothing attached", Kind::Tcp),
];

/// The same with enforcer, and the number of the row above that each is set against.
const ATTACHED: [(&str, Kind, usize); 4] = [
    ("DNS query and answer that matches nothing, enforcer", Kind::Answer("good.test"), 0),
    ("DNS query and answer that is denied and bound, enforcer", Kind::Answer("evil.test"), 0),
    ("other UDP there and back, enforcer", Kind::Udp, 1),
    ("TCP data there and back, enforcer", Kind::Tcp, 2),
];

fn packets(lab: &mut Lab, report: &mut Report, what: &str, kind: Kind) -> Result<(), Error> {
    let batch = lab.meter.packets(kind, PACKETS)?;
    report.add(COSTS, &format!("p50, {what}"), Unit::Microseconds, batch.p50);
    Ok(())
}

/// What else puts the addresses of names where the kernel looks at them: dnsmasq, an nftables set. It does so for answers
/// that it was asked to fetch, so here are two that forward, one with a set.
fn forwarders(lab: &mut Lab, report: &mut Report, round: usize) -> Result<(), Error> {
    const TABLE: &str =
        "add table inet bench; add set inet bench seen { type ipv4_addr; }; flush set inet bench seen";
    let nft = |text: &str| Ok::<_, Error>(lab.netns.command("nft")?.arg(text).output()?);
    if !nft(TABLE).is_ok_and(|output| output.status.success()) {
        report.note(DNS, "dnsmasq with `--nftset` not measured: no nft here, or no nf_tables in the kernel.");
        return Ok(());
    }
    let mut variants =
        [("dnsmasq that forwards", None), ("dnsmasq that forwards, with `--nftset`", Some(SET))];
    variants.rotate_left(round % 2);
    for (what, set) in variants {
        let forwarder = Rival::forwarder(&lab.netns, FORWARDER, RESOLVER, set)?;
        let batch = lab.meter.query(FORWARDER, "evil.test", QUERIES)?;
        report.add(DNS, &format!("p50, {what}"), Unit::Microseconds, batch.p50);
        report.add(DNS, &format!("p99, {what}"), Unit::Microseconds, batch.p99);
        drop(forwarder);
    }
    let listed = String::from_utf8(nft("list set inet bench seen")?.stdout)?;
    if !listed.contains(&Ipv4Addr::from(EVIL).to_string()) {
        return Err("dnsmasq put no address into the set".into());
    }
    Ok(())
}

const FORWARDER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 56);
/// Names below this, into this set.
const SET: (&str, &str) = ("evil.test", "4#inet#bench#seen");

/// A million names denied.
fn large_round(lab: &mut Lab, report: &mut Report, round: usize) -> Result<(), Error> {
    lab.files.write(round)?;
    let daemon = Daemon::start(&lab.cgroup, &lab.files.large(), &[])?;
    report.add(NAMES, "enforcer: start to ready", Unit::Milliseconds, millis(daemon.ready));
    report.add(NAMES, "enforcer: CPU time of it", Unit::Milliseconds, kernel::usage(daemon.pid())?.cpu);
    report.add(NAMES, "enforcer: memory (RSS)", Unit::Mebibytes, kernel::memory(daemon.pid(), "VmRSS")?);
    report.add(NAMES, "enforcer: most memory", Unit::Mebibytes, kernel::memory(daemon.pid(), "VmHWM")?);
    if let Ok(memory) = kernel::map_memory(daemon.pid()) {
        report.add(
            NAMES,
            "enforcer: kernel memory of all maps",
            Unit::Mebibytes,
            mebibytes(memory.values().sum()),
        );
        let image = memory.get("IMAGES").copied().unwrap_or_default();
        report.add(NAMES, "enforcer: .. of them the names", Unit::Mebibytes, mebibytes(image));
    }
    connects(lab, report, "enforcer, a million names denied", lab.good(), false)?;
    queries(lab, report, "enforcer, a million names, matches nothing", "good.test")?;
    lab.files.prepare(round + 1000)?;
    let began = Instant::now();
    lab.files.put()?;
    daemon.wait_for_reload()?;
    report.add(NAMES, "enforcer: reload after 10 lines changed", Unit::Milliseconds, millis(began.elapsed()));
    report.add(
        NAMES,
        "enforcer: memory (RSS) after it",
        Unit::Mebibytes,
        kernel::memory(daemon.pid(), "VmRSS")?,
    );
    daemon.stop()?;
    // What a run does twice, and what nothing else is in.
    let began = Instant::now();
    let checked = Command::new(enforcer()?).arg("check").arg(lab.files.large()).output()?;
    if !checked.status.success() {
        return Err(String::from_utf8_lossy(&checked.stderr).into());
    }
    report.add(NAMES, "enforcer: `enforcer check` of the files", Unit::Milliseconds, millis(began.elapsed()));
    Ok(())
}

fn connects(
    lab: &mut Lab,
    report: &mut Report,
    what: &str,
    to: SocketAddrV4,
    refused: bool,
) -> Result<(), Error> {
    let batch = lab.meter.connect(to, CONNECTS, refused)?;
    report.add(TCP, &format!("p50, {what}"), Unit::Microseconds, batch.p50);
    report.add(TCP, &format!("p99, {what}"), Unit::Microseconds, batch.p99);
    Ok(())
}

fn queries(lab: &mut Lab, report: &mut Report, what: &str, suffix: &str) -> Result<(), Error> {
    let batch = lab.meter.query(RESOLVER, suffix, QUERIES)?;
    report.add(DNS, &format!("p50, {what}"), Unit::Microseconds, batch.p50);
    report.add(DNS, &format!("p99, {what}"), Unit::Microseconds, batch.p99);
    Ok(())
}

/// Resolves each name and connects to it at once, as programs do.
fn leaks(lab: &Lab, report: &mut Report) -> Result<(), Error> {
    for (what, arguments) in
        [("let through, by enforcer", [].as_slice()), ("let through, with `--no-binder`", &["--no-binder"])]
    {
        let daemon = Daemon::start(&lab.cgroup, &lab.files.small(), arguments)?;
        let place = Client::new(&lab.netns).cgroup(&lab.cgroup);
        let attempts = place.connect_each("h{}.evil.test", 443, QUERIES)?;
        let connected = attempts.iter().filter(|attempt| attempt.is_ok()).count();
        let refused = attempts.iter().filter(|attempt| attempt.errno() == Some("EPERM")).count();
        if connected + refused != QUERIES as usize {
            return Err(format!("{QUERIES} names, {connected} connections, {refused} refused").into());
        }
        report.add(LEAKS, what, Unit::Percent, 100.0 * connected as f64 / f64::from(QUERIES));
        daemon.stop()?;
    }
    Ok(())
}

/// The kernel's own statistics, which slow every program down a little: none of the other figures are taken with them.
fn program_times(lab: &mut Lab, report: &mut Report) -> Result<(), Error> {
    let Ok(_statistics) = kernel::statistics() else {
        report.note(PROGRAMS, "Not measured: the kernel has no BPF_ENABLE_STATS.");
        return Ok(());
    };
    for (policy, size) in [(lab.files.small(), "one name"), (lab.files.large(), "a million names")] {
        let daemon = Daemon::start(&lab.cgroup, &policy, &[])?;
        let pid = daemon.pid();
        lab.meter.query(RESOLVER, "evil.test", 1)?;
        let (good, evil) = (lab.good(), lab.evil());
        for _ in 0..3 {
            let mut measure = |what: &str, per: u32, work: &mut dyn FnMut() -> Result<(), Error>| {
                let before = kernel::runs(pid)?;
                work()?;
                let after = kernel::runs(pid)?;
                let micros = |before: (u64, u64), after: (u64, u64)| (after.0 - before.0) as f64 / 1e3;
                for (program, time) in [
                    ("hooks of calls", micros(before.calls, after.calls)),
                    ("hooks of packets", micros(before.packets, after.packets)),
                ] {
                    // The one connect() of a resolver's socket is nothing worth a row.
                    if time >= 0.1 * f64::from(per) {
                        let row = format!("{program}, per {what}; {size}");
                        report.add(PROGRAMS, &row, Unit::Microseconds, time / f64::from(per));
                    }
                }
                Ok::<(), Error>(())
            };
            // The client warms up with the same, so these are averages over both.
            measure("connect that is allowed", CONNECTS + 100, &mut || {
                lab.meter.connect(good, CONNECTS, false).map(drop)
            })?;
            measure("connect that is refused", CONNECTS + 100, &mut || {
                lab.meter.connect(evil, CONNECTS, true).map(drop)
            })?;
            measure("query, name matches nothing", QUERIES + 100, &mut || {
                lab.meter.query(RESOLVER, "good.test", QUERIES).map(drop)
            })?;
            measure("query, name denied", QUERIES + 100, &mut || {
                lab.meter.query(RESOLVER, "evil.test", QUERIES).map(drop)
            })?;
        }
        daemon.stop()?;
    }
    report.note(
        PROGRAMS,
        "Averages, by BPF_ENABLE_STATS. A connect is several packets, a query two (question and answer); each is sent and received.",
    );
    Ok(())
}

fn idle(lab: &Lab, report: &mut Report) -> Result<(), Error> {
    for (policy, size) in [(lab.files.small(), "one name"), (lab.files.large(), "a million names")] {
        let daemon = Daemon::start(&lab.cgroup, &policy, &[])?;
        thread::sleep(Duration::from_secs(2));
        let before = kernel::usage(daemon.pid())?;
        thread::sleep(IDLE);
        let after = kernel::usage(daemon.pid())?;
        let share = (after.cpu - before.cpu) / millis(IDLE) * 100.0;
        let switches = (after.switches - before.switches) as f64;
        report.add(IDLING, &format!("share of one CPU over 10 s; {size}"), Unit::Percent, share);
        report.add(IDLING, &format!("context switches in 10 s; {size}"), Unit::Count, switches);
        report.add(
            IDLING,
            &format!("memory (RSS); {size}"),
            Unit::Mebibytes,
            kernel::memory(daemon.pid(), "VmRSS")?,
        );
        if let Ok(memory) = kernel::map_memory(daemon.pid()) {
            let all = mebibytes(memory.values().sum());
            report.add(IDLING, &format!("kernel memory of all maps; {size}"), Unit::Mebibytes, all);
            for name in ["FRESH", "EVENTS", "ANSWERS"] {
                let bytes = memory.get(name).copied().unwrap_or_default();
                report.add(IDLING, &format!(".. of them {name}; {size}"), Unit::Mebibytes, mebibytes(bytes));
            }
        }
        daemon.stop()?;
    }
    Ok(())
}

fn phases(lab: &Lab, report: &mut Report) -> Result<(), Error> {
    let daemon = Daemon::start(&lab.cgroup, &lab.files.small(), &[])?;
    let verified = kernel::verified(daemon.pid())?;
    daemon.stop()?;
    report.add(START, "instructions that the verifier went through", Unit::Count, verified as f64);
    if Command::new("strace").arg("--version").output().is_err() {
        report.note(START, "Phases not measured: no strace here.");
        return Ok(());
    }
    let phases = programs::phases(&lab.cgroup, &lab.files.small())?;
    for (call, time, count) in phases.iter().filter(|(_, time, _)| *time >= 1.0) {
        report.add(START, &format!("in {count} x {call}"), Unit::Milliseconds, *time);
    }
    report.note(
        START,
        "`in N x CALL` is time inside these system calls of the main thread, from one start under strace.",
    );
    Ok(())
}

/// Which row is set against which.
fn compare(report: &mut Report, options: &Options) {
    for percentile in ["p50", "p99"] {
        let baseline = if percentile == "p50" { "p50, nothing attached" } else { "p99, nothing attached" };
        for (group, rows) in [
            (
                TCP,
                [
                    "enforcer, one name denied",
                    "enforcer, a million names denied",
                    "enforcer, this address denied (EPERM)",
                ],
            ),
            (
                DNS,
                [
                    "enforcer, the name matches nothing",
                    "enforcer, the name is denied and bound",
                    "enforcer, a million names, matches nothing",
                ],
            ),
        ] {
            let rows = rows.map(|row| format!("{percentile}, {row}"));
            report.against(group, baseline, &rows.each_ref().map(String::as_str));
        }
    }
    report.against(DNS, "p50, dnsmasq that forwards", &["p50, dnsmasq that forwards, with `--nftset`"]);
    for (what, _, baseline) in ATTACHED {
        let Some((baseline, _)) = BARE.get(baseline) else { continue };
        let (row, baseline) = (format!("p50, {what}"), format!("p50, {baseline}"));
        // A packet there and one back are alike, a query and its answer are not.
        let (per, among) = if what.contains("DNS") { ("query and answer", 1.0) } else { ("packet", 2.0) };
        report.difference(COSTS, &row, &baseline, among, &format!("added a {per}: {what}"));
    }
    report.difference(
        DNS,
        "p50, dnsmasq that forwards, with `--nftset`",
        "p50, dnsmasq that forwards",
        1.0,
        "added by `--nftset`",
    );
    report.note(
        COSTS,
        "Both ends are sockets of one thread, so nobody is woken. `added` is the difference within a round. The four times \
         added are those to compare with `--nftset` in section 2, which costs its time before the answer is sent.",
    );
    report.note(
        DNS,
        "The forwarding dnsmasq keeps nothing and asks the other one for each name; `--nftset` puts each address into a set \
         of nftables before it answers.",
    );
    report.against(NAMES, "dnsmasq: start to first answer", &["enforcer: start to ready"]);
    report.against(
        NAMES,
        "dnsmasq: reload after 10 lines changed",
        &["enforcer: reload after 10 lines changed"],
    );
    report.against(NAMES, "dnsmasq: memory (RSS)", &["enforcer: memory (RSS)"]);
    report.note(
        NAMES,
        format!(
            "{} names, each with everything below it, in one file: `.NAME` a line for enforcer, `server=/NAME/` a line in \
             a `--servers-file` for dnsmasq (the one file of domains that it reads again on SIGHUP, and the form that its \
             changelog calls fast). The reload of enforcer begins with the rename of the file and waits 50 ms for \
             further changes; that of dnsmasq begins with the signal.",
            options.names
        ),
    );
    lists::compare(report, options.names);
    report.note(LEAKS, format!("Each round {QUERIES} names that nobody has asked for, each with an address of its own. With \
         `--no-binder` nothing is bound before the daemon's next turn: what the binder is good for, not what a daemon \
         that hurries would reach."));
}

impl Lab {
    fn new(names: usize) -> Result<Self, Error> {
        sibling("peer")?;
        let files = Files::new(names)?;
        let netns = Netns::new()?;
        let mut dnsmasq = Dnsmasq::builder(&netns);
        for (suffix, first) in [("evil.test", EVIL), ("good.test", GOOD)] {
            for number in 0..QUERIES {
                dnsmasq = dnsmasq.name(&format!("h{number}.{suffix}"), Ipv4Addr::from(first + number));
            }
        }
        let dnsmasq = dnsmasq.start()?;
        netns.run(serve)??;
        let cgroup = Cgroup::new()?;
        let meter = Meter::start(&Client::new(&netns).cgroup(&cgroup))?;
        Ok(Self { meter, cgroup, _dnsmasq: dnsmasq, netns, files })
    }

    /// An address that no rule knows.
    fn good(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from(GOOD), 443)
    }

    /// The address of `h0.evil.test`.
    fn evil(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from(EVIL), 443)
    }
}

/// Accepts and closes, on the CPU that the client is not on, until the process ends.
fn serve() -> Result<(), String> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 443)).map_err(|error| error.to_string())?;
    // Room for all that come while the daemon has this CPU. SAFETY: takes numbers only.
    unsafe { libc::listen(listener.as_raw_fd(), 4096) };
    thread::spawn(move || {
        client::pin(1);
        loop {
            drop(listener.accept());
        }
    });
    Ok(())
}

/// The policies, and the list of names as enforcer and as dnsmasq read it.
struct Files {
    directory: TempDir,
    /// All lines but the ten that are edited.
    list: String,
    servers: String,
}

const LIST: &str = "names.txt";
const SERVERS: &str = "servers.conf";
/// How many names an edit changes.
const EDITED: usize = 10;

impl Files {
    fn new(names: usize) -> Result<Self, Error> {
        let (mut list, mut servers) = (String::new(), String::new());
        for number in 0..names.saturating_sub(EDITED) {
            let name = blocked(number as u64);
            // Writing to a String does not fail.
            let _ = writeln!(list, ".{name}");
            let _ = writeln!(servers, "server=/{name}/");
        }
        let files = Self { directory: tempfile::tempdir()?, list, servers };
        fs::create_dir(files.directory.path().join("next"))?;
        let head = head_of_policy();
        let rule = "  - { name: evil, action: deny, to: { names: [\".evil.test\"] } }\n";
        fs::write(files.small(), format!("{head}{rule}"))?;
        let list = "  - { name: list, action: deny, to: { lists: [\"names.txt\"] } }\n";
        fs::write(files.large(), format!("{head}{rule}{list}"))?;
        files.write(0)?;
        Ok(files)
    }

    fn small(&self) -> PathBuf {
        self.directory.path().join("small.yaml")
    }

    fn large(&self) -> PathBuf {
        self.directory.path().join("large.yaml")
    }

    fn servers(&self) -> PathBuf {
        self.directory.path().join(SERVERS)
    }

    /// One of the ten names that are others in each edition.
    fn edited(edition: usize, number: usize) -> String {
        format!("edited-{edition}-{number}.example")
    }

    fn write(&self, edition: usize) -> Result<(), Error> {
        self.prepare(edition)?;
        self.put()
    }

    /// Writes both lists where nobody looks.
    fn prepare(&self, edition: usize) -> Result<(), Error> {
        let edited = |line: &dyn Fn(String) -> String| -> String {
            (0..EDITED).map(|number| line(Self::edited(edition, number))).collect()
        };
        let next = self.directory.path().join("next");
        let list = edited(&|name| format!(".{name}\n"));
        fs::write(next.join(LIST), format!("{}{list}", self.list))?;
        let servers = edited(&|name| format!("server=/{name}/\n"));
        fs::write(next.join(SERVERS), format!("{}{servers}", self.servers))?;
        Ok(())
    }

    /// Puts what was prepared in its place.
    fn put(&self) -> Result<(), Error> {
        let directory = self.directory.path();
        for name in [SERVERS, LIST] {
            fs::rename(directory.join("next").join(name), directory.join(name))?;
        }
        Ok(())
    }
}

/// How the policies here start: they trust the resolvers of the benchmark.
fn head_of_policy() -> String {
    let server = packets::SERVER;
    format!("version: 1\ndns: {{ trustedResolvers: [\"{RESOLVER}\", \"{server}\"] }}\nrules:\n")
}

/// One of many names, of the length that names on such lists have (19 bytes on average), the same in each run.
fn blocked(number: u64) -> String {
    // The mixing of splitmix64: one-to-one, so no name comes twice.
    let mut word = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^= word >> 31;
    let tail = ["com", "net", "org", "info", "example"].get((word % 5) as usize).copied().unwrap_or("com");
    let mut label = String::new();
    let mut rest = word;
    while rest > 0 {
        label.push(char::from(b'a' + (rest % 26) as u8));
        rest /= 26;
    }
    format!("{label}.{tail}")
}

/// What the figures were taken on.
fn machine(load_before: &str, foreign: usize, took: Duration) -> Vec<(&'static str, String)> {
    let first = |text: String| text.lines().next().unwrap_or_default().trim().to_owned();
    let said = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.map_or_else(|_| "?".to_owned(), |output| first(String::from_utf8_lossy(&output.stdout).into()))
    };
    let after = |path: &str, start: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    let mut facts = vec![
        ("date", said(Path::new("date"), &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("kernel", Machine::current().release().to_owned()),
        ("processor", format!("{cpus} x {}", after("/proc/cpuinfo", "model name"))),
        ("memory", after("/proc/meminfo", "MemTotal")),
        ("enforcer", enforcer().map_or_else(|_| "?".to_owned(), |path| said(&path, &["--version"]))),
        ("commit", env::var("ENFORCER_COMMIT").unwrap_or_else(|_| "?".to_owned())),
        ("backend", "cgroup, in a cgroup of its own".to_owned()),
        ("dnsmasq", said(Path::new("dnsmasq"), &["--version"])),
        ("load before", load_before.to_owned()),
        ("load after", load()),
        ("took", format!("{:.0} s", took.as_secs_f64())),
    ];
    if foreign > 0 {
        let warning = format!(
            "in {foreign} rounds others had programs attached: \"nothing attached\" is not true of them"
        );
        facts.push(("WARNING", warning));
    }
    facts
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn head(machine: &[(&'static str, String)]) -> String {
    let mut text = "# Benchmarks: the last run\n\nWritten by `make bench`; [how to read it](README.md).\n\n| | |\n|---|---|\n"
        .to_owned();
    for (what, value) in machine {
        // Writing to a String does not fail.
        let _ = writeln!(text, "| {what} | {value} |");
    }
    text
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
