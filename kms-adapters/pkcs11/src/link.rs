//! One helper process as the gateway sees it: its socket, its standard error, its end.
//!
//! What lives here: starting a helper and moving frames. What must not: what the frames mean, when to
//! start another. Invariant: a dropped [`Link`] leaves no process behind, and the helper sees the
//! environment variables it was given and no others.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use sceau_keys::WrapScheme;
use sceau_kms::KeyError;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::calls::PENDING_MAX;
use crate::config::{PinSource, Pkcs11Config, misconfigured};
use crate::frame::{self, Op, Secret, Setup, Task};

/// Time for the helper to load the module, log in and test the key. A network HSM may need seconds.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(30);
/// The same where somebody has to type the PIN first; longer than the terminal waits for it.
const START_LIMIT_ASKING: Duration = Duration::from_secs(150);
/// Time for a killed helper to be gone; one stuck in the kernel is left to the runtime.
const DEATH_LIMIT: Duration = Duration::from_secs(1);
/// Longest line of the helper's standard error that is logged, in bytes.
const LINE_BYTES_MAX: u64 = 1024;
/// SoftHSM's configuration, the one variable that is passed without being named.
const SOFTHSM2_CONF: &str = "SOFTHSM2_CONF";

/// A running helper.
pub(crate) struct Link {
    child: Child,
    /// Frames to the helper. Each belongs to a pending request, so the queue never fills.
    requests: mpsc::Sender<Secret>,
    /// Frames from the helper; ends when it dies.
    answers: mpsc::Receiver<Secret>,
    // Reader, writer and logger, which end with the link.
    _tasks: JoinSet<()>,
}

impl Link {
    /// Starts a helper for `task` and waits at most `limit` for its first answer: the body, and the link.
    pub(crate) async fn start(
        config: &Pkcs11Config,
        module: &str,
        task: Task,
        limit: Duration,
    ) -> Result<(Self, Secret), KeyError> {
        let setup = serde_json::to_vec(&setup(config, module, task)?).map_err(|_| KeyError::Internal)?;
        let mut link = Self::spawn(config)?;
        let limit = match config.pin {
            PinSource::Prompt => START_LIMIT_ASKING,
            PinSource::File(_) | PinSource::Credential(_) => limit,
        };
        link.send(frame::request(0, Op::Setup, limit, &setup))?;
        let first = timeout(limit, link.answers.recv()).await;
        let first = first.ok().flatten().and_then(|bytes| frame::read_answer(&bytes));
        match first {
            Some((0, Ok(body))) => Ok((link, body)),
            Some((0, Err(error))) => {
                link.end().await;
                Err(error)
            }
            Some(_) | None => {
                link.end().await;
                tracing::warn!("the PKCS#11 helper ended or hung before it was ready");
                Err(KeyError::Unavailable {
                    retry_after: Duration::from_secs(1),
                })
            }
        }
    }

    fn spawn(config: &Pkcs11Config) -> Result<Self, KeyError> {
        let failed = |error: io::Error| misconfigured(format!("the PKCS#11 helper does not start: {error}"));
        let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
        // The command holds the helper's end of the socket until it is dropped; while it does, the
        // helper's death would not show. So it lives in this block only.
        let mut child = command(config, theirs).spawn().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let (reader, writer) = UnixStream::from_std(ours).map_err(failed)?.into_split();
        let (requests, to_write) = mpsc::channel(PENDING_MAX);
        let (read, answers) = mpsc::channel(PENDING_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(write_frames(writer, to_write));
        tasks.spawn(read_frames(reader, read));
        if let Some(stderr) = child.stderr.take() {
            tasks.spawn(log_lines(stderr, child.id().unwrap_or(0)));
        }
        Ok(Self {
            child,
            requests,
            answers,
            _tasks: tasks,
        })
    }

    /// Hands a frame to the writer. An error means: this helper takes no more.
    pub(crate) fn send(&self, frame: Secret) -> Result<(), KeyError> {
        self.requests.try_send(frame).map_err(|_| KeyError::Internal)
    }

    /// The next frame; `None` when the helper is gone. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Secret> {
        self.answers.recv().await
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills the helper and waits for its end.
    pub(crate) async fn end(mut self) {
        let _ = self.child.start_kill();
        if timeout(DEATH_LIMIT, self.child.wait()).await.is_err() {
            tracing::error!(pid = self.child.id(), "a killed PKCS#11 helper does not end");
        }
    }
}

fn setup(config: &Pkcs11Config, module: &str, task: Task) -> Result<Setup, KeyError> {
    let text = |path: &Path, what| {
        path.to_str()
            .map(str::to_owned)
            .ok_or_else(|| misconfigured(what))
    };
    Ok(Setup {
        task,
        module: module.to_owned(),
        token_serial: config.token.serial.clone(),
        token_label: config.token.label.clone(),
        key_label: config.key_label.clone(),
        key_id: config.key_id_bytes()?,
        pin: config.pin.clone(),
        pin_latch: config
            .pin_latch
            .as_deref()
            .map(|path| text(path, "the latch file's path is not UTF-8"))
            .transpose()?,
        workers: config.workers,
        scheme: config.scheme.map(WrapScheme::code),
        gcm_iv: config.gcm_iv,
    })
}

fn command(config: &Pkcs11Config, socket: StdUnixStream) -> Command {
    let mut command = Command::new(&config.helper.program);
    command
        .args(&config.helper.args)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for name in config.env_pass.iter().map(String::as_str).chain([SOFTHSM2_CONF]) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(config.env_set.iter().map(|(name, value)| (name, value)));
    command
}

async fn write_frames(mut socket: OwnedWriteHalf, mut frames: mpsc::Receiver<Secret>) {
    while let Some(frame) = frames.recv().await {
        if socket.write_all(&frame).await.is_err() {
            return;
        }
    }
}

async fn read_frames(mut socket: OwnedReadHalf, frames: mpsc::Sender<Secret>) {
    while let Ok(frame) = read_frame(&mut socket).await {
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

async fn read_frame(socket: &mut OwnedReadHalf) -> io::Result<Secret> {
    let mut head = [0; 4];
    socket.read_exact(&mut head).await?;
    let mut bytes = Zeroizing::new(vec![0; frame::length(head)?]);
    socket.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Logs what the helper and the vendor's module write to standard error, line by line.
async fn log_lines(stderr: ChildStderr, pid: u32) {
    let mut lines = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        match (&mut lines)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => tracing::warn!(pid, line = %line.trim_ascii().escape_ascii(), "PKCS#11 helper"),
        }
    }
}
