//! The token: finding it, logging in, and the sessions of the workers.
//!
//! What lives here: [`Token`] with its anchor session, and [`Bench`], one worker's session and key.
//! What must not: encryption. Invariant: a key handle is used only in the epoch it was looked up in,
//! because its number may name another key after a new login.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use sceau_keys::WrapScheme;
use sceau_kms::KeyError;
use sceau_pkcs11_calls::{Calls, Mechanism, TokenFacts};

use super::fault::{Fault, classify, credential_advice, is_wrong_pin, name};
use super::note;
use super::pin::{Pin, forget_wrong, refuse_known_wrong, remember_wrong};
use super::rung::key_kind;
use crate::config::misconfigured;
use crate::frame::{Secret, Setup};

/// When to ask again after the token did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) fn unavailable(doing: &str, error: &Error) -> KeyError {
    note(&format!("{doing}: {}", name(error)));
    KeyError::Unavailable {
        retry_after: RETRY_AFTER,
    }
}

/// What sort of key a scheme works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// An AES key.
    Aes,
    /// A secret for HMAC.
    Mac,
    /// An RSA private key.
    Rsa,
}

impl KeyKind {
    const ALL: [Self; 3] = [Self::Aes, Self::Mac, Self::Rsa];

    fn class(self) -> ObjectClass {
        match self {
            Self::Aes | Self::Mac => ObjectClass::SECRET_KEY,
            Self::Rsa => ObjectClass::PRIVATE_KEY,
        }
    }

    fn of(key_type: KeyType) -> Option<Self> {
        if key_type == KeyType::AES {
            Some(Self::Aes)
        } else if key_type == KeyType::GENERIC_SECRET || key_type == KeyType::SHA256_HMAC {
            Some(Self::Mac)
        } else if key_type == KeyType::RSA {
            Some(Self::Rsa)
        } else {
            None
        }
    }

    /// For messages.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Aes => "an AES key",
            Self::Mac => "a generic secret for HMAC",
            Self::Rsa => "an RSA key pair",
        }
    }
}

/// One worker's session and the key's handle in it.
pub(super) struct Bench {
    pub(super) session: Session,
    pub(super) key: ObjectHandle,
    pub(super) kind: KeyKind,
    calls: Arc<Calls>,
    /// The login this handle belongs to.
    epoch: u64,
}

impl Bench {
    /// Encrypts with the key, in one call.
    pub(super) fn encrypt(&self, mechanism: Mechanism<'_>, input: &[u8]) -> Result<Secret, Error> {
        self.calls.encrypt(&self.session, self.key, mechanism, input)
    }

    /// Decrypts with the key, in one call.
    pub(super) fn decrypt(&self, mechanism: Mechanism<'_>, input: &[u8]) -> Result<Secret, Error> {
        self.calls.decrypt(&self.session, self.key, mechanism, input)
    }

    /// Signs with the key, in one call.
    pub(super) fn sign(&self, mechanism: Mechanism<'_>, input: &[u8]) -> Result<Secret, Error> {
        self.calls.sign(&self.session, self.key, mechanism, input)
    }

    /// Wraps another key of `length` bytes with the key, in one call.
    pub(super) fn wrap_key(
        &self,
        mechanism: Mechanism<'_>,
        other: ObjectHandle,
        length: usize,
    ) -> Result<Secret, Error> {
        self.calls
            .wrap_key(&self.session, self.key, mechanism, other, length)
    }
}

/// The chosen token of a loaded module.
pub(super) struct Token {
    module: Pkcs11,
    calls: Arc<Calls>,
    slot: Slot,
    setup: Setup,
    /// Does no work; keeps the login while workers' sessions come and go.
    anchor: Mutex<Option<Session>>,
    /// Counts logins.
    epoch: AtomicU64,
}

