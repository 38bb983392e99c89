//! The helper process: the only one that loads the vendor's module.
//!
//! What lives here: its life from the first frame to the last. What must not: threads or children
//! beyond its workers; it never forks once the module is loaded. Invariant: it ends when its socket
//! closes, whatever the module does. Entry: [`helper_main`].

mod audit;
mod canary;
mod fault;
mod generate;
mod ladder;
mod pin;
mod rung;
mod token;
mod worker;

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use sceau_keys::WrapScheme;
use sceau_kms::KeyError;
use zeroize::Zeroizing;

use self::canary::Canary;
use self::token::Token;
use self::worker::{Job, Worker};
use crate::config::WORKERS_MAX;
use crate::frame::{self, Op, Report, Request, Secret, Setup, Task};

/// Jobs waiting for a worker; the gateway never has more requests under way.
const JOBS_MAX: usize = 256;
/// Longest line the helper writes about an event, in bytes.
const NOTE_BYTES_MAX: usize = 512;
/// Time for the module to end by itself before the helper kills itself.
const LAST_GASP: Duration = Duration::from_secs(2);

/// The helper process: reads its configuration from standard input, which must be the gateway's
/// socket, and serves until that closes. Synchronous; never forks.
pub fn helper_main() -> ExitCode {
    harden();
    let Some(mut socket) = socket() else {
        note("this command is started by the gateway itself, not by hand");
        return ExitCode::from(2);
    };
    let result = set_up(&mut socket);
    last_gasp();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// No core dumps and no tracing, before any secret exists.
fn harden() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err()
        || rustix::process::setrlimit(Resource::Core, none).is_err()
    {
        note("core dumps could not be switched off");
    }
}

/// Standard input, if it is a connected Unix socket.
fn socket() -> Option<UnixStream> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    socket.peer_addr().is_ok().then_some(socket)
}

/// Writes one line for the gateway's log. Holds no secret: codes and fixed words only.
fn note(line: &str) {
    let line: String = line.chars().take(NOTE_BYTES_MAX).collect();
    // Nothing to do about a gateway that does not listen.
    let _ = writeln!(io::stderr(), "{line}");
}

/// A module may hang in its own end; the helper must not.
fn last_gasp() {
    let killer = || {
        let start = Instant::now();
        while start.elapsed() < LAST_GASP {
            thread::park_timeout(LAST_GASP);
        }
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    };
    let _ = thread::Builder::new().name("last gasp".to_owned()).spawn(killer);
}

/// Reads the set-up, does what it says, and answers it. An error ends the helper.
fn set_up(socket: &mut UnixStream) -> Result<(), KeyError> {
    let first = frame::read(socket)
        .ok()
        .and_then(|bytes| frame::read_request(&bytes));
    let request = first
        .filter(|request| request.op == Op::Setup)
        .ok_or(KeyError::Internal)?;
    let setup = serde_json::from_slice::<Setup>(&request.body).map_err(|_| KeyError::Internal)?;
    let task = setup.task;
    match task {
        Task::Generate => {
            let made = Token::find(setup).and_then(|token| generate::generate(&token));
            let body = made.and_then(|made| serde_json::to_vec(&made).map_err(|_| KeyError::Internal));
            reply(socket, request.id, body.map(Zeroizing::new))
        }
        Task::Probe | Task::Serve => {
            let (body, token, canary) = match open(setup) {
                Ok(opened) => opened,
                Err(error) => return reply(socket, request.id, Err(error)),
            };
            reply(socket, request.id, Ok(body))?;
            if task == Task::Serve {
                serve(socket, &Arc::new(token), &Arc::new(canary))
            } else {
                Ok(())
            }
        }
    }
}

fn reply(socket: &mut UnixStream, id: u64, result: Result<Secret, KeyError>) -> Result<(), KeyError> {
    frame::write(socket, &frame::answer(id, &result)).map_err(|_| KeyError::Internal)?;
    result.map(|_| ())
}

/// Finds the token, logs in, tests the key, audits it.
fn open(setup: Setup) -> Result<(Secret, Token, Canary), KeyError> {
    let token = Token::find(setup)?;
    token.login(token.epoch())?;
    let (canary, trials) = match token.setup().scheme.and_then(WrapScheme::from_code) {
        Some(scheme) => (ladder::pinned(&token, scheme)?, Vec::new()),
        None => ladder::choose(&token)?,
    };
    let facts = token.facts()?;
    let report = Report {
        token_serial: facts.serial,
        token_label: facts.label,
        token_model: format!("{} {}", facts.manufacturer, facts.model),
        token_firmware: format!("{}.{}", facts.firmware.0, facts.firmware.1),
        audit: audit::audit(&token.bench()?, &canary.rung),
        scheme: canary.rung.scheme.code(),
        trials,
        tamper_codes: canary.learnt.iter().map(|code| format!("{code:?}")).collect(),
        canary_iv: HEXLOWER.encode(&canary.iv),
        canary_blob: HEXLOWER.encode(&canary.blob),
    };
    let body = serde_json::to_vec(&report).map_err(|_| KeyError::Internal)?;
    Ok((Zeroizing::new(body), token, canary))
}

/// Where answers go: one frame at a time.
type Answers = Arc<Mutex<UnixStream>>;

/// Serves until the socket closes.
fn serve(socket: &mut UnixStream, token: &Arc<Token>, canary: &Arc<Canary>) -> Result<(), KeyError> {
    let answers = Arc::new(Mutex::new(socket.try_clone().map_err(|_| KeyError::Internal)?));
    let (queue, jobs) = sync_channel(JOBS_MAX);
    let jobs = Arc::new(Mutex::new(jobs));
    for number in 0..token.setup().workers.clamp(1, WORKERS_MAX) {
        let (token, canary) = (Arc::clone(token), Arc::clone(canary));
        let (jobs, answers) = (Arc::clone(&jobs), Arc::clone(&answers));
        let work = move || work(Worker::new(token, canary), &jobs, &answers);
        let worker = thread::Builder::new()
            .name(format!("worker {number}"))
            .spawn(work);
        worker.map_err(|_| KeyError::Internal)?;
    }
    while let Some(request) = frame::read(socket)
        .ok()
        .and_then(|bytes| frame::read_request(&bytes))
    {
        if request.op == Op::Shutdown || !enqueue(&queue, request, &answers) {
            break;
        }
    }
    Ok(())
}

/// Puts a request before the workers, or answers it at once when too many wait.
fn enqueue(queue: &SyncSender<Job>, request: Request, answers: &Answers) -> bool {
    let id = request.id;
    let Some(deadline) = Instant::now().checked_add(request.time_left) else {
        return false;
    };
    match queue.try_send(Job { request, deadline }) {
        Ok(()) => true,
        Err(TrySendError::Full(_)) => respond(answers, id, &Err(KeyError::Throttled)),
        Err(TrySendError::Disconnected(_)) => false,
    }
}

fn respond(answers: &Answers, id: u64, result: &Result<Secret, KeyError>) -> bool {
    let bytes = frame::answer(id, result);
    let mut socket = answers.lock().unwrap_or_else(PoisonError::into_inner);
    frame::write(&mut *socket, &bytes).is_ok()
}

/// A worker thread.
fn work(mut worker: Worker, jobs: &Mutex<Receiver<Job>>, answers: &Answers) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        match worker.serve(&job) {
            Ok(result) => {
                if !respond(answers, job.request.id, &result) {
                    return;
                }
            }
            Err(worker::DeviceLost) => {
                note("the device does not come back in this process");
                // Ends the reader, and with it the process; the gateway starts another.
                let socket = answers.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = socket.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}
