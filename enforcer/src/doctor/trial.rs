//! Trying a backend: its programs are loaded and attached, and have to refuse a canary.

use crate::{
    backend::Backend,
    canary,
    cgroups::{self, create_child},
    kernel::{Kernel, Place, Scope},
};
use std::path::Path;

/// What became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trial {
    /// A canary was refused.
    Fires,
    /// A step failed, or the canary got through.
    Fails(String),
}

impl Trial {
    /// Tries a backend in a cgroup of its own, without a policy: nobody else's connects are touched. What was attached is
    /// gone when it returns.
    pub(super) fn of(backend: Backend, root: &Path) -> Self {
        match fire(backend, root) {
            Ok(()) => Self::Fires,
            Err(reason) => Self::Fails(reason),
        }
    }
}

fn fire(backend: Backend, root: &Path) -> Result<(), String> {
    let name = format!("enforcer-doctor-{}", std::process::id());
    let cage = create_child(root, &name).map_err(|error| error.to_string())?;
    let scope =
        Scope { path: cage.directory().to_path_buf(), id: cage.id(), level: cgroups::level_of(&name) };
    let place = Place {
        root: root.to_path_buf(),
        scope: Some(scope.clone()),
        no_binder: false,
        trust_by_address: false,
        only_connect: false,
        no_excuses: false,
    };
    let mut kernel = Kernel::load(backend, place).map_err(|error| error.to_string())?;
    kernel.attach().map_err(|error| error.to_string())?;
    canary::send(&kernel, Some(&scope))
}
