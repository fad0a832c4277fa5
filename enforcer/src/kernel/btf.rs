//! Offsets of kernel fields, from the running kernel's BTF: aya-ebpf has no CO-RE.

use super::KernelError;
use btf_rs::{Btf, BtfType as _, Struct, Type};
use enforcer_common::control::Settings;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Of a socket's beginning, which the program at the wire reads as a whole.
const HEAD_BITS: u32 = 256;

/// The settings with every offset filled in.
pub(super) fn settings() -> Result<Settings, KernelError> {
    // Read at once: parsing from the file itself seeks a hundred thousand times.
    let bytes = std::fs::read(VMLINUX).map_err(|error| KernelError::Btf(error.to_string()))?;
    let btf = Btf::from_bytes(&bytes).map_err(|error| KernelError::Btf(error.to_string()))?;
    let offset = |structure, field| offset_of(&btf, structure, field);
    Ok(Settings {
        socket_type: offset("socket", "type")?,
        socket_sk: offset("socket", "sk")?,
        sock_protocol: offset("sock", "sk_protocol")?,
        sock_family: offset("sock_common", "skc_family")?,
        sock_net_refcnt: bit_offset_of(&btf, "sock_common", "skc_net_refcnt").and_then(|bits| {
            if bits < HEAD_BITS { Ok(bits) } else { Err(KernelError::Type("skc_net_refcnt")) }
        })?,
        sock_uid: offset("sock", "sk_uid")?,
        msghdr_name: offset("msghdr", "msg_name")?,
        msghdr_namelen: offset("msghdr", "msg_namelen")?,
        msghdr_flags: offset("msghdr", "msg_flags")?,
        task_real_parent: offset("task_struct", "real_parent")?,
        task_tgid: offset("task_struct", "tgid")?,
        task_mm: offset("task_struct", "mm")?,
        mm_exe_file: offset("mm_struct", "exe_file")?,
        file_path: offset("file", "f_path")?,
        path_mnt: offset("path", "mnt")?,
        path_dentry: offset("path", "dentry")?,
        dentry_parent: offset("dentry", "d_parent")?,
        dentry_name: offset("dentry", "d_name")? + offset("qstr", "name")?,
        vfsmount_root: offset("vfsmount", "mnt_root")?,
        mount_mnt: offset("mount", "mnt")?,
        mount_parent: offset("mount", "mnt_parent")?,
        mount_mountpoint: offset("mount", "mnt_mountpoint")?,
        sock_net: offset("sock_common", "skc_net")?,
        net_user_ns: offset("net", "user_ns")?,
        user_ns_inum: offset("user_namespace", "ns")? + offset("ns_common", "inum")?,
        ..Settings::default()
    })
}

/// `offsetof(struct structure, field)`, anonymous members looked into.
fn offset_of(btf: &Btf, structure: &'static str, field: &'static str) -> Result<u32, KernelError> {
    bit_offset_of(btf, structure, field).map(|bits| bits / 8)
}

/// The same in bits, for a field of less than a byte.
fn bit_offset_of(btf: &Btf, structure: &'static str, field: &'static str) -> Result<u32, KernelError> {
    let types = btf.resolve_types_by_name(structure).map_err(|_| KernelError::Type(structure))?;
    types
        .iter()
        .find_map(|kind| match kind {
            Type::Struct(found) => bits_of(btf, found, field),
            _ => None,
        })
        .ok_or(KernelError::Type(field))
}

/// Offset in bits.
fn bits_of(btf: &Btf, structure: &Struct, field: &str) -> Option<u32> {
    structure.members.iter().find_map(|member| {
        let at = member.bit_offset();
        let name = btf.resolve_name(member).unwrap_or_default();
        if name == field {
            return Some(at);
        }
        if !name.is_empty() {
            return None;
        }
        match btf.resolve_type_by_id(member.get_type_id()?).ok()? {
            Type::Struct(inner) | Type::Union(inner) => bits_of(btf, &inner, field).map(|inside| at + inside),
            _ => None,
        }
    })
}
