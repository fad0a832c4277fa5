//! The policy language of enforcer: what a policy file means, and nothing else.
//!
//! ```text
//! text -> Document -> Policy --\
//!                               PolicySet -> decide(Connection) -> Decision
//! text -> Document -> Policy --/
//! ```
//!
//! [`Policy::parse`] reads one file. A [`Policy`] that exists is valid; a file with faults gives a [`Report`] of
//! all of them. [`PolicySet::new`] joins the policies in force, and [`PolicySet::decide`] judges a connection:
//! it is total, it never fails, and it is the specification that the kernel's decision is tested against.
//! There is no I/O and no clock in this crate: lists come in through [`ReadList`].
//!
//! # Terminology
//!
//! - **policy**: what one file says; **policy set**: all policies in force, joined.
//! - **rule**: an action, destinations, and optionally ports and subjects, all of which have to match.
//! - **class**: a rule's number in the set, [`ClassId`]: deny rules first, then allow rules.
//! - **action**: what a rule says, [`Action`]; **verdict**: the result for a connection, [`Verdict`];
//!   **decision**: the verdict with the rule it came from, [`Decision`].
//! - **mode**: whether a rule acts or only speaks, [`Mode`]. The *verdict* comes from all rules, the *effective*
//!   verdict from the enforcing ones; the latter alone decides what happens.
//! - **destination**: where a connection goes; **subject**: who opens it.
//! - **case**: a connection written down with the verdict it must get, [`Case`]; **endpoint**: where a person says a
//!   connection goes, [`Endpoint`].
//! - **connection**: one attempt that is judged, [`Connection`].
//! - **sighting**: one DNS answer that led to an address: its question and chain of aliases, [`Sighting`].
//! - **name**: a domain name in one spelling, [`DomainName`]; **pattern**: what a rule writes, [`DomainPattern`].
//! - **protected address**: loopback or a resolver; no deny rule reaches it through a name.
//! - **special-use address**: one that belongs to no public host, [`is_special_use`].

#![forbid(unsafe_code)]

mod build;
mod cases;
mod connection;
mod decide;
mod destination;
mod diagnostic;
mod document;
mod domain;
mod endpoint;
mod glob;
mod list;
mod names;
mod policy;
mod policy_set;
mod rule;
mod shape;
mod source;
mod subject;
mod terms;
mod tree;

pub use cases::{Case, Cases, DEFAULT_PORT, Expected};
pub use connection::{Connection, Sighting};
pub use decide::{Decider, Decision, Explanation, Miss, Verdict, Why};
pub use destination::{
    CidrError, NAT64_MAX, PortError, PortRange, SPECIAL_USE, is_special_use, normalise, parse_cidr,
};
pub use diagnostic::{Diagnostic, Location, Report, Severity};
pub use document::{cases_json_schema, json_schema};
pub use domain::{DomainName, DomainPattern, NameError, NameGlob};
pub use endpoint::{Endpoint, EndpointError, Host};
pub use glob::{GlobError, GlobSet, PathGlob};
pub use list::ListFormat;
pub use names::{NameRef, NameSet, Names};
pub use policy::{Policy, Resolver, TrustedResolvers};
pub use policy_set::{ClassId, Default, Dns, LiteralAddress, MAX_RULES, PolicySet, Sockets};
pub use rule::{ListSummary, Rule};
pub use source::{ListFile, NoLists, ReadList, Source};
pub use subject::{SubjectError, Subjects, User};
pub use terms::{
    Action, Errno, Form, Inbound, LiteralAddresses, Mode, OnBadLine, OnDeny, OnError, OtherResolvers,
    Protocol, SharedAddress,
};
