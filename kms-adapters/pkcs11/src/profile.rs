//! Vendor profiles: what is known of HSM families before one is asked, as data.
//!
//! What lives here: the table. What must not: behaviour; a profile decides only how a token that makes GCM's
//! IV hands it out, because that must not be found out by trial. Invariant: an entry says whether a device
//! was touched or documentation read.

use crate::frame::GcmIv;

/// Where an entry's facts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The tests of this project run on it.
    Tested,
    /// The vendor's documentation, or public reports; no device was touched.
    FromDocumentation,
}

impl Basis {
    /// For messages.
    pub fn words(self) -> &'static str {
        match self {
            Self::Tested => "tested",
            Self::FromDocumentation => "from documentation, no device was touched",
        }
    }
}

/// What is known of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What the token's manufacturer or model contains, in lower case; empty for none that is known.
    pub mark: &'static str,
    /// How it hands out IVs that it made, where it makes them.
    pub gcm_iv: Option<GcmIv>,
    /// Where the facts come from.
    pub basis: Basis,
    /// What an operator should know.
    pub quirks: &'static [&'static str],
}

/// Every family.
pub const PROFILES: [Profile; 11] = [
    Profile {
        name: "softhsm",
        mark: "softhsm",
        gcm_iv: None,
        basis: Basis::Tested,
        quirks: &["keys are files: for tests only", "RSA-OAEP with SHA-1 only"],
    },
    Profile {
        name: "kryoptic",
        mark: "kryoptic",
        gcm_iv: None,
        basis: Basis::Tested,
        quirks: &["keys are in a file: for tests only"],
    },
    Profile {
        name: "opencryptoki",
        mark: "ibm softtok",
        gcm_iv: None,
        basis: Basis::Tested,
        quirks: &[
            "the software token, keys are files: no AES-GCM, no key wrap: hmac-kdf",
            "PINs have four to eight characters",
        ],
    },
    Profile {
        name: "tpm2",
        mark: "sw   tpm",
        gcm_iv: None,
        basis: Basis::Tested,
        quirks: &[
            "tried with a TPM in software: hmac-kdf, aes-cbc-kdf",
            "keys are made by tpm2_ptool, not by `keys enrol --generate`",
            "needs its resource manager: the TPM has room for three keys",
        ],
    },
    Profile {
        name: "proteccio",
        mark: "proteccio",
        gcm_iv: None,
        basis: Basis::FromDocumentation,
        quirks: &[
            "the library cannot be initialised twice in a process: a lost device always costs the helper",
        ],
    },
    Profile {
        name: "luna",
        mark: "luna",
        gcm_iv: Some(GcmIv::Appended),
        basis: Basis::FromDocumentation,
        quirks: &[
            "outside FIPS mode the caller's IV is used: aes-gcm/caller-iv",
            "in FIPS mode the token makes the IV and appends it: aes-gcm/hsm-iv",
            "set the client's receive timeout below 10 s, and the probe timeout of an HA group",
        ],
    },
    Profile {
        name: "nshield",
        mark: "ncipher",
        gcm_iv: Some(GcmIv::WrittenBack),
        basis: Basis::FromDocumentation,
        quirks: &[
            "the caller passes an IV of zeros and the HSM writes its own",
            "pulling a card of the card set closes all sessions",
        ],
    },
    Profile {
        name: "utimaco",
        mark: "utimaco",
        gcm_iv: None,
        basis: Basis::FromDocumentation,
        quirks: &["fail-over and keep-alive are set in the library's own configuration file"],
    },
    Profile {
        name: "cloudhsm",
        mark: "cavium",
        gcm_iv: Some(GcmIv::WrittenBack),
        basis: Basis::FromDocumentation,
        quirks: &[
            "the PIN is `user:password`",
            "fast opening of sessions is refused: keep the number of workers small",
        ],
    },
    Profile {
        name: "yubihsm2",
        mark: "yubihsm",
        gcm_iv: None,
        basis: Basis::FromDocumentation,
        quirks: &["no AES-GCM: hmac-kdf", "few sessions: two workers"],
    },
    Profile {
        name: "nethsm",
        mark: "nethsm",
        gcm_iv: None,
        basis: Basis::FromDocumentation,
        quirks: &[
            "no AES-GCM and no HMAC: aes-cbc-kdf",
            "its module waits for ever by default: set its timeouts",
        ],
    },
];

impl Profile {
    /// The profile of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// The profile that a token's manufacturer and model point to.
    pub fn of_model(model: &str) -> Option<&'static Self> {
        let model = model.to_lowercase();
        PROFILES.iter().find(|profile| model.contains(profile.mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_found_by_name_and_by_model() {
        for profile in &PROFILES {
            assert_eq!(Profile::named(profile.name), Some(profile));
            assert!(!profile.mark.is_empty() && !profile.quirks.is_empty());
        }
        assert_eq!(
            Profile::of_model("SoftHSM project SoftHSM v2").map(|profile| profile.name),
            Some("softhsm")
        );
        assert_eq!(Profile::of_model("Acme"), None);
    }
}
