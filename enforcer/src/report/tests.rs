use super::clock::{Rfc3339, TimeOfDay};
use super::{
    Backend, ClosedFlow, Connect, Event, Format, IpProtocol, RuleName, Sink, SinkSpec, SpecError, Target,
    json, text,
};
use crate::cause::Cause;
use crate::name::Name;
use policy_schema::{Mode, Verdict};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn at(seconds: u64, nanoseconds: u32) -> SystemTime {
    UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}

fn connect() -> Connect {
    let rule = RuleName::Rule { policy: "ci-guard".into(), name: "malware".into() };
    Connect {
        time: at(1_790_000_000, 123_456_789),
        address: "203.0.113.7".parse().unwrap(),
        port: 443,
        results: vec![Name::from_policy("www.evil.example")],
        cause: None,
        protocol: IpProtocol::TCP,
        verdict: Verdict::Deny,
        blocked: true,
        mode: Mode::Enforce,
        rule: rule.clone(),
        effective_rule: rule,
        policy_version: 3,
        pid: 12,
        ppid: 1,
        tid: 13,
        uid: 1000,
        comm: "curl".into(),
        exe: Some("/usr/bin/curl".into()),
        cgroup: Some("/ci/job".into()),
        backend: Backend::Lsm,
    }
}

fn as_json(event: &Event) -> String {
    let mut out = Vec::new();
    json::write(event, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn as_text(event: &Event) -> String {
    let mut out = Vec::new();
    text::write(event, false, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn dates_are_right_across_leap_years() {
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00"),
        (951_782_399, "2000-02-28T23:59:59"),
        (951_782_400, "2000-02-29T00:00:00"),
        (951_868_800, "2000-03-01T00:00:00"),
        (1_790_000_000, "2026-09-21T14:13:20"),
        (4_107_542_399, "2100-02-28T23:59:59"),
        (4_107_542_400, "2100-03-01T00:00:00"),
    ] {
        assert_eq!(Rfc3339(at(seconds, 7)).to_string(), format!("{expected}.000000007Z"));
    }
    assert_eq!(TimeOfDay(at(1_790_000_000, 123_456_789)).to_string(), "14:13:20.123");
    assert_eq!(Rfc3339(UNIX_EPOCH - Duration::from_secs(5)).to_string(), "1970-01-01T00:00:00.000000000Z");
}

#[test]
fn a_packet_of_nobody_has_no_process() {
    let packet =
        Connect { pid: 0, ppid: 0, tid: 0, comm: String::new(), protocol: IpProtocol(58), ..connect() };
    let line = as_json(&Event::NetPacketDenied(packet.clone()));
    assert!(line.starts_with(r#"{"event":"NetPacketDenied","time":"#), "{line}");
    assert!(line.contains(r#""proto":"ipv6-icmp""#), "{line}");
    assert!(line.contains(r#""pid":null,"ppid":null,"tid":null,"uid":1000,"comm":null"#), "{line}");
    let text = as_text(&Event::NetPacketDenied(packet));
    assert!(text.contains("www.evil.example:443/ipv6-icmp (203.0.113.7)"), "{text}");
    assert!(!text.contains("[0]"), "{text}");
    let line = as_json(&Event::NetUdpSend(Connect { protocol: IpProtocol(200), ..connect() }));
    assert!(line.starts_with(r#"{"event":"NetUDPSend","#) && line.contains(r#""proto":"200""#), "{line}");
}

#[test]
fn a_refused_lookup_has_the_question_or_says_that_there_is_none() {
    let server = Connect {
        address: "198.18.0.53".parse().unwrap(),
        port: 53,
        results: Vec::new(),
        protocol: IpProtocol::UDP,
        ..connect()
    };
    let question = Some(Name::from_policy("www.evil.example"));
    let asked = Event::DnsQueryRefused { question, attempt: server.clone() };
    let line = as_json(&asked);
    assert!(line.starts_with(r#"{"event":"DNSQueryRefused","#), "{line}");
    assert!(line.contains(r#""question":"www.evil.example""#), "{line}");
    assert!(line.contains(r#""dstIP":"198.18.0.53","dstPort":53"#), "{line}");
    assert!(line.contains(r#""rule":"malware""#), "{line}");
    let text = as_text(&asked);
    assert!(text.contains("lookup of www.evil.example at 198.18.0.53:53"), "{text}");
    assert!(text.contains("DENY") && text.lines().count() == 1, "{text}");

    let unreadable = Event::DnsQueryRefused { question: None, attempt: server };
    let line = as_json(&unreadable);
    assert!(line.contains(r#""question":null"#), "{line}");
    let text = as_text(&unreadable);
    assert!(text.contains("unreadable query to 198.18.0.53:53"), "{text}");
}

#[test]
fn an_address_without_a_name_has_a_cause() {
    let event = Connect { results: Vec::new(), cause: Some(Cause::BeforeStart), ..connect() };
    assert!(as_json(&Event::NetTcpConnect(event)).contains(r#""results":[],"cause":"beforeStart","proto""#));
}

#[test]
fn a_connect_in_json_has_the_keys_of_the_interface() {
    let expected = concat!(
        r#"{"event":"NetTCPConnect","time":"2026-09-21T14:13:20.123456789Z","dstIP":"203.0.113.7","dstPort":443,"#,
        r#""results":["www.evil.example"],"proto":"tcp","verdict":"deny","wouldDeny":true,"blocked":true,"#,
        r#""mode":"enforce","policy":"ci-guard","rule":"malware","effectivePolicy":"ci-guard","#,
        r#""effectiveRule":"malware","policyVersion":3,"pid":12,"ppid":1,"tid":13,"uid":1000,"comm":"curl","#,
        r#""exe":"/usr/bin/curl","cgroup":"/ci/job","backend":"lsm"}"#,
        "\n"
    );
    assert_eq!(as_json(&Event::NetTcpConnect(connect())), expected);
}

#[test]
fn what_is_no_rule_has_its_words() {
    let line = |rule: RuleName| {
        let event = Event::NetTcpConnect(Connect { rule, exe: None, ..connect() });
        serde_json::from_str::<serde_json::Value>(&as_json(&event)).unwrap()
    };
    let default = line(RuleName::Default(None));
    assert!(default["rule"].is_null() && default["policy"].is_null() && default["exe"].is_null());
    assert_eq!(line(RuleName::Default(Some("ci-guard".into())))["policy"], "ci-guard");
    assert_eq!(line(RuleName::Builtin)["rule"], "builtin");
    assert_eq!(line(RuleName::Error)["rule"], "error");
}

#[test]
fn a_connect_in_text_is_one_aligned_line() {
    let event = |blocked, verdict| Event::NetTcpConnect(Connect { blocked, verdict, ..connect() });
    let deny = as_text(&event(true, Verdict::Deny));
    let would = as_text(&event(false, Verdict::Deny));
    let allow = as_text(&event(false, Verdict::Allow));
    assert_eq!(
        deny,
        format!(
            "14:13:20.123 DENY       {:<44} {:<28} ci-guard/malware\n",
            "www.evil.example:443 (203.0.113.7)", "curl[12] uid=1000"
        )
    );
    assert!(would.contains(" WOULD-DENY ") && allow.contains(" ALLOW "));
    for line in [would, allow] {
        assert_eq!(line.find("curl"), deny.find("curl"));
    }
    let bare = Connect {
        results: vec![],
        address: "2001:db8::7".parse().unwrap(),
        protocol: IpProtocol::UDP,
        ..connect()
    };
    assert!(as_text(&Event::NetTcpConnect(bare)).contains(" [2001:db8::7]:443/udp "));
    let mut coloured = Vec::new();
    text::write(&event(true, Verdict::Deny), true, &mut coloured).unwrap();
    assert!(String::from_utf8(coloured).unwrap().contains("\x1b[31mDENY      \x1b[0m "));
}

#[test]
fn hostile_text_reaches_no_terminal() {
    let hostile = "a\x1b[2J\n\u{9b}1m\u{202e} b\\\u{1f600}ä";
    let event = Event::NetTcpConnect(Connect {
        comm: hostile.into(),
        exe: Some(hostile.into()),
        results: vec![Name::from_labels([&b"\x1b]0;x\x07"[..], b"test"])],
        ..connect()
    });
    let (text, json) = (as_text(&event), as_json(&event));
    for line in [&text, &json] {
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.trim_end().chars().all(|c| c.is_ascii_graphic() || c == ' ' || c == 'ä'), "{line}");
    }
    assert!(text.contains(r"a\x1b[2J\x0a\u{9b}1m\u{202e}\x20b\\\u{1f600}ä[12]"), "{text}");
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["comm"], hostile);
    assert_eq!(parsed["results"][0], r"\027\0930\059x\007.test");
}

#[test]
fn the_other_events_are_written_in_both_formats() {
    let time = at(0, 0);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let rule = RuleName::Rule { policy: "p".into(), name: "r".into() };
    let source = policy_schema::Source { path: "p.yaml".into(), text: "version: 1\nrulez: []\n".into() };
    let diagnostics =
        policy_schema::Policy::parse(&source, &policy_schema::NoLists).unwrap_err().into_diagnostics();
    for (event, json, text) in [
        (Event::EventsLost { time, count: 5 }, r#""event":"EventsLost""#, "LOST       5 events"),
        (
            Event::PolicyReloaded {
                time,
                version: 2,
                added: names(&["p/a", "p/b"]),
                removed: vec![],
                changed: names(&["p/c"]),
            },
            r#""policyVersion":2,"added":["p/a","p/b"],"removed":[],"changed":["p/c"]"#,
            "RELOADED   version 2, added: p/a p/b, changed: p/c",
        ),
        (
            Event::PolicyRejected { time, diagnostics },
            r#""diagnostics":[{"#,
            "REJECTED   p.yaml:2:1: unknown key `rulez` (hint: ",
        ),
        (
            Event::ProtectedAddress {
                time,
                name: Name::from_policy("a.test"),
                address: [127, 0, 0, 1].into(),
                rule,
            },
            r#""name":"a.test","address":"127.0.0.1","policy":"p","rule":"r"}"#,
            "PROTECTED  a.test has the address 127.0.0.1, which no name denies  p/r",
        ),
        (
            Event::StatusChanged {
                time,
                from: "Enforced".into(),
                to: "Degraded".into(),
                reasons: names(&["one", "two"]),
            },
            r#""from":"Enforced","to":"Degraded","reasons":["one","two"]"#,
            "STATUS     Enforced -> Degraded: one; two",
        ),
    ] {
        assert!(as_json(&event).contains(json), "{}", as_json(&event));
        assert!(as_text(&event).starts_with(&format!("00:00:00.000 {text}")), "{}", as_text(&event));
        assert!(as_json(&event).contains(r#""time":"1970-01-01T00:00:00.000000000Z""#));
    }
}

#[test]
fn a_closed_flow_has_names_rule_and_what_is_known_of_it() {
    let known = ClosedFlow {
        time: at(0, 0),
        address: "203.0.113.7".parse().unwrap(),
        port: 443,
        results: vec![Name::from_policy("www.evil.example")],
        protocol: IpProtocol::TCP,
        age: Some(Duration::from_micros(90_061_234)),
        rule: RuleName::Rule { policy: "p".into(), name: "c2".into() },
        policy_version: 3,
        pid: 12,
        uid: 1000,
        comm: "cu\u{1b}rl".into(),
        cgroup: Some("/ci/job".into()),
    };
    let unknown =
        ClosedFlow { age: None, pid: 0, comm: String::new(), cgroup: None, results: vec![], ..known.clone() };
    let (known, unknown) = (Event::FlowClosed(known), Event::FlowClosed(unknown));
    assert_eq!(
        as_json(&known),
        concat!(
            r#"{"event":"FlowClosed","time":"1970-01-01T00:00:00.000000000Z","dstIP":"203.0.113.7","dstPort":443,"#,
            r#""results":["www.evil.example"],"proto":"tcp","ageSeconds":90.061,"policy":"p","rule":"c2","#,
            r#""policyVersion":3,"pid":12,"uid":1000,"comm":"cu\u001brl","cgroup":"/ci/job"}"#,
            "\n"
        )
    );
    assert!(as_json(&unknown).contains(r#""ageSeconds":null,"#), "{}", as_json(&unknown));
    assert!(as_json(&unknown).ends_with("\"pid\":null,\"uid\":1000,\"comm\":null,\"cgroup\":null}\n"));
    assert!(as_text(&known).starts_with("00:00:00.000 CLOSED     www.evil.example:443 (203.0.113.7) "));
    assert!(as_text(&known).ends_with("p/c2 after 90.1s\n"), "{}", as_text(&known));
    assert!(!as_text(&known).contains('\u{1b}'), "{}", as_text(&known));
    assert!(
        as_text(&unknown).contains(" 203.0.113.7:443 ")
            && as_text(&unknown).ends_with("uid=1000                     p/c2\n")
    );
}

#[test]
fn a_sink_is_named_by_format_and_path() {
    let spec = |text: &str| text.parse::<SinkSpec>();
    let file = |path: &str| Target::File(path.into());
    assert_eq!(spec("-").unwrap(), SinkSpec { format: None, target: Target::Stdout });
    assert_eq!(spec("json=-").unwrap(), SinkSpec { format: Some(Format::Json), target: Target::Stdout });
    assert_eq!(
        spec("text=/var/log/e").unwrap(),
        SinkSpec { format: Some(Format::Text), target: file("/var/log/e") }
    );
    assert_eq!(spec("./a=b").unwrap(), SinkSpec { format: None, target: file("./a=b") });
    assert_eq!(spec("json=a=b").unwrap().target, file("a=b"));
    assert_eq!(spec(""), Err(SpecError::Empty));
    assert_eq!(spec("json="), Err(SpecError::Empty));
    for planned in ["tracee", "tracee-v0", "ocsf"] {
        assert_eq!(spec(&format!("{planned}=-")), Err(SpecError::NotYet(planned.into())));
    }
    let unknown = spec("xml=-").unwrap_err();
    assert_eq!(unknown.to_string(), "there is no event format `xml`");
    assert!(miette::Diagnostic::help(&unknown).unwrap().to_string().contains("`text` or `json`"));
}

#[test]
fn a_file_is_private_and_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let spec = path.to_str().unwrap().parse().unwrap();
    for _ in 0..2 {
        let mut sink = Sink::open(&spec, false).unwrap();
        sink.write(&Event::EventsLost { time: at(0, 0), count: 1 }).unwrap();
        sink.flush().unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let missing = SinkSpec { format: None, target: Target::File("/nowhere/at/all".into()) };
    assert!(Sink::open(&missing, false).is_err());
}

#[test]
fn a_reader_that_went_away_is_an_error_and_no_panic() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Sink::new(Format::Text, false, Gone);
    sink.write(&Event::NetTcpConnect(connect())).unwrap();
    assert_eq!(sink.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let errors = (0..1000).filter(|_| sink.write(&Event::NetTcpConnect(connect())).is_err()).count();
    assert!(errors > 0);
}
