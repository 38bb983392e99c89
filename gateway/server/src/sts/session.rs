//! Temporary credentials that nobody has to remember.
//!
//! What lives here: sealing a session into its own token, and opening it again. What must not: who gets
//! a session (`exchange`), what its holder may do (`authorize`), clocks. Invariant: a [`Session`] comes
//! either from an exchange or out of a token that was sealed under the keyring's session root, for the
//! very access key that presents it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac::{self, HMAC_SHA384};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use sceau_keys::{KEY_BYTES, SecretKey};
use sceau_policy::{Principal, SESSION_KEY_PREFIX};
use sceau_s3wire::sigv4::SecretAccessKey;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::limits::SESSION_TOKEN_BYTES_MAX;

/// First byte of every token.
const VERSION: u8 = 1;
/// Random bytes that name a session; 32 characters of an access key.
const ID_BYTES: usize = 20;
/// Bytes of the derived secret, 40 characters.
const SECRET_BYTES: usize = 30;
const KEY_LABEL: &[u8] = b"sceau/session-key/1\0";
const SECRET_LABEL: &[u8] = b"sceau/session-secret/1\0";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// What the policy knows the holder as.
    pub principal: Principal,
    /// The role that was taken.
    pub role: String,
    /// The identity that took it, as its issuer names it.
    pub subject: String,
    /// The holder's name for the session.
    pub name: String,
    /// When it began, Unix seconds.
    pub issued_at: u64,
    /// First second in which it no longer holds, Unix time.
    pub expires_at: u64,
    /// The session policy, as text.
    pub policy: Option<String>,
}

/// The sealed form. Short names: the token travels with every request.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    p: String,
    r: String,
    u: String,
    n: String,
    i: u64,
    e: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    s: Option<String>,
}

/// What the holder of a session is given.
pub struct SessionCredentials {
    /// Access key; begins with [`SESSION_KEY_PREFIX`].
    pub access_key: String,
    /// Secret access key.
    pub secret: Zeroizing<String>,
    /// Session token.
    pub token: Zeroizing<String>,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    /// It was not sealed here, or not for this access key.
    Invalid,
    /// Its time is over, or it was issued before the time that sessions must be newer than.
    Expired,
}

impl Session {
    /// Seals the session under `root` and a name that was never used; `None` only without randomness.
    ///
    /// The key is derived for this one name, so that the nonce may be constant: it seals once.
    pub fn seal(&self, root: &SecretKey) -> Option<SessionCredentials> {
        let mut id = [0; ID_BYTES];
        getrandom::fill(&mut id).ok()?;
        let sealed = Sealed {
            p: self.principal.as_str().to_owned(),
            r: self.role.clone(),
            u: self.subject.clone(),
            n: self.name.clone(),
            i: self.issued_at,
            e: self.expires_at,
            s: self.policy.clone(),
        };
        let mut text = serde_json::to_vec(&sealed).ok()?;
        let head = head(&id);
        token_key(root, &id)?
            .seal_in_place_append_tag(nonce(), Aad::from(&head), &mut text)
            .ok()?;
        let token = Zeroizing::new(BASE64URL_NOPAD.encode(&[head.as_slice(), &text].concat()));
        Some(SessionCredentials {
            access_key: access_key(&id),
            secret: secret(root, &id),
            token,
        })
    }

    /// Opens what `access_key` presents at Unix time `now`; tokens issued before `not_before` are over.
    ///
    /// Attacks considered: a forged or altered token (the AEAD), a valid token with another access key
    /// (compared with the name inside), a token as an oracle (every failure but age is one answer), the
    /// token without the secret (the request's signature is verified with the secret derived here).
    ///
    /// # Errors
    /// [`TokenFault`].
    pub fn open(
        root: &SecretKey,
        token: &str,
        access_key_presented: &str,
        now: u64,
        not_before: u64,
    ) -> Result<(Self, SecretAccessKey), TokenFault> {
        let (session, secret) = unseal(root, token, access_key_presented).ok_or(TokenFault::Invalid)?;
        if now >= session.expires_at || session.issued_at < not_before {
            return Err(TokenFault::Expired);
        }
        Ok((session, secret))
    }
}

fn unseal(root: &SecretKey, token: &str, access_key_presented: &str) -> Option<(Session, SecretAccessKey)> {
    if token.len() > SESSION_TOKEN_BYTES_MAX {
        return None;
    }
    let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
    let (version, rest) = bytes.split_first()?;
    let (id, sealed) = rest.split_first_chunk::<ID_BYTES>()?;
    if *version != VERSION || access_key(id) != access_key_presented {
        return None;
    }
    let mut sealed = sealed.to_vec();
    let text = token_key(root, id)?
        .open_in_place(nonce(), Aad::from(&head(id)), &mut sealed)
        .ok()?;
    let Sealed { p, r, u, n, i, e, s } = serde_json::from_slice(text).ok()?;
    let session = Session {
        principal: Principal::new(&p)?,
        role: r,
        subject: u,
        name: n,
        issued_at: i,
        expires_at: e,
        policy: s,
    };
    let mut secret = secret(root, id);
    Some((session, SecretAccessKey::new(std::mem::take(&mut *secret))))
}

