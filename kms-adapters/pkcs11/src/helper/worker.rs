//! The workers: each one session, one key handle, one request at a time.
//!
//! What lives here: [`Worker`] and its way back after a fault. What must not: the socket. Invariant:
//! a refusal is answered as [`KeyError::InvalidCiphertext`] only after the canary proved that key and
//! device are well, and the same request was refused once more; a wrap is answered only after the
//! canary proved which key made it; only a canary that fails costs the helper.

use std::sync::Arc;
use std::time::Instant;

use cryptoki::error::{Error, RvError};
use cryptoki::object::AttributeType;
use cryptoki::session::SessionState;
use sceau_keys::{KEY_BYTES, WrapScheme};
use sceau_kms::{KeyError, RANDOM_BYTES_MAX};
use zeroize::Zeroizing;

use super::audit;
use super::canary::Canary;
use super::fault::{Fault, classify, credential_advice, name};
use super::note;
use super::rung::Fail;
use super::token::{Bench, Token};
use crate::form;
use crate::frame::{self, Op, Request, Secret};

/// A request and the moment after which nobody waits for it.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) deadline: Instant,
}

/// Why an attempt did not answer the request.
enum Trouble {
    /// The answer is an error.
    Final(KeyError),
    /// The device refused and the canary is well: the request is at fault, or the device faltered for a
    /// moment. Holds the answer for the first case.
    Refused(KeyError),
    /// The session, the login or the device: renew and try again. Holds the answer for the case that
    /// the device proves to be well and the request still fails.
    Device(KeyError),
}

/// The device does not come back in this process; only a new helper may help.
pub(super) struct DeviceLost;

/// Sorts the errors of a renewal. Key and token were there at the start, so that they are missing now
/// may be this process's view only, stuck after an outage: the next helper finds out. A credential is
/// never tried again.
fn lost_or(error: KeyError) -> Result<Result<Secret, KeyError>, DeviceLost> {
    if matches!(error, KeyError::NeedsOperator { .. }) {
        Ok(Err(error))
    } else {
        Err(DeviceLost)
    }
}

/// One worker thread's state.
pub(super) struct Worker {
    token: Arc<Token>,
    canary: Arc<Canary>,
    bench: Option<Bench>,
}

impl Worker {
    /// A worker with its session already open, if the token allows one more.
    pub(super) fn new(token: Arc<Token>, canary: Arc<Canary>) -> Self {
        let bench = token.bench().ok();
        Self { token, canary, bench }
    }

    /// Serves one request. An `Err(DeviceLost)` leaves it unanswered, for the next helper.
    pub(super) fn serve(&mut self, job: &Job) -> Result<Result<Secret, KeyError>, DeviceLost> {
        if Instant::now() >= job.deadline {
            return Ok(Err(KeyError::Timeout));
        }
        match self.attempt_twice(&job.request) {
            Ok(answer) => return Ok(Ok(answer)),
            Err(Trouble::Final(error) | Trouble::Refused(error)) => return Ok(Err(error)),
            Err(Trouble::Device(_)) => {}
        }
        if let Err(error) = self.renew() {
            return lost_or(error);
        }
        let otherwise = match self.attempt_twice(&job.request) {
            Ok(answer) => return Ok(Ok(answer)),
            Err(Trouble::Final(error) | Trouble::Refused(error)) => return Ok(Err(error)),
            Err(Trouble::Device(otherwise)) => otherwise,
        };
        // The device worked a moment ago. If it does again, the request is at fault, on a token that
        // leaves a session unusable after a refusal; that must not cost the helper.
        self.renew().map_or_else(lost_or, |()| Ok(Err(otherwise)))
    }

    /// A new session, a new login if the old one is gone, the key looked up again, and the canary.
    fn renew(&mut self) -> Result<(), KeyError> {
        note("renewing a session");
        let seen = self.token.epoch();
        self.bench = None;
        self.token.login(seen)?;
        let bench = self.token.bench()?;
        if !self.canary.holds(&bench) {
            return Err(KeyError::Internal);
        }
        self.bench = Some(bench);
        Ok(())
    }

    /// [`Self::attempt`], and once more after a refusal: a device that returns one stray error must not
    /// have a sound wrap called altered. Whoever alters wraps gains four calls by it, no reset.
    fn attempt_twice(&mut self, request: &Request) -> Result<Secret, Trouble> {
        match self.attempt(request) {
            Err(Trouble::Refused(_)) => self.attempt(request),
            other => other,
        }
    }