impl Token {
    /// Loads the module and finds the one token that matches. No login yet.
    pub(super) fn find(setup: Setup) -> Result<Self, KeyError> {
        let module = Pkcs11::new(&setup.module)
            .map_err(|error| misconfigured(format!("the PKCS#11 module does not load: {error}")))?;
        let calls = Calls::of(&setup.module)
            .map_err(|error| misconfigured(format!("the PKCS#11 module does not load: {error}")))?;
        module
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .map_err(|error| unavailable("initialising the module", &error))?;
        let slots = module
            .get_slots_with_token()
            .map_err(|error| unavailable("listing the slots", &error))?;
        if slots.is_empty() {
            note("the module shows no token");
            return Err(KeyError::Unavailable {
                retry_after: RETRY_AFTER,
            });
        }
        let mut found = None;
        for slot in slots.iter().copied() {
            let Ok(facts) = calls.token(slot) else {
                continue;
            };
            if !matches_setup(&facts, &setup) {
                continue;
            }
            if found.replace(slot).is_some() {
                return Err(misconfigured(
                    "more than one token matches; select it by serial number",
                ));
            }
        }
        let slot = found.ok_or_else(|| {
            misconfigured(format!(
                "none of the {} tokens matches the configured one",
                slots.len()
            ))
        })?;
        Ok(Self {
            module,
            calls: Arc::new(calls),
            slot,
            setup,
            anchor: Mutex::new(None),
            epoch: AtomicU64::new(0),
        })
    }

    pub(super) fn setup(&self) -> &Setup {
        &self.setup
    }

    pub(super) fn facts(&self) -> Result<TokenFacts, KeyError> {
        self.calls
            .token(self.slot)
            .map_err(|error| unavailable("reading the token", &error))
    }

    /// Logs in on the anchor session, unless it is still logged in or another worker logged in since
    /// `seen`. Answers nothing useful but success; handles of older epochs are void afterwards.
    pub(super) fn login(&self, seen: u64) -> Result<(), KeyError> {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        if self.epoch() != seen || anchor.as_ref().is_some_and(is_logged_in) {
            return Ok(());
        }
        *anchor = None;
        refuse_risky_login(&self.facts()?)?;
        let session = self
            .module
            .open_ro_session(self.slot)
            .map_err(|error| unavailable("opening the anchor session", &error))?;
        self.login_on(&session)?;
        *anchor = Some(session);
        self.epoch.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn login_on(&self, session: &Session) -> Result<(), KeyError> {
        let (pin, latch) = (
            Pin::read(&self.setup.pin, &self.question())?,
            self.setup.pin_latch.as_deref(),
        );
        refuse_known_wrong(latch, &pin)?;
        match session.login_with_raw(UserType::User, &pin.for_login()) {
            Ok(()) => {
                forget_wrong(latch);
                Ok(())
            }
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) if classify(&error, &[]) == Fault::Credential => {
                note(&format!("login: {}", name(&error)));
                if is_wrong_pin(&error) {
                    remember_wrong(latch, &pin);
                }
                Err(KeyError::NeedsOperator {
                    what: credential_advice(&error).to_owned(),
                })
            }
            Err(error) => Err(unavailable("logging in", &error)),
        }
    }

    /// What somebody who has to type the PIN is asked.
    fn question(&self) -> String {
        let named = self
            .setup
            .token_label
            .as_ref()
            .or(self.setup.token_serial.as_ref());
        let label = named.map_or("?", String::as_str);
        let label: String = label.chars().filter(|letter| !letter.is_control()).collect();
        format!("PIN of token {label}: ")
    }

    /// A session that may create keys, for the one-shot that generates a key. Call after
    /// [`Self::login`].
    pub(super) fn officer_session(&self) -> Result<Session, KeyError> {
        self.module
            .open_rw_session(self.slot)
            .map_err(|error| unavailable("opening a writing session", &error))
    }

    /// What the token says it can do, by the numbers of the mechanisms.
    pub(super) fn mechanisms(&self) -> Option<Vec<u64>> {
        self.calls.mechanisms(self.slot).ok()
    }

    /// The number of the present login.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Opens a session and looks the key up in it.
    pub(super) fn bench(&self) -> Result<Bench, KeyError> {
        let epoch = self.epoch();
        let session = self
            .module
            .open_ro_session(self.slot)
            .map_err(|error| unavailable("opening a session", &error))?;
        let (key, kind) = self.only_key(&session)?;
        Ok(Bench {
            session,
            key,
            kind,
            calls: Arc::clone(&self.calls),
            epoch,
        })
    }

