//! Who connects.

use std::fmt;

use thiserror::Error;

use crate::connection::Connection;
use crate::glob::PathGlob;

/// A user of the machine.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum User {
    /// By number.
    Id(u32),
    /// By name; the shell knows the number.
    Name(Box<str>),
}

impl User {
    pub(crate) fn parse(text: &str) -> Result<Self, SubjectError> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == ':' || c == '/' || c == '*') {
            return Err(SubjectError::User(text.to_owned()));
        }
        Ok(Self::Name(text.into()))
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// The subjects of a rule: **any** one that is listed is enough, whatever kind it is of.
///
/// A union, since a rule that names a unit and a user almost always means either; who means both writes the
/// unit, whose user is fixed anyway.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subjects {
    pub(crate) cgroups: Vec<PathGlob>,
    pub(crate) units: Vec<Box<str>>,
    pub(crate) users: Vec<User>,
}

impl Subjects {
    /// Paths of cgroups below the cgroup mount.
    pub fn cgroups(&self) -> &[PathGlob] {
        &self.cgroups
    }

    /// systemd units, such as `nginx.service`.
    pub fn units(&self) -> &[Box<str>] {
        &self.units
    }

    /// Users.
    pub fn users(&self) -> &[User] {
        &self.users
    }

    /// Whether who connects is a subject.
    pub fn is_match(&self, connection: &Connection) -> bool {
        let Connection { uid, user, cgroup, unit, .. } = connection;
        cgroup.as_deref().is_some_and(|path| self.is_match_cgroup(path))
            || unit.as_deref().is_some_and(|unit| self.is_match_unit(unit))
            || self.is_match_user(*uid, user.as_deref())
    }

    /// Whether a cgroup, by its path, is a subject: through a glob, or a unit among its segments.
    pub fn is_match_cgroup(&self, path: &str) -> bool {
        self.cgroups.iter().any(|glob| glob.is_match(path))
            || path.split('/').any(|segment| self.is_match_unit(segment))
    }

    /// Whether a unit is a subject.
    pub fn is_match_unit(&self, unit: &str) -> bool {
        self.units.iter().any(|own| &**own == unit)
    }

    /// Whether a user is a subject, by number or, where it is known, by name.
    pub fn is_match_user(&self, id: Option<u32>, name: Option<&str>) -> bool {
        self.users.iter().any(|user| match user {
            User::Id(own) => Some(*own) == id,
            User::Name(own) => Some(&**own) == name,
        })
    }
}

/// The suffixes systemd knows for what can hold processes.
const UNIT_TYPES: [&str; 6] = [".service", ".scope", ".slice", ".socket", ".mount", ".swap"];

/// Reads the name of a unit.
pub(crate) fn parse_unit(text: &str) -> Result<Box<str>, SubjectError> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == '/' || c == '*') {
        return Err(SubjectError::Unit(text.to_owned()));
    }
    if !UNIT_TYPES.iter().any(|suffix| text.len() > suffix.len() && text.ends_with(suffix)) {
        return Err(SubjectError::UnitType(text.to_owned()));
    }
    Ok(text.into())
}

/// Why a text is no subject.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SubjectError {
    /// No name of a unit.
    #[error("`{0}` is not the name of a unit")]
    Unit(String),
    /// A unit without its type.
    #[error("the unit `{0}` does not say its type")]
    UnitType(String),
    /// No name of a user.
    #[error("`{0}` is not a user name")]
    User(String),
}

impl SubjectError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Unit(_) => "write one unit, such as `nginx.service`; globs go under `cgroups`".to_owned(),
            Self::UnitType(unit) => format!("write `{unit}.service`"),
            Self::User(_) => "write one user name, such as `www-data`, or a number".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