    fn attempt(&mut self, request: &Request) -> Result<Secret, Trouble> {
        if self
            .bench
            .as_ref()
            .is_none_or(|bench| !self.token.is_current(bench))
        {
            return Err(Trouble::Device(KeyError::Internal));
        }
        let Some(bench) = &self.bench else {
            return Err(Trouble::Device(KeyError::Internal));
        };
        match request.op {
            Op::Wrap => self.wrap(bench, &request.body),
            Op::Unwrap => self.unwrap(bench, &request.body),
            Op::Random => self.random(bench, &request.body),
            Op::Canary if self.canary.holds(bench) => Ok(Secret::default()),
            Op::Canary => Err(Trouble::Device(KeyError::Internal)),
            Op::Look => self.look(bench),
            Op::Describe => {
                let audit = serde_json::to_vec(&audit::audit(bench, &self.canary.rung)).map(Zeroizing::new);
                audit.map_err(|_| Trouble::Final(KeyError::Internal))
            }
            Op::Setup | Op::Shutdown => Err(Trouble::Final(KeyError::Internal)),
        }
    }

    /// Whether session, login and handle are still what they were; no cryptographic operation. A library
    /// that answers for the session by itself has to ask its device for the attribute.
    fn look(&self, bench: &Bench) -> Result<Secret, Trouble> {
        let looked = bench.session.get_session_info().and_then(|info| {
            let told = bench.session.get_attributes(bench.key, &[AttributeType::Class])?;
            Ok((info.session_state(), told))
        });
        match looked {
            Ok((SessionState::RoUser | SessionState::RwUser, told)) if !told.is_empty() => {
                Ok(Secret::default())
            }
            Ok(_) => Err(Trouble::Device(KeyError::Internal)),
            Err(error) => Err(self.trouble(bench, &Fail::Token(error), KeyError::Internal)),
        }
    }

    fn wrap(&self, bench: &Bench, body: &[u8]) -> Result<Secret, Trouble> {
        let (context, key) = frame::wrap_parts(body).ok_or(Trouble::Final(KeyError::Internal))?;
        let rung = &self.canary.rung;
        let wrapped = rung
            .wrap(bench, context, key)
            .map_err(|fail| self.trouble(bench, &fail, KeyError::Internal))?;
        if !form::fits(rung.scheme, &wrapped.iv, &wrapped.blob) {
            return Err(Trouble::Device(KeyError::Internal));
        }
        // After a silent reset of the device the handle may name another key, whose wrap nobody could
        // open later. Decryption shows that by itself; encryption does not. RSA wraps without the handle.
        if rung.scheme != WrapScheme::RsaOaepSha256 && !self.canary.holds(bench) {
            return Err(Trouble::Device(KeyError::Internal));
        }
        Ok(Zeroizing::new(frame::wrap_bytes(&wrapped.iv, &wrapped.blob)))
    }

    fn unwrap(&self, bench: &Bench, body: &[u8]) -> Result<Secret, Trouble> {
        let (context, iv, blob) = frame::unwrap_parts(body).ok_or(Trouble::Final(KeyError::Internal))?;
        let key = self
            .canary
            .rung
            .unwrap(bench, context, iv, blob)
            .map_err(|fail| self.trouble(bench, &fail, KeyError::InvalidCiphertext))?;
        if key.len() == KEY_BYTES {
            Ok(key)
        } else {
            Err(Trouble::Device(KeyError::Internal))
        }
    }

    fn random(&self, bench: &Bench, body: &[u8]) -> Result<Secret, Trouble> {
        let count = body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let count = count.and_then(|count| usize::try_from(count).ok());
        let count = count.filter(|count| *count <= RANDOM_BYTES_MAX);
        let mut bytes = Zeroizing::new(vec![0; count.ok_or(Trouble::Final(KeyError::Internal))?]);
        bench
            .session
            .generate_random_slice(&mut bytes)
            .map_err(|error| self.trouble(bench, &Fail::Token(error), KeyError::Internal))?;
        Ok(bytes)
    }

    /// Finds out what a failed call means; `otherwise` is the answer when key and device are well.
    fn trouble(&self, bench: &Bench, fail: &Fail, otherwise: KeyError) -> Trouble {
        let error = match fail {
            Fail::Token(error) => error,
            // The token answered, and what it answered does not fit: altered input, or another key.
            Fail::Check(_) if self.canary.holds(bench) => return Trouble::Refused(otherwise),
            Fail::Check(_) => return Trouble::Device(otherwise),
        };
        match classify(error, &self.canary.learnt) {
            Fault::Session => {
                note(&name(error));
                Trouble::Device(otherwise)
            }
            Fault::Credential => Trouble::Final(KeyError::NeedsOperator {
                what: credential_advice(error).to_owned(),
            }),
            Fault::Refusal if !self.canary.holds(bench) => Trouble::Device(otherwise),
            Fault::Refusal => Trouble::Refused(refusal(error).unwrap_or(otherwise)),
        }
    }
}

/// What a refusal means where its code alone tells, with key and device proven well.
fn refusal(error: &Error) -> Option<KeyError> {
    let Error::Pkcs11(code, _) = error else {
        return None;
    };
    if matches!(code, RvError::KeyFunctionNotPermitted) {
        Some(KeyError::KeyNotUsable)
    } else if matches!(code, RvError::FunctionRejected) {
        Some(KeyError::Denied)
    } else {
        None
    }
}
