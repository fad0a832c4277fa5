//! All vectors at once, none for longer than it may.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::scene::say;
use crate::table::VECTORS;

/// A vector's process.
struct Attempt {
    number: u8,
    child: Child,
    input: Option<ChildStdin>,
}

/// What a process says: a line, or nothing any more.
type Said = (u8, Option<String>);

pub fn run(donor: &str, seconds: &str, names: &[&str]) -> io::Result<()> {
    let patience = Duration::from_secs(seconds.parse().map_err(io::Error::other)?);
    let wanted = VECTORS.iter().zip(1_u8..);
    let wanted = wanted.filter(|(vector, _)| names.is_empty() || names.contains(&vector.name));
    let (sender, said) = mpsc::channel();
    let mut attempts = Vec::new();
    for (_, number) in wanted {
        let mut child = Command::new("/proc/self/exe")
            .args(["one", donor, seconds, &number.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        attempts.push(Attempt { number, child, input });
        let sender = sender.clone();
        thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                let Ok(line) = line else { break };
                let _ = sender.send((number, Some(line)));
            }
            sender.send((number, None))
        });
    }
    let mut numbers: BTreeSet<u8> = attempts.iter().map(|attempt| attempt.number).collect();
    let mut ended = BTreeSet::new();
    let unready = hear(&said, numbers.clone(), patience * 4, |number, line| {
        if line == "ready" {
            return Ok(());
        }
        // What could not even begin.
        ended.insert(number);
        say(&format!("{number} {line}"))
    })?;
    for number in unready {
        ended.insert(number);
        say(&format!("{number} UNREADY"))?;
    }
    say("ready")?;
    io::stdin().read_line(&mut String::new())?;
    numbers.retain(|number| !ended.contains(number));
    for attempt in attempts.iter_mut().filter(|attempt| numbers.contains(&attempt.number)) {
        if let Some(input) = &mut attempt.input {
            // Who cannot be told any more says so.
            let _ = writeln!(input);
        }
    }
    let mute = hear(&said, numbers, patience, |number, line| say(&format!("{number} {line}")))?;
    for number in mute {
        say(&format!("{number} TIMEOUT"))?;
    }
    for attempt in &mut attempts {
        let _ = attempt.child.kill();
        let _ = attempt.child.wait();
    }
    Ok(())
}

/// Listens until each of them has said something. Returns those that have not in time.
fn hear(
    said: &Receiver<Said>,
    mut awaited: BTreeSet<u8>,
    patience: Duration,
    mut each: impl FnMut(u8, &str) -> io::Result<()>,
) -> io::Result<BTreeSet<u8>> {
    let end = Instant::now() + patience;
    while !awaited.is_empty() {
        let Ok((number, line)) = said.recv_timeout(end.saturating_duration_since(Instant::now())) else {
            break;
        };
        if !awaited.remove(&number) {
            continue;
        }
        each(number, line.as_deref().unwrap_or("ENDED"))?;
    }
    Ok(awaited)
}

/// What programs call an error's number; the number where it is another.
pub fn name_of(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else { return "FAILED".to_owned() };
    let name = match number {
        libc::EACCES => "EACCES",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EAGAIN => "EAGAIN",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::ECONNRESET => "ECONNRESET",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::EINPROGRESS => "EINPROGRESS",
        libc::EINVAL => "EINVAL",
        libc::EIO => "EIO",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ENODEV => "ENODEV",
        libc::ENOENT => "ENOENT",
        libc::ENOPROTOOPT => "ENOPROTOOPT",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::EPERM => "EPERM",
        libc::EPIPE => "EPIPE",
        libc::EPROTONOSUPPORT => "EPROTONOSUPPORT",
        libc::ESOCKTNOSUPPORT => "ESOCKTNOSUPPORT",
        libc::ETIMEDOUT => "ETIMEDOUT",
        _ => return number.to_string(),
    };
    name.to_owned()
}
