//! The control socket: how `status`, `confirm`, `detach`, `names` and `explain` reach a running daemon. One line of JSON each way.

use crate::{listing::Query, live::Topic};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::PathBuf,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};

const DIRECTORY: &str = "/run/enforcer";
/// Longest line of a request.
const REQUEST_MAX: u64 = 4096;
/// Requests that may wait for the daemon.
const CLIENTS_MAX: usize = 16;
/// How long a client may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// What a client asks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Keep the policy: the answer to `run --confirm`.
    Confirm,
    /// Stop, and let everything go.
    Detach,
    /// Tell a page of the live names: [`crate::listing::Page`].
    List(Query),
    /// Tell what is known of an address or a name: [`crate::live::Known`].
    Names(Topic),
    /// Tell the state.
    Status,
}

/// Why a daemon cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// None listens.
    #[error("no daemon of instance `{0}` is running")]
    NotRunning(String),
    /// Another one listens.
    #[error("a daemon of instance `{0}` is running already")]
    Running(String),
    /// Something else.
    #[error("cannot use the control socket `{}`: {source}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The listening end. Dropping it removes the socket.
pub struct Listener {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Listener {
    /// Listens for an instance. The socket is for root alone.
    ///
    /// # Errors
    /// [`ControlError`], for example when a daemon of that instance is running.
    pub fn bind(instance: &str) -> Result<Self, ControlError> {
        let path = path(instance);
        let failed = |source| ControlError::Socket { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(DIRECTORY).map_err(failed)?;
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(ControlError::Running(instance.to_owned()));
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener: Some(listener), path })
    }

    /// The requests that come in. Clients are read beside the daemon's loop, so that a slow one holds nothing up, and a loop
    /// that turns to something else drops none.
    pub fn requests(&mut self) -> mpsc::Receiver<(Request, Answer)> {
        let (sender, receiver) = mpsc::channel(CLIENTS_MAX);
        if let Some(listener) = self.listener.take() {
            tokio::spawn(accept(listener, sender));
        }
        receiver
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

async fn accept(listener: UnixListener, sender: mpsc::Sender<(Request, Answer)>) {
    while !sender.is_closed() {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(read(stream, sender.clone()))),
            // Out of file descriptors: do not spin.
            Err(_) => tokio::time::sleep(PATIENCE).await,
        }
    }
}

/// Reads one request. Clients that say nothing sensible are sent away.
async fn read(stream: UnixStream, sender: mpsc::Sender<(Request, Answer)>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut limited = (&mut stream).take(REQUEST_MAX);
    if !matches!(tokio::time::timeout(PATIENCE, limited.read_line(&mut line)).await, Ok(Ok(_))) {
        return;
    }
    match serde_json::from_str(&line) {
        Ok(request) => drop(sender.send((request, Answer { stream: stream.into_inner() })).await),
        // A daemon that starts looks whether anybody listens, and says nothing.
        Err(_) if line.is_empty() => {}
        Err(error) => tracing::warn!(%error, "unreadable request on the control socket"),
    }
}

/// The way to answer a request.
pub struct Answer {
    stream: UnixStream,
}

impl Answer {
    /// Answers; a client that has gone away is no error.
    pub async fn send(mut self, answer: &impl Serialize) {
        let mut line = serde_json::to_vec(answer).unwrap_or_default();
        line.push(b'\n');
        drop(tokio::time::timeout(PATIENCE, self.stream.write_all(&line)).await);
    }
}

/// Asks the daemon of an instance.
///
/// # Errors
/// [`ControlError`].
pub async fn ask(instance: &str, request: Request) -> Result<serde_json::Value, ControlError> {
    let path = path(instance);
    let failed = |source| ControlError::Socket { path: path.clone(), source };
    let mut stream = match UnixStream::connect(&path).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(ControlError::NotRunning(instance.to_owned()));
        }
        Err(error) => return Err(failed(error)),
    };
    let mut line = serde_json::to_vec(&request).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(failed)?;
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE * 2, stream.read_to_string(&mut answer));
    read.await.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)?;
    serde_json::from_str(&answer).map_err(|error| failed(error.into()))
}

fn path(instance: &str) -> PathBuf {
    PathBuf::from(DIRECTORY).join(format!("{instance}.sock"))
}
