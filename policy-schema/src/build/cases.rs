//! From a document to cases, with every fault of meaning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::build::Builder;
use crate::build::place::Place;
use crate::cases::{Case, Cases, DEFAULT_PORT, Expected};
use crate::connection::Sighting;
use crate::document::cases::{CaseDocument, CasesDocument};
use crate::domain::DomainName;
use crate::endpoint::Endpoint;
use crate::subject::{User, parse_unit};
use crate::terms::Protocol;

/// The end of the name of a file of cases, before its extension.
const STEM_END: &str = ".test";

impl Builder<'_> {
    pub(super) fn cases(&mut self, document: CasesDocument, root: &super::Node) -> Cases {
        let CasesDocument { policies, mode, cases } = document;
        let place = Place::new(root);
        let policies = self.policies(policies, &place.key("policies"));
        let place = place.key("cases");
        if cases.is_empty() {
            self.empty(
                &place,
                "`cases` is empty",
                "add a case, such as `{ to: www.example.com, verdict: allow }`",
            );
        }
        let (mut made, mut users) = (Vec::new(), Users::default());
        for (index, case) in cases.into_iter().enumerate() {
            let place = place.item(index);
            let Some(case) = self.case(case, &place) else { continue };
            self.learn(&mut users, &case, &place);
            made.push(case);
        }
        for case in &mut made {
            users.complete(case);
        }
        Cases { policies, mode, cases: made }
    }

    fn policies(&mut self, written: Option<Vec<String>>, place: &Place<'_>) -> Vec<PathBuf> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        if let Some(written) = written {
            if written.is_empty() {
                self.empty(place, "`policies` is empty", "name a policy file, or leave the key out");
            }
            return written.iter().map(|path| folder.join(path)).collect();
        }
        let stem = self.path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        let Some(name) = stem.strip_suffix(STEM_END).filter(|name| !name.is_empty()) else {
            let message = "no policy is named, and the file is not called `NAME.test.yaml`";
            self.error(place, "missing-key", message, "add `policies: [FILE]`");
            return Vec::new();
        };
        let extension = self.path.extension().unwrap_or_default().to_string_lossy();
        vec![folder.join(format!("{name}.{extension}"))]
    }

    fn case(&mut self, case: CaseDocument, place: &Place<'_>) -> Option<Case> {
        let CaseDocument {
            about,
            to,
            port,
            udp,
            seen,
            uid,
            user,
            cgroup,
            unit,
            resolver,
            verdict,
            rule,
            effective,
            effective_rule,
            errno,
        } = case;
        let seen = self.seen(seen.unwrap_or_default(), &place.key("seen"));
        let cgroup = self.case_cgroup(cgroup, unit, place);
        let (uid, user) = self.case_user(uid, user, place);
        let Endpoint { host, port: own } = match Endpoint::parse(&to) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                self.error(&place.key("to"), "bad-destination", error.to_string(), error.hint());
                return None;
            }
        };
        match (own, port) {
            (_, Some(0)) => {
                self.error(
                    &place.key("port"),
                    "bad-port",
                    "0 is not a port",
                    "write a number from 1 to 65535",
                );
            }
            (Some(own), Some(port)) if own != port => {
                let message = format!("the port is {own} in `to`, and {port} here");
                self.error(&place.key("port"), "bad-port", message, "keep one of the two");
            }
            _ => {}
        }
        Some(Case {
            location: self.location(place.spot()),
            about,
            host,
            port: port.or(own).unwrap_or(DEFAULT_PORT),
            protocol: if udp.unwrap_or(false) { Protocol::Udp } else { Protocol::Tcp },
            seen,
            uid,
            user,
            cgroup,
            resolver: resolver.unwrap_or(false),
            expected: Expected {
                verdict: verdict.into(),
                rule,
                effective: effective.map(Into::into),
                effective_rule,
                errno,
            },
        })
    }

    /// Reads `question > alias > alias`.
    fn seen(&mut self, answers: Vec<String>, place: &Place<'_>) -> Vec<Sighting> {
        let mut sightings = Vec::new();
        for (index, answer) in answers.iter().enumerate() {
            let names: Result<Vec<DomainName>, _> = answer.split('>').map(DomainName::parse).collect();
            match names {
                Ok(names) => {
                    let mut names = names.into_iter();
                    sightings.extend(names.next().map(|question| Sighting::new(question, names.collect())));
                }
                Err(error) => {
                    let hint = "write `www.example.com`, or `www.example.com > alias.example.net`";
                    self.error(&place.item(index), "bad-name", error.to_string(), hint);
                }
            }
        }
        sightings
    }

    /// A unit is a segment of the path of its cgroup.
    fn case_cgroup(
        &mut self,
        cgroup: Option<String>,
        unit: Option<String>,
        place: &Place<'_>,
    ) -> Option<String> {
        if let Some(path) = cgroup.as_ref().filter(|path| !path.starts_with('/')) {
            let message = format!("`{path}` is not an absolute path");
            self.error(
                &place.key("cgroup"),
                "bad-path",
                message,
                "write the path below the cgroup mount, such as `/ci/job`",
            );
        }
        let Some(unit) = unit else { return cgroup };
        if cgroup.is_some() {
            let hint = "write the unit as a segment of the path in `cgroup`";
            self.error(&place.key_itself("unit"), "misplaced-key", "`unit` stands beside `cgroup`", hint);
        }
        match parse_unit(&unit) {
            Ok(unit) => Some(format!("/system.slice/{unit}")),
            Err(error) => {
                self.error(&place.key("unit"), "bad-unit", error.to_string(), error.hint());
                None
            }
        }
    }

    fn case_user(
        &mut self,
        uid: Option<u32>,
        user: Option<String>,
        place: &Place<'_>,
    ) -> (Option<u32>, Option<String>) {
        match user.map(|user| User::parse(&user)) {
            None => (uid, None),
            Some(Ok(User::Name(name))) => (uid, Some(name.into())),
            Some(Ok(User::Id(id))) => {
                if uid.is_some_and(|uid| uid != id) {
                    let message = format!("`user` says {id}, and `uid` something else");
                    self.error(&place.key("user"), "bad-user", message, "keep one of the two");
                }
                (Some(id), None)
            }
            Some(Err(error)) => {
                self.error(&place.key("user"), "bad-user", error.to_string(), error.hint());
                (uid, None)
            }
        }
    }

    fn learn(&mut self, users: &mut Users, case: &Case, place: &Place<'_>) {
        let (Some(uid), Some(user)) = (case.uid, &case.user) else { return };
        let number = *users.numbers.entry(user.clone()).or_insert(uid);
        let name = users.names.entry(uid).or_insert_with(|| user.clone());
        if number != uid || name != user {
            let message = format!("`{user}` is {uid} here; in another case `{name}` is {number}");
            self.error(&place.key("user"), "bad-user", message, "give each user one number");
        }
    }
}

/// The users of a file: what one case tells about a user holds in all of them.
#[derive(Default)]
struct Users {
    numbers: BTreeMap<String, u32>,
    names: BTreeMap<u32, String>,
}

impl Users {
    fn complete(&self, case: &mut Case) {
        let Case { uid, user, .. } = case;
        *uid = uid.or_else(|| self.numbers.get(user.as_ref()?).copied());
        *user = user.take().or_else(|| self.names.get(uid.as_ref()?).cloned());
    }
}
