//! Reasons as sentences.

use policy_schema::{
    Action, ClassId, Connection, Decider, Decision, Miss, Mode, PolicySet, PortRange, Protocol, Rule,
    Subjects, Why,
};

/// What of the connection matched.
pub(super) fn why(why: &Why) -> String {
    match why {
        Why::Any => "the rule is about every destination".to_owned(),
        Why::Cidr { cidr } => format!("`{cidr}` holds the address"),
        Why::Default => "no rule matches".to_owned(),
        Why::LiteralAddress => "no rule matches, and no lookup preceded".to_owned(),
        Why::Loopback => "loopback stays reachable".to_owned(),
        Why::Name { question, member, pattern } if question == member => {
            format!("`{member}` matches `{pattern}`")
        }
        Why::Name { question, member, pattern } => {
            format!("`{question}` leads to `{member}`, which matches `{pattern}`")
        }
        Why::OtherResolver => "the server is no trusted resolver".to_owned(),
        Why::Resolver => "a trusted resolver stays reachable at its DNS ports".to_owned(),
    }
}

/// Why a rule does not match.
pub(super) fn miss(rule: &Rule, connection: &Connection, miss: &Miss) -> String {
    let (reason, matched) = match miss {
        Miss::Alias { question, member, pattern } => {
            return format!(
                "`{question}` leads to `{member}`, which matches `{pattern}`, but an allow rule looks at the question alone"
            );
        }
        Miss::Builtin => return "`to: any` does not deny loopback and resolvers".to_owned(),
        Miss::Destination => return "it is about other destinations".to_owned(),
        Miss::ExceptName { name, pattern } => {
            return format!("`except.names` carves `{name}` out by `{pattern}`");
        }
        Miss::ExceptCidr { cidr, why } => (format!("`except.cidrs` carves `{cidr}` out"), why),
        Miss::Over { why } => ("the answer is over: the rule holds it no longer".to_owned(), why),
        Miss::Untrusted { why } => ("the server that answered is not trusted".to_owned(), why),
        Miss::Port { why } => {
            let ports: Vec<String> = rule.ports().iter().map(port).collect();
            let own = port(&PortRange {
                protocol: Some(connection.protocol),
                first: connection.port,
                last: connection.port,
            });
            (format!("port {own} is not among {}", ports.join(", ")), why)
        }
        Miss::Protected { why } => ("no name denies loopback or a resolver".to_owned(), why),
        Miss::SharedAddress { question, why } => {
            (format!("`sharedAddress` is `all`, and `{question}` does not match"), why)
        }
        Miss::SpecialUse { why } => {
            (format!("`mayResolveTo` does not hold the special-use address {}", connection.address), why)
        }
        Miss::Subject { why } => {
            let subjects = rule.subjects().map(subjects).unwrap_or_default();
            (format!("who connects is not among {subjects}"), why)
        }
    };
    format!("{}, but {reason}", why(matched))
}

/// Why a rule that matches does not decide.
pub(super) fn lost(policy: &PolicySet, decision: &Decision, class: ClassId, rule: &Rule) -> String {
    if decision.effective_rule == Decider::Rule(class) {
        return "it decides what happens, being the first that is enforced".to_owned();
    }
    let first = if let Decider::Rule(first) = decision.rule { policy.rule(first) } else { None };
    let reason = match (first.map(Rule::action), rule.action()) {
        (Some(Action::Deny), Action::Allow) => "deny beats allow",
        (Some(_), _) => "it comes later in the order of the files",
        (None, _) => "what must stay reachable comes before allow rules",
    };
    match rule.mode() {
        Mode::Audit => format!("{reason}; audit, it speaks only"),
        Mode::Enforce => reason.to_owned(),
    }
}

fn port(range: &PortRange) -> String {
    let PortRange { protocol, first, last } = range;
    let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
    match protocol {
        None => ports,
        Some(Protocol::Tcp) => format!("{ports}/tcp"),
        Some(Protocol::Udp) => format!("{ports}/udp"),
    }
}

fn subjects(subjects: &Subjects) -> String {
    let users = subjects.users().iter().map(|user| format!("user `{user}`"));
    let units = subjects.units().iter().map(|unit| format!("unit `{unit}`"));
    let cgroups = subjects.cgroups().iter().map(|cgroup| format!("cgroup `{}`", cgroup.as_str()));
    users.chain(units).chain(cgroups).collect::<Vec<_>>().join(", ")
}
