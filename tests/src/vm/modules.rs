use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{HarnessError, Result};

/// The modules that every guest loads, where its kernel has them: devices to build networks of, what `sock_diag`
/// answers with, address translation, and what is a way out: protocols, tunnels, other machines' disks.
pub const MODULES: &[&str] = &[
    "dummy",
    "veth",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "unix_diag",
    "nf_tables",
    "nft_nat",
    "nft_chain_nat",
    "nft_redir",
    "nft_ct",
    "sctp",
    "dccp_ipv4",
    "dccp_ipv6",
    "l2tp_ip",
    "l2tp_ip6",
    "l2tp_ppp",
    "tun",
    "tipc",
    "rds",
    "rds_tcp",
    "smc",
    "ipip",
    "ip_gre",
    "vxlan",
    "geneve",
    "nfsv3",
    "nfsv4",
    "cifs",
    "ceph",
    "nvme_tcp",
];

/// The files of the wanted modules and of those that they need, in the order in which they can be loaded. Those that
/// the kernel has built in, or does not have, are left out: a test that needs one finds out by itself.
///
/// # Errors
///
/// Files that cannot be read.
pub fn required(directory: &Path, wanted: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = BTreeMap::new();
    find(directory, &mut files)?;
    let mut ordered = Vec::new();
    let mut visited = BTreeSet::new();
    for name in wanted {
        visit(&name.replace('-', "_"), &files, &mut visited, &mut ordered)?;
    }
    Ok(ordered)
}

/// The bytes of a module, unpacked: not every kernel unpacks them itself.
pub(super) fn unpacked(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(path).map_err(HarnessError::file("read", path));
    }
    let mut command = Command::new("xz");
    command.args(["--decompress", "--stdout"]).arg(path);
    let output = command.output().map_err(crate::client::start_error(&command))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(HarnessError::Command { command: format!("xz {}", path.display()), status: output.status, stderr })
}

/// A module's name: file names may have `-` where the name has `_`.
pub(super) fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, _) = file.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

fn find(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).map_err(HarnessError::file("read", directory))?;
    for entry in entries {
        let path = entry.map_err(HarnessError::file("read", directory))?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

fn visit(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    visited: &mut BTreeSet<String>,
    ordered: &mut Vec<PathBuf>,
) -> Result<()> {
    let Some(path) = files.get(name) else { return Ok(()) };
    if !visited.insert(name.to_owned()) {
        return Ok(());
    }
    for needed in needs(&unpacked(path)?) {
        visit(&needed, files, visited, ordered)?;
    }
    ordered.push(path.clone());
    Ok(())
}

/// What a module says it needs: its `.modinfo` section is `key=value` texts, each ended by a zero byte.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module.get(at + KEY.len()..).unwrap_or_default();
    let value = value.split(|&byte| byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_read_from_modinfo() {
        assert_eq!(
            needs(b"\x7fELF\0license=GPL\0depends=nf-tables,libcrc32c\0name=x\0"),
            ["nf_tables", "libcrc32c"]
        );
        assert!(needs(b"\0depends=\0").is_empty());
        assert!(needs(b"").is_empty());
    }

    #[test]
    fn names_have_no_dashes() {
        assert_eq!(name_of(Path::new("/m/nf-nat.ko.xz")).as_deref(), Some("nf_nat"));
        assert_eq!(name_of(Path::new("/m/modules.order")), None);
    }
}