/// What stands in front of the sealed part, and is authenticated with it.
fn head(id: &[u8; ID_BYTES]) -> [u8; ID_BYTES + 1] {
    let mut head = [VERSION; ID_BYTES + 1];
    for (to, from) in head.iter_mut().skip(1).zip(id) {
        *to = *from;
    }
    head
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn access_key(id: &[u8; ID_BYTES]) -> String {
    format!("{SESSION_KEY_PREFIX}{}", BASE32_NOPAD.encode(id))
}

fn token_key(root: &SecretKey, id: &[u8; ID_BYTES]) -> Option<LessSafeKey> {
    let mut key: [u8; KEY_BYTES] = derive(root, KEY_LABEL, id);
    let unbound = UnboundKey::new(&AES_256_GCM, &key).ok();
    key.zeroize();
    unbound.map(LessSafeKey::new)
}

fn secret(root: &SecretKey, id: &[u8; ID_BYTES]) -> Zeroizing<String> {
    let mut bytes: [u8; SECRET_BYTES] = derive(root, SECRET_LABEL, id);
    let text = Zeroizing::new(BASE64URL_NOPAD.encode(&bytes));
    bytes.zeroize();
    text
}

/// HKDF-Expand with one block: the root is a key, not a password.
fn derive<const N: usize>(root: &SecretKey, label: &[u8], id: &[u8]) -> [u8; N] {
    let key = hmac::Key::new(HMAC_SHA384, root.expose());
    let mut context = hmac::Context::with_key(&key);
    for piece in [label, id, &[1]] {
        context.update(piece);
    }
    let tag = context.sign();
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn root() -> SecretKey {
        SecretKey::new([7; 32])
    }

    fn session() -> Session {
        Session {
            principal: Principal::new("role/reports").unwrap(),
            role: "reports".to_owned(),
            subject: "job:reports".to_owned(),
            name: "job-1".to_owned(),
            issued_at: NOW,
            expires_at: NOW + 900,
            policy: Some("{}".to_owned()),
        }
    }

    fn fault(token: &str, access_key: &str, now: u64, not_before: u64) -> Option<TokenFault> {
        Session::open(&root(), token, access_key, now, not_before).err()
    }

    #[test]
    fn a_session_comes_back_with_the_secret_that_was_given() {
        let given = session().seal(&root()).unwrap();
        assert_eq!(given.access_key.len(), 40);
        assert_eq!(given.secret.len(), 40);
        let opened = Session::open(&root(), &given.token, &given.access_key, NOW + 899, NOW);
        assert_eq!(opened.ok().unwrap().0, session());
        // The same name gives the same secret: what a signature is verified with is what was given.
        let id = BASE64URL_NOPAD.decode(given.token.as_bytes()).unwrap()[1..=ID_BYTES].to_vec();
        assert_eq!(secret(&root(), &id.try_into().unwrap()), given.secret);
    }

    #[test]
    fn every_changed_character_is_refused() {
        let given = session().seal(&root()).unwrap();
        for place in 0..given.token.len() {
            for replacement in ['A', 'B', '='] {
                let mut changed: Vec<char> = given.token.chars().collect();
                if changed[place] == replacement {
                    continue;
                }
                changed[place] = replacement;
                let changed: String = changed.into_iter().collect();
                assert_eq!(
                    fault(&changed, &given.access_key, NOW, 0),
                    Some(TokenFault::Invalid),
                    "{place}"
                );
            }
            assert_eq!(
                fault(&given.token[..place], &given.access_key, NOW, 0),
                Some(TokenFault::Invalid)
            );
        }
    }

    #[test]
    fn tokens_and_access_keys_do_not_mix() {
        let one = session().seal(&root()).unwrap();
        let two = session().seal(&root()).unwrap();
        assert_ne!(one.access_key, two.access_key);
        assert_ne!(one.secret, two.secret);
        assert_eq!(
            fault(&one.token, &two.access_key, NOW, 0),
            Some(TokenFault::Invalid)
        );
        let elsewhere = Session::open(&SecretKey::new([8; 32]), &one.token, &one.access_key, NOW, 0);
        assert_eq!(elsewhere.err(), Some(TokenFault::Invalid));
        let long = "A".repeat(SESSION_TOKEN_BYTES_MAX + 1);
        assert_eq!(fault(&long, &one.access_key, NOW, 0), Some(TokenFault::Invalid));
    }

    #[test]
    fn time_ends_a_session() {
        let given = session().seal(&root()).unwrap();
        let at = |now, not_before| fault(&given.token, &given.access_key, now, not_before);
        assert_eq!(at(NOW + 899, NOW), None);
        assert_eq!(at(NOW + 900, 0), Some(TokenFault::Expired));
        assert_eq!(at(NOW, NOW + 1), Some(TokenFault::Expired));
    }

    #[test]
    fn the_token_does_not_show_what_it_says() {
        let given = session().seal(&root()).unwrap();
        let bytes = BASE64URL_NOPAD.decode(given.token.as_bytes()).unwrap();
        assert!(!bytes.windows(7).any(|part| part == b"reports"));
    }
}
