//! The ways out: each vector tries to reach a denied address of its own by another way. All of them try at the same
//! time, each in a process of its own, as `nobody` where that is enough.
//!
//! ```text
//! vectors list                          a line each: NUMBER NAME USER before|during
//! vectors run DONOR SECONDS [NAME...]   `ready` when those are that begin before the policy; after a line of input,
//!                                       a line each: NUMBER OUTCOME; ok, the name of an error, or TIMEOUT
//! vectors flip NUMBER COUNT             races for the address; a line each: connect|send REFUSED PASSED
//! vectors far                           the other end of the link, until its input ends
//! vectors donate DONOR                  hands sockets out by the socket of this path, until its input ends
//! ```

mod datagram;
mod express;
mod far;
mod flip;
mod handed;
mod kernel;
mod namespace;
mod protocols;
mod ring;
mod scene;
mod socket;
mod stream;
mod supervise;
mod table;
mod wire;

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use enforcer_tests::Target;

use scene::{Scene, say};
use table::{User, VECTORS, Vector};

/// The user that has no rights.
pub const NOBODY: u32 = 65534;

const USAGE: &str =
    "usage: vectors list | run DONOR SECONDS [NAME...] | flip NUMBER COUNT | far | donate DONOR";

fn main() -> ExitCode {
    match try_main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vectors: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => VECTORS.iter().zip(1_u8..).try_for_each(|(vector, number)| {
            let when = if vector.early { "before" } else { "during" };
            say(&format!("{number} {} {} {when}", vector.name, vector.user.as_str()))
        }),
        ["run", donor, seconds, names @ ..] => supervise::run(donor, seconds, names),
        ["one", donor, seconds, number] => one(donor, seconds, number.parse().map_err(io::Error::other)?),
        ["inside", what, number] => {
            enforcer_tests::become_user(NOBODY)?;
            namespace::inside(what, Target::new(number.parse().map_err(io::Error::other)?))
        }
        ["flip", number, count] => {
            enforcer_tests::become_user(NOBODY)?;
            let target = Target::new(number.parse().map_err(io::Error::other)?);
            flip::run(target, count.parse().map_err(io::Error::other)?)
        }
        ["far"] => far::serve(),
        ["donate", donor] => {
            enforcer_tests::become_user(NOBODY)?;
            handed::donate(donor.as_ref())
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, USAGE)),
    }
}

/// The process of one vector.
fn one(donor: &str, seconds: &str, number: u8) -> io::Result<()> {
    let Some(&Vector { name: _, user, early, act }) = table::vector(number) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, USAGE));
    };
    let patience = Duration::from_secs(seconds.parse().map_err(io::Error::other)?);
    let scene = Scene { target: Target::new(number), patience, donor: PathBuf::from(donor) };
    if user == User::Nobody {
        enforcer_tests::become_user(NOBODY)?;
    }
    if !early {
        scene.policy_comes()?;
    }
    match act(&scene) {
        Ok(()) => say("ok"),
        Err(error) => {
            if error.raw_os_error().is_none() {
                eprintln!("vectors: {number}: {error}");
            }
            say(&supervise::name_of(&error))
        }
    }
}
