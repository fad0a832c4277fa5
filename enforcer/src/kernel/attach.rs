//! Loading and attaching programs.

use super::{Backend, KernelError, Place, object::describe};
use aya::{
    Btf, Ebpf,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, CgroupSockAddr, Lsm, Program,
        ProgramError,
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

/// What judges connects by cgroup.
const CONNECT: [&str; 2] = ["connect4", "connect6"];
/// What judges datagrams, in either backend: the cgroup hooks know the socket.
const SENDMSG: [&str; 2] = ["sendmsg4", "sendmsg6"];
/// What remembers which server a socket asks and where it goes, whoever judges.
const OBSERVERS: [&str; 4] = ["name_connect4", "name_connect6", "name_sendmsg4", "name_sendmsg6"];
/// What sees packets, of all.
const PACKET_OBSERVERS: [(&str, CgroupSkbAttachType); 3] = [
    ("egress", CgroupSkbAttachType::Egress),
    ("vouch", CgroupSkbAttachType::Egress),
    ("ingress", CgroupSkbAttachType::Ingress),
];
/// What judges packets and queries, and remembers whom a socket may answer.
const WIRE: [(&str, CgroupSkbAttachType); 3] = [
    ("wire_ingress", CgroupSkbAttachType::Ingress),
    ("wire_egress", CgroupSkbAttachType::Egress),
    ("refuse_lookup", CgroupSkbAttachType::Egress),
];
/// Remembers whose a socket is.
const SOCKET_OBSERVER: &str = "name_socket";
/// What judges as security module: each program has the name of its hook.
const SECURITY: [&str; 4] = ["socket_connect", "socket_sendmsg", "sctp_bind_connect", "socket_create"];

/// The programs as security module that are wanted.
fn security(place: &Place) -> &'static [&'static str] {
    if place.only_connect { &["socket_connect"] } else { &SECURITY }
}

/// The programs that judge.
pub(super) fn judges(backend: Backend, place: &Place) -> Vec<&'static str> {
    let named = match backend {
        Backend::Cgroup => &CONNECT,
        Backend::Lsm => security(place),
    };
    let seen: &[_] =
        if place.only_connect { &[] } else { &["sendmsg4", "sendmsg6", "wire_egress", "refuse_lookup"] };
    named.iter().chain(seen).copied().collect()
}

/// Loads the programs that a backend needs.
pub(super) fn load_programs(ebpf: &mut Ebpf, backend: Backend, place: &Place) -> Result<(), KernelError> {
    let refused = |program| move |error: ProgramError| refusal(program, &error);
    match backend {
        Backend::Cgroup => {
            for name in CONNECT {
                program::<CgroupSockAddr>(ebpf, name)?.load().map_err(refused(name))?;
            }
        }
        Backend::Lsm => {
            let btf = Btf::from_sys_fs().map_err(|error| KernelError::Btf(error.to_string()))?;
            for &name in security(place) {
                program::<Lsm>(ebpf, name)?.load(name, &btf).map_err(refused(name))?;
            }
        }
    }
    for name in OBSERVERS.into_iter().chain(SENDMSG) {
        program::<CgroupSockAddr>(ebpf, name)?.load().map_err(refused(name))?;
    }
    for (name, _) in PACKET_OBSERVERS.into_iter().chain(WIRE) {
        program::<CgroupSkb>(ebpf, name)?.load().map_err(refused(name))?;
    }
    program::<CgroupSock>(ebpf, SOCKET_OBSERVER)?.load().map_err(refused(SOCKET_OBSERVER))?;
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

/// Attaches what was loaded: what observes at the root, the deciders at the scope. An answer is seen only where its query
/// was. The wire comes last: what is named is known before it is judged there.
pub(super) fn attach(ebpf: &mut Ebpf, backend: Backend, place: &Place) -> Result<Vec<Hook>, KernelError> {
    let mut hooks = Vec::new();
    let scope = place.scope.as_ref().map_or(&place.root, |scope| &scope.path);
    for name in OBSERVERS {
        hooks.push(address_hook(ebpf, name, &place.root)?);
    }
    hooks.push(socket_hook(ebpf, SOCKET_OBSERVER, &place.root)?);
    for (name, kind) in PACKET_OBSERVERS {
        hooks.push(packet_hook(ebpf, name, kind, &place.root)?);
    }
    match backend {
        Backend::Cgroup => {
            for name in CONNECT {
                hooks.push(address_hook(ebpf, name, scope)?);
            }
        }
        Backend::Lsm => {
            for &name in security(place) {
                let to = format!("lsm/{name}");
                program::<Lsm>(ebpf, name)?.attach().map_err(|error| failure(name, &to, &error))?;
                hooks.push(Hook { program: name, to });
            }
        }
    }
    if place.only_connect {
        return Ok(hooks);
    }
    for name in SENDMSG {
        hooks.push(address_hook(ebpf, name, scope)?);
    }
    for (name, kind) in WIRE {
        hooks.push(packet_hook(ebpf, name, kind, scope)?);
    }
    Ok(hooks)
}

/// Attaches a program that sees the address of a call.
fn address_hook(ebpf: &mut Ebpf, name: &'static str, cgroup: &Path) -> Result<Hook, KernelError> {
    program::<CgroupSockAddr>(ebpf, name)?
        .attach(&open(cgroup)?, CgroupAttachMode::Single)
        .map_err(|error| failure(name, cgroup.display(), &error))?;
    Ok(Hook { program: name, to: format!("cgroup/{} of `{}`", hook_of(name), cgroup.display()) })
}

/// Attaches a program that sees sockets as they are made.
fn socket_hook(ebpf: &mut Ebpf, name: &'static str, cgroup: &Path) -> Result<Hook, KernelError> {
    program::<CgroupSock>(ebpf, name)?
        .attach(&open(cgroup)?, CgroupAttachMode::Single)
        .map_err(|error| failure(name, cgroup.display(), &error))?;
    Ok(Hook { program: name, to: format!("cgroup/sock_create of `{}`", cgroup.display()) })
}

/// Attaches a program that sees packets.
fn packet_hook(
    ebpf: &mut Ebpf,
    name: &'static str,
    kind: CgroupSkbAttachType,
    cgroup: &Path,
) -> Result<Hook, KernelError> {
    program::<CgroupSkb>(ebpf, name)?
        .attach(&open(cgroup)?, kind, CgroupAttachMode::Single)
        .map_err(|error| failure(name, cgroup.display(), &error))?;
    let hook = match kind {
        CgroupSkbAttachType::Egress => "egress",
        CgroupSkbAttachType::Ingress => "ingress",
    };
    Ok(Hook { program: name, to: format!("cgroup_skb/{hook} of `{}`", cgroup.display()) })
}

/// The hook of a program: its name without what it does there.
fn hook_of(name: &str) -> &str {
    name.rsplit('_').next().unwrap_or(name)
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
