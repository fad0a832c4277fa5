//! Where a session judges, and by which hooks.

use super::{Options, SessionError, resolvers::trusted};
use crate::{
    canary, cgroups,
    compile::Compiled,
    engine::{Engine, EngineError},
    hosts::Hosts,
    kernel::{Backend, Kernel, Place, Scope},
};
use std::sync::Arc;

/// The hierarchy, and the cgroup of it within which decisions are made.
pub(super) fn of(options: &Options) -> Result<Place, SessionError> {
    let root = cgroups::mount_point()?;
    let scope = match &options.scope {
        None => None,
        Some(path) => {
            let outside = || SessionError::Scope { path: path.clone(), root: root.clone() };
            // Either a directory of the hierarchy, or a path below its root.
            let directory = if path.starts_with(&root) {
                path.clone()
            } else {
                root.join(path.strip_prefix("/").unwrap_or(path))
            };
            let directory = directory.canonicalize().map_err(|_| outside())?;
            let below = directory.strip_prefix(&root).map_err(|_| outside())?;
            if !directory.join("cgroup.procs").exists() {
                return Err(outside());
            }
            let level = cgroups::level_of(&below.to_string_lossy());
            (level > 0).then_some(Scope { id: cgroups::id_of(&directory)?, path: directory, level })
        }
    };
    let &Options { no_binder, trust_by_address, only_connect, no_excuses, .. } = options;
    Ok(Place { root, scope, no_binder, trust_by_address, only_connect, no_excuses })
}

/// `lsm` where it works, unless the backend is given; with it, why `lsm` was not taken.
pub(super) fn start_engine(
    options: &Options,
    place: &Place,
    policy: &Arc<Compiled>,
    hosts: &Hosts,
) -> Result<(Engine, Option<String>), SessionError> {
    let start = |backend| -> Result<Engine, SessionError> {
        let kernel = Kernel::load(backend, place.clone())?;
        Ok(Engine::start(kernel, place, Arc::clone(policy), trusted(&policy.policy), hosts)?)
    };
    if let Some(backend) = options.backend {
        return Ok((start(backend)?, None));
    }
    match start(Backend::Lsm) {
        Ok(engine) => match canary::send(engine.kernel(), place.scope.as_ref()) {
            Ok(()) => Ok((engine, None)),
            Err(reason) => {
                drop(engine);
                Ok((start(Backend::Cgroup)?, Some(reason)))
            }
        },
        Err(SessionError::Engine(EngineError::Kernel(error))) if error.is_refusal() => {
            Ok((start(Backend::Cgroup)?, Some(error.to_string())))
        }
        Err(error) => Err(error),
    }
}
