//! One rule, valid by construction.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use miette::NamedSource;

use crate::destination::PortRange;
use crate::diagnostic::{Diagnostic, Location, Severity};
use crate::domain::DomainName;
use crate::glob::GlobSet;
use crate::list::ListFormat;
use crate::names::{NameRef, NameSet};
use crate::subject::Subjects;
use crate::terms::{Action, Errno, Mode, OnDeny, SharedAddress};

/// A rule of a policy: made only from a file, by [`crate::Policy::parse`].
#[derive(Clone, Debug)]
pub struct Rule {
    pub(crate) policy: Arc<str>,
    pub(crate) name: Box<str>,
    pub(crate) action: Action,
    pub(crate) mode: Mode,
    pub(crate) to: Destinations,
    pub(crate) ports: Vec<PortRange>,
    pub(crate) subjects: Option<Subjects>,
    pub(crate) shared_address: SharedAddress,
    pub(crate) errno: Errno,
    pub(crate) hold: Duration,
    pub(crate) spare: Duration,
    pub(crate) refuse_lookup: bool,
    pub(crate) on_deny: OnDeny,
    pub(crate) may_resolve_to: Vec<IpNet>,
    pub(crate) pre_resolve: Vec<DomainName>,
    pub(crate) lists: Vec<ListSummary>,
    pub(crate) origin: Origin,
}

/// Where a rule leads: `to = (names & !exceptCidrs) | (cidrs & !exceptNames) | any`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Destinations {
    pub any: bool,
    pub names: NameSet,
    pub cidrs: Vec<IpNet>,
    pub except_names: NameSet,
    pub except_cidrs: Vec<IpNet>,
}

impl Rule {
    /// The name of the policy the rule stands in.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The rule's name, unique within its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the rule says.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Whether the rule acts; the command line's mode is worked in.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the rule is `to: any`.
    pub fn is_any(&self) -> bool {
        self.to.any
    }

    /// The names without globs, written ones first, then those of the lists; each once.
    pub fn names(&self) -> impl Iterator<Item = NameRef<'_>> {
        self.to.names.names().iter()
    }

    /// The names and globs together.
    pub fn name_set(&self) -> &NameSet {
        &self.to.names
    }

    /// The names with a `*` inside a label.
    pub fn globs(&self) -> &GlobSet {
        self.to.names.globs()
    }

    /// The names without globs under `except`.
    pub fn except_names(&self) -> impl Iterator<Item = NameRef<'_>> {
        self.to.except_names.names().iter()
    }

    /// The names and globs under `except` together.
    pub fn except_name_set(&self) -> &NameSet {
        &self.to.except_names
    }

    /// The globs under `except`.
    pub fn except_globs(&self) -> &GlobSet {
        self.to.except_names.globs()
    }

    /// The networks, sorted, each once.
    pub fn cidrs(&self) -> &[IpNet] {
        &self.to.cidrs
    }

    /// The networks under `except`, sorted, each once.
    pub fn except_cidrs(&self) -> &[IpNet] {
        &self.to.except_cidrs
    }

    /// The ports, sorted; empty for all.
    pub fn ports(&self) -> &[PortRange] {
        &self.ports
    }

    /// Who the rule is about; none for everyone.
    pub fn subjects(&self) -> Option<&Subjects> {
        self.subjects.as_ref()
    }

    /// How the rule reads an address that several names share.
    pub fn shared_address(&self) -> SharedAddress {
        self.shared_address
    }

    /// The error a call gets that this deny rule refuses.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// How long a binding that this rule is interested in lives at least after its last sighting.
    pub fn hold(&self) -> Duration {
        self.hold
    }

    /// How long an answer can keep its address out of this rule, at least: through `except.names`, or by speaking against
    /// `sharedAddress: all`. What keeps a deny away is an allowance, and lasts as long as one: the file's `hold.allow`.
    pub fn spare(&self) -> Duration {
        match self.action {
            Action::Allow => self.hold,
            Action::Deny => self.spare,
        }
    }

    /// Whether this deny rule refuses the DNS query too.
    pub fn refuse_lookup(&self) -> bool {
        self.refuse_lookup
    }

    /// What happens to live flows when this deny rule comes into force.
    pub fn on_deny(&self) -> OnDeny {
        self.on_deny
    }

    /// The special-use ranges the names of this allow rule may resolve to.
    pub fn may_resolve_to(&self) -> &[IpNet] {
        &self.may_resolve_to
    }

    /// The names to resolve at start: those written out in an allow rule with `preResolve: true`, else none.
    pub fn pre_resolve(&self) -> &[DomainName] {
        &self.pre_resolve
    }

    /// What each file of the rule's lists gave.
    pub fn lists(&self) -> &[ListSummary] {
        &self.lists
    }

    /// Where the rule stands.
    pub fn location(&self) -> &Location {
        &self.origin.location
    }
}

/// What one file of a rule's lists gave.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListSummary {
    /// The file.
    pub path: PathBuf,
    /// Its format; none if it holds nothing but comments.
    pub format: Option<ListFormat>,
    /// Names that the rule did not have before.
    pub names: usize,
    /// Names that the rule had before.
    pub duplicates: usize,
    /// Lines that were not understood.
    pub bad_lines: usize,
}

/// A place in a policy file, with the text to quote it from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub location: Location,
    pub length: usize,
    pub field: String,
    pub source: Arc<NamedSource<String>>,
}

impl Origin {
    pub(crate) fn diagnostic(
        &self,
        severity: Severity,
        code: &'static str,
        message: impl Into<String>,
    ) -> Diagnostic {
        let Self { location, length, field, source } = self;
        Diagnostic::new(severity, code, message, location.clone()).length(*length).field(field).source(source)
    }

    pub(crate) fn file(&self) -> &Path {
        &self.location.file
    }
}
