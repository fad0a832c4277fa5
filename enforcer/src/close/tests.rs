use super::*;
use crate::sock_diag::Socket;
use enforcer_common::flow::Flow;
use policy_schema::{NoLists, Policy, PolicySet, Source};

const POLICY: &str = r#"
version: 1
default: deny
rules:
  - { name: audited, action: deny, mode: audit, to: { cidrs: ["203.0.113.0/24"] }, onDeny: close }
  - { name: dropped, action: deny, to: { cidrs: ["203.0.113.8/32"] } }
  - { name: closed, action: deny, to: { cidrs: ["203.0.113.7/32", "203.0.113.8/32", "127.0.0.9/32"] }, onDeny: close }
  - { name: mail, action: deny, to: { cidrs: ["198.51.100.0/24"] }, ports: ["25/tcp"], onDeny: close }
  - { name: theirs, action: deny, to: any, subjects: { users: [1000] }, onDeny: close }
  - { name: rest, action: allow, to: { cidrs: ["198.51.100.0/24", "64:ff9b::/96"] } }
"#;

fn judge(scope: Option<&str>) -> Judge {
    let source = Source { path: "guard.yaml".into(), text: POLICY.into() };
    let (policy, _) = Policy::parse(&source, &NoLists).unwrap_or_else(|report| panic!("{}", report.render()));
    let policy = PolicySet::new(vec![policy], None).unwrap().0;
    Judge {
        policy: Arc::new(Compiled::new(policy, [1; 8], |_| None).unwrap()),
        truth: BTreeMap::new(),
        resolvers: Vec::new(),
        tree: Tree::default(),
        scope: scope.map(str::to_owned),
    }
}

/// The name of the rule that closes a socket.
fn struck(judge: &Judge, socket: &Socket, listening: &[&str]) -> Option<String> {
    let listening = listening.iter().map(|at| at.parse().unwrap()).collect();
    let RuleId(class) = judge.strikes(socket, &listening, 1)?;
    Some(judge.policy.policy.rules()[usize::from(class)].name().to_owned())
}

fn tcp(remote: &str) -> Socket {
    Socket::supposed(Transport::Tcp, "192.0.2.1:40000", remote)
}

#[test]
fn the_deny_rule_that_counts_says_whether_to_close() {
    let judge = judge(None);
    let struck = |socket: &Socket| struck(&judge, socket, &[]);
    assert_eq!(struck(&tcp("203.0.113.7:443")).as_deref(), Some("closed"));
    // The first deny rule is the one that events name, too.
    assert_eq!(struck(&tcp("203.0.113.8:443")), None);
    assert_eq!(struck(&tcp("203.0.113.9:443")), None, "audit closes nothing, nor does the default");
    assert_eq!(struck(&tcp("198.51.100.7:25")).as_deref(), Some("mail"));
    assert_eq!(struck(&tcp("198.51.100.7:443")), None);
    assert_eq!(struck(&tcp("127.0.0.9:443")).as_deref(), Some("closed"), "loopback by its address");
    assert_eq!(struck(&tcp("[64:ff9b::203.0.113.7]:443")).as_deref(), Some("closed"), "inside NAT64");
    let udp = |port| Socket::supposed(Transport::Udp, "192.0.2.1:40000", &format!("198.51.100.7:{port}"));
    assert_eq!(struck(&udp(25)), None);
}

#[test]
fn what_a_peer_has_opened_is_closed_by_rules_that_name_it() {
    let judge = judge(None);
    let mut socket = tcp("192.0.2.77:50000");
    socket.uid = 1000;
    assert_eq!(struck(&judge, &socket, &[]).as_deref(), Some("theirs"));
    assert_eq!(struck(&judge, &socket, &["192.0.2.1:40000"]), None, "somebody listens there");
    assert_eq!(struck(&judge, &socket, &["[::]:40000"]), None);
    assert_eq!(struck(&judge, &socket, &["192.0.2.2:40000", "0.0.0.0:40001"]).as_deref(), Some("theirs"));
    let mut named = tcp("203.0.113.7:50000");
    for (opened, strikes) in [(OPENED_HERE, Some("theirs")), (OPENED_BY_PEER, None)] {
        socket.flow = Some(remembered(opened, 0, 0));
        assert_eq!(struck(&judge, &socket, &["192.0.2.1:40000"]).as_deref(), strikes, "{opened}");
        named.flow = Some(remembered(opened, 0, 0));
        assert_eq!(struck(&judge, &named, &[]).as_deref(), Some("closed"), "{opened}");
    }
}

#[test]
fn a_flow_is_that_of_whoever_used_it_last() {
    let judge = judge(None);
    let mut socket = tcp("192.0.2.77:443");
    assert_eq!(struck(&judge, &socket, &[]), None);
    socket.flow = Some(remembered(OPENED_HERE, 7, 1000));
    assert_eq!(struck(&judge, &socket, &[]).as_deref(), Some("theirs"));
    (socket.uid, socket.flow) = (1000, Some(remembered(OPENED_HERE, 7, 0)));
    assert_eq!(struck(&judge, &socket, &[]), None);
}

#[test]
fn only_what_is_in_scope_is_closed() {
    let root = tempfile::tempdir().unwrap();
    for path in ["ci", "ci/job", "ci2"] {
        std::fs::create_dir(root.path().join(path)).unwrap();
    }
    let tree = Tree::scan(root.path()).unwrap();
    let judge = Judge { tree, ..judge(Some("/ci")) };
    let mut socket = tcp("203.0.113.7:443");
    for (path, strikes) in [("ci", true), ("ci/job", true), ("ci2", false), ("", false)] {
        socket.cgroup = crate::cgroups::id_of(&root.path().join(path)).unwrap();
        assert_eq!(struck(&judge, &socket, &[]).is_some(), strikes, "{path}");
    }
    socket.cgroup = 1;
    assert_eq!(struck(&judge, &socket, &[]), None, "a cgroup that is gone");
    let mut directories = judge.cgroups();
    directories.sort();
    assert_eq!(directories, [root.path().join("ci"), root.path().join("ci/job")]);
}

/// What the programs remember of a socket that a user of a cgroup has used.
fn remembered(opened: u64, cgroup: u64, uid: u32) -> Flow {
    let zero = Flow::from_bytes(&[0; size_of::<Flow>()]).unwrap();
    Flow { opened, cgroup, uid, ..zero }
}
