use super::mount::{mount_point_in, own_in};
use super::{CgroupError, Tree, create_child, id_of, level_of, mount_point, own};
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_mount_point_is_found_in_any_layout() {
    for (text, expected) in [
        ("30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw", Some("/sys/fs/cgroup")),
        (
            "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 none rw",
            Some("/sys/fs/cgroup/unified"),
        ),
        (
            "30 24 0:26 /ci /mnt/ci rw - cgroup2 none rw\n31 24 0:26 / /mnt/a\\040b rw - cgroup2 none rw",
            Some("/mnt/a b"),
        ),
        ("30 24 0:26 /ci /mnt/ci rw master:1 - cgroup2 none rw", Some("/mnt/ci")),
        ("30 24 0:26 / /cgroup2 rw - tmpfs cgroup2 rw", None),
        ("nonsense - cgroup2", None),
        ("", None),
    ] {
        assert_eq!(mount_point_in(text).as_deref(), expected.map(Path::new), "{text}");
    }
}

#[test]
fn the_own_cgroup_is_the_v2_line() {
    assert_eq!(own_in("12:cpu:/x\n0::/ci/job\n"), Some("/ci/job"));
    assert_eq!(own_in("12:cpu:/x\n"), None);
}

#[test]
fn the_level_counts_components() {
    for (path, expected) in [("/", 0), ("", 0), ("/ci", 1), ("/ci/job", 2), ("ci/job/", 2), ("//ci", 1)] {
        assert_eq!(level_of(path), expected, "{path}");
    }
}

#[test]
fn a_tree_maps_ids_to_paths() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("ci/job")).unwrap();
    fs::write(folder.path().join("ci/cgroup.procs"), "").unwrap();
    let mut tree = Tree::scan(folder.path()).unwrap();
    let id = |path: &str| id_of(&folder.path().join(path)).unwrap();
    assert_eq!(tree.path_of(id("")), Some("/"));
    assert_eq!(tree.path_of(id("ci/job")), Some("/ci/job"));
    assert_eq!(tree.ids().count(), 3);
    assert_eq!(tree.directory("/ci/job"), folder.path().join("ci/job"));
    fs::create_dir(folder.path().join("new")).unwrap();
    assert_eq!(tree.path_of(id("new")), None);
    tree.rescan().unwrap();
    assert_eq!(tree.path_of(id("new")), Some("/new"));
    assert!(matches!(Tree::scan(folder.path().join("missing")), Err(CgroupError::Read { .. })));
}

#[test]
fn a_name_is_one_directory() {
    for name in ["", ".", "..", "a/b"] {
        assert!(matches!(create_child(Path::new("/nowhere"), name), Err(CgroupError::Name(_))), "{name}");
    }
    assert!(matches!(create_child(Path::new("/nowhere"), "a"), Err(CgroupError::Create { .. })));
}

/// Needs root and a writable hierarchy; elsewhere there is nothing to test.
#[test]
fn a_cgroup_ends_with_its_processes() {
    let Ok(mount) = mount_point() else { return eprintln!("skipped: no cgroup v2 hierarchy") };
    let Ok(cgroup) = create_child(&mount, &format!("enforcer-test-{}", std::process::id())) else {
        return eprintln!("skipped: the hierarchy cannot be written");
    };
    let directory = cgroup.directory().to_owned();
    let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(Tree::scan(&mount).unwrap().path_of(cgroup.id()), Some(format!("/{name}").as_str()));
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    cgroup.add(child.id()).unwrap();
    let seen = fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    assert!(own_in(&seen).unwrap().ends_with(&name));
    fs::create_dir(directory.join("below")).unwrap();
    cgroup.kill_and_remove().unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(!directory.exists());
    own().unwrap();

    let dropped = create_child(&mount, &format!("enforcer-drop-{}", std::process::id())).unwrap();
    let directory = dropped.directory().to_owned();
    drop(dropped);
    assert!(!directory.exists());
}
