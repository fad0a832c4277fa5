//! Builds the kernel programs from source, with whatever toolchain here has the source of `core`.

use anyhow::{Context as _, Result, bail};
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// The one command that installs everything a build needs.
const FIX: &str = "run `scripts/setup build` in the root of the repository";

fn main() -> Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?);
    let root = root.parent().context("the package lies in the workspace")?.to_path_buf();
    println!("cargo:rerun-if-changed={}", root.join("enforcer-ebpf/common/src").display());
    println!("cargo:rerun-if-env-changed=ENFORCER_BPF_RUSTC");
    if env::var_os("CARGO_CFG_FUZZING").is_some() {
        // A fuzz target loads no programs; cargo-fuzz sets this.
        let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
        return Ok(std::fs::write(out.join("enforcer-ebpf"), [])?);
    }

    let rustc = rustc_with_core_source()?;
    let path = path_with_linker(&root)?;
    // SAFETY: a build script has one thread here.
    unsafe {
        env::set_var("CARGO_BUILD_RUSTC", &rustc);
        env::set_var("RUSTC_BOOTSTRAP", "1");
        env::set_var("PATH", path);
        // The lints, flags and wrappers of the host build mean nothing to the BPF target.
        for name in
            ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS"]
        {
            env::remove_var(name);
        }
    }
    let package = aya_build::Package {
        name: "enforcer-ebpf",
        root_dir: root
            .join("enforcer-ebpf")
            .to_str()
            .context("the path of the repository is not UTF-8")?
            .to_owned()
            .leak(),
        ..Default::default()
    };
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".to_owned());
    aya_build::build_ebpf([package], aya_build::Toolchain::Custom(&toolchain)).with_context(|| {
        format!(
            "the kernel programs did not build with `{}`; if something is missing, {FIX}",
            rustc.display()
        )
    })
}

/// rustup's `rust-src` where it is installed, else Debian's `rustc-web` with `rust-web-src`.
fn rustc_with_core_source() -> Result<PathBuf> {
    let candidates = env::var_os("ENFORCER_BPF_RUSTC")
        .or_else(|| env::var_os("RUSTC"))
        .map(PathBuf::from)
        .into_iter()
        .chain([PathBuf::from("/usr/bin/rustc")]);
    for rustc in candidates {
        if has_core_source(&rustc) {
            return Ok(rustc);
        }
    }
    bail!(
        "no Rust toolchain here has the source of `core` (rustup's rust-src, or Debian's rustc-web and rust-web-src); {FIX}"
    )
}

fn has_core_source(rustc: &Path) -> bool {
    let Ok(output) = Command::new(rustc).args(["--print", "sysroot"]).output() else { return false };
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    output.status.success() && sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
}

/// `PATH` with the project's own bpf-linker in front.
fn path_with_linker(root: &Path) -> Result<OsString> {
    let own = root.join("target/tools/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::iter::once(own).chain(env::split_paths(&path)).collect();
    if !directories.iter().any(|directory| directory.join("bpf-linker").is_file()) {
        bail!("bpf-linker is neither in `target/tools/bin` nor in PATH; {FIX}");
    }
    Ok(env::join_paths(directories)?)
}
