use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::agreement;
use crate::client::start_error;
use crate::{Deadline, HarnessError, Result};

/// How many of the kernel's last words a failure shows.
const LAST_WORDS: usize = 60;

/// A machine to be switched on.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The kernel.
    pub kernel: PathBuf,
    /// What stands before each line of the guest's output.
    pub label: String,
    /// The root file system.
    pub image: PathBuf,
    /// Added to the kernel's command line.
    pub command_line: String,
    /// How long it may run.
    pub timeout: Duration,
    /// Processors.
    pub processors: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// Whether the processor virtualises: faster, where it works.
    pub kvm: bool,
    /// Further arguments of QEMU's.
    pub arguments: Vec<String>,
}

/// How a guest ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Its program ended, with this status.
    Exit(u8),
    /// It stopped without telling the program's status: the kernel gave up.
    Silently,
    /// It did not end in time and was switched off.
    TimedOut,
}

impl Guest {
    /// Runs the machine until it is switched off. Its program's output goes to standard output, line by line; when the
    /// program does not come to its end, so do the kernel's last words.
    ///
    /// # Errors
    ///
    /// When there is no QEMU, or its output cannot be passed on.
    pub fn run(&self) -> Result<Ended> {
        let directory = tempfile::tempdir().map_err(HarnessError::system("create a temporary directory"))?;
        let kernel_log = directory.path().join("kernel.log");
        let started = Instant::now();
        let mut running = Emulator(self.start(&kernel_log)?);
        let ended = self.watch(&mut running)?;
        if matches!(ended, Ended::Exit(_)) {
            self.say(&format!("switched off after {:.1} s", started.elapsed().as_secs_f64()))?;
        } else {
            let bytes = fs::read(&kernel_log).map_err(HarnessError::file("read", &kernel_log))?;
            let text = String::from_utf8_lossy(&bytes);
            let mut last: VecDeque<&str> = VecDeque::new();
            for line in text.lines() {
                last.truncate(LAST_WORDS - 1);
                last.push_front(line);
            }
            for line in last.iter().rev() {
                self.say(&format!("kernel: {}", line.trim_end()))?;
            }
        }
        Ok(ended)
    }

    fn start(&self, kernel_log: &Path) -> Result<Child> {
        let Self { kernel, label: _, image, command_line, timeout: _, processors, memory, kvm, arguments } =
            self;
        let accelerator = if *kvm {
            ["-accel", "kvm", "-cpu", "host"]
        } else {
            ["-accel", "tcg,thread=multi", "-cpu", "max"]
        };
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(accelerator)
            .args(["-smp", &processors.to_string(), "-m", &memory.to_string()])
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .arg("-serial")
            .arg(format!("file:{}", kernel_log.display()))
            .args(["-serial", "stdio"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(image)
            .arg("-append")
            // A warning of the kernel's is for its log; an oops ends the test at once.
            .arg(format!("console=ttyS0 panic=-1 oops=panic loglevel=5 {command_line}"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let die_with_runner = || {
            // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
            let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: between fork and exec, the closure makes one system call that takes numbers only.
        unsafe { command.pre_exec(die_with_runner) };
        command.spawn().map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                return HarnessError::Missing {
                    what: "qemu-system-x86_64".to_owned(),
                    hint: "scripts/setup test",
                };
            }
            start_error(&command)(source)
        })
    }

    fn watch(&self, running: &mut Emulator) -> Result<Ended> {
        let (sender, lines) = mpsc::channel();
        if let Some(output) = running.0.stdout.take() {
            // Ends with the emulator.
            thread::spawn(move || {
                let mut output = BufReader::new(output);
                let mut line = Vec::new();
                while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    line.clear();
                    if sender.send(text).is_err() {
                        return;
                    }
                }
            });
        }
        let deadline = Deadline::after(self.timeout);
        let mut ended = Ended::Silently;
        loop {
            match lines.recv_timeout(deadline.remaining()) {
                Ok(line) => {
                    if let Some(status) = line.strip_prefix(agreement::EXIT) {
                        ended = status.parse().map_or(Ended::Silently, Ended::Exit);
                    } else {
                        self.say(&line)?;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(ended),
                Err(RecvTimeoutError::Timeout) => return Ok(Ended::TimedOut),
            }
        }
    }

    fn say(&self, line: &str) -> Result<()> {
        let mut output = io::stdout().lock();
        writeln!(output, "[{}] {line}", self.label)
            .and_then(|()| output.flush())
            .map_err(HarnessError::system("pass on the guest's output"))
    }
}

/// Switched off when dropped.
struct Emulator(Child);

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
