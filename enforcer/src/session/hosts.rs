//! What the hosts file says.

use super::{Options, Session, SessionError};
use crate::hosts::{self, Hosts};

impl Session {
    /// Follows a change of the hosts file. If it cannot be read, what it said stays.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn follow_hosts(&mut self) -> Result<(), SessionError> {
        match read(&self.options) {
            Some(hosts) if hosts != self.hosts => {
                self.engine.set_hosts(&hosts)?;
                self.hosts = hosts;
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What the hosts file says; `None` if it cannot be read, which is logged.
pub(super) fn read(options: &Options) -> Option<Hosts> {
    let path = &options.hosts;
    match hosts::read(path) {
        Ok(hosts) => {
            if hosts.left_out > 0 {
                let left_out = hosts.left_out;
                tracing::warn!(path = %path.display(), left_out, "the hosts file has more names than are taken in");
            }
            Some(hosts)
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the hosts file cannot be read");
            None
        }
    }
}
