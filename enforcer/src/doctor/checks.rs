//! From facts to what follows. Pure.

use super::{
    Check, Facts, Trial,
    facts::{Cache, Hierarchy, Lack},
};
use crate::backend::Backend;

/// Every check, those first on which others depend.
pub(super) fn all(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        lack("kernel", &facts.release, facts.kernel.as_ref()),
        lack("privileges", "this process may load and attach programs", facts.privileges.as_ref()),
        cgroups(&facts.cgroups),
        lsms(facts.lsms.as_deref()),
        lockdown(facts.lockdown.as_deref()),
        jit(facts.jit.as_deref()),
        trial(Backend::Lsm, facts),
        trial(Backend::Cgroup, facts),
        io_uring(facts.io_uring_disabled.as_deref()),
        mptcp(facts.mptcp.as_deref()),
        forwarding(&facts.forwarding),
    ];
    checks.extend(facts.caches.iter().map(|cache| self::cache(*cache)));
    checks
}

fn lack(name: &'static str, otherwise: &str, lack: Option<&Lack>) -> Check {
    match lack {
        None => Check::good(name, otherwise),
        Some(Lack { what, fix }) => Check { fix: fix.clone(), ..Check::missing(name, what.clone()) },
    }
}

fn cgroups(hierarchy: &Result<Hierarchy, Lack>) -> Check {
    const NAME: &str = "cgroup v2";
    match hierarchy {
        Err(missing) => lack(NAME, "", Some(missing)),
        Ok(Hierarchy { root, whole: true }) => Check::good(NAME, format!("mounted at {root}")),
        Ok(Hierarchy { root, whole: false }) => Check::limited(NAME, format!("{root} is only a part of it"))
            .effect("processes outside of this part are not judged, and their lookups are not seen")
            .fix("run enforcer on the machine itself, or in a container with the machine's cgroup namespace"),
    }
}

fn lsms(list: Option<&str>) -> Check {
    const NAME: &str = "bpf in lsm=";
    const EFFECT: &str = "the programs on LSM hooks are never called; the backend `cgroup` judges instead";
    let Some(list) = list else {
        return Check::limited(NAME, "the list of active security modules cannot be read")
            .effect("whether the backend `lsm` works is only known by trying")
            .fix("mount -t securityfs securityfs /sys/kernel/security");
    };
    if list.split(',').any(|module| module == "bpf") {
        return Check::good(NAME, list);
    }
    // What is always there cannot be listed (security/security.c `ordered_lsm_parse`).
    let named: Vec<&str> =
        list.split(',').filter(|module| !matches!(*module, "capability" | "")).chain(["bpf"]).collect();
    Check::limited(NAME, if list.is_empty() { "none are active" } else { list }).effect(EFFECT).fix(format!(
        "add `lsm={}` to the kernel's command line (GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub), and reboot",
        named.join(",")
    ))
}

fn lockdown(modes: Option<&str>) -> Check {
    const NAME: &str = "lockdown";
    match modes.and_then(|modes| modes.split_once('[')?.1.split_once(']')).map(|(mode, _)| mode) {
        Some("confidentiality") => Check::missing(NAME, "confidentiality")
            .effect("the kernel refuses programs that read its memory, as these do")
            .fix("boot with `lockdown=integrity`, or without `lockdown=`"),
        Some(mode) => Check::good(NAME, mode),
        None => Check::good(NAME, "this kernel has none, or does not tell"),
    }
}

fn jit(enabled: Option<&str>) -> Check {
    const NAME: &str = "compiled programs";
    match enabled {
        Some("0") => Check::limited(NAME, "net.core.bpf_jit_enable is 0")
            .effect("programs are interpreted: connects and DNS answers take several times as long")
            .fix("sysctl -w net.core.bpf_jit_enable=1"),
        _ => Check::good(NAME, "the kernel compiles programs"),
    }
}

fn trial(backend: Backend, facts: &Facts) -> Check {
    let name = match backend {
        Backend::Lsm => "backend lsm",
        Backend::Cgroup => "backend cgroup",
    };
    match facts.trial(backend) {
        Some(Trial::Fires) => Check::good(name, "a canary was refused"),
        // One is enough.
        Some(Trial::Fails(reason)) if backend == Backend::Lsm => Check::limited(name, reason.clone()),
        Some(Trial::Fails(reason)) => Check::missing(name, reason.clone()),
        None => Check::missing(name, "not tried, for the reasons above"),
    }
}

fn io_uring(disabled: Option<&str>) -> Check {
    const NAME: &str = "io_uring";
    match disabled {
        Some("2") => Check::good(NAME, "disabled"),
        Some("1") => {
            Check::good(NAME, "for privileged processes; what they connect to is judged like the rest")
        }
        _ => Check::good(NAME, "enabled; what is connected to through it is judged like the rest"),
    }
}

fn mptcp(enabled: Option<&str>) -> Check {
    const NAME: &str = "MPTCP";
    match enabled {
        Some("1") => Check::good(NAME, "enabled; further subflows are judged on the wire"),
        _ => Check::good(NAME, "disabled"),
    }
}

fn forwarding(on: &[&str]) -> Check {
    const NAME: &str = "forwarding";
    if on.is_empty() {
        return Check::good(NAME, "off");
    }
    Check::limited(NAME, on.join(", "))
        .effect("what this machine forwards for others, such as virtual machines, is not judged; its own containers are")
        .fix("run enforcer in the virtual machines, or filter what is forwarded with nftables")
}

fn cache(cache: Cache) -> Check {
    match cache {
        Cache::Resolved => Check::good("cache", "systemd-resolved, which tells what it answers from memory"),
        Cache::ResolvedUnseen => {
            Check::limited("cache", "systemd-resolved, which does not tell what it answers")
                .effect(
                    "a name that it knew before the start has no address here until it is looked up again",
                )
                .fix("start with `--flush-caches`; version 252 or newer tells")
        }
        Cache::Nscd => Check::limited("cache", "nscd")
            .effect("a name that it knew before the start has no address here until it is looked up again")
            .fix("`nscd --invalidate=hosts` after the start, or no nscd"),
    }
}
