use super::*;
use crate::backend::Backend;
use facts::{Cache, Hierarchy, Lack};

/// A machine on which everything is as it should be.
fn good() -> Facts {
    Facts {
        release: "6.12.1".to_owned(),
        kernel: None,
        privileges: None,
        cgroups: Ok(Hierarchy { root: "/sys/fs/cgroup".to_owned(), whole: true }),
        lsms: Some("lockdown,capability,landlock,yama,bpf".to_owned()),
        lockdown: Some("[none] integrity confidentiality".to_owned()),
        jit: Some("1".to_owned()),
        io_uring_disabled: None,
        mptcp: Some("0".to_owned()),
        forwarding: Vec::new(),
        caches: Vec::new(),
        trials: vec![(Backend::Lsm, Trial::Fires), (Backend::Cgroup, Trial::Fires)],
    }
}

/// The one check that is not good.
#[track_caller]
fn finding(facts: &Facts) -> Check {
    let mut found: Vec<_> =
        Report::of(facts).checks.into_iter().filter(|check| check.state != State::Good).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_good_machine_has_no_findings() {
    let report = Report::of(&good());
    assert!(report.checks.iter().all(|check| check.state == State::Good), "{report:?}");
    assert_eq!(report.backend, Some(Backend::Lsm));
}

#[test]
fn the_boot_parameter_keeps_what_is_active() {
    let facts = Facts { lsms: Some("lockdown,capability,landlock,yama,apparmor".to_owned()), ..good() };
    let check = finding(&facts);
    assert_eq!((check.name, check.state), ("bpf in lsm=", State::Limited));
    assert!(check.fix.unwrap().contains("`lsm=lockdown,landlock,yama,apparmor,bpf`"));
    let facts = Facts { lsms: None, ..good() };
    assert!(finding(&facts).fix.unwrap().contains("securityfs"));
    // A module whose name only contains it.
    let facts = Facts { lsms: Some("bpfish".to_owned()), ..good() };
    assert!(finding(&facts).fix.unwrap().contains("`lsm=bpfish,bpf`"));
}

#[test]
fn a_backend_that_does_not_fire_is_not_taken() {
    let silent = || Trial::Fails("a canary was not refused".to_owned());
    let facts = Facts { trials: vec![(Backend::Lsm, silent()), (Backend::Cgroup, Trial::Fires)], ..good() };
    assert_eq!(Report::of(&facts).backend, Some(Backend::Cgroup));
    assert_eq!(finding(&facts).state, State::Limited);
    let facts = Facts { trials: vec![(Backend::Lsm, silent()), (Backend::Cgroup, silent())], ..good() };
    let report = Report::of(&facts);
    assert_eq!(report.backend, None);
    assert_eq!(report.checks.iter().map(|check| check.state).max(), Some(State::Missing));
}

#[test]
fn without_privileges_nothing_is_tried() {
    let lack = Lack { what: "missing capabilities: CAP_BPF".to_owned(), fix: Some("run as root".to_owned()) };
    let report = Report::of(&Facts { privileges: Some(lack), trials: Vec::new(), ..good() });
    assert_eq!(report.backend, None);
    let missing: Vec<_> =
        report.checks.iter().filter(|check| check.state == State::Missing).map(|check| check.name).collect();
    assert_eq!(missing, ["privileges", "backend lsm", "backend cgroup"]);
}

#[test]
fn each_limit_has_an_effect_and_a_fix() {
    let facts = [
        Facts { cgroups: Ok(Hierarchy { root: "/cgroup".to_owned(), whole: false }), ..good() },
        Facts { lockdown: Some("none integrity [confidentiality]".to_owned()), ..good() },
        Facts { jit: Some("0".to_owned()), ..good() },
        Facts { mptcp: Some("1".to_owned()), ..good() },
        Facts { forwarding: vec!["net.ipv4.ip_forward"], ..good() },
        Facts { caches: vec![Cache::Resolved, Cache::Nscd], ..good() },
        Facts { caches: vec![Cache::ResolvedUnseen], ..good() },
    ];
    for facts in facts {
        let check = finding(&facts);
        assert!(check.effect.is_some() && check.fix.is_some(), "{check:?}");
    }
}
