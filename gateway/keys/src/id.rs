//! Public identifiers of keys and of what keys are bound to.
//!
//! What lives here: fixed-size random identifiers and the epoch number. What must not: how they
//! are drawn or stored. Invariant: an identifier of one kind cannot be used as another.

use std::fmt;

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdParseError;

impl fmt::Display for IdParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an identifier is 32 hexadecimal digits")
    }
}

impl std::error::Error for IdParseError {}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, IdParseError> {
                if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return Err(IdParseError);
                }
                let mut bytes = [0; 16];
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let pair = std::str::from_utf8(pair).map_err(|_| IdParseError)?;
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| IdParseError)?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

id!(
    /// Key record identifier: names one epoch key in the keyring.
    Krid
);
id!(
    /// Tenant: the owner of a keyring.
    TenantId
);
id!(
    /// Bucket identity inside the keyring. It is not the bucket's name in the store, so a bucket
    /// that is deleted and created again does not inherit old objects.
    BucketId
);
id!(
    /// Shred domain: the part of a bucket whose epoch keys are destroyed together.
    DomainId
);
id!(
    /// Object instance: drawn anew for each upload, bound into every payload key.
    Oid
);

/// Number of an epoch of one shred domain, counted from 1.
pub type Epoch = u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_reads_back_what_it_prints() {
        let id = Krid(std::array::from_fn(|i| i as u8 * 17));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("+1".repeat(16).parse::<Krid>().is_err());
        assert!("00".repeat(15).parse::<Krid>().is_err());
        assert!("zz".repeat(16).parse::<Krid>().is_err());
    }
}
