//! Secret text in answers.
//!
//! What lives here: [`Base64Secret`]. What must not: the form of any answer. Invariant: base64 of a key is decoded
//! into memory that is wiped, and what is wrong with it is not told.

use std::fmt;

use data_encoding::BASE64;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use zeroize::Zeroizing;

/// Bytes that came as base64 text.
pub struct Base64Secret(pub Zeroizing<Vec<u8>>);

impl<'de> Deserialize<'de> for Base64Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Base64Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Base64Secret, E> {
                // The library's own text would say which byte is wrong.
                let bytes = BASE64.decode(text.as_bytes());
                bytes
                    .map(|bytes| Base64Secret(Zeroizing::new(bytes)))
                    .map_err(|_| E::custom("not base64"))
            }
        }
        deserializer.deserialize_str(Text)
    }
}
