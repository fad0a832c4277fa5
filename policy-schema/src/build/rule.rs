//! One rule of a file.

use ipnet::IpNet;

use crate::build::place::Place;
use crate::build::{Builder, RESERVED, Shared};
use crate::destination::{PortRange, SPECIAL_USE, parse_cidr};
use crate::document::{PortDocument, RuleDocument, SubjectsDocument, UserDocument};
use crate::glob::PathGlob;
use crate::rule::Rule;
use crate::subject::{Subjects, User};
use crate::terms::Action;

impl Builder<'_> {
    pub(super) fn rules(
        &mut self,
        documents: Vec<RuleDocument>,
        shared: &Shared,
        place: &Place<'_>,
    ) -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        for (index, document) in documents.into_iter().enumerate() {
            let place = place.item(index);
            self.check_label(&document.name, &place.key("name"));
            if RESERVED.contains(&document.name.as_str()) {
                let hint = "choose another name; events use this one where no rule decided";
                self.error(
                    &place.key("name"),
                    "reserved-name",
                    format!("`{}` cannot name a rule", document.name),
                    hint,
                );
            }
            if let Some(first) = rules.iter().find(|rule| *rule.name == *document.name) {
                let message = format!(
                    "a second rule is named `{}`, the first is in line {}",
                    document.name,
                    first.location().line
                );
                self.error(
                    &place.key("name"),
                    "duplicate-rule",
                    message,
                    "give each rule of a file its own name",
                );
            }
            rules.push(self.rule(document, shared, &place));
        }
        rules
    }

    fn rule(&mut self, document: RuleDocument, shared: &Shared, place: &Place<'_>) -> Rule {
        self.check_keys(&document, place);
        let (to, lists, pre_resolve) = self.destinations(&document, place);
        let RuleDocument { name, action, ports, subjects, mode, shared_address, errno, hold, .. } = document;
        let ports = ports.map(|ports| self.ports(ports, &place.key("ports"))).unwrap_or_default();
        let subjects = subjects.map(|subjects| self.subjects(subjects, &place.key("subjects")));
        let may_resolve_to = document.may_resolve_to.unwrap_or_default();
        Rule {
            policy: shared.policy.clone(),
            name: name.into(),
            action,
            mode: mode.unwrap_or(shared.mode),
            to,
            ports,
            subjects,
            shared_address: shared_address.unwrap_or_default(),
            errno: errno.unwrap_or_default(),
            hold: self.hold(hold, shared.hold, &place.key("hold")).of(action),
            spare: shared.hold.of(Action::Allow),
            refuse_lookup: document.refuse_lookup.unwrap_or_default(),
            on_deny: document.on_deny.unwrap_or_default(),
            may_resolve_to: self.special_cidrs(&may_resolve_to, &place.key("mayResolveTo")),
            pre_resolve,
            lists,
            origin: self.origin(&place.key("name")),
        }
    }

    /// Keys that mean something for one action only.
    fn check_keys(&mut self, document: &RuleDocument, place: &Place<'_>) {
        let RuleDocument { action, errno, refuse_lookup, on_deny, may_resolve_to, pre_resolve, hold, .. } =
            document;
        let misplaced: &[(&str, bool)] = match action {
            Action::Allow => &[
                ("errno", errno.is_some()),
                ("refuseLookup", refuse_lookup.is_some()),
                ("onDeny", on_deny.is_some()),
            ],
            Action::Deny => {
                &[("mayResolveTo", may_resolve_to.is_some()), ("preResolve", pre_resolve.is_some())]
            }
        };
        let (own, other) = match action {
            Action::Allow => ("an allow", "deny"),
            Action::Deny => ("a deny", "allow"),
        };
        for (key, _) in misplaced.iter().filter(|(_, present)| *present) {
            let message = format!("`{key}` means nothing in {own} rule");
            self.error(
                &place.key_itself(key),
                "misplaced-key",
                message,
                format!("leave it out, or move it to the {other} rule it is meant for"),
            );
        }
        let useless = hold.as_ref().is_some_and(|hold| match action {
            Action::Allow => hold.deny.is_some(),
            Action::Deny => hold.allow.is_some(),
        });
        if useless {
            let message = format!("`hold.{other}` means nothing in {own} rule");
            self.warning(&place.key("hold").key_itself(other), "misplaced-key", message, "leave it out");
        }
    }

    fn ports(&mut self, documents: Vec<PortDocument>, place: &Place<'_>) -> Vec<PortRange> {
        if documents.is_empty() {
            let hint = "leave `ports` out to mean every port";
            self.empty(place, "the rule matches no port", hint);
        }
        let mut ports = Vec::new();
        for (index, document) in documents.into_iter().enumerate() {
            let text = match document {
                PortDocument::Number(number) => number.to_string(),
                PortDocument::Text(text) => text,
            };
            match PortRange::parse(&text) {
                Ok(range) => ports.push(range),
                Err(error) => self.error(&place.item(index), "bad-port", error.to_string(), error.hint()),
            }
        }
        ports.sort();
        ports.dedup();
        ports
    }

    fn subjects(&mut self, document: SubjectsDocument, place: &Place<'_>) -> Subjects {
        let SubjectsDocument { cgroups, units, users } = document;
        let (cgroups, units, users) =
            (cgroups.unwrap_or_default(), units.unwrap_or_default(), users.unwrap_or_default());
        if cgroups.is_empty() && units.is_empty() && users.is_empty() {
            let hint = "leave `subjects` out to mean everyone";
            self.empty(place, "the rule matches no subject", hint);
        }
        let mut globs = Vec::new();
        for (index, text) in cgroups.iter().enumerate() {
            match PathGlob::parse(text) {
                Ok(glob) => globs.push(glob),
                Err(error) => {
                    let message = format!("`{text}` is not a path of a cgroup: {error}");
                    self.error(&place.key("cgroups").item(index), "bad-glob", message, error.hint());
                }
            }
        }
        let mut people = Vec::new();
        for (index, document) in users.into_iter().enumerate() {
            let user = match document {
                UserDocument::Number(id) => Ok(User::Id(id)),
                UserDocument::Name(name) => User::parse(&name),
            };
            match user {
                Ok(user) => people.push(user),
                Err(error) => {
                    self.error(&place.key("users").item(index), "bad-user", error.to_string(), error.hint());
                }
            }
        }
        Subjects { cgroups: globs, units: self.units(&units, &place.key("units")), users: people }
    }

    pub(super) fn cidrs(&mut self, texts: &[String], place: &Place<'_>) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match parse_cidr(text) {
                Ok(network) => networks.push(network),
                Err(error) => self.error(&place.item(index), "bad-cidr", error.to_string(), error.hint()),
            }
        }
        networks.sort();
        networks.dedup();
        networks
    }

    fn special_cidrs(&mut self, texts: &[String], place: &Place<'_>) -> Vec<IpNet> {
        let networks = self.cidrs(texts, place);
        for network in &networks {
            let overlaps = |special: &IpNet| special.contains(network) || network.contains(special);
            if !SPECIAL_USE.iter().any(overlaps) {
                let message = format!("`{network}` is public, so names may resolve to it anyway");
                self.warning(
                    place,
                    "useless-range",
                    message,
                    "list private and other special-use ranges here",
                );
            }
        }
        networks
    }
}
