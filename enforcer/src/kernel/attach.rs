//! Loading and attaching programs.

use super::{Backend, KernelError, Place, object::describe};
use aya::{
    Btf, Ebpf,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, Lsm, Program, ProgramError,
    },
};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// A program and what it is attached to.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Hook {
    /// Name of the program.
    pub program: &'static str,
    /// The hook, and for cgroup hooks the cgroup.
    pub to: String,
}

/// The cgroup within which decisions are made.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Its directory.
    pub path: PathBuf,
    /// Its id: the inode number of the directory.
    pub id: u64,
    /// Its depth below the root.
    pub level: u32,
}

/// Loads the programs that a backend needs.
pub(super) fn load_programs(ebpf: &mut Ebpf, backend: Backend) -> Result<(), KernelError> {
    let refused = |program| move |error: ProgramError| refusal(program, &error);
    match backend {
        Backend::Cgroup => {
            for name in ["connect4", "connect6"] {
                program::<CgroupSockAddr>(ebpf, name)?.load().map_err(refused(name))?;
            }
        }
        Backend::Lsm => {
            let btf = Btf::from_sys_fs().map_err(|error| KernelError::Btf(error.to_string()))?;
            let name = "socket_connect";
            program::<Lsm>(ebpf, name)?.load(name, &btf).map_err(refused(name))?;
        }
    }
    for name in OBSERVERS {
        program::<CgroupSockAddr>(ebpf, name)?.load().map_err(refused(name))?;
    }
    for (name, _) in PACKETS {
        program::<CgroupSkb>(ebpf, name)?.load().map_err(refused(name))?;
    }
    tell_cost(ebpf);
    Ok(())
}

/// Logs how many instructions the verifier went through for each program; it gives up after 1,000,000.
fn tell_cost(ebpf: &Ebpf) {
    for (program, loaded) in ebpf.programs() {
        let verified = loaded.info().ok().and_then(|info| info.verified_instruction_count());
        if let Some(instructions) = verified {
            tracing::debug!(program, instructions, "verified");
        }
    }
}

/// What remembers which server a socket asks, whoever judges.
const OBSERVERS: [&str; 4] = ["name_connect4", "name_connect6", "name_sendmsg4", "name_sendmsg6"];

/// What looks at packets, whoever judges.
const PACKETS: [(&str, CgroupSkbAttachType); 3] = [
    ("egress", CgroupSkbAttachType::Egress),
    ("vouch", CgroupSkbAttachType::Egress),
    ("ingress", CgroupSkbAttachType::Ingress),
];

/// Attaches what was loaded: what observes at the root, the deciders at the scope. An answer is seen only where its query
/// was.
pub(super) fn attach(ebpf: &mut Ebpf, backend: Backend, place: &Place) -> Result<Vec<Hook>, KernelError> {
    let mut hooks = Vec::new();
    let single = CgroupAttachMode::Single;

    let root = open(&place.root)?;
    let at = place.root.display();
    for name in OBSERVERS {
        program::<CgroupSockAddr>(ebpf, name)?
            .attach(&root, single)
            .map_err(|error| failure(name, &at, &error))?;
        let hook = name.trim_start_matches("name_");
        hooks.push(Hook { program: name, to: format!("cgroup/{hook} of `{at}`") });
    }
    for (name, kind) in PACKETS {
        program::<CgroupSkb>(ebpf, name)?
            .attach(&root, kind, single)
            .map_err(|error| failure(name, &at, &error))?;
        let hook = match kind {
            CgroupSkbAttachType::Egress => "egress",
            CgroupSkbAttachType::Ingress => "ingress",
        };
        hooks.push(Hook { program: name, to: format!("cgroup_skb/{hook} of `{at}`") });
    }

    match backend {
        Backend::Cgroup => {
            let path = place.scope.as_ref().map_or(&place.root, |scope| &scope.path);
            let directory = open(path)?;
            for name in ["connect4", "connect6"] {
                program::<CgroupSockAddr>(ebpf, name)?
                    .attach(&directory, single)
                    .map_err(|error| failure(name, path.display(), &error))?;
                hooks.push(Hook { program: name, to: format!("cgroup/{name} of `{}`", path.display()) });
            }
        }
        Backend::Lsm => {
            let name = "socket_connect";
            program::<Lsm>(ebpf, name)?
                .attach()
                .map_err(|error| failure(name, "lsm/socket_connect", &error))?;
            hooks.push(Hook { program: name, to: "lsm/socket_connect".to_owned() });
        }
    }
    Ok(hooks)
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, KernelError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or_else(|| KernelError::Object(format!("it has no program `{name}`")))?
        .try_into()
        .map_err(|error: ProgramError| KernelError::Object(error.to_string()))
}

fn open(path: &Path) -> Result<File, KernelError> {
    File::open(path).map_err(|source| KernelError::Cgroup { path: path.display().to_string(), source })
}

fn failure(program: &'static str, to: impl std::fmt::Display, error: &ProgramError) -> KernelError {
    KernelError::Attach { program, to: to.to_string(), reason: describe(error) }
}

/// The verifier's log, shortened to its last line that says something.
fn refusal(program: &'static str, error: &ProgramError) -> KernelError {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return KernelError::Program { program, errno: None, reason: describe(error) };
    };
    let log = verifier_log.to_string();
    tracing::debug!(program, log, "the verifier refused");
    let statistics = ["processed ", "verification time", "stack depth", "combined stack depth"];
    let last = log
        .lines()
        .rev()
        .find(|line| !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start)));
    let reason = match last {
        Some(line) => format!("{io_error}: {line}"),
        None => io_error.to_string(),
    };
    KernelError::Program { program, errno: io_error.raw_os_error(), reason }
}
