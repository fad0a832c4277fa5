//! What user space knew before loading. The map behind it is frozen, so to the verifier these are constants.

use enforcer_common::control::Settings;

#[unsafe(no_mangle)]
pub(crate) static SETTINGS: Settings = Settings {
    scope: 0,
    query_key_start: 0,
    query_key_multiplier: 0,
    no_excuses: 0,
    scope_level: 0,
    socket_type: 0,
    socket_sk: 0,
    sock_protocol: 0,
    sock_family: 0,
    sock_net_refcnt: 0,
    msghdr_name: 0,
    msghdr_namelen: 0,
    msghdr_flags: 0,
    task_real_parent: 0,
    task_tgid: 0,
    task_mm: 0,
    mm_exe_file: 0,
    file_path: 0,
    path_mnt: 0,
    path_dentry: 0,
    dentry_parent: 0,
    dentry_name: 0,
    vfsmount_root: 0,
    mount_mnt: 0,
    mount_parent: 0,
    mount_mountpoint: 0,
    no_binder: 0,
    sock_net: 0,
    net_user_ns: 0,
    user_ns_inum: 0,
    trust_by_address: 0,
    sock_uid: 0,
};

/// Reads one field; volatile, because the loader replaces the zeros above.
macro_rules! setting {
    ($field:ident) => {
        // SAFETY: a field of a static, which lives as long as the program.
        unsafe { (&raw const $crate::settings::SETTINGS.$field).read_volatile() }
    };
}
pub(crate) use setting;
