//! What a vector is given.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use enforcer_tests::Target;

/// How long a socket waits for its peer.
pub const PATIENCE: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub struct Scene {
    /// Whom to reach.
    pub target: Target,
    /// How long a vector may take, whatever it does.
    pub patience: Duration,
    /// Where the donor listens.
    pub donor: PathBuf,
}

impl Scene {
    /// Says that everything is as it is to be when the policy comes into force, and waits until it is.
    #[expect(clippy::unused_self, reason = "a vector has nothing but its scene")]
    pub fn policy_comes(&self) -> io::Result<()> {
        say("ready")?;
        match io::stdin().read_line(&mut String::new())? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Waits for what the kernel does by itself.
    pub fn linger(&self) -> io::Result<()> {
        thread::sleep(self.patience / 4);
        Ok(())
    }
}

pub fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}
