use super::{User, executable, executable_of, kernel_path, running, start_of, started, user_id};
use enforcer_common::Address;
use enforcer_common::event::{ConnectEvent, EXE_MAX};

fn event(path: &[u8], whole: u32) -> ConnectEvent {
    let mut exe = [0xee; EXE_MAX];
    exe[..path.len()].copy_from_slice(path);
    ConnectEvent {
        time: 0,
        version: 0,
        cgroup: 0,
        address: Address::default(),
        pid: 0,
        tid: 0,
        ppid: 0,
        uid: 0,
        port: 0,
        rule: 0,
        effective_rule: 0,
        flags: 0,
        errno: 0,
        kind: 0,
        protocol: 6,
        reserved: [0; 6],
        comm: [0; 16],
        walk: [0; 3],
        exe_length: path.len() as u32,
        exe_whole: whole,
        exe,
    }
}

#[test]
fn the_kernels_components_become_a_path() {
    assert_eq!(kernel_path(&event(b"curl\0bin\0usr\0", 1)).as_deref(), Some("/usr/bin/curl"));
    assert_eq!(kernel_path(&event(b"curl\0bin\0", 0)).as_deref(), Some(".../bin/curl"));
    assert_eq!(kernel_path(&event(b"c\xffrl\0", 1)).as_deref(), Some("/c\u{fffd}rl"));
    assert_eq!(kernel_path(&event(b"", 1)), None);
    assert_eq!(kernel_path(&event(b"\0\0", 1)), None);
    let mut long = event(b"", 0);
    long.exe_length = u32::MAX;
    assert!(kernel_path(&long).unwrap().starts_with(".../"));
}

#[test]
fn a_whole_path_from_the_kernel_stands_and_its_end_is_completed() {
    let from = |kernel: Option<&str>, proc: Option<&str>| executable_of(kernel, || proc.map(str::to_owned));
    assert_eq!(from(Some("/usr/bin/curl"), Some("/tmp/evil")).as_deref(), Some("/usr/bin/curl"));
    assert_eq!(from(Some(".../bin/curl"), Some("/deep/bin/curl")).as_deref(), Some("/deep/bin/curl"));
    assert_eq!(from(Some(".../bin/curl"), Some("/tmp/evil")).as_deref(), Some(".../bin/curl"));
    assert_eq!(from(Some(".../bin/curl"), None).as_deref(), Some(".../bin/curl"));
    assert_eq!(from(None, Some("/tmp/sh")).as_deref(), Some("/tmp/sh"));
    assert_eq!(from(None, None), None);
}

#[test]
fn the_executable_of_this_process_is_found() {
    let expected = std::env::current_exe().unwrap();
    assert_eq!(executable(std::process::id(), None).unwrap(), expected.to_string_lossy());
    assert_eq!(executable(u32::MAX, None), None);
}

#[test]
fn root_has_number_zero() {
    assert_eq!(user_id("root"), Some(0));
    assert_eq!(user_id("no-such-user-here"), None);
    assert_eq!(user_id("nul\0inside"), None);
    let root = User::by_name("root").unwrap();
    assert_eq!((root.uid, root.gid, root.name.as_str()), (0, 0, "root"));
    assert!(root.groups.contains(&0) && root.home.is_absolute());
    assert_eq!(User::by_id(0).unwrap(), root);
    let error = User::by_name("no-such-user-here").unwrap_err();
    assert_eq!(error.to_string(), "there is no user `no-such-user-here`");
}

#[test]
fn a_process_tells_when_it_started() {
    let stat = "7 (a) b) 9) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 1234 1 1 1";
    assert_eq!(start_of(stat), Some(12_340_000_000));
    assert_eq!(start_of("7 (a"), None);
    let own = started(std::process::id()).unwrap();
    let now = crate::clock::boot();
    assert!(own < now && started(1).unwrap() < own, "{own} {now}");
    assert_eq!(started(u32::MAX), None);
    assert!(running().contains(&std::process::id()) && running().contains(&1));
}
