//! Identity tokens and key sets of issuers: any text, and any header and claims that an issuer signed.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;

use crate::input::Input;
use crate::memory::within;
use crate::sts::jwks::{IssuerKey, parse_key_set};
use crate::sts::token::UnverifiedToken;

const NOW: u64 = 1_700_000_000;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 3 {
        0 => {
            let text = String::from_utf8_lossy(input.rest());
            assert!(!verifies(&text, &[issuer().1]), "nobody signed this");
        }
        1 => {
            let (pair, key) = issuer();
            let header = input.bytes();
            let claims = input.rest();
            let signed = format!("{}.{}", BASE64URL_NOPAD.encode(&header), BASE64URL_NOPAD.encode(claims));
            let signature = BASE64URL_NOPAD.encode(pair.sign(signed.as_bytes()).as_ref());
            let accepted = verifies(&format!("{signed}.{signature}"), &[key]);
            let text = String::from_utf8_lossy(&header);
            assert!(!accepted || (text.contains("EdDSA") && !text.contains("\"crit\":[")), "{text}");
            assert!(!verifies(&format!("{signed}.{}", BASE64URL_NOPAD.encode(&[0; 64])), &[issuer().1]));
        }
        _ => {
            let text = input.rest();
            let keys = within(64 * 1024 + 64 * text.len(), || parse_key_set(text));
            for key in keys.into_iter().flatten() {
                // Keys of strangers verify nothing that they did not sign.
                assert!(!verifies("eyJhbGciOiJFZERTQSJ9.e30.AAAA", &[key]));
            }
        }
    }
}

fn issuer() -> (Ed25519KeyPair, IssuerKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = BASE64URL_NOPAD.encode(pair.public_key().as_ref());
    let text = format!("{{\"keys\":[{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k\",\"x\":\"{public}\"}}]}}");
    let key = parse_key_set(text.as_bytes()).unwrap().remove(0);
    (pair, key)
}

fn verifies(token: &str, keys: &[IssuerKey]) -> bool {
    within(64 * 1024 + 64 * token.len(), || {
        let Ok(parsed) = UnverifiedToken::parse(token) else { return false };
        let _ = parsed.issuer();
        let Ok(identity) = parsed.verify(keys, &["a".to_owned()], NOW) else { return false };
        assert_eq!(identity.audience, "a");
        assert!((1..=255).contains(&identity.subject.len()));
        let _ = identity.holds("groups", &["g".to_owned()]);
        true
    })
}
