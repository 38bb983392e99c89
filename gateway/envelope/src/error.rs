//! Why something was refused.
//!
//! What lives here: one closed enum per kind of act. What must not: bytes, lengths or names taken
//! from the refused input. Invariant: a message never contains secrets or plaintext.

use std::fmt;

use crate::random::RandomError;

macro_rules! closed_error {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }

        impl std::error::Error for $name {}
    };
}

closed_error!(
    /// A stored object header was refused (§5.4).
    HeaderError {
        /// Not base64url, too short, too long, wrong magic, version, flags or padding.
        Malformed => "the object header is not a header of this format",
        /// A suite this reader does not have.
        UnknownSuite => "the object header names an unknown suite",
        /// The commitment does not match: another key, tenant, bucket, name, suite or layout.
        NotForThisName => "the object header was not sealed for this name and key",
        /// The commitment matches but the sealed part does not open, or its content is not canonical.
        Corrupted => "the object header is corrupted",
        /// The authenticated plaintext length does not agree with the stored length.
        WrongStoredLength => "the stored length does not belong to the sealed length",
    }
);

closed_error!(
    /// Something could not be sealed: the caller's input is outside the format.
    SealError {
        /// The sealed metadata would not fit into the store's metadata value.
        MetadataTooLarge => "the object metadata is too large for the store",
        /// A metadata name or value that the format cannot carry.
        MetadataInvalid => "the object metadata cannot be represented",
        /// More plaintext than was announced, or more than the format allows.
        TooLong => "more bytes than announced or allowed",
        /// Less plaintext than was announced.
        TooShort => "fewer bytes than announced",
        /// The part list breaks a rule of the format (order, numbers, the 5 MiB rule).
        InvalidParts => "the part list breaks the format's rules",
        /// The random generator refused or failed its health check.
        Random => "the random generator failed",
        /// The encryption engine refused; never expected.
        Engine => "the encryption engine refused",
    }
);

closed_error!(
    /// Stored payload bytes were refused (§6).
    OpenError {
        /// A range that does not lie inside the object.
        OutOfRange => "the range is outside the object",
        /// A segment, part header or trailer does not verify.
        Corrupted => "the stored bytes do not verify",
        /// The bytes supplied are not as many as were asked for.
        WrongLength => "not the number of bytes that was asked for",
        /// An unpinned part's header must be supplied first.
        PartHeaderMissing => "the part header has not been supplied",
        /// Supplied after the end, or after an earlier refusal.
        Finished => "nothing more is expected",
    }
);

closed_error!(
    /// A trailer was refused (§7).
    TrailerError {
        /// Not a footer or manifest of this format.
        Malformed => "the trailer is not a trailer of this format",
        /// The authentication value does not match.
        NotAuthentic => "the trailer does not verify",
        /// Authentic, but its lengths contradict each other, the header or the stored length.
        Inconsistent => "the trailer contradicts the object",
    }
);

closed_error!(
    /// An upload's state object was refused (§8.1).
    StateError {
        /// Not a state object of this format.
        Malformed => "the upload state is not a state of this format",
        /// Another key, bucket, name or upload.
        NotForThisUpload => "the upload state belongs to another upload",
        /// The commitment matches but the content does not open.
        Corrupted => "the upload state is corrupted",
    }
);

closed_error!(
    /// A part's ticket was refused (§8.3).
    TicketError {
        /// Not a ticket.
        Malformed => "the part ticket is malformed",
        /// Another part, upload, length or store ETag.
        NotAuthentic => "the part ticket does not verify",
    }
);

closed_error!(
    /// A sealed tag set was refused (§5.5).
    TagsError {
        /// Not all pieces of one set, or others among them.
        Malformed => "the sealed tags are not a tag set of this format",
        /// Another object, name or set, or changed.
        NotAuthentic => "the sealed tags do not verify for this object",
    }
);

closed_error!(
    /// A key record was refused (§9).
    RecordError {
        /// Not a key record of this format, or beyond its limits.
        Malformed => "the key record is malformed",
        /// The unwrapped key is not this record's key, or the record was altered.
        CheckFailed => "the key record's check value does not match",
        /// Too many wraps, or a text or blob that is too long.
        TooLarge => "the key record exceeds its limits",
    }
);

closed_error!(
    /// A keyring document was refused (§10).
    KeyringError {
        /// Not a keyring document of this format, or beyond its limits.
        Malformed => "the keyring is malformed",
        /// A format version this reader does not know.
        UnknownVersion => "the keyring has an unknown format version",
        /// A record, bucket or key contradicts another.
        Inconsistent => "the keyring contradicts itself",
        /// The authenticator does not match.
        NotAuthentic => "the keyring does not verify",
        /// Older than the generation already seen or pinned.
        Rollback => "the keyring is older than one already seen",
    }
);

impl From<RandomError> for SealError {
    fn from(_: RandomError) -> Self {
        Self::Random
    }
}
