//! A virtual machine that exists for one program: a kernel, a root file system in memory that holds the program and
//! what it needs, and process 1, which runs it and switches the machine off.

mod archive;
mod guest;
mod image;
mod modules;

pub use archive::Archive;
pub use guest::{Ended, Guest};
pub use image::{Image, TOOLS};
pub use modules::{MODULES, required};

/// The guest's side of what runner and guest agree on.
pub mod agreement {
    /// Where the image has the program's arguments, each ended by a zero byte.
    pub const ARGUMENTS: &str = "/etc/guest/arguments";
    /// Where the image has the program's environment, each `NAME=VALUE` ended by a zero byte.
    pub const ENVIRONMENT: &str = "/etc/guest/environment";
    /// Where the image has the kernel modules, in the order to load them: `1-veth.ko`.
    pub const MODULES: &str = "/etc/guest/modules";
    /// Where the program starts: the directory that the runner was started in, which the image has too.
    pub const DIRECTORY: &str = "/etc/guest/directory";
    /// The serial line that carries the program's output. The kernel has the other one, so that neither cuts into the
    /// other's lines.
    pub const CONSOLE: &str = "/dev/ttyS1";
    /// What process 1 says when the program starts, before the time since the kernel started in seconds.
    pub const UP: &str = "enforcer-guest: up after ";
    /// What process 1 says last, before the program's exit status.
    pub const EXIT: &str = "enforcer-guest: exit ";
}
