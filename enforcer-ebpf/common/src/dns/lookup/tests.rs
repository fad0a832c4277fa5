use super::*;
use crate::{CgroupSubjects, image::ImageBuilder, name::Form, repeat::HostLoop};
use std::collections::BTreeMap;

const RANDOM: [u64; 8] = [0x1234_5678_9abc_def1, 0xfeed_face_cafe_beef, 3, 4, 5, 6, 7, 8];
const USER: u32 = 1_000;

/// A policy slot, for one cgroup.
struct Host {
    image: Vec<Vector>,
    users: BTreeMap<u32, Vector>,
    cgroup: Option<CgroupSubjects>,
}

impl Buckets for Host {
    fn bucket(&self, index: u32) -> Option<&Vector> {
        self.image.bucket(index)
    }
}

impl Slot for Host {
    type Loop = HostLoop;

    fn cidr(&self, _: &Address) -> Option<&CidrEntry> {
        None
    }
    fn bind(&self, _: &Address, _: &Binding) -> bool {
        false
    }
}

impl Lookup for Host {
    type Image = Vec<Vector>;
    type Loop = HostLoop;

    fn image(&self) -> &Vec<Vector> {
        &self.image
    }
    fn fresh(&self, _: &Address) -> Result<Option<&Binding>, Error> {
        Ok(None)
    }
    fn older(&self, _: &Address) -> Result<Option<&Binding>, Error> {
        Ok(None)
    }
    fn truth(&self, _: &Address) -> Result<Option<&Binding>, Error> {
        Ok(None)
    }
    fn cidr(&self, _: &Address) -> Result<Option<&CidrEntry>, Error> {
        Ok(None)
    }
    fn user(&self, uid: u32) -> Result<Option<&Vector>, Error> {
        Ok(self.users.get(&uid))
    }
    fn cgroup(&self) -> Result<Option<&CgroupSubjects>, Error> {
        Ok(self.cgroup.as_ref())
    }
    fn ancestor(&self) -> Result<Option<&Vector>, Error> {
        Ok(None)
    }
    fn is_resolver(&self, _: &Address) -> bool {
        false
    }
}

/// One rule about a name and what is below it, but for one name; its class is its place.
struct Rule {
    vectors: &'static [ClassVector],
    name: &'static str,
    except: Option<&'static str>,
}

const REFUSES: &[ClassVector] =
    &[ClassVector::Deny, ClassVector::Enforced, ClassVector::Everyone, ClassVector::RefusesLookup];
const AUDITS: &[ClassVector] = &[ClassVector::Deny, ClassVector::Everyone, ClassVector::RefusesLookup];
const DENIES: &[ClassVector] = &[ClassVector::Deny, ClassVector::Enforced, ClassVector::Everyone];
const BY_USER: &[ClassVector] = &[ClassVector::Deny, ClassVector::Enforced, ClassVector::RefusesLookup];
const BY_CGROUP: &[ClassVector] =
    &[ClassVector::Deny, ClassVector::Enforced, ClassVector::RefusesLookup, ClassVector::ByCgroup];

fn host(rules: &[Rule]) -> Host {
    let mut builder = ImageBuilder::new(1, rules.len() as u16, 20, RANDOM).unwrap();
    let mut both = |name: &'static str, class, except| {
        builder.names([name.as_bytes()], &[Form::Exact, Form::Below], class, except).unwrap();
    };
    for (class, rule) in (0..).zip(rules) {
        both(rule.name, class, false);
        if let Some(except) = rule.except {
            both(except, class, true);
        }
    }
    for (class, rule) in (0..).zip(rules) {
        rule.vectors.iter().for_each(|vector| builder.mark(*vector, class));
    }
    Host { image: builder.build().unwrap(), users: BTreeMap::new(), cgroup: None }
}

