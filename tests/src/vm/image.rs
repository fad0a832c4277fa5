use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::modules::{name_of, unpacked};
use super::{Archive, agreement, required};
use crate::client::{sibling, start_error};
use crate::{HarnessError, Result};

/// The programs that every guest has, if this machine has them; the tests need the first five.
pub const TOOLS: &[&str] = &[
    "ip", "dnsmasq", "curl", "dig", "python3", "getent", "busybox", "bpftool", "nft", "ss", "strace",
    "unshare",
];

/// What busybox stands in for.
const BUSYBOX: &[&str] = &[
    "awk", "cat", "chmod", "chown", "cmp", "cp", "cut", "date", "dd", "df", "dmesg", "echo", "env", "expr",
    "false", "find", "free", "grep", "head", "hostname", "id", "insmod", "kill", "ln", "ls", "lsmod",
    "mkdir", "mknod", "mktemp", "mount", "mv", "nc", "nproc", "pgrep", "ps", "pwd", "readlink", "rm",
    "rmdir", "sed", "seq", "sh", "sleep", "sort", "stat", "sync", "sysctl", "tail", "tee", "test", "time",
    "timeout", "touch", "tr", "true", "umount", "uname", "uniq", "wc", "which", "xargs",
];

/// Looked through in this order, not `PATH`: a version manager's stand-ins do not work without their manager.
const DIRECTORIES: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];

/// Packages of the Python standard library that no test needs and that are large.
const UNUSED_PYTHON: &[&str] = &[
    "__phello__",
    "curses",
    "dbm",
    "distutils",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "sqlite3",
    "test",
    "tkinter",
    "turtledemo",
    "unittest",
    "venv",
    "wsgiref",
    "xml",
    "xmlrpc",
];

/// Loaded at run time, so `ldd` does not name them.
const RESOLVER_LIBRARIES: &[&str] = &["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"];