    /// A bench with a key that was not looked up.
    pub(super) fn bench_with(&self, session: Session, key: ObjectHandle, kind: KeyKind) -> Bench {
        Bench {
            session,
            key,
            kind,
            calls: Arc::clone(&self.calls),
            epoch: self.epoch(),
        }
    }

    /// Whether the handle of `bench` belongs to the present login.
    pub(super) fn is_current(&self, bench: &Bench) -> bool {
        bench.epoch == self.epoch()
    }

    fn only_key(&self, session: &Session) -> Result<(ObjectHandle, KeyKind), KeyError> {
        match self.find_keys(session)?.as_slice() {
            [] => Err(KeyError::KeyNotFound),
            [found] => Ok(*found),
            _ => Err(misconfigured("more than one key matches; give its id as well")),
        }
    }

    /// Whether a key of the configured name exists, of whatever kind.
    pub(super) fn key_exists(&self, session: &Session) -> Result<bool, KeyError> {
        let found = session
            .find_objects(&self.names())
            .map_err(|error| unavailable("looking for a key of that name", &error))?;
        Ok(!found.is_empty())
    }

    /// The keys of the configured name that the pinned scheme, or any before enrolment, can use.
    fn find_keys(&self, session: &Session) -> Result<Vec<(ObjectHandle, KeyKind)>, KeyError> {
        let wanted = self.setup.scheme.and_then(WrapScheme::from_code).map(key_kind);
        let is_wanted = |kind: KeyKind| wanted.is_none_or(|wanted| wanted == kind);
        let mut classes: Vec<_> = KeyKind::ALL.into_iter().filter(|kind| is_wanted(*kind)).collect();
        classes.dedup_by_key(|kind| kind.class());
        let mut keys = Vec::new();
        for class in classes.into_iter().map(KeyKind::class) {
            let mut template = vec![Attribute::Class(class)];
            template.extend(self.names());
            let found = session
                .find_objects(&template)
                .map_err(|error| unavailable("looking the key up", &error))?;
            for key in found {
                let told = session
                    .get_attributes(key, &[AttributeType::KeyType])
                    .map_err(|error| unavailable("reading the key's type", &error))?;
                let kind = told.into_iter().find_map(|attribute| {
                    if let Attribute::KeyType(key_type) = attribute {
                        KeyKind::of(key_type)
                    } else {
                        None
                    }
                });
                keys.extend(kind.filter(|kind| is_wanted(*kind)).map(|kind| (key, kind)));
            }
        }
        Ok(keys)
    }

    /// How the configured key is called.
    fn names(&self) -> Vec<Attribute> {
        let mut names = vec![Attribute::Label(self.setup.key_label.clone().into_bytes())];
        names.extend(self.setup.key_id.clone().map(Attribute::Id));
        names
    }
}

fn matches_setup(facts: &TokenFacts, setup: &Setup) -> bool {
    let is_serial = |wanted: &String| facts.serial == *wanted;
    let is_label = |wanted: &String| facts.label == *wanted;
    setup.token_serial.as_ref().is_none_or(is_serial) && setup.token_label.as_ref().is_none_or(is_label)
}

fn is_logged_in(anchor: &Session) -> bool {
    let state = anchor.get_session_info().map(|info| info.session_state());
    state.is_ok_and(|state| matches!(state, SessionState::RoUser | SessionState::RwUser))
}

/// Refuses to log in where one more wrong PIN would lock the token, or where it cannot succeed.
fn refuse_risky_login(facts: &TokenFacts) -> Result<(), KeyError> {
    let what = if facts.user_pin_locked() {
        "the user PIN is locked; unlock it with the HSM's tools, then restart"
    } else if facts.user_pin_final_try() {
        "one more wrong PIN locks the token; log in once with the HSM's tools, then restart"
    } else if facts.user_pin_to_be_changed() {
        "the user PIN has expired; change it with the HSM's tools, then restart"
    } else if !facts.user_pin_initialized() {
        "the token has no user PIN yet; set it with the HSM's tools, then restart"
    } else {
        return Ok(());
    };
    Err(KeyError::NeedsOperator {
        what: what.to_owned(),
    })
}