fn query(labels: &[&str]) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in labels {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

impl Host {
    fn reads(&self, message: &[u8]) -> (Question, Box<Scratch>) {
        let mut scratch = Scratch::new();
        // What an earlier message left behind.
        scratch.record.message = [0xa5; MESSAGE_MAX];
        scratch.record.message[..message.len()].copy_from_slice(message);
        scratch.record.header.length = message.len() as u32;
        (scratch.query(self), scratch)
    }

    /// The rule that the verdict is by, and the one that really refuses.
    fn judges(&self, labels: &[&str]) -> (Option<u16>, Option<u16>) {
        let (question, scratch) = self.reads(&query(labels));
        assert_eq!(question, Question::Name, "{labels:?}");
        self.judges_named(scratch.named())
    }

    fn judges_named(&self, named: &Vector) -> (Option<u16>, Option<u16>) {
        let decision = judge_lookup(self, named, USER).unwrap();
        let by = |verdict, rule: RuleId| matches!(verdict, Verdict::Deny).then_some(rule.0);
        (by(decision.verdict, decision.rule), by(decision.effective, decision.effective_rule))
    }
}

#[test]
fn only_a_rule_that_says_so_refuses_a_lookup() {
    let host = host(&[
        Rule { vectors: DENIES, name: "test", except: None },
        Rule { vectors: AUDITS, name: "audited.test", except: None },
        Rule { vectors: REFUSES, name: "evil.test", except: Some("ok.evil.test") },
        Rule { vectors: &[ClassVector::Enforced, ClassVector::Everyone], name: "allowed.test", except: None },
    ]);
    for (labels, verdict, effective) in [
        (&["evil", "test"][..], Some(2), Some(2)),
        (&["a", "EVIL", "tEsT"], Some(2), Some(2)),
        (&["ok", "evil", "test"], None, None),
        (&["x", "ok", "evil", "test"], None, None),
        (&["audited", "test"], Some(1), None),
        (&["allowed", "test"], None, None),
        (&["notevil", "test"], None, None),
        (&["x.evil", "test"], None, None),
        (&["test"], None, None),
        (&[], None, None),
    ] {
        assert_eq!(host.judges(labels), (verdict, effective), "{labels:?}");
    }
    assert!(Meta::of(&host.image).unwrap().refuses_lookups());
    assert!(!Meta::of(&host_of_denies().image).unwrap().refuses_lookups());
    // Any name: what cannot be read.
    assert_eq!(host.judges_named(&Vector::FULL), (Some(1), Some(2)));
    assert_eq!(host_of_denies().judges_named(&Vector::FULL), (None, None));
}

fn host_of_denies() -> Host {
    host(&[Rule { vectors: DENIES, name: "test", except: None }])
}

#[test]
fn a_lookup_is_refused_to_the_subjects() {
    let rules = |vectors| [Rule { vectors, name: "evil.test", except: None }];
    let all = Vector::FULL;
    let mut host = host(&rules(BY_USER));
    assert_eq!(host.judges(&["evil", "test"]), (None, None));
    host.users.insert(USER, all);
    assert_eq!(host.judges(&["evil", "test"]), (Some(0), Some(0)));
    let mut host = self::host(&rules(BY_CGROUP));
    assert_eq!(host.judges(&["evil", "test"]), (Some(0), Some(0)), "not classified yet");
    host.cgroup = Some(CgroupSubjects::default());
    assert_eq!(host.judges(&["evil", "test"]), (None, None));
    host.cgroup = Some(CgroupSubjects { own: all, ..CgroupSubjects::default() });
    assert_eq!(host.judges(&["evil", "test"]), (Some(0), Some(0)));
}

#[test]
fn a_message_asks_for_a_name_for_nothing_or_nobody_knows() {
    let host = host_of_denies();
    let whole = query(&["a", "test"]);
    let edited = |at: usize, value: u8| {
        let mut message = whole.clone();
        message[at] = value;
        message
    };
    for (message, expected) in [
        (whole.clone(), Question::Name),
        // Another opcode, a truncated query, more sections: the name is the same.
        (edited(2, 0x28), Question::Name),
        (edited(11, 1), Question::Name),
        (edited(2, 0x80), Question::Nothing),
        (edited(5, 0), Question::Nothing),
        (edited(5, 2), Question::Unreadable),
        (edited(4, 1), Question::Unreadable),
        // Labels of no known kind, and a pointer that leads forward.
        (edited(12, 0x40), Question::Unreadable),
        (edited(14, 0xc0), Question::Unreadable),
        (Vec::new(), Question::Unreadable),
        (b"knock".to_vec(), Question::Unreadable),
    ] {
        assert_eq!(host.reads(&message).0, expected, "{message:?}");
    }
    for length in 0..whole.len() {
        assert_eq!(host.reads(&whole[..length]).0, Question::Unreadable, "{length}");
    }
}

#[test]
fn a_damaged_image_is_an_error() {
    let mut host = host_of_denies();
    host.image.truncate(1);
    assert_eq!(judge_lookup(&host, &Vector::FULL, USER), Err(Error::NoImage));
    host.image.clear();
    assert_eq!(judge_lookup(&host, &Vector::FULL, USER), Err(Error::NoImage));
}
