//! What systemd-resolved answers without a packet: by nss-resolve, D-Bus and Varlink, from its cache. It tells whoever
//! subscribes to its monitor (`/run/systemd/resolve/io.systemd.Resolve.Monitor`, since version 252; varlink.org:
//! objects of JSON, each ended by a NUL).

use crate::name::Name;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    sync::mpsc,
    task::AbortHandle,
};

mod message;

/// Where the monitor listens.
pub const SOCKET: &str = "/run/systemd/resolve/io.systemd.Resolve.Monitor";
const SUBSCRIBE: &[u8] =
    b"{\"method\":\"io.systemd.Resolve.Monitor.SubscribeQueryResults\",\"parameters\":{},\"more\":true}\0";
/// Longest message that is read.
const MESSAGE_MAX: u64 = 1 << 20;
/// Messages that may wait for the daemon.
const WAITING_MAX: usize = 256;
/// First pause after the connection ended; each further one doubles it.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, and how often a socket is looked for that is not there.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// One lookup that systemd-resolved has answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heard {
    /// The question, then what it led to.
    pub chain: Vec<Name>,
    /// The addresses.
    pub addresses: Vec<enforcer_common::Address>,
}

/// Who listens to systemd-resolved, whenever it runs. Dropping it ends that.
pub struct Listener {
    heard: mpsc::Receiver<Heard>,
    task: AbortHandle,
}

impl Listener {
    /// Begins. Within a tokio runtime only.
    pub fn start(socket: PathBuf) -> Self {
        let (sender, heard) = mpsc::channel(WAITING_MAX);
        let task = tokio::spawn(async move { listen(&socket, &sender).await }).abort_handle();
        Self { heard, task }
    }

    /// The next lookup.
    pub async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Has a running systemd-resolved forget what it has cached, as `resolvectl flush-caches` does: by SIGUSR2
/// (systemd-resolved.service(8)). False if none runs.
///
/// # Errors
/// It runs and cannot be told.
pub async fn flush(socket: &Path) -> io::Result<bool> {
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) if is_absent(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    // Who listens is who made the socket, unless systemd made it.
    let unknown = || io::Error::other("it is not known which process it is");
    let pid = stream.peer_cred()?.pid().and_then(rustix::process::Pid::from_raw).ok_or_else(unknown)?;
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()))?;
    // Fifteen bytes of `systemd-resolved`.
    if name.trim_end() != "systemd-resolve" {
        return Err(unknown());
    }
    rustix::process::kill_process(pid, rustix::process::Signal::USR2)?;
    Ok(true)
}

async fn listen(socket: &Path, sender: &mpsc::Sender<Heard>) {
    let mut pause = PAUSE;
    loop {
        match subscribe(socket, sender, &mut pause).await {
            Ok(()) => {}
            Err(error) if is_absent(&error) => pause = PAUSE_MAX,
            Err(error) => {
                tracing::warn!(%error, again_after = ?pause, "systemd-resolved does not tell what it answers");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Listens until the connection ends.
async fn subscribe(socket: &Path, sender: &mpsc::Sender<Heard>, pause: &mut Duration) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(SUBSCRIBE).await?;
    let mut stream = BufReader::new(stream);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let length = (&mut stream).take(MESSAGE_MAX).read_until(0, &mut bytes).await?;
        if length == 0 {
            return Ok(());
        }
        if bytes.pop() != Some(0) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message has no end"));
        }
        let message =
            message::read(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        // It talks: after the next break it is asked again soon.
        *pause = PAUSE;
        if let Some(heard) = message
            && sender.send(heard).await.is_err()
        {
            return Ok(());
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests;