const FILES: &[(&str, &str)] = &[
    ("/etc/group", "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\nuser:x:1000:\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    ),
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         www-data:x:33:33:www-data:/var/www:/bin/false\n\
         user:x:1000:1000:user:/tmp:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    ("/etc/protocols", "icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\nsctp 132 SCTP\n"),
    ("/etc/resolv.conf", ""),
    ("/etc/services", "domain 53/tcp\ndomain 53/udp\nhttp 80/tcp\nhttps 443/tcp\nhttps 443/udp\n"),
];

/// A root file system in the making. Programs are where they are on this machine, with the libraries that they are
/// linked to: the guest runs the very executables that were tested here.
#[derive(Debug, Default)]
pub struct Image {
    archive: Archive,
    /// Where each program goes and where it comes from.
    programs: BTreeMap<PathBuf, PathBuf>,
}

impl Image {
    /// A system with process 1, a shell and the [`TOOLS`], but nothing to do yet.
    ///
    /// # Errors
    ///
    /// What this machine lacks.
    pub fn new() -> Result<Self> {
        let mut image = Self::default();
        for (link, target) in
            [("/bin", "usr/bin"), ("/lib", "usr/lib"), ("/lib64", "usr/lib64"), ("/sbin", "usr/sbin")]
        {
            image.archive.link(link, target);
        }
        for directory in ["/dev", "/etc", "/proc", "/root", "/run", "/sys", "/usr/lib64", "/var/lib/misc"] {
            image.archive.directory(directory, 0o755);
        }
        image.archive.directory("/tmp", 0o1777);
        for (path, text) in FILES {
            image.archive.bytes(*path, 0o644, *text);
        }
        image.programs.insert("/init".into(), sibling("guest-init")?);
        for path in TOOLS.iter().filter_map(|tool| find_tool(tool)) {
            image.with(&path)?;
        }
        if !image.programs.contains_key(Path::new("/usr/bin/busybox")) {
            return Err(HarnessError::Missing { what: "busybox".to_owned(), hint: "scripts/setup test" });
        }
        for applet in BUSYBOX {
            image.archive.link(Path::new("/usr/bin").join(applet), "busybox");
        }
        image.python()?;
        Ok(image)
    }

    /// Adds a file, a program with its libraries, or a directory with everything below it; each where it is here.
    ///
    /// # Errors
    ///
    /// A file that is not there.
    pub fn with(&mut self, path: &Path) -> Result<()> {
        let path = std::path::absolute(path).map_err(HarnessError::file("find", path))?;
        if path.is_dir() {
            for entry in fs::read_dir(&path).map_err(HarnessError::file("read", &path))? {
                self.with(&entry.map_err(HarnessError::file("read", &path))?.path())?;
            }
            self.archive.directory(path, 0o755);
            return Ok(());
        }
        let target = settled(&path)?;
        if is_program(&path)? {
            self.programs.insert(target, path);
            return Ok(());
        }
        self.archive.copy(target, path)
    }

    /// Adds kernel modules, which process 1 will load in this order.
    ///
    /// # Errors
    ///
    /// Files that cannot be read.
    pub fn modules(&mut self, directory: &Path, wanted: &[&str]) -> Result<()> {
        for (number, path) in required(directory, wanted)?.iter().enumerate() {
            let name = name_of(path).unwrap_or_default();
            let target = Path::new(agreement::MODULES).join(format!("{number:03}-{name}.ko"));
            self.archive.bytes(target, 0o644, unpacked(path)?);
        }
        Ok(())
    }

    /// Says what process 1 shall run.
    pub fn run(
        &mut self,
        arguments: &[OsString],
        environment: &BTreeMap<OsString, OsString>,
        directory: &Path,
    ) {
        let mut words = Vec::new();
        for argument in arguments {
            words.extend_from_slice(argument.as_bytes());
            words.push(0);
        }
        self.archive.bytes(agreement::ARGUMENTS, 0o644, words);
        let mut variables = Vec::new();
        for (name, value) in environment {
            variables.extend_from_slice(name.as_bytes());
            variables.push(b'=');
            variables.extend_from_slice(value.as_bytes());
            variables.push(0);
        }
        self.archive.bytes(agreement::ENVIRONMENT, 0o644, variables);
        self.archive.bytes(agreement::DIRECTORY, 0o644, directory.as_os_str().as_bytes());
        self.archive.directory(directory, 0o755);
    }

    /// Writes the archive to a file, with the libraries of every program in it.
    ///
    /// # Errors
    ///
    /// A library that is missing, or a file that cannot be written.
    pub fn write(mut self, path: &Path) -> Result<()> {
        for library in libraries(self.programs.values())? {
            self.archive.copy(settled(&library)?, library)?;
        }
        let stripped = tempfile::tempdir().map_err(HarnessError::system("create a temporary directory"))?;
        for (target, source) in self.programs {
            let small = strip(&source, stripped.path());
            self.archive.copy(target, small.unwrap_or(source))?;
        }
        let file = File::create(path).map_err(HarnessError::file("create", path))?;
        let mut output = BufWriter::with_capacity(1 << 20, file);
        self.archive.write(&mut output)?;
        output.flush().map_err(HarnessError::file("write", path))
    }

    /// The part of the standard library that programs of a few lines use.
    fn python(&mut self) -> Result<()> {
        let Some(python) = find_tool("python3") else { return Ok(()) };
        let python = fs::canonicalize(&python).map_err(HarnessError::file("find", python))?;
        let Some(version) = python.file_name() else { return Ok(()) };
        let library = Path::new("/usr/lib").join(version);
        for entry in fs::read_dir(&library).map_err(HarnessError::file("read", &library))? {
            let entry = entry.map_err(HarnessError::file("read", &library))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !UNUSED_PYTHON.contains(&&*name) && !name.starts_with("config-") {
                self.with(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn find_tool(name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.exists())
}

/// Where a file is, whatever links lead to its directory. Its own name stays: libraries are known by it.
fn settled(path: &Path) -> Result<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path.to_owned()) };
    let directory = fs::canonicalize(directory).map_err(HarnessError::file("find", path))?;
    Ok(directory.join(name))
}

fn is_program(path: &Path) -> Result<bool> {
    let mut magic = [0; 4];
    let mut file = File::open(path).map_err(HarnessError::file("open", path))?;
    let length = file.read(&mut magic).map_err(HarnessError::file("read", path))?;
    Ok(length == 4 && magic == *b"\x7fELF")
}

/// The libraries that programs are linked to, and those that the C library loads by itself.
fn libraries<'path>(programs: impl Iterator<Item = &'path PathBuf>) -> Result<BTreeSet<PathBuf>> {
    let mut command = Command::new("ldd");
    command.args(programs);
    // Its status says that some program is linked statically, too.
    let output = command.output().map_err(start_error(&command))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut libraries = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if let Some((missing, "not found")) = line.split_once(" => ") {
            let hint = "a program for the guest is linked to this library";
            return Err(HarnessError::Missing { what: missing.to_owned(), hint });
        }
        // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x..)" or "/lib64/ld-linux-x86-64.so.2 (0x..)".
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        let Some((path, _)) = path.split_once(" (0x") else { continue };
        if path.starts_with('/') {
            libraries.insert(PathBuf::from(path));
        }
    }
    let beside_libc =
        libraries.iter().find(|path| path.ends_with("libc.so.6")).and_then(|path| path.parent());
    if let Some(directory) = beside_libc {
        let loaded = RESOLVER_LIBRARIES.iter().map(|name| directory.join(name)).filter(|path| path.exists());
        libraries.extend(loaded.collect::<Vec<_>>());
    }
    Ok(libraries)
}

/// A copy without debug information, which is most of a test executable: every byte is unpacked by an emulated
/// processor. Without `strip` the guest needs more memory.
fn strip(program: &Path, directory: &Path) -> Option<PathBuf> {
    if program.starts_with("/usr") {
        return None;
    }
    let copy = directory.join(program.file_name()?);
    let status = Command::new("strip").args(["--strip-debug", "-o"]).arg(&copy).arg(program).status();
    status.is_ok_and(|status| status.success()).then_some(copy)
}
